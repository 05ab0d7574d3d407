//! Waking a thread that sleeps in epoll.
//!
//! Whoever puts work into a driver's lane rings; the driver clears the bell at the start of a turn
//! and only then looks into its lanes, so nothing put in before a ring is missed. Rings between two
//! turns cost one system call together, not one each.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};

/// The bell of one driver; a clone rings the same one.
#[derive(Clone, Debug)]
pub struct Doorbell {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    rung: AtomicBool,
    event: OwnedFd,
}

impl Doorbell {
    /// A silent bell.
    ///
    /// # Errors
    /// When the process may open no more file descriptors.
    pub fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let rung = AtomicBool::new(false);
        Ok(Self {
            inner: Arc::new(Inner { rung, event }),
        })
    }

    /// Wakes the driver, or makes its next wait return at once.
    pub fn ring(&self) {
        // AcqRel: what was put in before this ring is seen by the turn that clears the bell, also
        // when another ring set the flag first.
        if !self.inner.rung.swap(true, Ordering::AcqRel) {
            // The only error of this write is a counter at 2^64 - 2, which is a ring too.
            rustix::io::write(&self.inner.event, &1u64.to_ne_bytes()).ok();
        }
    }

    /// Forgets the rings so far. The event itself stays readable: the driver watches its edges.
    pub(crate) fn clear(&self) {
        self.inner.rung.swap(false, Ordering::AcqRel);
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writes(bell: &Doorbell) -> u64 {
        let mut count = [0; 8];
        match rustix::io::read(bell, &mut count) {
            Ok(_) => u64::from_ne_bytes(count),
            Err(_) => 0,
        }
    }

    #[test]
    fn rings_between_two_turns_are_one_write() {
        let bell = Doorbell::new().unwrap();
        (0..5).for_each(|_| bell.clone().ring());
        assert_eq!(writes(&bell), 1);
        bell.ring();
        assert_eq!(writes(&bell), 0, "not cleared yet");
        bell.clear();
        bell.ring();
        assert_eq!(writes(&bell), 1);
    }
}
