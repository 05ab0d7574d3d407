//! A member's id, and the atomics that follow it.
//!
//! An id is a slot and that slot's generation. Slots are reused first in, first out, and never
//! while the old member has work in flight, so an id that somebody still holds work under cannot
//! come to mean another member.
//!
//! What changes with every attempt is kept in one [`Slot`]: two cache lines, relaxed atomics, no
//! lock. `started` and `in_flight` share a word, so beginning an attempt is one addition and
//! `started` overflows off the top of the word without touching its neighbour. Averages are
//! written by load and store: two threads that finish in the same instant may lose one of the two
//! samples, which moves no average by more than one sample. Counts are exact.

use std::fmt;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use crate::time::{Time, nanos};

/// The most members that one router has at a time.
pub const MEMBERS_MAX: usize = 255;

/// Slots in the slab; one more than members, so that a table of positions has a value for none.
pub(super) const SLOTS: usize = 256;

/// A member of one router. It stays valid until the member is removed and its work has finished;
/// later it means nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(u16);

impl MemberId {
    pub(super) const fn new(slot: u8, generation: u8) -> Self {
        Self(u16::from_be_bytes([generation, slot]))
    }

    pub(super) const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    pub(super) const fn bits(self) -> u16 {
        self.0
    }

    pub(super) const fn slot(self) -> u8 {
        self.0.to_be_bytes()[1]
    }

    pub(super) const fn generation(self) -> u8 {
        self.0.to_be_bytes()[0]
    }

    /// The member's place in the slab, `0..256`; free for another member after this one is gone.
    pub const fn index(self) -> usize {
        self.slot() as usize
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot(), self.generation())
    }
}

/// A member as it is added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberSpec {
    /// Unique in its router; `hash` places keys by it, so it should survive a restart.
    pub name: String,
    /// Preference over the others, `1..=65_535`.
    pub weight: u32,
    /// Size relative to the others, for example concurrent requests, `1..=65_535`.
    pub capacity: u32,
}

impl MemberSpec {
    /// The member `name` with weight 1 and capacity 1.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            weight: 1,
            capacity: 1,
        }
    }
}

/// What a person decided about a member; nothing but a person changes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mark {
    /// Health decides.
    #[default]
    Auto,
    /// In use whatever health says.
    Up,
    /// Out of use whatever health says.
    Down,
}

/// Where a member is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    Gone = 0,
    Active = 1,
    Draining = 2,
}

/// The counts of a member at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) started: u32,
    pub(super) in_flight: u32,
    pub(super) failed: u32,
    pub(super) ignored: u32,
    pub(super) unsent: u32,
}

/// What finished between two tallies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) replies: u32,
    pub(super) failed: u32,
    pub(super) unsent: u32,
}

impl Window {
    pub(super) const fn attempts(self) -> u32 {
        self.replies.saturating_add(self.failed)
    }
}

impl Tally {
    /// What finished since `base`. The counts are read one by one while attempts go on, so a
    /// difference may be off by the few that ended in between; it never goes below zero.
    pub(super) fn since(self, base: Self) -> Window {
        let finished = |t: Self| t.started.wrapping_sub(t.in_flight);
        let signed = |n: u32| i64::from(n.cast_signed());
        let ended = signed(finished(self).wrapping_sub(finished(base)));
        let failed = self.failed.wrapping_sub(base.failed);
        let unsent = self.unsent.wrapping_sub(base.unsent);
        let ignored = self.ignored.wrapping_sub(base.ignored);
        let replies = ended - i64::from(failed) - i64::from(unsent) - i64::from(ignored);
        Window {
            replies: u32::try_from(replies.max(0)).unwrap_or(u32::MAX),
            failed,
            unsent,
        }
    }
}

