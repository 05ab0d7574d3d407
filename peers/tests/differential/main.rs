//! Our codec against async-snmp's, which nobody here wrote: on valid messages they must agree to
//! the byte, on mutated ones wherever both accept, and where one refuses the reason must be one
//! of the known differences.
//!
//! The known differences, each by intent:
//! - we read, and async-snmp in its strict mode refuses: bytes behind a complete structure, empty
//!   numbers and OIDs, NULLs and exceptions with content, IpAddresses of another length (as
//!   unknown values), arcs above 32 bits, more than 128 arcs, longer padding of an INTEGER,
//!   negative GetBulk counts, constructed strings (as unknown values), PDU kinds that belong to
//!   another version (a Report to v3);
//! - we refuse, and async-snmp reads: sub-identifiers with a filler octet, and unsigned numbers
//!   padded to more than five octets;
//! - an unsigned number that starts with a set bit is negative to us, as to net-snmp, and
//!   positive to async-snmp: 0xff is 4294967295 or 255.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

#[path = "../../../crates/wire-snmp/tests/it/generate.rs"]
#[expect(dead_code, reason = "the other tests use the rest of it")]
mod generate;
mod seen;

use std::cell::Cell;

use async_snmp::error::DecodeErrorKind as TheirKind;
use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseResult, TestRunner};
use trunkline_wire_snmp::{DecodeErrorKind as OurKind, OwnedValue, PduKind, Version};

use crate::generate::{Said, messages};
use crate::seen::{Seen, ours, theirs};

/// The same cases in every run: a disagreement is a finding, not a flake.
fn check<S: Strategy>(cases: u32, strategy: S, test: impl Fn(S::Value) -> TestCaseResult) {
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRunner::deterministic().rng().clone());
    if let Err(failure) = runner.run(&strategy, test) {
        panic!("{failure}");
    }
}

/// What both call valid: kinds that their version knows, counts that are not negative.
fn lawful() -> impl Strategy<Value = Said> {
    messages().prop_map(|mut said| {
        match said.kind {
            PduKind::GetBulk | PduKind::Inform | PduKind::TrapV2 => said.version = Version::V2c,
            PduKind::Report => said.kind = PduKind::Response,
            _ => {}
        }
        if said.kind == PduKind::GetBulk {
            said.numbers[1] &= i32::MAX;
            said.numbers[2] &= i32::MAX;
        }
        said
    })
}

#[test]
fn valid_messages_mean_the_same_to_both() {
    check(1_000, lawful(), |said| {
        let bytes = said.bytes();
        let ours = ours(&bytes).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let theirs = theirs(&bytes).map_err(|kind| TestCaseError::fail(kind.to_string()))?;
        prop_assert_eq!(ours, theirs);
        Ok(())
    });
}

/// What they agree to write too: a response without error, of values that are in use.
fn writable() -> impl Strategy<Value = Said> {
    lawful().prop_map(|mut said| {
        said.version = Version::V2c;
        said.kind = PduKind::Response;
        said.numbers = [said.numbers[0], 0, 0];
        said.varbinds.retain(|(_, value)| {
            !matches!(
                value,
                OwnedValue::Null
                    | OwnedValue::NsapAddress(_)
                    | OwnedValue::UInteger32(_)
                    | OwnedValue::BitString(_)
                    | OwnedValue::Unknown { .. }
            )
        });
        said
    })
}

#[test]
fn valid_messages_are_written_alike() {
    check(1_000, writable(), |said| {
        let bytes = said.bytes();
        let again = seen::their_message(&bytes).unwrap().encode();
        let again = again.map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(again, Bytes::from(bytes));
        Ok(())
    });
}

