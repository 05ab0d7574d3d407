//! Choosing letters: for a list, a purge, a redrive.
//!
//! All conditions of a filter must hold; an empty filter means all letters, so whoever purges by
//! one that a person typed should show the list first.

use super::LetterId;
use super::letter::{Letter, Reason};
use crate::time::WallTime;
use std::collections::BTreeSet;

/// What may be done with a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LetterState {
    /// It waits for a decision.
    Waiting,
    /// It is being sent again.
    Redriving,
    /// It was sent again too often in vain.
    Quarantined,
}

impl LetterState {
    /// The word in listings and filters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Redriving => "redriving",
            Self::Quarantined => "quarantined",
        }
    }
}

/// Which letters; what is `None` or empty does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// These only.
    pub ids: BTreeSet<LetterId>,
    /// Of this system (`snmp.core`), or of all systems of this kind (`snmp`).
    pub system: Option<String>,
    /// For this target.
    pub target: Option<String>,
    /// That died so.
    pub reason: Option<Reason>,
    /// In this state.
    pub state: Option<LetterState>,
    /// That died then or later.
    pub dead_since: Option<WallTime>,
    /// That died before then.
    pub dead_before: Option<WallTime>,
    /// Whose last error contains these words.
    pub error: Option<String>,
}

impl Filter {
    /// Whether the letter is one of these.
    pub fn matches(&self, letter: &Letter, state: LetterState) -> bool {
        let kind = |wanted: &str| {
            let rest = letter.system.strip_prefix(wanted);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        (self.ids.is_empty() || self.ids.contains(&letter.id))
            && self.system.as_deref().is_none_or(kind)
            && self
                .target
                .as_ref()
                .is_none_or(|target| *target == letter.target)
            && self.reason.is_none_or(|reason| reason == letter.reason)
            && self.state.is_none_or(|wanted| wanted == state)
            && self.dead_since.is_none_or(|since| letter.dead_at >= since)
            && self
                .dead_before
                .is_none_or(|before| letter.dead_at < before)
            && self
                .error
                .as_ref()
                .is_none_or(|words| letter.last_error.contains(words))
    }
}

/// A letter and what may be done with it.
#[derive(Clone, Copy, Debug)]
pub struct Listed<'a> {
    /// The letter.
    pub letter: &'a Letter,
    /// Its state.
    pub state: LetterState,
}

/// A part of a list.
#[derive(Clone, Debug)]
pub struct Page<'a> {
    /// The oldest first.
    pub letters: Vec<Listed<'a>>,
    /// Ask for what comes after this one; `None` at the end.
    pub next: Option<LetterId>,
}