/// One place of the slab.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Slot {
    /// `started << 32 | in_flight`.
    flow: AtomicU64,
    /// `f32` nanoseconds `<< 32 |` the millisecond of the last change.
    latency: AtomicU64,
    /// `generation << 8 | phase`.
    life: AtomicU32,
    /// Share of recent attempts that got a reply, `f32`.
    success: AtomicU32,
    /// Attempts without a reply since the last reply.
    run: AtomicU32,
    /// `started` at the last reply.
    replied_upto: AtomicU32,
    /// Nanoseconds.
    replied_at: AtomicU64,
    /// Nanoseconds; when the run of failures began.
    run_began: AtomicU64,
    /// Nanoseconds; when the slow start began, 0 when there is none.
    warm_from: AtomicU64,
    failed: AtomicU32,
    ignored: AtomicU32,
    unsent: AtomicU32,
    unsent_run: AtomicU32,
}

const STARTED: u64 = 1 << 32;

/// Weight of one sample in the reply ratio.
const RATIO_STEP: f32 = 1.0 / 32.0;

impl Slot {
    /// Takes the slot for a new member. The caller holds the roster's lock and saw
    /// [`Self::is_reusable`].
    pub(super) fn occupy(&self, latency: Duration, now: Time, warm: bool) -> u8 {
        let generation = ((self.life.load(Relaxed) >> 8) as u8).wrapping_add(1);
        self.latency
            .store(pack(float(latency), millis(now)), Relaxed);
        self.success.store(1.0f32.to_bits(), Relaxed);
        for word in [
            &self.run,
            &self.replied_upto,
            &self.failed,
            &self.ignored,
            &self.unsent,
            &self.unsent_run,
        ] {
            word.store(0, Relaxed);
        }
        self.replied_at.store(0, Relaxed);
        self.run_began.store(0, Relaxed);
        // `started` begins at 0 again; a stale `begin` may be adding and taking back meanwhile.
        self.flow.fetch_and(u64::from(u32::MAX), Relaxed);
        self.warm(warm.then_some(now));
        self.set_life(generation, Phase::Active);
        generation
    }

    /// Whether the last member of the slot is gone with all its work.
    pub(super) fn is_reusable(&self) -> bool {
        self.flow.load(SeqCst) & u64::from(u32::MAX) == 0
    }

    pub(super) fn set_life(&self, generation: u8, phase: Phase) {
        let life = u32::from(generation) << 8 | phase as u32;
        self.life.store(life, SeqCst);
    }

    /// Whether `id` is a member that takes new work.
    #[inline]
    pub(super) fn is_active(&self, id: MemberId) -> bool {
        self.life.load(SeqCst) == u32::from(id.generation()) << 8 | Phase::Active as u32
    }

    /// Whether `id` (active, draining or gone) has an attempt in flight.
    #[inline]
    pub(super) fn has_attempt(&self, id: MemberId) -> bool {
        let held = self.life.load(Relaxed) >> 8 == u32::from(id.generation());
        held && self.in_flight() != 0
    }

    /// Begins an attempt; false when `id` takes no new work any more.
    ///
    /// The addition comes before the look at the phase, and a removal sets the phase before it
    /// looks at the count: whichever is second sees the other.
    #[inline]
    pub(super) fn begin(&self, id: MemberId) -> bool {
        self.flow.fetch_add(STARTED | 1, SeqCst);
        let active = self.is_active(id);
        if !active {
            self.flow.fetch_sub(STARTED | 1, SeqCst);
        }
        active
    }

    /// Ends an attempt of a member that [`Self::has_attempt`]; false, with nothing changed, when
    /// another thread ended the last one in between.
    #[inline]
    pub(super) fn end(&self) -> bool {
        // Release: what was noted about the attempt is visible before the slot can be reused.
        let before = self.flow.fetch_sub(1, Release);
        let had = before & u64::from(u32::MAX) != 0;
        if !had {
            self.flow.fetch_add(1, Relaxed);
        }
        had
    }

    #[inline]
    pub(super) fn in_flight(&self) -> u32 {
        self.flow.load(Relaxed) as u32
    }

    pub(super) fn tally(&self) -> Tally {
        let flow = self.flow.load(Acquire);
        Tally {
            started: (flow >> 32) as u32,
            in_flight: flow as u32,
            failed: self.failed.load(Relaxed),
            ignored: self.ignored.load(Relaxed),
            unsent: self.unsent.load(Relaxed),
        }
    }

