//! The one clock.
//!
//! State machines take the time as an argument; this is where it comes from. A process makes one
//! [`Clock`] at start and copies it to everybody who drives something, so that all of them mean the
//! same by a [`Time`]. A driver reads it once per turn, not once per item. The wall clock is a
//! different type, for people and disks only: it may jump.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, Timespec, clock_gettime};
use trunkline_engine::time::{Time, WallTime, nanos};

/// The process's monotonic clock (CLOCK_MONOTONIC), counted from the moment of its making.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    instant: Instant,
    origin_ns: u64,
}

impl Clock {
    /// A clock whose [`Time::ZERO`] is now.
    pub fn start() -> Self {
        Self {
            instant: Instant::now(),
            origin_ns: monotonic_ns(),
        }
    }

    /// The time now.
    pub fn now(&self) -> Time {
        Time::from_nanos(monotonic_ns().saturating_sub(self.origin_ns))
    }

    /// The wall clock now; the epoch itself when the machine's clock is set before it.
    pub fn wall(&self) -> WallTime {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        WallTime::from_unix_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// The [`Instant`] at `time`, for tokio's timers; `None` for a time too far to say, such as
    /// [`Time::MAX`].
    pub fn instant(&self, time: Time) -> Option<Instant> {
        self.instant
            .checked_add(time.saturating_since(Time::ZERO))
            .filter(|_| time != Time::MAX)
    }

    /// The [`Time`] at `instant`; [`Time::ZERO`] for one before the origin.
    pub fn time(&self, instant: Instant) -> Time {
        Time::from_nanos(nanos(instant.saturating_duration_since(self.instant)))
    }

    /// `time` as the kernel counts it, for a timer that takes an absolute point.
    pub(crate) fn kernel_time(&self, time: Time) -> Timespec {
        let ns = self.origin_ns.saturating_add(time.as_nanos());
        // Both parts fit: u64::MAX ns is 1.8e10 s, and the rest is below 1e9.
        Timespec {
            tv_sec: (ns / 1_000_000_000).cast_signed(),
            tv_nsec: (ns % 1_000_000_000).cast_signed(),
        }
    }
}

fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec
        .cast_unsigned()
        .saturating_mul(1_000_000_000)
        .saturating_add(now.tv_nsec.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn now_agrees_with_the_instant_and_never_goes_back() {
        let clock = Clock::start();
        let before = clock.now();
        let by_instant = clock.time(Instant::now());
        let after = clock.now();
        // The origins of the two readings were taken one call apart.
        assert!(before <= by_instant + Duration::from_millis(1));
        assert!(by_instant <= after + Duration::from_millis(1));
        assert!(before <= after);
    }

    #[test]
    fn instants_round_trip_and_never_has_none() {
        let clock = Clock::start();
        let at = Time::from_millis(1_500);
        assert_eq!(clock.instant(at).map(|i| clock.time(i)), Some(at));
        assert_eq!(clock.instant(Time::MAX), None);
    }

    #[test]
    fn the_wall_clock_is_past_2020() {
        assert!(Clock::start().wall().as_unix_millis() > 1_577_836_800_000);
    }
}
