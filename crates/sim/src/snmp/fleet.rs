//! Thousands of agents behind one object, told apart by the address that was asked.
//!
//! The problem: a poller of 100,000 devices needs 100,000 devices to poll, on the other core of
//! the same machine. The rule: what agents of one model have in common is shared, what tells one
//! from another follows from its number, so an agent at rest takes two octets. Only one that was
//! killed, renamed or written to has state of its own. Answers are encoded straight into the
//! driver's slots; those that a fault delays wait here, in a bounded queue.
//!
//! Edge cases: consecutive addresses from the first one on, whatever their last octet; a wrong
//! community is silence, as RFC 3416 wants it, and counted; `received = replied + waiting +
//! silent`, always. The fleet's dice are its own: the same requests in the same order meet the
//! same fate.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use trunkline_engine::datagram::{RX_SLOT_BYTES, RxBatch, TxBatch, TxMeta};
use trunkline_engine::rng::{Rng, mix64};
use trunkline_engine::time::Time;
use trunkline_wire_snmp::{ErrorStatus, Message, PduKind, Version, decode};

mod cast;
mod late;
mod peer;
mod spec;

use self::cast::{Role, cast};
use self::late::{Late, LateQueue};
use self::spec::MODELS_MAX;
use super::agent::{Agent, Sets, Stop};
use super::faults::DeviceFault;
use super::mib::Mib;
use super::plan::{FaultPlan, SHARES_MAX};
use super::source::Moment;
use crate::world::{Death, Home};

pub use self::late::{LATE_BYTES_MAX, LATE_MAX};
pub use self::spec::{FleetCounters, FleetError, FleetSpec, Silence};

/// Rows of one agent that hold a value that was set, at most.
pub const SETS_PER_AGENT_MAX: usize = 64;
/// Rows of all agents that hold a value that was set, at most.
pub const SETS_MAX: usize = 65_536;

/// Agents that were not restarted have been up for less than this when the fleet starts.
const UPTIME_MAX_MS: u64 = 30 * 24 * 3_600_000;

/// The agents.
pub struct Fleet {
    first: u32,
    port: u16,
    community: Vec<u8>,
    write_community: Vec<u8>,
    models: Vec<Arc<Mib>>,
    faults: Vec<DeviceFault>,
    plan: FaultPlan,
    roles: Vec<Role>,
    altered: HashMap<u32, Altered>,
    sets: usize,
    seed: u64,
    limit: usize,
    rng: Rng,
    late: LateQueue,
    counters: FleetCounters,
    scratch: Vec<u8>,
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet")
            .field("first", &self.address(0))
            .field("count", &self.count())
            .field("models", &self.models)
            .field("faults", &format_args!("{}", self.plan))
            .field("altered", &self.altered.len())
            .field("waiting", &self.waiting())
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

/// What happened to an agent since the start.
#[derive(Debug, Default)]
struct Altered {
    death: Option<Death>,
    booted: Option<Time>,
    community: Option<Vec<u8>>,
    sets: Sets,
}

/// An answer that lies in a slot.
struct Draft {
    agent: u32,
    range: Range<usize>,
    source: IpAddr,
    delay: Duration,
    twice: bool,
}

impl Fleet {
    /// Makes the agents; shares of models and faults are exact, who has which follows from the
    /// seed.
    ///
    /// # Errors
    /// When the specification makes no sense.
    pub fn new(spec: FleetSpec) -> Result<Self, FleetError> {
        let (first, count) = (u32::from(spec.first), spec.count);
        if count == 0 || first.checked_add(count - 1).is_none() {
            let first = spec.first;
            return Err(FleetError::Count { count, first });
        }
        if !(484..=65_507).contains(&spec.message_bytes_max) {
            return Err(FleetError::MessageBytes(spec.message_bytes_max));
        }
        spec.faults.validate()?;
        let weights: Vec<u32> = spec.models.iter().map(|(_, weight)| *weight).collect();
        if weights.iter().all(|weight| *weight == 0) || weights.len() > MODELS_MAX {
            return Err(FleetError::Models);
        }
        let mut rng = Rng::seeded(spec.seed);
        let roles = cast(count, &weights, &spec.faults, &mut rng);
        Ok(Self {
            first,
            port: spec.port,
            community: spec.community,
            write_community: spec.write_community,
            models: spec.models.into_iter().map(|(mib, _)| mib).collect(),
            faults: spec
                .faults
                .devices
                .iter()
                .map(|s| s.fault.clone())
                .collect(),
            plan: spec.faults,
            roles,
            altered: HashMap::new(),
            sets: 0,
            seed: spec.seed,
            limit: spec.message_bytes_max,
            rng,
            late: LateQueue::default(),
            counters: FleetCounters::default(),
            scratch: vec![0; RX_SLOT_BYTES],
        })
    }

