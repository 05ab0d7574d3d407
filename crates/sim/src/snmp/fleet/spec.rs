//! What a fleet is made of, and the books that it keeps.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::super::mib::Mib;
use super::super::plan::{FaultPlan, FaultPlanError};

/// Models of a fleet at most; an agent's is kept in one octet.
pub(super) const MODELS_MAX: usize = 255;

/// What a fleet is made of.
#[derive(Clone, Debug)]
pub struct FleetSpec {
    /// The first agent's address; the others follow it one by one.
    pub first: Ipv4Addr,
    /// How many agents, at least 1.
    pub count: u32,
    /// The port that [`Fleet::address`](super::Fleet::address) names; the driver binds it.
    pub port: u16,
    /// The community that may read.
    pub community: Vec<u8>,
    /// The community that may read and write.
    pub write_community: Vec<u8>,
    /// The models of device and their weights: of each `sum of weights` agents, so many have it.
    pub models: Vec<(Arc<Mib>, u32)>,
    /// Which agents misbehave, and how.
    pub faults: FaultPlan,
    /// From which all dice follow.
    pub seed: u64,
    /// Bytes of an answer at most, 484 (RFC 3417 section 3.2) to 65,507.
    pub message_bytes_max: usize,
}

impl FleetSpec {
    /// `count` sound agents of one model from 127.1.0.1 on, with the communities `public` and
    /// `private`, answering in Ethernet's 1,472 bytes.
    pub fn new(mib: Arc<Mib>, count: u32) -> Self {
        Self {
            first: Ipv4Addr::new(127, 1, 0, 1),
            count,
            port: 161,
            community: b"public".to_vec(),
            write_community: b"private".to_vec(),
            models: vec![(mib, 1)],
            faults: FaultPlan::none(),
            seed: 1,
            message_bytes_max: 1472,
        }
    }
}

/// Why a fleet was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FleetError {
    /// No agents, or more than there are addresses.
    #[error("{count} agents do not fit between {first} and 255.255.255.255")]
    Count {
        /// How many.
        count: u32,
        /// From where on.
        first: Ipv4Addr,
    },
    /// No models, all weights 0, or too many models.
    #[error("a fleet needs 1 to {MODELS_MAX} models with a weight above 0 between them")]
    Models,
    /// A message size out of range.
    #[error("an answer may have 484 to 65507 bytes, not {0}")]
    MessageBytes(usize),
    /// The fault plan is none.
    #[error(transparent)]
    Faults(#[from] FaultPlanError),
}

/// Why a request got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Silence {
    /// Sent to an address without an agent.
    UnknownAgent,
    /// The agent was killed, before it was asked or before its delayed answer was due.
    Killed,
    /// The agent has the fault [`DeviceFault::Dead`](super::super::DeviceFault::Dead).
    Dead,
    /// Not an SNMP message, or one whose bindings are malformed.
    Malformed,
    /// Not a request, or a bulk request in v1.
    NotARequest,
    /// The community is wrong.
    WrongCommunity,
    /// Lost by [`TrafficFaults::loss`](super::super::TrafficFaults::loss).
    Lost,
    /// No slot was free, or too many answers are waiting.
    NoRoom,
}

/// What became of all requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FleetCounters {
    /// Datagrams received.
    pub received: u64,
    /// Answered (a duplicate counts once).
    pub replied: u64,
    /// Answers sent a second time.
    pub duplicated: u64,
    /// Answers held back to be overtaken.
    pub reordered: u64,
    /// Get requests understood.
    pub gets: u64,
    /// Get-next requests understood.
    pub get_nexts: u64,
    /// Get-bulk requests understood.
    pub get_bulks: u64,
    /// Set requests understood.
    pub sets: u64,
    /// By reason, in the order of [`Silence`].
    pub silent: [u64; 8],
}

impl FleetCounters {
    /// Requests without an answer for this reason.
    pub fn silent_by(&self, why: Silence) -> u64 {
        self.silent[why as usize]
    }

    /// Requests without an answer.
    pub fn silent_total(&self) -> u64 {
        self.silent.iter().sum()
    }
}
