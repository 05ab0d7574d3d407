//! Saying a thing once.
//!
//! Ten thousand dead devices would log ten thousand times the same; a flapping one, for ever. Equal
//! events about one target fold to one line per period, with the number of those left out. What is
//! remembered is bounded: when more different things happen within a period than there is room for,
//! those beyond it fold into one line together, so the log is bounded whatever happens.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use trunkline_engine::time::Time;

/// Decides which of many equal events are logged. `K` names the event and its target.
#[derive(Debug)]
pub struct Fold<K> {
    period: Duration,
    capacity: usize,
    entries: HashMap<K, Entry>,
    /// Keys by the beginning of their period; a key stands here once.
    order: VecDeque<(Time, K)>,
    others: Option<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    since: Time,
    suppressed: u64,
}

impl<K: Hash + Eq + Clone> Fold<K> {
    /// One line per this long.
    pub const PERIOD: Duration = Duration::from_secs(10);

    /// Remembers up to `capacity` different events, each for [`Self::PERIOD`].
    pub fn new(capacity: usize) -> Self {
        Self::with_period(capacity, Self::PERIOD)
    }

    /// Remembers up to `capacity` different events, each for `period`.
    pub fn with_period(capacity: usize, period: Duration) -> Self {
        Self {
            period,
            capacity,
            entries: HashMap::new(),
            order: VecDeque::new(),
            others: None,
        }
    }

    /// Whether to log the event now: `Some` with the number of equal ones left out since the last
    /// was logged, or `None` to leave this one out as well.
    pub fn admit(&mut self, now: Time, key: &K) -> Option<u64> {
        if let Some(entry) = self.entries.get_mut(key) {
            return entry.admit(now, self.period);
        }
        if self.entries.len() >= self.capacity {
            self.forget_expired(now);
        }
        if self.entries.len() >= self.capacity {
            return match &mut self.others {
                Some(others) => others.admit(now, self.period),
                none => {
                    *none = Some(Entry::begin(now));
                    Some(0)
                }
            };
        }
        self.entries.insert(key.clone(), Entry::begin(now));
        self.order.push_back((now, key.clone()));
        Some(0)
    }

    /// Events whose period is over and of which some were left out, with their number: to be logged
    /// as "and n more". Without it, the count of a thing that stops happening is never said.
    pub fn expired(&mut self, now: Time) -> Vec<(K, u64)> {
        self.forget_expired(now)
    }

    /// Forgets keys whose period is over; returns those that had suppressed events.
    fn forget_expired(&mut self, now: Time) -> Vec<(K, u64)> {
        let mut left_out = Vec::new();
        for _ in 0..self.order.len() {
            let Some((queued, key)) = self.order.pop_front() else {
                break;
            };
            if now < queued + self.period {
                // Those behind it are younger, but for keys that were logged again: one of them may
                // be found a period late, never early.
                self.order.push_front((queued, key));
                break;
            }
            let since = self.entries.get(&key).map_or(queued, |entry| entry.since);
            if now < since + self.period {
                // Logged again meanwhile: its new period keeps it.
                self.order.push_back((since, key));
            } else if let Some(entry) = self.entries.remove(&key)
                && entry.suppressed > 0
            {
                left_out.push((key, entry.suppressed));
            }
        }
        left_out
    }
}

impl Entry {
    fn begin(now: Time) -> Self {
        Self {
            since: now,
            suppressed: 0,
        }
    }

    fn admit(&mut self, now: Time, period: Duration) -> Option<u64> {
        if now < self.since + period {
            self.suppressed += 1;
            return None;
        }
        let suppressed = self.suppressed;
        *self = Self::begin(now);
        Some(suppressed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    #[test]
    fn one_line_per_period_and_key_with_the_number_left_out() {
        let mut fold = Fold::new(10);
        assert_eq!(fold.admit(at(0), &"a"), Some(0));
        assert_eq!(fold.admit(at(1), &"a"), None);
        assert_eq!(fold.admit(at(9), &"a"), None);
        assert_eq!(fold.admit(at(9), &"b"), Some(0));
        assert_eq!(fold.admit(at(10), &"a"), Some(2));
        assert_eq!(fold.admit(at(11), &"a"), None);
        assert_eq!(fold.admit(at(40), &"a"), Some(1));
    }

    #[test]
    fn what_stops_happening_is_still_counted() {
        let mut fold = Fold::new(10);
        fold.admit(at(0), &"a");
        fold.admit(at(1), &"b");
        (0..5).for_each(|_| assert_eq!(fold.admit(at(2), &"a"), None));
        assert_eq!(fold.expired(at(9)), []);
        assert_eq!(fold.expired(at(12)), [("a", 5)]);
        assert_eq!(fold.admit(at(13), &"a"), Some(0));
    }

    #[test]
    fn a_key_logged_again_keeps_its_count() {
        let mut fold = Fold::new(10);
        fold.admit(at(0), &"a");
        assert_eq!(fold.admit(at(10), &"a"), Some(0));
        assert_eq!(fold.admit(at(11), &"a"), None);
        assert_eq!(fold.expired(at(15)), []);
        assert_eq!(fold.admit(at(20), &"a"), Some(1));
    }

    #[test]
    fn memory_and_lines_are_bounded_whatever_happens() {
        let mut fold = Fold::new(100);
        let mut lines = 0;
        for n in 0..100_000u32 {
            let now = Time::from_millis(u64::from(n) / 10);
            lines += u32::from(fold.admit(now, &n).is_some());
        }
        // 10 s of different events: one period's worth, and the others as one.
        assert_eq!(lines, 101);
        assert_eq!((fold.entries.len(), fold.order.len()), (100, 100));
        assert_eq!(fold.admit(at(10), &7_777_777), Some(0), "room again");
    }
}
