//! What is written is read back, and takes as many bytes as was told.

use proptest::prelude::*;
use trunkline_wire_snmp::{
    EncodeError, PduKind, VarBinds, decode, encode, message_overhead, varbind_len,
};

use crate::generate::{Said, config, messages, oids, values};

/// Bytes compare NaN as well.
fn read_back(bytes: &[u8], said: &Said) -> Said {
    let message = decode(bytes).unwrap();
    let pdu = &message.pdu;
    let trap = pdu.trap.map(|header| {
        let enterprise = header.enterprise.to_owned();
        (enterprise, header.agent_address.into(), header.timestamp)
    });
    let numbers = match pdu.trap {
        Some(header) => [header.generic, header.specific, said.numbers[2]],
        None => [pdu.request_id, pdu.error_status, pdu.error_index],
    };
    let owned = pdu.varbinds.clone().map(|varbind| {
        let varbind = varbind.unwrap();
        (varbind.oid.to_owned(), varbind.value.to_owned())
    });
    Said {
        version: message.version,
        community: message.community.to_vec(),
        kind: pdu.kind,
        numbers,
        trap: trap.unwrap_or_else(|| said.trap.clone()),
        varbinds: owned.collect(),
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn messages_are_read_back_as_they_were_said(said in messages()) {
        let bytes = said.bytes();
        let read = read_back(&bytes, &said);
        prop_assert_eq!(read.version, said.version);
        prop_assert_eq!(&read.community, &said.community);
        prop_assert_eq!(read.kind, said.kind);
        prop_assert_eq!(read.numbers, said.numbers);
        prop_assert_eq!(&read.trap, &said.trap);
        prop_assert_eq!(read.varbinds.len(), said.varbinds.len());
        prop_assert_eq!(read.bytes(), bytes);
        for ((oid, value), (said_oid, said_value)) in read.varbinds.iter().zip(&said.varbinds) {
            prop_assert_eq!(oid, said_oid);
            prop_assert_eq!(format!("{value:?}"), format!("{said_value:?}"));
        }
    }

    #[test]
    fn lengths_are_told_to_the_byte(said in messages()) {
        let list = said.list();
        let varbinds: usize = list.iter().map(|(oid, value)| varbind_len(*oid, value)).sum();
        let bytes = said.bytes();
        let message = decode(&bytes).unwrap();
        prop_assert_eq!(message.pdu.varbinds.raw().len(), varbinds);
        if said.kind != PduKind::TrapV1 {
            let [id, status, index] = said.numbers;
            let overhead = message_overhead(&said.community, id, status, index, varbinds);
            prop_assert_eq!(overhead + varbinds, bytes.len());
        }
    }

    #[test]
    fn a_slot_of_the_exact_size_is_enough_and_one_byte_less_is_not(said in messages()) {
        prop_assume!(said.kind != PduKind::TrapV1);
        let bytes = said.bytes();
        let [id, status, index] = said.numbers;
        let attempt = |room: usize| {
            let mut slot = vec![0; room];
            let community = &said.community;
            let list = said.list();
            encode(&mut slot, said.version, community, said.kind, id, status, index, list)
        };
        prop_assert_eq!(attempt(bytes.len()), Ok(0..bytes.len()));
        match attempt(bytes.len() - 1) {
            Err(EncodeError::TooBig { needed_at_least }) => {
                prop_assert_eq!(needed_at_least, bytes.len());
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn kept_bytes_of_bindings_are_read_as_within_their_message(said in messages()) {
        let bytes = said.bytes();
        let varbinds = decode(&bytes).unwrap().pdu.varbinds;
        let kept = varbinds.raw().to_vec();
        let again: Vec<_> = VarBinds::from_raw(&kept).map(|v| format!("{v:?}")).collect();
        let first: Vec<_> = varbinds.map(|v| format!("{v:?}")).collect();
        prop_assert_eq!(first, again);
    }

    #[test]
    fn owned_values_are_views_of_the_same(value in values()) {
        let again = value.as_value().to_owned();
        prop_assert_eq!(format!("{value:?}"), format!("{again:?}"));
    }

    #[test]
    fn text_of_oids_is_read_back(oid in oids()) {
        prop_assert_eq!(oid.to_string().parse(), Ok(oid));
    }
}
