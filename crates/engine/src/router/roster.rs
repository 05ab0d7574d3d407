//! The router itself, and who is in it.
//!
//! Changing the set (adding, removing, draining, marking, weighting) takes a mutex, writes a new
//! snapshot and returns; choosing and finishing never take it, save when a member is thrown out.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::health::HealthEvent;
use super::member::{MEMBERS_MAX, Mark, MemberId, MemberSpec, Phase, SLOTS, Slot, Tally, float};
use super::policy::{RouterPolicy, Strategy};
use super::snapshot::{Current, Snapshot};
use super::sticky::StickyTable;
use super::view::{Ejection, MemberError, MemberView, RouterStats};
use crate::policy::PolicyError;
use crate::rng::{Rng, mix64};
use crate::time::Time;

/// Stands for no single member.
const NOBODY: u32 = u32::MAX;

/// Keeps a word that every pick writes away from the words that every pick reads.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart<T>(T);

/// Chooses members for work and watches over them. See the module's description.
pub struct Router {
    pub(super) policy: RouterPolicy,
    /// Half-lives per millisecond.
    pub(super) decay: f32,
    /// Exactly as many as a slot number has values, so that no look-up is checked.
    slots: Box<[Slot; SLOTS]>,
    pub(super) current: Current,
    /// The only usable member's id, or [`NOBODY`] when there are none or several.
    only: AtomicU32,
    sticky: OnceLock<StickyTable>,
    sticky_salt: u64,
    roster: Mutex<Roster>,
    cursor: Apart<AtomicU32>,
    counts: Counts,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) batches: AtomicU64,
    pub(super) routing_failures: AtomicU64,
    pub(super) member_failures: AtomicU64,
    pub(super) ejections: AtomicU64,
    pub(super) ejections_denied: AtomicU64,
    pub(super) returns: AtomicU64,
    routing_nanos: AtomicU64,
    routing_samples: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Roster {
    pub(super) members: Vec<Member>,
    free: VecDeque<u8>,
    strategy: Strategy,
    /// Attempts that removed members had begun.
    retired: u64,
    pub(super) warming_until: Time,
    pub(super) next_pass: Time,
    pub(super) next_tick: Time,
    pub(super) panicking: bool,
    pub(super) events: VecDeque<HealthEvent>,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: MemberId,
    pub(super) name: String,
    seed: u64,
    weight: u32,
    capacity: u32,
    pub(super) mark: Mark,
    pub(super) draining: bool,
    pub(super) ejection: Option<Ejection>,
    /// Ejections that are held against it.
    pub(super) strikes: u32,
    /// Since when nothing was held against it.
    pub(super) clean_since: Time,
    /// Where the comparison of reply ratios began to count.
    pub(super) base: Tally,
    pub(super) tick: Tick,
    totals: Totals,
}

/// What the watch for silence saw last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tick {
    pub(super) at: Time,
    pub(super) started: u32,
    /// Attempts ended without evidence, counted at the last reply.
    pub(super) excused: u32,
}

/// A [`Tally`]'s counts without its overflow.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    seen: Tally,
    started: u64,
    failed: u64,
    ignored: u64,
    unsent: u64,
}

impl Totals {
    fn extend(&mut self, now: Tally) {
        let grown = |now: u32, seen: u32| u64::from(now.wrapping_sub(seen));
        self.started += grown(now.started, self.seen.started);
        self.failed += grown(now.failed, self.seen.failed);
        self.ignored += grown(now.ignored, self.seen.ignored);
        self.unsent += grown(now.unsent, self.seen.unsent);
        self.seen = now;
    }
}