    /// The peer answered.
    #[inline]
    pub(super) fn note_reply(&self, now: Time) {
        let started = (self.flow.load(Relaxed) >> 32) as u32;
        self.replied_upto.store(started, Relaxed);
        self.replied_at.store(now.as_nanos(), Relaxed);
        let ratio = self.reply_ratio();
        // Stops within a thousandth of 1, so a healthy member's line stays shared.
        if ratio < 0.999 {
            self.set_ratio(ratio + (1.0 - ratio) * RATIO_STEP);
        }
        if self.run.load(Relaxed) != 0 {
            self.run.store(0, Relaxed);
        }
        if self.unsent_run.load(Relaxed) != 0 {
            self.unsent_run.store(0, Relaxed);
        }
    }

    /// No answer. Returns how many in a row that makes.
    pub(super) fn note_failure(&self, now: Time) -> u32 {
        self.failed.fetch_add(1, Relaxed);
        let ratio = self.reply_ratio();
        self.set_ratio(ratio - ratio * RATIO_STEP);
        let run = self.run.fetch_add(1, Relaxed);
        if run == 0 {
            self.run_began.store(now.as_nanos(), Relaxed);
        }
        run.saturating_add(1)
    }

    /// The member could not send. Returns how many times in a row that makes.
    pub(super) fn note_unsent(&self) -> u32 {
        self.unsent.fetch_add(1, Relaxed);
        self.unsent_run.fetch_add(1, Relaxed).saturating_add(1)
    }

    pub(super) fn note_ignored(&self) {
        self.ignored.fetch_add(1, Relaxed);
    }

    /// Forgets the evidence against the member, for a fresh start.
    pub(super) fn absolve(&self) {
        self.run.store(0, Relaxed);
        self.unsent_run.store(0, Relaxed);
        self.set_ratio(1.0);
        let started = (self.flow.load(Relaxed) >> 32) as u32;
        self.replied_upto.store(started, Relaxed);
    }

    #[inline]
    pub(super) fn reply_ratio(&self) -> f32 {
        f32::from_bits(self.success.load(Relaxed))
    }

    fn set_ratio(&self, ratio: f32) {
        self.success.store(ratio.to_bits(), Relaxed);
    }

    /// When the last reply came; the origin when there was none.
    pub(super) fn replied_at(&self) -> Time {
        Time::from_nanos(self.replied_at.load(Relaxed))
    }

    pub(super) fn replied_upto(&self) -> u32 {
        self.replied_upto.load(Relaxed)
    }

    pub(super) fn run_began(&self) -> Time {
        Time::from_nanos(self.run_began.load(Relaxed))
    }

    /// Begins the slow start at `from`, or ends it.
    pub(super) fn warm(&self, from: Option<Time>) {
        let nanos = from.map_or(0, |at| at.as_nanos().max(1));
        self.warm_from.store(nanos, Relaxed);
    }

    /// The part of its share that the member takes, `0.1..=1.0`.
    pub(super) fn warmth(&self, now: Time, span: Duration) -> f32 {
        let from = self.warm_from.load(Relaxed);
        if from == 0 || span.is_zero() {
            return 1.0;
        }
        let spent = now.saturating_since(Time::from_nanos(from));
        (spent.as_secs_f32() / span.as_secs_f32()).clamp(0.1, 1.0)
    }

    /// Takes a latency into the estimate: a higher one at once, a lower one by its age. `decay` is
    /// in half-lives per millisecond.
    #[inline]
    pub(super) fn note_latency(&self, sample: f32, now: Time, decay: f32) {
        let word = self.latency.load(Relaxed);
        let (current, at) = unpack(word);
        if sample > current {
            self.latency.store(pack(sample, millis(now)), Relaxed);
            return;
        }
        // Samples within one millisecond of the last change weigh nothing, and must not renew it.
        let age = age_ms(millis(now), at);
        if age > 0 {
            let kept = halved(age as f32 * decay);
            let next = current * kept + sample * (1.0 - kept);
            self.latency.store(pack(next, millis(now)), Relaxed);
        }
    }

