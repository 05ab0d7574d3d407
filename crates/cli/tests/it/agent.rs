//! An agent that serves any value and misbehaves on demand.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use trunkline_wire_snmp::{Message, OidBuf, OwnedValue, PduKind, Value, Version, decode, encode};

/// How an agent behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Good,
    /// Reads requests and says nothing.
    Silent,
    /// Loses the first so many requests.
    Drops(usize),
    /// Answers so many requests, then falls silent.
    Dies(usize),
    /// Answers from another port.
    Elsewhere,
    /// After the sixth row comes the third.
    Loops,
    /// Every GETNEXT finds the first row.
    StandsStill,
    /// Every request fails with this status, and blames the first variable.
    Errs(i32),
}

/// A request as the agent saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) version: Version,
    pub(crate) community: String,
    pub(crate) kind: PduKind,
    pub(crate) numbers: (i32, i32),
}

type Row = (OidBuf, OwnedValue);

/// A running agent; it ends when dropped.
#[derive(Debug)]
pub(crate) struct FakeAgent {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// The subtree that the agents serve.
pub(crate) const ROOT: &str = "1.3.6.1.4.1.9999";

/// Rows `ROOT.1.0`, `ROOT.2.0`, … with these values.
pub(crate) fn rows(values: impl IntoIterator<Item = OwnedValue>) -> Vec<Row> {
    let name = |n: usize| format!("{ROOT}.{n}.0").parse().unwrap();
    (1..).map(name).zip(values).collect()
}

/// Rows of the integers from 1.
pub(crate) fn integers(n: i32) -> Vec<Row> {
    rows((1..=n).map(OwnedValue::Integer))
}

impl FakeAgent {
    pub(crate) fn start(manner: Manner, rows: Vec<Row>) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let port = socket.local_addr().unwrap().port();
        let (seen, stop) = (Arc::default(), Arc::<AtomicBool>::default());
        let (log, ended) = (Arc::clone(&seen), stop.clone());
        let thread = std::thread::spawn(move || serve(&socket, manner, &rows, &log, &ended));
        Self {
            port,
            seen,
            stop,
            thread: Some(thread),
        }
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn name(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The requests so far; what is not v1 or v2c is not among them.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for FakeAgent {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn serve(
    socket: &UdpSocket,
    manner: Manner,
    rows: &[Row],
    log: &Mutex<Vec<Seen>>,
    stop: &AtomicBool,
) {
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut bytes = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        let Ok((len, from)) = socket.recv_from(&mut bytes) else {
            continue;
        };
        let Ok(message) = decode(&bytes[..len]) else {
            continue;
        };
        let count = {
            let mut log = log.lock().unwrap();
            log.push(Seen {
                version: message.version,
                community: String::from_utf8_lossy(message.community).into_owned(),
                kind: message.pdu.kind,
                numbers: (message.pdu.error_status, message.pdu.error_index),
            });
            log.len()
        };
        let lost = match manner {
            Manner::Drops(first) => count <= first,
            Manner::Dies(after) => count > after,
            other => other == Manner::Silent,
        };
        if lost {
            continue;
        }
        let speaker = if manner == Manner::Elsewhere {
            &other
        } else {
            socket
        };
        speaker
            .send_to(&answer(&message, manner, rows), from)
            .unwrap();
    }
}

fn answer(message: &Message<'_>, manner: Manner, rows: &[Row]) -> Vec<u8> {
    let asked: Vec<Row> = message
        .pdu
        .varbinds
        .clone()
        .flatten()
        .map(|row| (row.oid.to_owned(), row.value.to_owned()))
        .collect();
    let (mut status, mut index) = (0, 0);
    let answered = match (manner, message.pdu.kind) {
        (Manner::Errs(code), _) => {
            (status, index) = (code, 1);
            asked
        }
        (_, PduKind::Get) => asked.iter().map(|(oid, _)| get(rows, oid)).collect(),
        (_, PduKind::GetNext) => asked
            .iter()
            .map(|(oid, _)| next(manner, rows, oid))
            .collect(),
        (_, PduKind::GetBulk) => bulk(manner, rows, &asked[0].0, message.pdu.error_index),
        _ => asked,
    };
    let views = answered
        .iter()
        .map(|(oid, value)| (oid.as_oid(), value.as_value()));
    let mut slot = vec![0; 60_000];
    let at = encode(
        &mut slot,
        message.version,
        message.community,
        PduKind::Response,
        message.pdu.request_id,
        status,
        index,
        views,
    );
    slot[at.unwrap()].to_vec()
}

fn get(rows: &[Row], oid: &OidBuf) -> Row {
    let known = rows.iter().find(|(name, _)| name == oid);
    known
        .cloned()
        .unwrap_or_else(|| (oid.clone(), OwnedValue::NoSuchInstance))
}

fn next(manner: Manner, rows: &[Row], oid: &OidBuf) -> Row {
    let after = rows.iter().position(|(name, _)| name > oid);
    let at = match (manner, after) {
        (Manner::StandsStill, _) => Some(0),
        (Manner::Loops, Some(6)) => Some(2),
        (_, after) => after,
    };
    match at {
        Some(at) => rows[at].clone(),
        None => (oid.clone(), OwnedValue::EndOfMibView),
    }
}

fn bulk(manner: Manner, rows: &[Row], first: &OidBuf, repetitions: i32) -> Vec<Row> {
    let mut found: Vec<Row> = Vec::new();
    for _ in 0..repetitions {
        let from = found.last().map_or(first, |(oid, _)| oid);
        let row = next(manner, rows, from);
        let ends = matches!(row.1.as_value(), Value::EndOfMibView);
        found.push(row);
        if ends {
            break;
        }
    }
    found
}