impl Router {
    /// A router without members. `rng` seeds the hash of the `sticky` table.
    ///
    /// # Errors
    /// The first field of `policy` that is out of its range.
    pub fn new(policy: RouterPolicy, rng: &mut Rng) -> Result<Self, PolicyError> {
        policy.check()?;
        let roster = Roster {
            members: Vec::new(),
            free: (0..=u8::MAX).collect(),
            strategy: policy.strategy,
            retired: 0,
            warming_until: Time::ZERO,
            next_pass: Time::ZERO,
            next_tick: Time::ZERO,
            panicking: false,
            events: VecDeque::new(),
        };
        Ok(Self {
            decay: 1e6 / float(policy.latency_half_life),
            slots: Box::new(std::array::from_fn(|_| Slot::default())),
            current: Current::new(Snapshot::new(policy.strategy, &[], Time::ZERO)),
            only: AtomicU32::new(NOBODY),
            sticky: OnceLock::new(),
            sticky_salt: rng.next_u64(),
            roster: Mutex::new(roster),
            cursor: Apart::default(),
            counts: Counts::default(),
            policy,
        })
    }

    /// Adds a member. It begins slowly when the router has been in use before.
    ///
    /// # Errors
    /// [`MemberError::Full`], [`MemberError::Duplicate`] or [`MemberError::Range`].
    pub fn add(&self, now: Time, spec: MemberSpec) -> Result<MemberId, MemberError> {
        in_range("weight", spec.weight)?;
        in_range("capacity", spec.capacity)?;
        let mut roster = self.roster();
        if roster.members.iter().any(|m| m.name == spec.name) {
            return Err(MemberError::Duplicate(spec.name));
        }
        if roster.members.len() == MEMBERS_MAX {
            return Err(MemberError::Full);
        }
        let reusable = |slot: &u8| self.slots[usize::from(*slot)].is_reusable();
        let at = roster
            .free
            .iter()
            .position(reusable)
            .ok_or(MemberError::Full)?;
        let slot = roster.free.remove(at).ok_or(MemberError::Full)?;
        let warm = !self.policy.slow_start.is_zero() && self.routed(&roster) > 0;
        let latency = self.typical_latency(&roster, now);
        let generation = self.slots[usize::from(slot)].occupy(latency, now, warm);
        let id = MemberId::new(slot, generation);
        // An id returns after 65,536 additions; a key may still be kept under the first.
        if let Some(table) = self.sticky.get() {
            table.forget(id);
        }
        if warm {
            roster.warming_until = now + self.policy.slow_start;
        }
        let tally = self.slot(id).tally();
        roster.members.push(Member {
            id,
            seed: seed(&spec.name),
            name: spec.name,
            weight: spec.weight,
            capacity: spec.capacity,
            mark: Mark::Auto,
            draining: false,
            ejection: None,
            strikes: 0,
            clean_since: now,
            base: tally,
            tick: Tick {
                at: now,
                started: tally.started,
                excused: 0,
            },
            totals: Totals {
                seen: tally,
                ..Totals::default()
            },
        });
        self.publish(&mut roster);
        Ok(id)
    }

    /// Takes a member out at once; attempts that it has in flight may still finish. Returns how
    /// many those are. (To lose nothing, [`Self::drain`] first and wait for 0.)
    ///
    /// # Errors
    /// [`MemberError::Unknown`].
    pub fn remove(&self, id: MemberId) -> Result<u32, MemberError> {
        let mut roster = self.roster();
        let at = roster.members.iter().position(|m| m.id == id);
        let mut member = roster.members.remove(at.ok_or(MemberError::Unknown(id))?);
        let slot = self.slot(id);
        slot.set_life(id.generation(), Phase::Gone);
        let tally = slot.tally();
        member.totals.extend(tally);
        roster.retired += member.totals.started;
        roster.free.push_back(id.slot());
        self.publish(&mut roster);
        if let Some(table) = self.sticky.get() {
            table.forget(id);
        }
        Ok(tally.in_flight)
    }

    /// Gives the member nothing new; what it has in flight finishes. Only [`Self::resume`] ends it.
    ///
    /// # Errors
    /// [`MemberError::Unknown`].
    pub fn drain(&self, id: MemberId) -> Result<(), MemberError> {
        self.change(id, |member, slot, _| {
            member.draining = true;
            slot.set_life(id.generation(), Phase::Draining);
        })
    }

