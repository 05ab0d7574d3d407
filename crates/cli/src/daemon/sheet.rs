//! The closing balance sheet, for people.

use std::fmt::Write;

use trunkline_engine::ledger::{Balance, DropReason};

/// One book with its name.
pub(crate) struct Book {
    pub(crate) name: String,
    pub(crate) balance: Balance,
}

impl Book {
    /// Whether every unit has an outcome and none was lost on the way.
    pub(crate) fn balances(&self) -> bool {
        let balance = &self.balance;
        balance.imbalance() == 0 && balance.in_flight == 0 && balance.leaked == 0
    }

    /// Whether the stop itself gave up work that had been taken on.
    pub(crate) fn dropped_work(&self) -> bool {
        self.balance.dropped[DropReason::Shutdown] > 0
    }
}

/// The sheet as text: a line per outcome that occurred, a column per book.
pub(crate) fn render(books: &[Book]) -> String {
    let mut text = String::new();
    for book in books {
        let verdict = if book.balances() {
            "balances"
        } else {
            "DOES NOT BALANCE"
        };
        let _infallible = writeln!(text, "{} ({verdict})", book.name);
        for (line, n) in book.balance.fields() {
            if n != 0 || matches!(line, "submitted" | "delivered" | "in_flight") {
                let _infallible = writeln!(text, "  {line:<24}{n:>14}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_that_is_off_says_so_in_words() {
        let mut balance = Balance {
            submitted: 3,
            delivered: 2,
            ..Balance::default()
        };
        let book = |balance| Book {
            name: "requests".into(),
            balance,
        };
        assert!(render(&[book(balance)]).contains("DOES NOT BALANCE"));
        balance.failed = 1;
        let text = render(&[book(balance)]);
        assert!(
            text.contains("(balances)") && text.contains("failed"),
            "{text}"
        );
        assert!(
            !text.contains("cancelled"),
            "lines that never occurred are left out: {text}"
        );
    }
}