    /// How many agents there are.
    pub fn count(&self) -> u32 {
        self.roles.len() as u32
    }

    /// Where an agent listens; agents are numbered from 0.
    pub fn address(&self, agent: u32) -> SocketAddr {
        let ip = Ipv4Addr::from(self.first.wrapping_add(agent));
        SocketAddr::new(ip.into(), self.port)
    }

    /// The agent at an address.
    pub fn agent_at(&self, address: IpAddr) -> Option<u32> {
        let IpAddr::V4(v4) = address else {
            return None;
        };
        let agent = u32::from(v4).checked_sub(self.first)?;
        (agent < self.count()).then_some(agent)
    }

    /// The addresses of all agents, for [`World::add`](crate::world::World::add).
    pub fn home(&self) -> Home {
        Home {
            first: self.address(0).ip(),
            last: self.address(self.count() - 1).ip(),
            port: self.port,
        }
    }

    /// What an agent's model knows.
    ///
    /// # Panics
    /// When there is no such agent, as everywhere an agent is named by its number.
    pub fn mib(&self, agent: u32) -> &Arc<Mib> {
        &self.models[usize::from(self.roles[agent as usize].model)]
    }

    /// How an agent misbehaves.
    pub fn fault(&self, agent: u32) -> Option<&DeviceFault> {
        let fault = usize::from(self.roles[agent as usize].fault);
        self.faults.get(fault.checked_sub(1)?)
    }

    /// Makes an agent misbehave, or behave. False when the fleet knows too many kinds of faults
    /// already.
    pub fn set_fault(&mut self, agent: u32, fault: Option<DeviceFault>) -> bool {
        let code = match fault {
            None => 0,
            Some(fault) => {
                let known = self.faults.iter().position(|other| *other == fault);
                let at = known.unwrap_or_else(|| {
                    self.faults.push(fault);
                    self.faults.len() - 1
                });
                if at >= SHARES_MAX {
                    self.faults.truncate(SHARES_MAX);
                    return false;
                }
                at as u8 + 1
            }
        };
        self.roles[agent as usize].fault = code;
        true
    }

    /// Kills an agent. On real sockets both deaths are silence; in a world, [`Death::Closed`] is
    /// port unreachable.
    pub fn kill(&mut self, agent: u32, death: Death) {
        self.alter(agent).death = Some(death);
    }

    /// Brings an agent (back) to life as after power-on: uptime 0, counters near their start,
    /// values that were set forgotten.
    pub fn restart(&mut self, agent: u32, now: Time) {
        let altered = self.alter(agent);
        altered.death = None;
        altered.booted = Some(now);
        let forgotten = std::mem::take(&mut altered.sets).len();
        self.sets -= forgotten;
    }

    /// Gives one agent a community of its own, for reading and writing; `None` takes it back.
    pub fn set_community(&mut self, agent: u32, community: Option<&[u8]>) {
        self.alter(agent).community = community.map(<[u8]>::to_vec);
    }

    /// Answers everything in `rx` into free slots of `tx`; answers that a fault delays are kept
    /// for [`Self::flush`]. A request without a free slot stays unanswered, so give `tx` twice
    /// the slots of `rx` when answers may be duplicated.
    pub fn handle_batch(&mut self, now: Time, rx: &RxBatch, tx: &mut TxBatch) {
        for (meta, bytes) in rx.iter() {
            self.counters.received += 1;
            if let Err(why) = self.handle_one(now, meta.from, meta.to, meta.socket, bytes, tx) {
                self.counters.silent[why as usize] += 1;
            }
        }
    }

    /// Sends delayed answers that are due, as many as `tx` has slots for.
    pub fn flush(&mut self, now: Time, tx: &mut TxBatch) {
        while !tx.is_full() {
            let Some(late) = self.pop_due(now) else {
                return;
            };
            // A slot that is too short loses the answer, as a short MTU would.
            if tx.push(late.to, Some(late.from), late.socket, &late.bytes) {
                self.counters.replied += 1;
            } else {
                self.counters.silent[Silence::NoRoom as usize] += 1;
            }
        }
    }

