//! Labels that stay few.
//!
//! A hundred thousand targets must not become a hundred thousand series: the largest K keep their
//! names and the rest is summed as `other`. Which ones are named changes as they overtake each
//! other, so export the result as a gauge (a rate, a window's count), never as a counter: what
//! enters or leaves `other` would look like a counter that went backwards. Equal values keep the
//! one whose name comes first, so the choice repeats exactly.

use super::exposition::FamilyWriter;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

const OTHER: &str = "other";

/// The K largest of many named values, and the sum of the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopK {
    /// The largest, in descending order.
    pub top: Vec<(String, u64)>,
    /// The sum of all others (saturating).
    pub other: u64,
    /// How many others.
    pub others: usize,
}

impl TopK {
    /// Picks the `k` largest of `items`; takes memory for `k` only. A name given twice counts as
    /// two items; one that is called `other` goes to the others.
    pub fn of<'a>(k: usize, items: impl IntoIterator<Item = (&'a str, u64)>) -> Self {
        let mut heap = BinaryHeap::new();
        let (mut other, mut others) = (0u64, 0);
        let mut leave_out = |value: u64| {
            other = other.saturating_add(value);
            others += 1;
        };
        for (name, value) in items {
            if name == OTHER {
                leave_out(value);
                continue;
            }
            // The heap's top is the one to lose next: the smallest, the last by name.
            heap.push((Reverse(value), name));
            if heap.len() > k
                && let Some((Reverse(least), _)) = heap.pop()
            {
                leave_out(least);
            }
        }
        let sorted = heap.into_sorted_vec().into_iter();
        Self {
            top: sorted
                .map(|(Reverse(value), name)| (name.to_owned(), value))
                .collect(),
            other,
            others,
        }
    }

    /// Writes one sample per name under `label`, and one for `other` when there are others. The
    /// family must be a gauge.
    pub fn write(
        &self,
        family: &mut FamilyWriter<'_>,
        labels: &[(&'static str, &str)],
        label: &'static str,
    ) {
        let mut write = |name: &str, value: u64| {
            let mut all = labels.to_vec();
            all.push((label, name));
            family.sample(&all, value);
        };
        for (name, value) in &self.top {
            write(name, *value);
        }
        if self.others > 0 {
            write(OTHER, self.other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Exposition, Kind, Unit};

    #[test]
    fn the_largest_stay_and_the_rest_is_summed() {
        let items = [("a", 5), ("b", 9), ("c", 1), ("d", 7), ("e", 5)];
        let top = TopK::of(3, items);
        let expected = [("b", 9), ("d", 7), ("a", 5)].map(|(n, v)| (n.to_owned(), v));
        assert_eq!(top.top, expected);
        assert_eq!((top.other, top.others), (6, 2));
    }

    #[test]
    fn nothing_is_lost_at_the_edges() {
        assert_eq!(TopK::of(3, []).others, 0);
        let none = TopK::of(0, [("a", u64::MAX), ("b", 2)]);
        assert_eq!((none.top.len(), none.other, none.others), (0, u64::MAX, 2));
        let named = TopK::of(2, [("other", 100), ("a", 1)]);
        assert_eq!((named.top.len(), named.other, named.others), (1, 100, 1));
    }

    #[test]
    fn it_writes_one_series_per_name_and_one_for_the_rest() {
        let mut exposition = Exposition::new();
        let mut family = exposition.family("x_rate", "Rate.", Kind::Gauge, Unit::None);
        TopK::of(1, [("a", 5), ("b", 9)]).write(&mut family, &[("system", "snmp")], "target");
        let text = exposition.open_metrics();
        assert!(
            text.contains("x_rate{system=\"snmp\",target=\"b\"} 9\n"),
            "{text}"
        );
        assert!(
            text.contains("x_rate{system=\"snmp\",target=\"other\"} 5\n"),
            "{text}"
        );
        assert!(exposition.faults().is_empty());
    }
}