    /// Ends a drain; the member begins slowly.
    ///
    /// # Errors
    /// [`MemberError::Unknown`].
    pub fn resume(&self, id: MemberId, now: Time) -> Result<(), MemberError> {
        self.change(id, |member, slot, warming_until| {
            if member.draining {
                member.draining = false;
                slot.set_life(id.generation(), Phase::Active);
                self.start_afresh(member, warming_until, now);
            }
        })
    }

    /// Sets what a person decided: in use, out of use, or as health says. It holds until the next
    /// call; whatever health had against the member is forgotten.
    ///
    /// # Errors
    /// [`MemberError::Unknown`].
    pub fn mark(&self, id: MemberId, mark: Mark, now: Time) -> Result<(), MemberError> {
        self.change(id, |member, _, warming_until| {
            let was_out = member.mark == Mark::Down || member.ejection.is_some();
            member.mark = mark;
            member.ejection = None;
            member.strikes = 0;
            if was_out && mark != Mark::Down {
                self.start_afresh(member, warming_until, now);
            }
        })
    }

    /// Changes the preference for a member, from the next pick on.
    ///
    /// # Errors
    /// [`MemberError::Unknown`] or [`MemberError::Range`].
    pub fn set_weight(&self, id: MemberId, weight: u32) -> Result<(), MemberError> {
        in_range("weight", weight)?;
        self.change(id, |member, _, _| member.weight = weight)
    }

    /// Changes a member's size, from the next pick on.
    ///
    /// # Errors
    /// [`MemberError::Unknown`] or [`MemberError::Range`].
    pub fn set_capacity(&self, id: MemberId, capacity: u32) -> Result<(), MemberError> {
        in_range("capacity", capacity)?;
        self.change(id, |member, _, _| member.capacity = capacity)
    }

    /// Changes the strategy, from the next pick on; nothing in flight notices.
    pub fn set_strategy(&self, strategy: Strategy) {
        let mut roster = self.roster();
        roster.strategy = strategy;
        self.publish(&mut roster);
    }

    /// The strategy in use.
    pub fn strategy(&self) -> Strategy {
        self.roster().strategy
    }

    /// The member called `name`.
    pub fn find(&self, name: &str) -> Option<MemberId> {
        self.roster()
            .members
            .iter()
            .find(|m| m.name == name)
            .map(|m| m.id)
    }

    /// All members, in the order in which they were added.
    pub fn members(&self, now: Time) -> Vec<MemberView> {
        let mut roster = self.roster();
        self.extend_totals(&mut roster);
        let view = |m: &Member| {
            let slot = self.slot(m.id);
            let nanos = slot.latency(now, self.decay);
            MemberView {
                id: m.id,
                name: m.name.clone(),
                weight: m.weight,
                capacity: m.capacity,
                mark: m.mark,
                draining: m.draining,
                usable: self.current.with(|s| s.position(m.id).is_some()),
                ejection: m.ejection,
                in_flight: m.totals.seen.in_flight,
                started: m.totals.started,
                failed: m.totals.failed,
                ignored: m.totals.ignored,
                unsent: m.totals.unsent,
                reply_ratio: slot.reply_ratio(),
                latency: Duration::from_secs_f64(f64::from(nanos) / 1e9),
                warmth: slot.warmth(now, self.policy.slow_start),
            }
        };
        roster.members.iter().map(view).collect()
    }

    /// Attempts in flight over all members, counted from the slots, removed members' included.
    pub fn in_flight(&self) -> u64 {
        self.slots
            .iter()
            .map(|slot| u64::from(slot.in_flight()))
            .sum()
    }