    /// When the next delayed answer is due.
    pub fn next_wakeup(&self) -> Option<Time> {
        self.late.next_due()
    }

    /// How many answers are delayed.
    pub fn waiting(&self) -> usize {
        self.late.len()
    }

    /// What became of all requests so far.
    pub fn counters(&self) -> FleetCounters {
        self.counters
    }

    /// The next delayed answer that is due, of an agent that lives to send it.
    fn pop_due(&mut self, now: Time) -> Option<Late> {
        loop {
            let late = self.late.pop_due(now)?;
            if self.death(late.agent).is_none() {
                return Some(late);
            }
            self.counters.silent[Silence::Killed as usize] += 1;
        }
    }

    fn alter(&mut self, agent: u32) -> &mut Altered {
        assert!(agent < self.count(), "there is no agent {agent}");
        self.altered.entry(agent).or_default()
    }

    fn handle_one(
        &mut self,
        now: Time,
        from: SocketAddr,
        to: Option<IpAddr>,
        socket: u16,
        bytes: &[u8],
        tx: &mut TxBatch,
    ) -> Result<(), Silence> {
        let to = to.ok_or(Silence::UnknownAgent)?;
        let slot = tx.slot().ok_or(Silence::NoRoom)?;
        let draft = self.respond(now, to, bytes, slot)?;
        let answer = slot.get(draft.range.clone()).ok_or(Silence::NoRoom)?;
        if !draft.delay.is_zero() {
            return self.postpone(now, &draft, from, socket, answer);
        }
        let copy = draft.twice.then(|| answer.to_vec());
        tx.commit(TxMeta {
            to: from,
            from: Some(draft.source),
            socket,
            range: draft.range,
            token: 0,
        });
        self.counters.replied += 1;
        if let Some(copy) = copy
            && tx.push(from, Some(draft.source), socket, &copy)
        {
            self.counters.duplicated += 1;
        }
        Ok(())
    }

    fn postpone(
        &mut self,
        now: Time,
        draft: &Draft,
        to: SocketAddr,
        socket: u16,
        answer: &[u8],
    ) -> Result<(), Silence> {
        let late = Late {
            agent: draft.agent,
            from: draft.source,
            to,
            socket,
            bytes: answer.into(),
        };
        let kept = self.late.push(now + draft.delay, late);
        kept.then_some(()).ok_or(Silence::NoRoom)
    }

    /// Writes the answer to one request into `slot`.
    fn respond(
        &mut self,
        now: Time,
        to: IpAddr,
        bytes: &[u8],
        slot: &mut [u8],
    ) -> Result<Draft, Silence> {
        let agent = self.agent_at(to).ok_or(Silence::UnknownAgent)?;
        let fault = self.fault(agent);
        if matches!(fault, Some(DeviceFault::Dead)) {
            return Err(Silence::Dead);
        }
        if self.death(agent).is_some() {
            return Err(Silence::Killed);
        }
        let traffic = &self.plan.traffic;
        if traffic.loss > 0.0 && self.rng.chance(traffic.loss) {
            return Err(Silence::Lost);
        }
        let request = decode(bytes).map_err(|_| Silence::Malformed)?;
        self.count_request(&request)?;
        let may_write = self.admit(agent, request.community)?;
        let range = if request.pdu.kind == PduKind::Set {
            self.set(now, agent, &request, may_write, slot)
        } else {
            self.view(now, agent).answer(&request, slot)
        };
        let range = range.map_err(|_| Silence::Malformed)?;
        Ok(self.spoil(agent, to, range, slot))
    }

    /// Counts a request by kind, or refuses what is none.
    fn count_request(&mut self, request: &Message<'_>) -> Result<(), Silence> {
        let counters = &mut self.counters;
        *match (request.pdu.kind, request.version) {
            (PduKind::Get, _) => &mut counters.gets,
            (PduKind::GetNext, _) => &mut counters.get_nexts,
            (PduKind::GetBulk, Version::V2c) => &mut counters.get_bulks,
            (PduKind::Set, _) => &mut counters.sets,
            _ => return Err(Silence::NotARequest),
        } += 1;
        Ok(())
    }

