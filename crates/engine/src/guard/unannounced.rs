//! Changes of a breaker's state that no result made: time did, and an admission noticed.
//!
//! There are two kinds, and each is its generation and nothing else, so one word holds the last of
//! either until somebody takes it. A second of one kind before that replaces the first, which
//! needs a whole open time in which nobody asked.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};

use crate::breaker::{Reason, StateKind, Transition};

/// The changes of state that admissions made and nobody has taken yet: at most the last of either
/// kind, each as a flag and its generation.
#[derive(Debug, Default)]
pub(super) struct Unannounced {
    word: AtomicU64,
}

const HELD: u64 = 1 << 16;

impl Unannounced {
    pub(super) fn put(&self, transition: Transition) {
        let held = HELD | u64::from(transition.generation);
        let (shift, mask) = match transition.to {
            StateKind::HalfOpen => (0, u64::from(u32::MAX)),
            _ => (32, u64::from(u32::MAX) << 32),
        };
        self.update(|word| word & !mask | held << shift);
    }

    #[inline]
    pub(super) fn take(&self) -> Option<Transition> {
        if self.word.load(Relaxed) == 0 {
            return None;
        }
        self.take_older()
    }

    fn take_older(&self) -> Option<Transition> {
        let generation = |word: u64| (word & HELD != 0).then_some(word as u16);
        let pair = |word: u64| (generation(word), generation(word >> 32));
        // The older first: generations wrap, and two that are held are near each other.
        let half_first = |word: u64| match pair(word) {
            (Some(half), Some(open)) => open.wrapping_sub(half) < 1 << 15,
            (half, _) => half.is_some(),
        };
        let old = self.update(|word| {
            if half_first(word) {
                word & !u64::from(u32::MAX)
            } else {
                word & u64::from(u32::MAX)
            }
        });
        let (half, open) = pair(old);
        if half_first(old) {
            return Some(moved(
                StateKind::Open,
                StateKind::HalfOpen,
                Reason::OpenElapsed,
                half?,
            ));
        }
        Some(moved(
            StateKind::HalfOpen,
            StateKind::Open,
            Reason::ProbeLost,
            open?,
        ))
    }

    /// Replaces the word; what it was.
    fn update(&self, change: impl Fn(u64) -> u64) -> u64 {
        let mut word = self.word.load(Relaxed);
        loop {
            match self
                .word
                .compare_exchange_weak(word, change(word), AcqRel, Relaxed)
            {
                Ok(old) => return old,
                Err(seen) => word = seen,
            }
        }
    }
}

const fn moved(from: StateKind, to: StateKind, reason: Reason, generation: u16) -> Transition {
    Transition {
        from,
        to,
        reason,
        generation,
    }
}