    /// A sample that the latency was at least this long (an attempt given up): never lowers.
    pub(super) fn note_latency_floor(&self, sample: f32, now: Time, decay: f32) {
        if sample > self.latency(now, decay) {
            self.note_latency(sample, now, decay);
        }
    }

    /// The estimate in nanoseconds, at least 1 µs. Unrenewed, it falls: a member that failed, and
    /// is avoided for it, is tried again in the end.
    #[inline]
    pub(super) fn latency(&self, now: Time, decay: f32) -> f32 {
        let (current, at) = unpack(self.latency.load(Relaxed));
        let age = age_ms(millis(now), at);
        (current * halved(age as f32 * decay)).max(1_000.0)
    }
}

/// A span in nanoseconds for an estimate; 1 part in 16 million is precise enough for an average.
pub(super) fn float(span: Duration) -> f32 {
    nanos(span) as f32
}

/// The time in milliseconds modulo 2^32 (49 days); ages are taken modulo the same.
fn millis(now: Time) -> u32 {
    now.as_millis() as u32
}

/// Milliseconds since `at`; zero when another thread's later clock wrote it.
fn age_ms(now: u32, at: u32) -> u32 {
    let age = now.wrapping_sub(at);
    if age > u32::MAX / 2 { 0 } else { age }
}

fn pack(value: f32, at: u32) -> u64 {
    u64::from(value.to_bits()) << 32 | u64::from(at)
}

fn unpack(word: u64) -> (f32, u32) {
    (f32::from_bits((word >> 32) as u32), word as u32)
}

