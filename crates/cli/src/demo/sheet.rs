//! The balance sheet, every line of it, requests beside results.

use std::fmt::Write as _;

use trunkline_engine::ledger::Balance;

/// Whether every unit has exactly one outcome.
pub(super) fn balances(book: &Balance) -> bool {
    book.imbalance() == 0 && book.in_flight == 0 && book.leaked == 0
}

/// Both books, one line for each way to end.
pub(super) fn render(requests: &Balance, results: &Balance) -> String {
    let mut text = format!(
        "\n{:<24}{:>14}{:>14}\n",
        "balance sheet", "requests", "results"
    );
    let mut row = |name: &str, left: String, right: String| {
        // Writing to a string cannot fail.
        writeln!(text, "  {name:<22}{left:>14}{right:>14}").ok();
    };
    for ((name, left), (_, right)) in requests.fields().into_iter().zip(results.fields()) {
        row(name, left.to_string(), right.to_string());
    }
    let (left, right) = (requests.imbalance(), results.imbalance());
    row("imbalance", left.to_string(), right.to_string());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_balances_when_nothing_is_missing_waiting_or_leaked() {
        let even = Balance {
            submitted: 3,
            delivered: 2,
            failed: 1,
            ..Balance::default()
        };
        assert!(balances(&even));
        let lost = Balance {
            delivered: 1,
            ..even
        };
        let waiting = Balance {
            delivered: 1,
            in_flight: 1,
            ..even
        };
        let leaked = Balance { leaked: 1, ..even };
        assert!(![lost, waiting, leaked].iter().any(balances));
        assert!(
            render(&lost, &even).contains("imbalance                          1             0")
        );
    }

    #[test]
    fn every_line_of_the_books_is_there() {
        let text = render(&Balance::default(), &Balance::default());
        for (name, _) in Balance::default().fields() {
            assert!(text.contains(&format!("  {name} ")), "{name}");
        }
        assert_eq!(text.lines().count(), 2 + Balance::FIELDS + 1);
    }
}