#[test]
fn mutated_messages_mean_the_same_or_differ_for_a_known_reason() {
    let change = (any::<prop::sample::Index>(), any::<u8>());
    let mutants = prop::collection::vec(prop::collection::vec(change, 1..4), 20);
    let tally = [const { Cell::new(0u32) }; 4];
    let count = |which: usize| tally[which].set(tally[which].get() + 1);
    check(500, (lawful(), mutants), |(said, mutants)| {
        for changes in mutants {
            let mut bytes = said.bytes();
            for (at, octet) in changes {
                let at = at.index(bytes.len());
                bytes[at] = octet;
            }
            count(compare(&bytes)?);
        }
        Ok(())
    });
    // Each way must have been taken, or the comparison was empty.
    assert!(tally.iter().all(|count| count.get() > 0), "{tally:?}");
}

/// Which of the four ways it went.
fn compare(bytes: &[u8]) -> Result<usize, TestCaseError> {
    match (ours(bytes), theirs(bytes)) {
        (Ok(ours), Ok(theirs)) => {
            prop_assert!(agree(&ours, &theirs), "{ours:?}\n{theirs:?}\n{bytes:02x?}");
            Ok(0)
        }
        (Err(ours), Ok(_)) => {
            let known = matches!(ours.kind, OurKind::OidArcPadded | OurKind::UnsignedRange);
            prop_assert!(known, "only they read {bytes:02x?}: {ours}");
            Ok(1)
        }
        (Ok(_), Err(theirs)) => {
            prop_assert!(we_forgive(&theirs), "only we read {bytes:02x?}: {theirs}");
            Ok(2)
        }
        (Err(_), Err(_)) => Ok(3),
    }
}

fn we_forgive(theirs: &TheirKind) -> bool {
    matches!(
        theirs,
        TheirKind::TrailingData { .. }
            | TheirKind::ZeroLengthInteger
            | TheirKind::InvalidNull
            | TheirKind::InvalidValue
            | TheirKind::InvalidIpAddressLength { .. }
            | TheirKind::IntegerOverflow
            | TheirKind::InvalidOid
            | TheirKind::OidTooLong { .. }
            | TheirKind::IntegerTooLong { .. }
            | TheirKind::ConstructedOctetString
            | TheirKind::UnknownPduType(0xa4..=0xa8)
    )
}

/// Equal, but for unsigned numbers that only we take for negative.
fn agree(ours: &Seen, theirs: &Seen) -> bool {
    let envelope = |seen: &Seen| Seen {
        varbinds: Vec::new(),
        ..seen.clone()
    };
    let alike = |(ours, theirs): (&seen::Binding, &seen::Binding)| {
        ours.name == theirs.name && ours.tag == theirs.tag && same(&ours.value, &theirs.value)
    };
    let (mut left, right) = (envelope(ours), envelope(theirs));
    if let (Some(ours), Some(theirs)) = (&mut left.trap, &right.trap) {
        let (ticks, their_ticks) = (u64::from(ours.ticks), u64::from(theirs.ticks));
        if same_unsigned(ticks, their_ticks) {
            ours.ticks = theirs.ticks;
        }
    }
    left == right
        && ours.varbinds.len() == theirs.varbinds.len()
        && ours.varbinds.iter().zip(&theirs.varbinds).all(alike)
}

fn same(ours: &seen::Content, theirs: &seen::Content) -> bool {
    match (ours, theirs) {
        (seen::Content::Unsigned(ours), seen::Content::Unsigned(theirs)) => {
            same_unsigned(*ours, *theirs)
        }
        _ => ours == theirs,
    }
}

/// `ours` is `theirs`, or `theirs` with the sign of its top octet carried on.
fn same_unsigned(ours: u64, theirs: u64) -> bool {
    let extended = |octets: u32| {
        let shift = 64 - octets * 8;
        u64::cast_signed(theirs << shift) >> shift
    };
    ours == theirs
        || (1..8).any(|octets| {
            let wide = extended(octets).cast_unsigned();
            let fits = theirs >> (octets * 8) == 0 && theirs >> (octets * 8 - 1) == 1;
            fits && (ours == wide || ours == wide & u64::from(u32::MAX))
        })
}
