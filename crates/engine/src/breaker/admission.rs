//! What a breaker answers to a call: leave to go, or when to ask again.

use super::word::{Phase, Word};
use super::{Reason, StateKind, Transition};
use crate::time::Time;

/// Leave to send one call. It must be handed to [`Breaker::record`] or [`Breaker::abandon`]
/// exactly once; it is `Copy` and has no `Drop`, which is the guard's permit's task.
///
/// One number and not three fields: a copy through memory of several small stores cannot be
/// forwarded to one load, which would cost as much as the whole admission.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Admission(u32);

const PROBE: u32 = 1 << 16;
const FIRST: u32 = 1 << 17;

impl Admission {
    #[inline]
    pub(super) fn plain(generation: u16) -> Self {
        Self(u32::from(generation))
    }

    pub(super) fn of_probe(generation: u16, first: bool) -> Self {
        Self(u32::from(generation) | PROBE | if first { FIRST } else { 0 })
    }

    /// The generation in the low 16 bits, the marks of a probe above.
    #[inline]
    pub(super) fn bits(self) -> u32 {
        self.0
    }

    /// The generation of the breaker that gave it.
    #[inline]
    pub fn generation(&self) -> u16 {
        (self.0 & 0xffff) as u16
    }

    /// Whether this call decides, with the other probes, if the breaker closes.
    #[inline]
    pub fn probe(&self) -> bool {
        self.0 & PROBE != 0
    }

    /// The change from open to half-open, if this admission made it.
    #[inline]
    pub fn transition(&self) -> Option<Transition> {
        (self.0 & FIRST != 0).then(|| Transition {
            from: StateKind::Open,
            to: StateKind::HalfOpen,
            reason: Reason::OpenElapsed,
            generation: self.generation(),
        })
    }
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission")
            .field("generation", &self.generation())
            .field("probe", &self.probe())
            .finish()
    }
}

/// The breaker does not admit the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the circuit is {}", .state.as_str())]
pub struct OpenCircuit {
    /// Worth asking again from here on: the end of the open time, or of the lease of the probes
    /// that are out. [`Time::MAX`] when forced open.
    pub retry_at: Time,
    /// What refused: `Open`, `HalfOpen` with every probe out, or `ForcedOpen`.
    pub state: StateKind,
    generation: u16,
    reopened: bool,
}

impl OpenCircuit {
    #[inline]
    pub(super) fn until(generation: u16, until: Time) -> Self {
        Self {
            retry_at: until,
            state: StateKind::Open,
            generation,
            reopened: false,
        }
    }

    /// The change from half-open to open, if this call found a probe whose lease had ended.
    pub fn transition(&self) -> Option<Transition> {
        self.reopened.then_some(Transition {
            from: StateKind::HalfOpen,
            to: StateKind::Open,
            reason: Reason::ProbeLost,
            generation: self.generation,
        })
    }
}

pub(super) fn refusal(word: Word, retry_at: Time) -> OpenCircuit {
    OpenCircuit {
        retry_at,
        state: word.kind(),
        generation: word.generation(),
        reopened: false,
    }
}

/// The answer to a call whose own change was applied.
pub(super) fn settle(old: Word, new: Word) -> Result<Admission, OpenCircuit> {
    match new.phase() {
        Phase::Open { until_ms } => Err(OpenCircuit {
            reopened: true,
            ..OpenCircuit::until(new.generation(), Time::from_millis(until_ms))
        }),
        _ => {
            let first = old.kind() == StateKind::Open;
            Ok(Admission::of_probe(new.generation(), first))
        }
    }
}