    /// The counts since the router was made.
    pub fn stats(&self) -> RouterStats {
        let mut roster = self.roster();
        self.extend_totals(&mut roster);
        let counts = &self.counts;
        RouterStats {
            requests_routed: self.routed(&roster),
            batches_routed: counts.batches.load(Relaxed),
            routing_failures: counts.routing_failures.load(Relaxed),
            member_failures: counts.member_failures.load(Relaxed),
            in_flight: self.in_flight(),
            ejections: counts.ejections.load(Relaxed),
            ejections_denied: counts.ejections_denied.load(Relaxed),
            returns: counts.returns.load(Relaxed),
            panicking: roster.panicking,
            sticky_kept: self.sticky.get().map_or(0, StickyTable::kept),
            sticky_evicted: self.sticky.get().map_or(0, StickyTable::evicted),
            routing_time: Duration::from_nanos(counts.routing_nanos.load(Relaxed)),
            routing_samples: counts.routing_samples.load(Relaxed),
        }
    }

    /// Counts a batch of requests that somebody handed in together. Each of them is routed on its
    /// own, so a batch is split by what the strategy and the members' capacities say.
    pub fn note_batch(&self) {
        self.counts().batches.fetch_add(1, Relaxed);
    }

    /// Takes a measurement of the time that one pick or one batch took; the router itself reads
    /// no clock.
    pub fn note_routing_time(&self, spent: Duration) {
        let nanos = crate::time::nanos(spent);
        self.counts.routing_nanos.fetch_add(nanos, Relaxed);
        self.counts.routing_samples.fetch_add(1, Relaxed);
    }

    #[inline]
    pub(super) fn slot(&self, id: MemberId) -> &Slot {
        &self.slots[id.index()]
    }

    pub(super) fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    #[inline]
    pub(super) fn only_member(&self) -> Option<MemberId> {
        u16::try_from(self.only.load(Acquire))
            .ok()
            .map(MemberId::from_bits)
    }

    /// Takes `n` turns of the strategies that go in turn, and returns the first.
    #[inline]
    pub(super) fn turns(&self, n: u32) -> u32 {
        self.cursor.0.fetch_add(n, Relaxed)
    }

    pub(super) fn sticky_table(&self) -> &StickyTable {
        let table = || StickyTable::new(self.policy.sticky_keys, self.sticky_salt);
        self.sticky.get_or_init(table)
    }

    pub(super) fn note_routing_failure(&self) {
        self.counts.routing_failures.fetch_add(1, Relaxed);
    }

    /// Clears the evidence against a member that comes back, and lets it begin slowly.
    pub(super) fn start_afresh(&self, member: &mut Member, warming_until: &mut Time, now: Time) {
        let slot = self.slot(member.id);
        slot.absolve();
        let tally = slot.tally();
        let excused = tally.ignored.wrapping_add(tally.unsent);
        member.clean_since = now;
        member.base = tally;
        member.tick = Tick {
            at: now,
            started: tally.started,
            excused,
        };
        if !self.policy.slow_start.is_zero() {
            slot.warm(Some(now));
            *warming_until = now + self.policy.slow_start;
        }
    }

    /// Writes the snapshot that follows from the roster.
    pub(super) fn publish(&self, roster: &mut Roster) {
        let present = roster.members.iter().filter(|m| !m.draining).count();
        let healthy = |m: &&Member| {
            !m.draining && m.mark != Mark::Down && (m.ejection.is_none() || m.mark == Mark::Up)
        };
        let count = roster.members.iter().filter(healthy).count();
        roster.panicking = (count as f32) < self.policy.panic_below * present as f32;
        let panicking = roster.panicking;
        let usable: Vec<_> = roster
            .members
            .iter()
            .filter(|m| healthy(m) || (panicking && !m.draining && m.mark == Mark::Auto))
            .map(|m| (m.id, m.weight * m.capacity, m.seed))
            .collect();
        let only = match usable[..] {
            [(id, _, _)] => u32::from(id.bits()),
            _ => NOBODY,
        };
        let snapshot = Snapshot::new(roster.strategy, &usable, roster.warming_until);
        self.current.store(snapshot);
        self.only.store(only, Release);
    }

