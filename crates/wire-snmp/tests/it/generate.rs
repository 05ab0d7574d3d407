//! Strategies for values, OIDs and whole messages.

use proptest::prelude::*;
use trunkline_wire_snmp::{
    Oid, OidBuf, OwnedValue, PduKind, TrapV1Header, Value, Version, encode, encode_trap_v1,
};

/// Everything that a message says, owned.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) version: Version,
    pub(crate) community: Vec<u8>,
    pub(crate) kind: PduKind,
    pub(crate) numbers: [i32; 3],
    /// Of a v1 trap: enterprise, address, time stamp.
    pub(crate) trap: (OidBuf, u32, u32),
    pub(crate) varbinds: Vec<(OidBuf, OwnedValue)>,
}

impl Said {
    pub(crate) fn list(&self) -> Vec<(Oid<'_>, Value<'_>)> {
        self.varbinds
            .iter()
            .map(|(oid, value)| (oid.as_oid(), value.as_value()))
            .collect()
    }

    pub(crate) fn header(&self) -> TrapV1Header<'_> {
        TrapV1Header {
            enterprise: self.trap.0.as_oid(),
            agent_address: self.trap.1.into(),
            generic: self.numbers[0],
            specific: self.numbers[1],
            timestamp: self.trap.2,
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut slot = vec![0; 65_536];
        let [request_id, status, index] = self.numbers;
        let range = if self.kind == PduKind::TrapV1 {
            encode_trap_v1(&mut slot, &self.community, &self.header(), self.list())
        } else {
            encode(
                &mut slot,
                self.version,
                &self.community,
                self.kind,
                request_id,
                status,
                index,
                self.list(),
            )
        };
        slot[range.unwrap()].to_vec()
    }
}

/// OIDs whose arcs lie near the edges of the encoding.
pub(crate) fn oids() -> impl Strategy<Value = OidBuf> {
    let arc = prop_oneof![
        4 => 0..3u32,
        4 => 0..300u32,
        1 => 16_380..16_390u32,
        1 => any::<u32>(),
    ];
    let root = prop_oneof![
        4 => Just((1u32, 3u32)),
        1 => (0..2u32, 0..40u32),
        1 => (Just(2u32), any::<u32>()),
    ];
    (root, prop::collection::vec(arc, 0..24)).prop_map(|((first, second), rest)| {
        let arcs = [&[first, second], rest.as_slice()].concat();
        OidBuf::from_arcs(&arcs).unwrap()
    })
}

pub(crate) fn values() -> impl Strategy<Value = OwnedValue> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..200).prop_map(Vec::into_boxed_slice);
    // Half of all integers near zero, so that every width occurs.
    let small = |wide: u64, shift: u32| wide >> (shift % 64);
    let wide = (any::<u64>(), any::<u32>()).prop_map(move |(wide, shift)| small(wide, shift));
    let narrow = || {
        let shifted = |(number, shift): (u32, u32)| number >> (shift % 32);
        (any::<u32>(), any::<u32>()).prop_map(shifted)
    };
    let signed = (any::<i32>(), any::<u32>()).prop_map(|(number, shift)| number >> (shift % 32));
    prop_oneof![
        signed.prop_map(OwnedValue::Integer),
        bytes().prop_map(OwnedValue::OctetString),
        Just(OwnedValue::Null),
        oids().prop_map(OwnedValue::ObjectId),
        any::<[u8; 4]>().prop_map(|octets| OwnedValue::IpAddress(octets.into())),
        narrow().prop_map(OwnedValue::Counter32),
        narrow().prop_map(OwnedValue::Gauge32),
        narrow().prop_map(OwnedValue::TimeTicks),
        any::<f32>().prop_map(OwnedValue::OpaqueFloat),
        any::<f64>().prop_map(OwnedValue::OpaqueDouble),
        // An arbitrary Opaque could be a float by chance; this one cannot.
        bytes().prop_map(|bytes| OwnedValue::Opaque([&[0x04][..], &bytes].concat().into())),
        bytes().prop_map(OwnedValue::NsapAddress),
        wide.prop_map(OwnedValue::Counter64),
        narrow().prop_map(OwnedValue::UInteger32),
        bytes().prop_map(OwnedValue::BitString),
        Just(OwnedValue::NoSuchObject),
        Just(OwnedValue::NoSuchInstance),
        Just(OwnedValue::EndOfMibView),
        (0x48..0x5fu8, bytes()).prop_map(|(tag, bytes)| OwnedValue::Unknown { tag, bytes }),
    ]
}

pub(crate) fn messages() -> impl Strategy<Value = Said> {
    let community = prop::collection::vec(any::<u8>(), 0..140);
    let trap = (oids(), any::<u32>(), any::<u32>());
    let varbinds = prop::collection::vec((oids(), values()), 0..12);
    let v2c = any::<bool>();
    (v2c, community, 0..9usize, any::<[i32; 3]>(), trap, varbinds).prop_map(
        |(v2c, community, kind, numbers, trap, varbinds)| {
            let kind = PduKind::ALL[kind];
            let version = if v2c && kind != PduKind::TrapV1 {
                Version::V2c
            } else {
                Version::V1
            };
            Said {
                version,
                community,
                kind,
                numbers,
                trap,
                varbinds,
            }
        },
    )
}

/// 256 cases, and no file of past failures beside the tests.
pub(crate) fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}
