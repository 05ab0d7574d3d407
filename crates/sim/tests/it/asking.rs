//! A test's way of asking a fleet: one request in, the decoded answers out.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use trunkline_engine::datagram::{RxBatch, TxBatch};
use trunkline_engine::time::Time;
use trunkline_sim::snmp::{Fleet, FleetSpec, Mib};
use trunkline_wire_snmp::{
    ErrorStatus, OidBuf, OwnedValue, PduKind, Value, Version, decode, encode,
};

pub(crate) const OWN: &str = "127.0.0.1:50000";

/// A decoded answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) from: IpAddr,
    pub(crate) request_id: i32,
    pub(crate) status: ErrorStatus,
    pub(crate) index: i32,
    pub(crate) rows: Vec<(OidBuf, OwnedValue)>,
    pub(crate) len: usize,
}

impl Answer {
    pub(crate) fn names(&self) -> Vec<String> {
        let names = self.rows.iter().map(|(oid, _)| oid.as_oid().to_string());
        names.collect()
    }

    pub(crate) fn values(&self) -> Vec<OwnedValue> {
        self.rows.iter().map(|(_, value)| value.clone()).collect()
    }
}

/// What a test asks; the rest has defaults.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) agent: u32,
    pub(crate) version: Version,
    pub(crate) community: &'static str,
    pub(crate) kind: PduKind,
    pub(crate) a: i32,
    pub(crate) b: i32,
    pub(crate) bindings: Vec<(OidBuf, OwnedValue)>,
}

pub(crate) fn oid(text: &str) -> OidBuf {
    text.parse().expect("a test's OID")
}

pub(crate) fn text(value: &str) -> OwnedValue {
    OwnedValue::OctetString(value.as_bytes().into())
}

impl Question {
    pub(crate) fn new(kind: PduKind, names: &[&str]) -> Self {
        let bindings = names.iter().map(|name| (oid(name), OwnedValue::Null));
        Self {
            agent: 0,
            version: Version::V2c,
            community: "public",
            kind,
            a: 0,
            b: 0,
            bindings: bindings.collect(),
        }
    }

    pub(crate) fn get(names: &[&str]) -> Self {
        Self::new(PduKind::Get, names)
    }

    pub(crate) fn next(names: &[&str]) -> Self {
        Self::new(PduKind::GetNext, names)
    }

    pub(crate) fn bulk(non_repeaters: i32, repetitions: i32, names: &[&str]) -> Self {
        Self {
            a: non_repeaters,
            b: repetitions,
            ..Self::new(PduKind::GetBulk, names)
        }
    }

    pub(crate) fn set(bindings: &[(&str, OwnedValue)]) -> Self {
        let bindings = bindings
            .iter()
            .map(|(name, value)| (oid(name), value.clone()));
        Self {
            community: "private",
            bindings: bindings.collect(),
            ..Self::new(PduKind::Set, &[])
        }
    }

    pub(crate) fn v1(self) -> Self {
        Self {
            version: Version::V1,
            ..self
        }
    }

    pub(crate) fn to(self, agent: u32) -> Self {
        Self { agent, ..self }
    }

    pub(crate) fn bytes(&self, request_id: i32) -> Vec<u8> {
        let bindings: Vec<_> = self.bindings.iter().collect();
        let bindings = bindings
            .iter()
            .map(|(oid, value)| (oid.as_oid(), value.as_value()));
        let bindings: Vec<(_, Value<'_>)> = bindings.collect();
        let mut slot = vec![0; 65_507];
        let (community, kind) = (self.community.as_bytes(), self.kind);
        let (version, a, b) = (self.version, self.a, self.b);
        let range = encode(
            &mut slot, version, community, kind, request_id, a, b, bindings,
        );
        slot[range.expect("a test's request fits")].to_vec()
    }
}

pub(crate) fn spec(mib: Mib) -> FleetSpec {
    FleetSpec::new(Arc::new(mib), 4)
}

pub(crate) fn fleet(mib: Mib) -> Fleet {
    Fleet::new(spec(mib)).expect("a test's fleet")
}

/// The datagrams that come back at once.
pub(crate) fn ask_raw(fleet: &mut Fleet, now: Time, question: &Question) -> Vec<(IpAddr, Vec<u8>)> {
    let mut rx = RxBatch::new(1);
    let mut tx = TxBatch::with_slot_bytes(4, 65_535);
    let from: SocketAddr = OWN.parse().expect("an address");
    let to = fleet.address(question.agent).ip();
    assert!(rx.push(from, Some(to), 0, &question.bytes(77)));
    fleet.handle_batch(now, &rx, &mut tx);
    collect(&tx)
}

pub(crate) fn collect(tx: &TxBatch) -> Vec<(IpAddr, Vec<u8>)> {
    let sent = tx.iter().map(|(meta, bytes)| {
        assert_eq!(meta.to.to_string(), OWN);
        (meta.from.expect("the agent's address"), bytes.to_vec())
    });
    sent.collect()
}

pub(crate) fn read(from: IpAddr, bytes: &[u8]) -> Answer {
    let message = decode(bytes).expect("an answer that decodes");
    assert_eq!(message.pdu.kind, PduKind::Response);
    let rows = message.pdu.varbinds.map(|binding| {
        let binding = binding.expect("a binding that decodes");
        (binding.oid.to_owned(), binding.value.to_owned())
    });
    Answer {
        from,
        request_id: message.pdu.request_id,
        status: ErrorStatus::from_i32(message.pdu.error_status).expect("a known status"),
        index: message.pdu.error_index,
        rows: rows.collect(),
        len: bytes.len(),
    }
}

/// The one answer that comes back at once.
pub(crate) fn ask(fleet: &mut Fleet, now: Time, question: &Question) -> Answer {
    let answers = ask_raw(fleet, now, question);
    assert_eq!(answers.len(), 1, "{question:?}");
    read(answers[0].0, &answers[0].1)
}

/// That nothing comes back at once.
pub(crate) fn assert_silent(fleet: &mut Fleet, now: Time, question: &Question) {
    assert_eq!(ask_raw(fleet, now, question), [], "{question:?}");
}

/// That every request is accounted for.
pub(crate) fn assert_balanced(fleet: &Fleet) {
    let c = fleet.counters();
    let out = c.replied + c.silent_total() + fleet.waiting() as u64;
    assert_eq!(c.received, out, "{c:?}");
}
