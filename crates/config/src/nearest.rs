//! "Did you mean": the nearest name by edit distance.
//!
//! The distance is optimal string alignment (insert, delete, replace, swap of neighbours), because
//! swapped letters are the commonest slip. Two edits are the most that still read as a slip; for
//! names of three letters or fewer it is one, else everything would resemble everything.

/// The candidate nearest to `name`, when it is near enough to be a slip of the pen.
///
/// Of equals the one counts that begins more alike, then the earlier. Comparison ignores ASCII
/// case and takes `-` for `_`.
pub fn nearest<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let name = folded(name);
    let limit = if name.len() <= 3 { 1 } else { 2 };
    candidates
        .into_iter()
        .map(|candidate| (candidate, folded(candidate)))
        .map(|(candidate, letters)| (candidate, distance(&name, &letters), letters))
        .filter(|(_, distance, letters)| *distance <= limit && *distance < letters.len())
        .min_by_key(|(_, distance, letters)| (*distance, usize::MAX - alike(&name, letters)))
        .map(|(candidate, ..)| candidate)
}

fn alike(a: &[char], b: &[char]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn folded(name: &str) -> Vec<char> {
    // A key longer than this is no slip of one of ours; the cut bounds the quadratic below.
    name.chars()
        .take(64)
        .map(|c| match c {
            '-' => '_',
            c => c.to_ascii_lowercase(),
        })
        .collect()
}

fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (last[j - 1] + same).min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before_last[j - 2] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_and_nothing_else() {
        let keys = ["timeout", "retry", "open", "ca", "max_wait", "v1", "v2c"];
        for (typed, expected) in [
            ("timout", Some("timeout")),
            ("tiemout", Some("timeout")),
            ("Timeout", Some("timeout")),
            ("max-wait", Some("max_wait")),
            ("retries", None),
            ("retrys", Some("retry")),
            ("opne", Some("open")),
            ("cb", Some("ca")),
            ("xy", None),
            ("community", None),
            ("", None),
            ("v2", Some("v2c")),
        ] {
            assert_eq!(nearest(typed, keys), expected, "{typed}");
        }
    }

    #[test]
    fn a_huge_key_costs_a_bounded_amount() {
        assert_eq!(nearest(&"x".repeat(1 << 20), ["timeout"]), None);
    }
}
