//! Hostile bytes: nothing panics, nothing is read outside, and everything ends.

use proptest::prelude::*;
use trunkline_wire_snmp::{Oid, Value, VarBinds, decode};

use crate::generate::{config, messages};

/// Reads all that there is and holds what must be true of any bytes.
fn read_all(bytes: &[u8]) -> Result<(), TestCaseError> {
    let message = match decode(bytes) {
        Ok(message) => message,
        Err(error) => {
            prop_assert!(error.offset <= bytes.len());
            return Ok(());
        }
    };
    let raw = message.pdu.varbinds.raw();
    let mut items = 0;
    for varbind in message.pdu.varbinds.clone() {
        items += 1;
        match varbind {
            Ok(varbind) => touch(varbind.oid, varbind.value)?,
            Err(error) => prop_assert!(error.offset <= bytes.len()),
        }
    }
    prop_assert!(items * 2 <= raw.len() + 1);
    // An error's offset tells apart only where counting began.
    let within = bytes.len() - raw.len();
    for (whole, part) in message.pdu.varbinds.zip(VarBinds::from_raw(raw)) {
        if let (Err(whole), Err(part)) = (whole, part) {
            prop_assert_eq!(whole.kind, part.kind);
            prop_assert!(whole.offset >= part.offset && whole.offset - part.offset <= within);
        }
    }
    Ok(())
}

fn touch(oid: Oid<'_>, value: Value<'_>) -> Result<(), TestCaseError> {
    prop_assert_eq!(Oid::from_ber(oid.as_ber()), Ok(oid));
    prop_assert!(oid.arcs().count() <= oid.as_ber().len() + 1);
    prop_assert!(oid.parent().is_none_or(|parent| parent < oid));
    prop_assert_eq!(value.to_owned().as_value().tag(), value.tag());
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read_all(&bytes)?;
        for varbind in VarBinds::from_raw(&bytes).flatten() {
            touch(varbind.oid, varbind.value)?;
        }
    }

    #[test]
    fn mutated_messages_are_read_or_refused(
        said in messages(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = said.bytes();
        for (at, octet) in changes {
            let at = at.index(bytes.len());
            bytes[at] = octet;
        }
        read_all(&bytes)?;
        bytes.truncate(cut.index(bytes.len()));
        read_all(&bytes)?;
    }

    #[test]
    fn every_cut_of_a_message_is_refused(said in messages()) {
        let bytes = said.bytes();
        for end in 0..bytes.len() {
            prop_assert!(decode(&bytes[..end]).is_err());
        }
    }
}
