//! The order, equality and prefixes of OIDs are those of their arcs, though none is decoded.

use proptest::prelude::*;
use trunkline_wire_snmp::{Oid, OidBuf};

use crate::generate::{config, oids};

fn arcs(oid: &OidBuf) -> Vec<u64> {
    oid.arcs().collect()
}

/// Pairs that share a prefix more often than chance would have it.
fn pairs() -> impl Strategy<Value = (OidBuf, OidBuf)> {
    let tails = || prop::collection::vec(prop_oneof![0..4u32, 100..20_000u32, any::<u32>()], 0..4);
    let kin = (oids(), tails(), tails()).prop_map(|(root, left, right)| {
        let grow = |tail: Vec<u32>| tail.iter().fold(root.clone(), |oid, &arc| oid.child(arc));
        (grow(left), grow(right))
    });
    prop_oneof![kin, (oids(), oids())]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn order_and_prefix_are_those_of_the_arcs((left, right) in pairs()) {
        let (a, b) = (arcs(&left), arcs(&right));
        prop_assert_eq!(left.cmp(&right), a.cmp(&b));
        prop_assert_eq!(left == right, a == b);
        // The first two arcs are one sub-identifier, so no shorter prefix exists.
        prop_assert_eq!(left.starts_with(&right), a.starts_with(&b));
        let below = left.as_oid().strip_prefix(&right).map(Vec::from_iter);
        prop_assert_eq!(below.as_deref(), a.strip_prefix(b.as_slice()));
    }
}

#[test]
fn oids_of_awkward_widths_are_in_order() {
    let sorted: [&[u8]; 12] = [
        &[],
        &[0x00],
        &[0x2b],
        &[0x2b, 0x00],
        &[0x2b, 0x7f, 0x7f],
        &[0x2b, 0x81, 0x00],
        &[0x2b, 0xff, 0x7f],
        &[0x2b, 0x81, 0x80, 0x00],
        &[0x2b, 0x81, 0x80, 0x00, 0x00],
        &[0x2b, 0x81, 0x80, 0x01],
        // Two arcs above 2^64-1, which read alike but are ordered all the same.
        &[
            0x2b, 0x84, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00,
        ],
        &[
            0x2b, 0x84, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01,
        ],
    ];
    let oids: Vec<_> = sorted
        .iter()
        .map(|ber| Oid::from_ber(ber).unwrap())
        .collect();
    for (i, left) in oids.iter().enumerate() {
        for (j, right) in oids.iter().enumerate() {
            assert_eq!(left.cmp(right), i.cmp(&j), "{left} and {right}");
        }
    }
}
