//! How a shutdown went, for the closing log line, the metrics and the exit code.
//!
//! Durations are measured, not planned: a phase that was over at once says so.

use super::Phase;
use std::sync::Arc;
use std::time::Duration;

/// How a hook ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookOutcome {
    /// It did its work.
    Done,
    /// It failed, in these words.
    Failed(String),
    /// It had not ended when its phase did.
    TimedOut,
    /// Its phase was jumped over.
    Skipped,
}

/// What became of a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookRecord {
    /// Its name.
    pub name: Arc<str>,
    /// Its phase.
    pub phase: Phase,
    /// How it ended.
    pub outcome: HookOutcome,
    /// How long it ran.
    pub took: Duration,
}

/// What a part still held when a phase ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// The part's name.
    pub part: Arc<str>,
    /// The phase that ended.
    pub phase: Phase,
    /// How much it held.
    pub left: u64,
}

/// Why the shutdown did not take its course.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forced {
    /// By a second signal.
    Signal,
    /// By the force deadline.
    Deadline,
}

/// How a shutdown went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// From the first signal to the end.
    pub total: Duration,
    /// How long each phase took; zero when it was jumped over.
    pub phases: [(Phase, Duration); 3],
    /// Whether and by what it was forced.
    pub forced: Option<Forced>,
    /// The hooks by phase, in the order of their registration.
    pub hooks: Vec<HookRecord>,
    /// Parts that were not empty when a phase ended.
    pub leftovers: Vec<Leftover>,
}

impl Report {
    /// Whether nothing was forced, nothing was left and every hook did its work.
    pub fn is_clean(&self) -> bool {
        let done = |hook: &HookRecord| hook.outcome == HookOutcome::Done;
        self.forced.is_none() && self.leftovers.is_empty() && self.hooks.iter().all(done)
    }
}