/// About 2^-x for x ≥ 0: exact at whole numbers, straight lines between them (at most 6.2 % above),
/// made by writing the exponent and letting the fraction spill into the mantissa (Schraudolph
/// 1999).
#[inline]
fn halved(x: f32) -> f32 {
    // Between 2^23 and 2^30: the conversion loses only what a float's mantissa does not hold.
    let bits = (127.0 - x.min(126.0)) * (1u32 << 23) as f32;
    f32::from_bits(bits as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One half-life a second.
    const DECAY: f32 = 0.001;

    fn occupied() -> (Slot, MemberId) {
        let slot = Slot::default();
        let generation = slot.occupy(Duration::from_millis(10), Time::ZERO, false);
        (slot, MemberId::new(0, generation))
    }

    #[test]
    fn ids_hold_slot_and_generation() {
        let id = MemberId::new(200, 7);
        assert_eq!((id.slot(), id.generation(), id.index()), (200, 7, 200));
        assert_eq!(MemberId::from_bits(id.bits()), id);
        assert_eq!(id.to_string(), "200.7");
    }

    #[test]
    fn a_slot_is_two_cache_lines() {
        assert_eq!(size_of::<Slot>(), 128);
    }

    #[test]
    fn started_overflows_without_touching_in_flight() {
        let (slot, id) = occupied();
        slot.flow.store(u64::from(u32::MAX) << 32, Relaxed);
        assert!(slot.begin(id) && slot.begin(id));
        let tally = slot.tally();
        assert_eq!((tally.started, tally.in_flight), (1, 2));
    }

    #[test]
    fn only_the_member_itself_begins_and_ends() {
        let (slot, id) = occupied();
        assert!(slot.begin(id));
        slot.set_life(id.generation(), Phase::Draining);
        assert!(!slot.begin(id), "draining takes nothing new");
        assert_eq!(slot.in_flight(), 1);
        slot.set_life(id.generation(), Phase::Gone);
        assert!(!slot.is_reusable());
        assert!(slot.end(), "a removed member finishes its work");
        assert!(slot.is_reusable());
        assert!(!slot.end(), "one end too many changes nothing");
        assert_eq!(slot.in_flight(), 0);

        let next = MemberId::new(0, slot.occupy(Duration::ZERO, Time::ZERO, false));
        assert!(slot.begin(next));
        assert!(
            !slot.begin(id) && !slot.has_attempt(id),
            "an old id means nobody"
        );
        assert_eq!(slot.in_flight(), 1);
    }

    #[test]
    fn windows_count_replies_as_what_is_left() {
        let (slot, id) = occupied();
        let base = slot.tally();
        for _ in 0..10 {
            assert!(slot.begin(id));
        }
        for n in 0..8 {
            match n {
                0 => assert_eq!(slot.note_failure(Time::ZERO), 1),
                1 => assert_eq!(slot.note_unsent(), 1),
                2 => slot.note_ignored(),
                _ => slot.note_reply(Time::ZERO),
            }
            assert!(slot.end());
        }
        let window = slot.tally().since(base);
        assert_eq!((window.replies, window.failed, window.unsent), (5, 1, 1));
        assert_eq!(window.attempts(), 6);
        assert_eq!(base.since(slot.tally()).replies, 0, "never below zero");
    }

    #[test]
    fn a_reply_ends_the_run() {
        let (slot, _) = occupied();
        let at = Time::from_millis(3);
        assert_eq!(slot.note_failure(at), 1);
        assert_eq!(slot.note_failure(Time::from_millis(9)), 2);
        assert_eq!(slot.run_began(), at);
        assert_eq!(slot.note_unsent(), 1);
        slot.note_reply(Time::from_millis(10));
        assert_eq!((slot.note_failure(at), slot.note_unsent()), (1, 1));
        assert_eq!(slot.replied_at(), Time::from_millis(10));
    }

    #[test]
    fn latency_peaks_at_once_and_sinks_by_half_lives() {
        let (slot, _) = occupied();
        let ms = |n: u64| Time::from_millis(n);
        slot.note_latency(100e6, ms(0), DECAY);
        assert_eq!(slot.latency(ms(0), DECAY), 100e6);
        slot.note_latency(1e6, ms(0), DECAY);
        assert_eq!(slot.latency(ms(0), DECAY), 100e6, "no time has passed");
        assert_eq!(slot.latency(ms(1_000), DECAY), 50e6);
        assert_eq!(slot.latency(ms(3_000), DECAY), 12.5e6);
        slot.note_latency(20e6, ms(1_000), DECAY);
        assert_eq!(
            slot.latency(ms(1_000), DECAY),
            60e6,
            "half way to the sample"
        );
        assert_eq!(slot.latency(ms(10_000_000), DECAY), 1_000.0, "the floor");
        assert_eq!(
            slot.latency(ms(500), DECAY),
            60e6,
            "a clock behind the writer's"
        );
    }

    #[test]
    fn an_attempt_given_up_raises_and_never_lowers() {
        let (slot, _) = occupied();
        let at = Time::from_millis(700);
        let before = slot.latency(at, DECAY);
        slot.note_latency_floor(1.0, at, DECAY);
        assert_eq!(slot.latency(at, DECAY), before);
        slot.note_latency_floor(80e6, at, DECAY);
        assert_eq!(slot.latency(at, DECAY), 80e6);
    }

    #[test]
    fn halving_is_monotone_and_near_the_power() {
        let mut last = 1.0;
        for step in 0..12_000u16 {
            let x = f32::from(step) / 100.0;
            let got = halved(x);
            assert!(got <= last, "at {x}");
            let exact = (-f64::from(x)).exp2();
            let error = f64::from(got) / exact - 1.0;
            assert!((-1e-6..0.062).contains(&error), "at {x}: {error}");
            last = got;
        }
        assert!(halved(1e9) < 1e-37);
    }

    #[test]
    fn warmth_rises_from_a_tenth() {
        let (slot, _) = occupied();
        let span = Duration::from_secs(10);
        assert_eq!(slot.warmth(Time::ZERO, span), 1.0);
        slot.warm(Some(Time::ZERO));
        let at = |s: u64| slot.warmth(Time::from_millis(s * 1_000), span);
        assert!((at(0) - 0.1).abs() < 1e-6 && (at(5) - 0.5).abs() < 1e-6);
        assert_eq!(at(20), 1.0);
    }
}