    /// Whether the community may write, or that it may not even read.
    fn admit(&self, agent: u32, community: &[u8]) -> Result<bool, Silence> {
        let own = self
            .altered_state(agent)
            .and_then(|a| a.community.as_deref());
        let (reads, writes) = match own {
            Some(own) => (own, own),
            None => (&*self.community, &*self.write_community),
        };
        if community == writes {
            return Ok(true);
        }
        (community == reads)
            .then_some(false)
            .ok_or(Silence::WrongCommunity)
    }

    fn set(
        &mut self,
        now: Time,
        agent: u32,
        request: &Message<'_>,
        may_write: bool,
        slot: &mut [u8],
    ) -> Result<Range<usize>, Stop> {
        let planned = if may_write {
            self.view(now, agent).plan_set(request)
        } else {
            Err(Stop::Error(ErrorStatus::NoAccess, 1))
        };
        let done = planned.and_then(|plan| {
            let altered = self.altered.entry(agent).or_default();
            let new = plan
                .iter()
                .filter(|(row, _)| !altered.sets.contains_key(row));
            let new = new.count();
            if altered.sets.len() + new > SETS_PER_AGENT_MAX || self.sets + new > SETS_MAX {
                return Err(Stop::Error(ErrorStatus::ResourceUnavailable, 1));
            }
            let before = altered.sets.len();
            altered.sets.extend(plan);
            self.sets += altered.sets.len() - before;
            Ok(())
        });
        self.view(now, agent).answer_set(request, slot, done)
    }

    fn view(&self, now: Time, agent: u32) -> Agent<'_> {
        let altered = self.altered_state(agent);
        let key = mix64(self.seed ^ mix64(u64::from(agent)));
        let uptime_ms = match altered.and_then(|altered| altered.booted) {
            Some(booted) => now.as_millis().saturating_sub(booted.as_millis()),
            None => now.as_millis() + key % UPTIME_MAX_MS,
        };
        Agent {
            mib: self.mib(agent),
            moment: Moment {
                uptime_ms,
                key,
                address: Ipv4Addr::from(self.first.wrapping_add(agent)),
            },
            fault: self.fault(agent),
            sets: altered
                .map(|altered| &altered.sets)
                .filter(|sets| !sets.is_empty()),
            limit: self.limit,
        }
    }

    fn altered_state(&self, agent: u32) -> Option<&Altered> {
        // In most fleets nothing is altered, and an empty map must not cost a hash.
        (!self.altered.is_empty())
            .then(|| self.altered.get(&agent))
            .flatten()
    }

    fn death(&self, agent: u32) -> Option<Death> {
        self.altered_state(agent)?.death
    }

    /// Does to a finished answer what faults do to answers.
    fn spoil(&mut self, agent: u32, to: IpAddr, range: Range<usize>, slot: &mut [u8]) -> Draft {
        let mut draft = Draft {
            agent,
            range,
            source: to,
            delay: Duration::ZERO,
            twice: false,
        };
        let fault = usize::from(self.roles[agent as usize].fault);
        match fault.checked_sub(1).and_then(|at| self.faults.get(at)) {
            Some(DeviceFault::Slow(delay)) => draft.delay = *delay,
            Some(DeviceFault::Late(delay)) if self.rng.chance(0.5) => draft.delay = *delay,
            Some(DeviceFault::WrongSource) => draft.source = alias(to),
            Some(DeviceFault::Garbage) => draft.range = garble(&mut self.rng, draft.range, slot),
            _ => {}
        }
        let traffic = &self.plan.traffic;
        if traffic.reorder > 0.0 && self.rng.chance(traffic.reorder) {
            draft.delay += traffic.reorder_delay;
            self.counters.reordered += 1;
        }
        draft.twice = traffic.duplicate > 0.0 && self.rng.chance(traffic.duplicate);
        draft
    }
}

/// The address from which [`DeviceFault::WrongSource`] answers; still within 127/8 for one there.
fn alias(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => Ipv4Addr::from(u32::from(v4) ^ 0x0080_0000).into(),
        v6 @ IpAddr::V6(_) => v6,
    }
}

/// Cuts an answer, or writes random bytes over it; what is left has at least one byte.
fn garble(rng: &mut Rng, range: Range<usize>, slot: &mut [u8]) -> Range<usize> {
    let len = 1 + rng.below(range.len().saturating_sub(1) as u64) as usize;
    let cut = range.start..range.start + len;
    if rng.chance(0.5) {
        slot[cut.clone()].fill_with(|| rng.next_u64() as u8);
    }
    cut
}
