//! The last errors, and how often each kind came.
//!
//! Details are foreign words, so they are cut, and the ring forgets the oldest; the counts per
//! kind go on. Kinds are names from our own code; should they ever be more than the bound, the
//! rest counts as `other`.

use crate::text::cut;
use crate::time::Time;
use std::collections::{BTreeMap, VecDeque};

/// The longest detail or subject that is kept, in bytes.
const TEXT_MAX: usize = 256;
/// The most kinds that are counted apart.
const KINDS_MAX: usize = 64;
const OTHER: &str = "other";

/// One error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorEntry {
    /// When.
    pub at: Time,
    /// Which kind, for example `timeout`.
    pub kind: &'static str,
    /// What it is about, for example a target; at most 256 bytes.
    pub subject: Box<str>,
    /// The error's own words; at most 256 bytes.
    pub detail: Box<str>,
}

/// How often one kind came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCount {
    /// The kind.
    pub kind: &'static str,
    /// How often, since the ring was made.
    pub count: u64,
    /// When last.
    pub last: Time,
}

/// A bounded ring of recent errors with counts by kind. Its owner alone writes; others read a
/// clone.
#[derive(Clone, Debug)]
pub struct ErrorRing {
    capacity: usize,
    entries: VecDeque<ErrorEntry>,
    counts: BTreeMap<&'static str, (u64, Time)>,
}

impl ErrorRing {
    /// A ring that keeps the last `capacity` errors.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            entries: VecDeque::new(),
            counts: BTreeMap::new(),
        }
    }

    /// Notes an error.
    pub fn note(&mut self, now: Time, kind: &'static str, subject: &str, detail: &str) {
        let known = self.counts.contains_key(kind) || self.counts.len() < KINDS_MAX;
        let counted = self
            .counts
            .entry(if known { kind } else { OTHER })
            .or_default();
        *counted = (counted.0 + 1, now);
        if self.capacity == 0 {
            return;
        }
        if self.entries.len() == self.capacity {
            self.entries.pop_front();
        }
        self.entries.push_back(ErrorEntry {
            at: now,
            kind,
            subject: cut(subject, TEXT_MAX).into(),
            detail: cut(detail, TEXT_MAX).into(),
        });
    }

    /// The errors that are kept, the newest first.
    pub fn recent(&self) -> impl Iterator<Item = &ErrorEntry> {
        self.entries.iter().rev()
    }

    /// The kinds in the order of their names.
    pub fn counts(&self) -> impl Iterator<Item = ErrorCount> + '_ {
        self.counts.iter().map(|(kind, (count, last))| ErrorCount {
            kind,
            count: *count,
            last: *last,
        })
    }

    /// All errors since the ring was made, forgotten ones too.
    pub fn total(&self) -> u64 {
        self.counts.values().map(|(count, _)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_and_the_counts_stay() {
        let mut ring = ErrorRing::new(2);
        for (ms, kind) in [(1, "timeout"), (2, "refused"), (3, "timeout")] {
            ring.note(Time::from_millis(ms), kind, "r1", "no reply");
        }
        let recent: Vec<_> = ring.recent().map(|e| (e.at.as_millis(), e.kind)).collect();
        assert_eq!(recent, [(3, "timeout"), (2, "refused")]);
        let counts: Vec<_> = ring.counts().map(|c| (c.kind, c.count, c.last)).collect();
        let expected = [("refused", 1, 2), ("timeout", 2, 3)];
        assert_eq!(
            counts,
            expected.map(|(k, n, ms)| (k, n, Time::from_millis(ms)))
        );
        assert_eq!(ring.total(), 3);
    }

    #[test]
    fn long_words_are_cut_at_a_character() {
        let mut ring = ErrorRing::new(1);
        ring.note(Time::ZERO, "k", "s", &"é".repeat(200));
        ring.note(Time::ZERO, "k", "s", &format!("a{}", "é".repeat(200)));
        let entry = ring.recent().next().unwrap();
        assert_eq!(entry.detail.len(), 255);
    }

    #[test]
    fn too_many_kinds_count_as_other() {
        let mut ring = ErrorRing::new(0);
        for n in 0..100 {
            let kind: &'static str = Box::leak(format!("k{n:03}").into_boxed_str());
            ring.note(Time::ZERO, kind, "", "");
        }
        assert_eq!(ring.counts().count(), KINDS_MAX + 1);
        let other = ring.counts().find(|c| c.kind == OTHER).unwrap();
        assert_eq!((other.count, ring.total()), (36, 100));
        assert_eq!(ring.recent().count(), 0);
    }
}
