//! What real devices and networks do wrong, one kind each, so that a client meets it on purpose.
//!
//! The rule: a device has at most one [`DeviceFault`], and that for life; what may befall any
//! datagram of any device is [`TrafficFaults`], by chance. Faults of a walk recur every so many
//! rows of the whole MIB, so that every subtree longer than that meets them.

use std::fmt;
use std::time::Duration;

use trunkline_wire_snmp::OidBuf;

/// How one device misbehaves.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum DeviceFault {
    /// Never answers.
    Dead,
    /// Every answer takes this long.
    Slow(Duration),
    /// Every other answer, by chance, takes this long: longer than a client waits, so that it
    /// arrives after the answer to the retransmission.
    Late(Duration),
    /// Answers from another address: its own with the highest bit of the second octet flipped.
    WrongSource,
    /// Says tooBig to requests for more bindings than this (a bulk: repetitions included).
    TooBig(u32),
    /// The successor of every n-th row is the row n - 1 rows before it: a walk never ends.
    Loop(u32),
    /// The successor of every n-th row is that row itself.
    Repeat(u32),
    /// After every n rows of a column in one bulk answer, one row is left out.
    SkipRows(u32),
    /// Answers random bytes or a truncated message.
    Garbage,
    /// Says genErr whenever an answer would touch this subtree.
    GenErr(OidBuf),
    /// Answers with the request id plus one.
    WrongId,
    /// Answers a bulk without any binding, and no error.
    EmptyBulk,
    /// Behind every n-th row the MIB seems to end.
    EndsEarly(u32),
}

impl DeviceFault {
    /// Its name in a fault list.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Slow(_) => "slow",
            Self::Late(_) => "late",
            Self::WrongSource => "wrong-source",
            Self::TooBig(_) => "too-big",
            Self::Loop(_) => "loop",
            Self::Repeat(_) => "repeat",
            Self::SkipRows(_) => "skip-rows",
            Self::Garbage => "garbage",
            Self::GenErr(_) => "gen-err",
            Self::WrongId => "wrong-id",
            Self::EmptyBulk => "empty-bulk",
            Self::EndsEarly(_) => "ends-early",
        }
    }
}

/// A fault and the share of devices that have it.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// The fault.
    pub fault: DeviceFault,
    /// Which part of all devices, 0 to 1.
    pub share: f64,
}

impl fmt::Display for Share {
    /// As the fault list writes it: `slow=5%:200ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}%", self.fault.name(), percent(self.share))?;
        match &self.fault {
            DeviceFault::Slow(delay) | DeviceFault::Late(delay) => write!(f, ":{delay:?}"),
            DeviceFault::TooBig(n)
            | DeviceFault::Loop(n)
            | DeviceFault::Repeat(n)
            | DeviceFault::SkipRows(n)
            | DeviceFault::EndsEarly(n) => write!(f, ":{n}"),
            DeviceFault::GenErr(oid) => write!(f, ":{}", oid.as_oid()),
            DeviceFault::Dead
            | DeviceFault::WrongSource
            | DeviceFault::Garbage
            | DeviceFault::WrongId
            | DeviceFault::EmptyBulk => Ok(()),
        }
    }
}

/// A share in percent, without the dust of binary fractions.
pub(super) fn percent(share: f64) -> f64 {
    (share * 1e8).round() / 1e6
}

/// What may befall any answer of any device.
#[derive(Clone, Debug, PartialEq)]
pub struct TrafficFaults {
    /// Chance that the answer (or the request; the client cannot tell) is lost, 0 to 1.
    pub loss: f64,
    /// Chance that the answer is sent twice, 0 to 1.
    pub duplicate: f64,
    /// Chance that the answer is held back so that later ones overtake it, 0 to 1.
    pub reorder: f64,
    /// How long it is held back.
    pub reorder_delay: Duration,
}

impl Default for TrafficFaults {
    fn default() -> Self {
        Self {
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            reorder_delay: Duration::from_millis(20),
        }
    }
}
