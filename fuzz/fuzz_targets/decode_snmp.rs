//! Whatever bytes come: the codec reads or refuses them, and what it reads survives being written
//! and read again.
//!
//! The rule: decode, walk every binding, encode what was read, decode that. The second reading
//! must be complete and equal to the first, and a second writing must give the same bytes: the
//! encoder's form is the only one. The same bytes are also taken for bare bindings.
//!
//! Run: `cargo fuzz run -s none decode_snmp fuzz/corpus/decode_snmp fuzz/seeds/decode_snmp`
#![no_main]

use libfuzzer_sys::fuzz_target;
use trunkline_wire_snmp::{
    Message, Oid, VarBind, VarBinds, Version, decode, encode, encode_trap_v1, message_overhead,
    varbind_len,
};

fuzz_target!(|bytes: &[u8]| {
    walk(VarBinds::from_raw(bytes), bytes.len());
    match decode(bytes) {
        Ok(message) => survive(&message, bytes.len()),
        Err(error) => assert!(error.offset <= bytes.len(), "{error}"),
    }
});

fn survive(message: &Message<'_>, len: usize) {
    let read = walk(message.pdu.varbinds.clone(), len);
    let written = write(message, &read, len);
    let again = decode(&written).expect("what was written is read");
    let read_again: Vec<_> = again.pdu.varbinds.clone().map(Result::unwrap).collect();
    // A v1 trap in a message of v2c is read; it is written in one of v1, where it belongs.
    let rewritten = message.pdu.trap.is_some() && again.version == Version::V1;
    assert!(again.version == message.version || rewritten);
    assert_eq!(again.community, message.community);
    assert_eq!(again.pdu.kind, message.pdu.kind);
    assert_eq!(again.pdu.request_id, message.pdu.request_id);
    assert_eq!(again.pdu.error_status, message.pdu.error_status);
    assert_eq!(again.pdu.error_index, message.pdu.error_index);
    assert_eq!(again.pdu.trap, message.pdu.trap);
    // As text, because NaN is not equal to itself.
    assert_eq!(format!("{read_again:?}"), format!("{read:?}"));
    assert_eq!(write(&again, &read_again, len), written);
}

/// The bindings that can be read; every one is used in every way.
fn walk(varbinds: VarBinds<'_>, len: usize) -> Vec<VarBind<'_>> {
    let mut read: Vec<VarBind<'_>> = Vec::new();
    for varbind in varbinds {
        match varbind {
            Ok(varbind) => read.push(varbind),
            Err(error) => assert!(error.offset <= len, "{error}"),
        }
    }
    for VarBind { oid, value } in &read {
        assert_eq!(Oid::from_ber(oid.as_ber()), Ok(*oid));
        assert!(
            oid.parent()
                .is_none_or(|parent| parent < *oid && oid.starts_with(parent))
        );
        assert_eq!(oid.child(7).as_oid().parent().is_some(), !oid.is_empty());
        assert_eq!(
            format!("{:?}", value.to_owned().as_value()),
            format!("{value:?}")
        );
    }
    for pair in read.windows(2) {
        let (left, right) = (pair[0].oid, pair[1].oid);
        let fits = |oid: Oid<'_>| oid.arcs().all(|arc| arc < u64::MAX);
        if fits(left) && fits(right) {
            assert_eq!(
                left.cmp(&right),
                left.arcs().cmp(right.arcs()),
                "{left} {right}"
            );
        }
    }
    read
}

fn write(message: &Message<'_>, read: &[VarBind<'_>], len: usize) -> Vec<u8> {
    let list = read.iter().map(|varbind| (varbind.oid, varbind.value));
    // A negative number of one octet becomes an unsigned one of five.
    let mut slot = vec![0; len * 3 + 64];
    let pdu = &message.pdu;
    let range = match &pdu.trap {
        Some(header) => encode_trap_v1(&mut slot, message.community, header, list),
        None => encode(
            &mut slot,
            message.version,
            message.community,
            pdu.kind,
            pdu.request_id,
            pdu.error_status,
            pdu.error_index,
            list,
        ),
    };
    let range = range.expect("what was read fits");
    if pdu.trap.is_none() {
        let told = |varbind: &VarBind<'_>| varbind_len(varbind.oid, &varbind.value);
        let varbinds = read.iter().map(told).sum();
        let fields = (pdu.request_id, pdu.error_status, pdu.error_index);
        let overhead = message_overhead(message.community, fields.0, fields.1, fields.2, varbinds);
        assert_eq!(range.len(), overhead + varbinds);
    }
    slot[range].to_vec()
}