    pub(super) fn extend_totals(&self, roster: &mut Roster) {
        for member in &mut roster.members {
            member.totals.extend(self.slot(member.id).tally());
        }
    }

    fn change(
        &self,
        id: MemberId,
        edit: impl FnOnce(&mut Member, &Slot, &mut Time),
    ) -> Result<(), MemberError> {
        let mut roster = self.roster();
        let Roster {
            members,
            warming_until,
            ..
        } = &mut *roster;
        let member = members.iter_mut().find(|m| m.id == id);
        let member = member.ok_or(MemberError::Unknown(id))?;
        edit(member, self.slot(id), warming_until);
        self.publish(&mut roster);
        Ok(())
    }

    /// Attempts begun, as far as the totals were extended, and since.
    fn routed(&self, roster: &Roster) -> u64 {
        let begun = roster.members.iter().map(|m| {
            let mut totals = m.totals;
            totals.extend(self.slot(m.id).tally());
            totals.started
        });
        roster.retired + begun.sum::<u64>()
    }

    /// What a new member's latency is taken to be: its siblings' mean. A fixed value would make it
    /// look far better or far worse than members that answer in microseconds, or in seconds.
    fn typical_latency(&self, roster: &Roster, now: Time) -> Duration {
        let known: Vec<f32> = roster
            .members
            .iter()
            .map(|m| self.slot(m.id))
            .filter(|slot| slot.replied_at() > Time::ZERO)
            .map(|slot| slot.latency(now, self.decay))
            .collect();
        if known.is_empty() {
            return self.policy.latency_seed;
        }
        let mean = known.iter().sum::<f32>() / known.len() as f32;
        Duration::from_secs_f64(f64::from(mean) / 1e9)
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router")
            .field("policy", &self.policy)
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

fn in_range(what: &'static str, value: u32) -> Result<(), MemberError> {
    if (1..=65_535).contains(&value) {
        Ok(())
    } else {
        Err(MemberError::Range { what, value })
    }
}

/// A number from a name, the same in every process (FNV-1a, then mixed).
fn seed(name: &str) -> u64 {
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    mix64(name.bytes().fold(0xcbf2_9ce4_8422_2325, fold))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Outcome;

    const T0: Time = Time::from_millis(1_000);

    fn router() -> (Router, Rng) {
        let mut rng = Rng::seeded(1);
        (Router::new(RouterPolicy::default(), &mut rng).unwrap(), rng)
    }

    fn add(router: &Router, name: &str) -> MemberId {
        router.add(T0, MemberSpec::named(name)).unwrap()
    }

    #[test]
    fn a_bad_policy_makes_no_router() {
        let policy = RouterPolicy {
            run_min: 0,
            ..RouterPolicy::default()
        };
        let error = Router::new(policy, &mut Rng::seeded(1)).unwrap_err();
        assert_eq!(error.field, "run_min");
    }

    #[test]
    fn bad_members_are_refused_by_name() {
        let (router, _) = router();
        let id = add(&router, "a");
        let again = router.add(T0, MemberSpec::named("a"));
        assert_eq!(again, Err(MemberError::Duplicate("a".into())));
        for (weight, capacity, what) in
            [(0, 1, "weight"), (1, 0, "capacity"), (65_536, 1, "weight")]
        {
            let spec = MemberSpec {
                name: "b".into(),
                weight,
                capacity,
            };
            match router.add(T0, spec) {
                Err(MemberError::Range { what: named, .. }) => assert_eq!(named, what),
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(
            router.set_weight(id, 0),
            Err(MemberError::Range { .. })
        ));
        assert!(matches!(
            router.set_capacity(id, 70_000),
            Err(MemberError::Range { .. })
        ));
        router.remove(id).unwrap();
        let gone = Err(MemberError::Unknown(id));
        assert_eq!(router.remove(id), Err(MemberError::Unknown(id)));
        assert_eq!(router.drain(id), gone);
        assert_eq!(router.resume(id, T0), gone);
        assert_eq!(router.mark(id, Mark::Up, T0), gone);
        assert_eq!(router.set_weight(id, 1), gone);
    }

    #[test]
    fn the_set_is_bounded_and_slots_return() {
        let (router, _) = router();
        let ids: Vec<_> = (0..MEMBERS_MAX)
            .map(|n| add(&router, &format!("m{n}")))
            .collect();
        assert_eq!(
            router.add(T0, MemberSpec::named("x")),
            Err(MemberError::Full)
        );
        // A removed member with work in flight keeps its slot.
        assert!(router.start(ids[0]));
        assert_eq!(router.remove(ids[0]), Ok(1));
        let next = add(&router, "y");
        assert_ne!(next.slot(), ids[0].slot());
        router.remove(ids[1]).unwrap();
        let other = add(&router, "z");
        assert_ne!(other.slot(), ids[0].slot());
        router.remove(ids[2]).unwrap();
        router.finish(ids[0], T0, None, Outcome::Success);
        let last = add(&router, "w");
        assert_eq!(last.slot(), ids[0].slot(), "first out, first in");
        assert_ne!(last, ids[0]);
    }

    #[test]
    fn an_old_id_never_reaches_the_slot_s_next_member() {
        let (router, mut rng) = router();
        let keep = add(&router, "keep");
        let mut old = Vec::new();
        for n in 0..2_000 {
            let id = add(&router, &format!("m{n}"));
            assert!(!old.contains(&id), "{id} was used before");
            old.push(id);
            router.remove(id).unwrap();
            assert!(!router.start(id));
            router.finish(id, T0, None, Outcome::Failure);
        }
        let id = add(&router, "new");
        for stale in old {
            router.finish(stale, T0, None, Outcome::Failure);
            router.abandon(stale);
            router.unsent(stale, T0);
        }
        let offered: Vec<_> = router.pick(T0, 0, &mut rng).collect();
        assert_eq!(offered.len(), 2);
        assert!(offered.contains(&keep) && offered.contains(&id));
        let views = router.members(T0);
        assert!(
            views
                .iter()
                .all(|m| (m.started, m.failed, m.ignored) == (0, 0, 0))
        );
        assert_eq!(router.stats().member_failures, 0);
    }

    #[test]
    fn draining_takes_nothing_new_and_finishes_what_it_has() {
        let (router, mut rng) = router();
        let (a, b) = (add(&router, "a"), add(&router, "b"));
        assert!(router.start(a));
        router.drain(a).unwrap();
        for key in 0..50 {
            assert_eq!(router.pick(T0, key, &mut rng).collect::<Vec<_>>(), [b]);
        }
        assert!(!router.start(a), "a candidate from before the drain");
        let view = |name: &str| {
            let all = router.members(T0);
            all.into_iter().find(|m| m.name == name).unwrap()
        };
        assert_eq!(
            (view("a").in_flight, view("a").draining, view("a").usable),
            (1, true, false)
        );
        for minutes in 0..100 {
            router.check(T0 + Duration::from_secs(60 * minutes));
        }
        assert!(view("a").draining, "no timer ends a drain");
        router.finish(a, T0, None, Outcome::Success);
        assert_eq!(view("a").in_flight, 0);
        router.resume(a, T0).unwrap();
        assert!(view("a").usable && router.start(a));
    }

    #[test]
    fn removal_reports_what_is_left_and_keeps_the_totals() {
        let (router, _) = router();
        let a = add(&router, "a");
        for _ in 0..5 {
            assert!(router.start(a));
        }
        router.finish(a, T0, None, Outcome::Success);
        assert_eq!(router.remove(a), Ok(4));
        assert_eq!(
            (router.stats().requests_routed, router.stats().in_flight),
            (5, 4)
        );
        for _ in 0..4 {
            router.abandon(a);
        }
        assert_eq!(router.in_flight(), 0);
    }

    #[test]
    fn marks_are_sticky() {
        let (router, mut rng) = router();
        let (a, b) = (add(&router, "a"), add(&router, "b"));
        router.mark(a, Mark::Down, T0).unwrap();
        for minutes in 0..200 {
            let now = T0 + Duration::from_secs(60 * minutes);
            router.check(now);
            assert_eq!(router.pick(now, minutes, &mut rng).next(), Some(b));
        }
        router.mark(b, Mark::Down, T0).unwrap();
        assert_eq!(
            router.pick(T0, 0, &mut rng).next(),
            None,
            "not even in a panic"
        );
        assert!(router.stats().panicking);
        router.mark(a, Mark::Auto, T0).unwrap();
        assert_eq!(router.pick(T0, 0, &mut rng).next(), Some(a));
        assert_eq!(router.members(T0)[1].mark, Mark::Down);
    }

    #[test]
    fn weights_and_strategies_change_at_once() {
        let mut rng = Rng::seeded(1);
        let policy = RouterPolicy {
            strategy: Strategy::Weighted,
            ..RouterPolicy::default()
        };
        let router = Router::new(policy, &mut rng).unwrap();
        let (a, _) = (add(&router, "a"), add(&router, "b"));
        let hits = |rng: &mut Rng| {
            (0..60)
                .filter(|k| router.pick(T0, *k, rng).next() == Some(a))
                .count()
        };
        assert_eq!(hits(&mut rng), 30);
        router.set_weight(a, 3).unwrap();
        assert_eq!(hits(&mut rng), 45);
        router.set_capacity(a, 3).unwrap();
        assert_eq!(hits(&mut rng), 54);
        router.set_strategy(Strategy::RoundRobin);
        assert_eq!(router.strategy(), Strategy::RoundRobin);
        assert_eq!(hits(&mut rng), 30);
    }

    #[test]
    fn members_added_before_any_traffic_begin_warm() {
        let (router, _) = router();
        let a = add(&router, "a");
        add(&router, "b");
        assert!(router.members(T0).iter().all(|m| m.warmth >= 1.0));
        assert!(router.start(a));
        add(&router, "c");
        assert!((router.members(T0)[2].warmth - 0.1).abs() < 1e-6);
    }

    #[test]
    fn a_new_member_is_taken_to_be_like_its_siblings() {
        let (router, _) = router();
        let a = add(&router, "a");
        assert_eq!(
            router.members(T0)[0].latency,
            Duration::from_millis(30),
            "the seed"
        );
        for _ in 0..2 {
            assert!(router.start(a));
            router.finish(a, T0, Some(Duration::from_secs(2)), Outcome::Success);
        }
        add(&router, "b");
        let latency = router.members(T0)[1].latency;
        assert!((1_990..2_010).contains(&latency.as_millis()), "{latency:?}");
    }

    #[test]
    fn found_by_name_and_timed_by_callers() {
        let (router, _) = router();
        let a = add(&router, "a");
        assert_eq!((router.find("a"), router.find("b")), (Some(a), None));
        router.note_routing_time(Duration::from_nanos(40));
        router.note_routing_time(Duration::from_nanos(60));
        let stats = router.stats();
        assert_eq!(
            (stats.routing_time.as_nanos(), stats.routing_samples),
            (100, 2)
        );
    }

    #[test]
    fn shares_of_the_largest_members_do_not_overflow() {
        let (router, mut rng) = router();
        for name in ["a", "b"] {
            let spec = MemberSpec {
                name: name.into(),
                weight: 65_535,
                capacity: 65_535,
            };
            router.add(T0, spec).unwrap();
        }
        for strategy in Strategy::ALL {
            router.set_strategy(strategy);
            assert_eq!(router.pick(T0, 0, &mut rng).count(), 2);
        }
    }
}
