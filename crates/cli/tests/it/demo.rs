//! `trunkline demo` ends with books that balance.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Ran, command, trunkline};

/// A line of the sheet: requests and results.
fn line(ran: &Ran, name: &str) -> (i64, i64) {
    let line = ran
        .stdout
        .lines()
        .find(|line| line.split_whitespace().next() == Some(name));
    let numbers = line.unwrap_or_else(|| panic!("no line {name}: {ran:?}"));
    let mut numbers = numbers
        .split_whitespace()
        .skip(1)
        .map(|n| n.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

#[test]
fn a_thousand_devices_a_fifth_of_them_faulty_end_in_a_balanced_sheet() {
    let ran = trunkline(&["demo", "--for", "3s"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for name in ["imbalance", "in_flight", "leaked"] {
        assert_eq!(line(&ran, name), (0, 0), "{ran:?}");
    }
    let ((asked, found), (answered, kept)) = (line(&ran, "submitted"), line(&ran, "delivered"));
    assert!(asked > 2_000 && found > 2_000, "{ran:?}");
    assert!(
        answered > 1_500 && answered < asked && kept == found,
        "{ran:?}"
    );
    assert!(line(&ran, "failed").0 > 0, "dead devices show: {ran:?}");
    assert!(ran.stdout.contains("The books balance."), "{ran:?}");
    assert!(
        !ran.stdout.contains('\x1b'),
        "no terminal, no control sequences"
    );
}

#[test]
fn an_interrupt_ends_the_demo_early_and_the_books_still_balance() {
    let mut command = command();
    command.args(["demo", "--for", "1h", "--devices", "50"]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(1_500));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(line(&ran, "submitted").0 > 0);
    assert_eq!(line(&ran, "imbalance"), (0, 0));
}
