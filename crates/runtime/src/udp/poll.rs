//! Waiting for sockets, a bell and a point in time, all at once.
//!
//! Sockets are watched by level, so what one turn leaves behind shows again in the next. Bell and
//! timer are watched by edge: nobody has to read them. The timer is an absolute timerfd (epoll's
//! own timeout counts milliseconds, and `epoll_pwait2` needs Linux 5.11) and is only touched when
//! the point changes; a wait that needs no timer costs one system call.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use trunkline_engine::time::Time;

use crate::clock::Clock;

/// Events taken in one wait; the kernel keeps the rest in turn.
const EVENTS: usize = 64;
const BELL: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;
const ZERO: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// What a socket is ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) socket: u16,
    pub(super) readable: bool,
    pub(super) writable: bool,
    pub(super) errors: bool,
}

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// Not at all.
    Now,
    /// Until then, or something happens.
    At(Time),
    /// Until something happens.
    Ever,
}

pub(super) struct Poll {
    epoll: OwnedFd,
    timer: OwnedFd,
    armed: Option<Time>,
    ready: Vec<Ready>,
}

impl Poll {
    pub(super) fn new(bell: impl AsFd) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        let edge = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, bell, EventData::new_u64(BELL), edge)?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), edge)?;
        Ok(Self {
            epoll,
            timer,
            armed: None,
            ready: Vec::with_capacity(EVENTS),
        })
    }

    pub(super) fn add(&self, socket: u16, fd: impl AsFd) -> io::Result<()> {
        let data = EventData::new_u64(u64::from(socket));
        Ok(epoll::add(&self.epoll, fd, data, EventFlags::IN)?)
    }

    /// Also (or no longer) tells when `socket` has room to send.
    pub(super) fn watch_writable(&self, socket: u16, fd: impl AsFd, on: bool) -> io::Result<()> {
        let data = EventData::new_u64(u64::from(socket));
        let out = if on {
            EventFlags::OUT
        } else {
            EventFlags::empty()
        };
        Ok(epoll::modify(&self.epoll, fd, data, EventFlags::IN | out)?)
    }

    /// Waits; afterwards [`Self::ready`] tells what for.
    pub(super) fn wait(&mut self, clock: &Clock, until: Until) -> io::Result<()> {
        let timeout = match until {
            Until::Now => Some(&ZERO),
            Until::At(time) => {
                self.arm(clock, time)?;
                None
            }
            Until::Ever => None,
        };
        let mut events = [MaybeUninit::uninit(); EVENTS];
        self.ready.clear();
        match epoll::wait(&self.epoll, &mut events, timeout) {
            Ok((events, _)) => events.iter().for_each(|event| self.note(*event)),
            // A signal handler ran: an early wake-up like any other.
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// The `i`th socket that the last wait found ready.
    pub(super) fn ready(&self, i: usize) -> Option<Ready> {
        self.ready.get(i).copied()
    }

    fn note(&mut self, event: Event) {
        let Event { flags, data } = event;
        if data.u64() == TIMER {
            self.armed = None;
        }
        if let Ok(socket) = u16::try_from(data.u64()) {
            self.ready.push(Ready {
                socket,
                readable: flags.contains(EventFlags::IN),
                writable: flags.contains(EventFlags::OUT),
                errors: flags.contains(EventFlags::ERR),
            });
        }
    }

    fn arm(&mut self, clock: &Clock, time: Time) -> io::Result<()> {
        if self.armed == Some(time) {
            return Ok(());
        }
        let spec = Itimerspec {
            it_interval: ZERO,
            it_value: clock.kernel_time(time),
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &spec)?;
        self.armed = Some(time);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::doorbell::Doorbell;

    #[test]
    fn the_timer_is_punctual_and_never_early() {
        let clock = Clock::start();
        let mut poll = Poll::new(Doorbell::new().unwrap()).unwrap();
        for _ in 0..3 {
            let at = clock.now() + Duration::from_micros(700);
            poll.wait(&clock, Until::At(at)).unwrap();
            assert!(clock.now() >= at);
            assert_eq!((poll.armed, poll.ready.len()), (None, 0));
        }
    }

    #[test]
    fn a_point_in_the_past_returns_at_once() {
        let clock = Clock::start();
        let mut poll = Poll::new(Doorbell::new().unwrap()).unwrap();
        poll.wait(&clock, Until::At(Time::ZERO)).unwrap();
        assert_eq!(poll.armed, None, "the timer fired");
    }

    #[test]
    fn a_ring_during_the_turn_ends_the_next_wait() {
        let (clock, bell) = (Clock::start(), Doorbell::new().unwrap());
        let mut poll = Poll::new(&bell).unwrap();
        bell.clear();
        bell.ring();
        poll.wait(&clock, Until::Ever).unwrap();
        assert_eq!(poll.ready.len(), 0);
    }

    #[test]
    fn a_readable_socket_shows_until_it_is_read() {
        let clock = Clock::start();
        let mut poll = Poll::new(Doorbell::new().unwrap()).unwrap();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        poll.add(3, &socket).unwrap();
        let to = socket.local_addr().unwrap();
        socket.send_to(b"x", to).unwrap();
        for _ in 0..2 {
            poll.wait(&clock, Until::Ever).unwrap();
            let ready = poll.ready(0).unwrap();
            assert!(ready.readable && !ready.writable && !ready.errors);
            assert_eq!((ready.socket, poll.ready.len()), (3, 1));
        }
        socket.recv(&mut [0; 4]).unwrap();
        poll.wait(&clock, Until::Now).unwrap();
        assert_eq!(poll.ready(0), None);
    }
}
