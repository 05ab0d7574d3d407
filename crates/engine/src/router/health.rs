//! Attempts and what they say about their member.
//!
//! A member is thrown out (ejected) for a while on four kinds of evidence, each relative to its
//! siblings wherever the peers behind it may be the ones to blame:
//! - its own sends fail, several times in a row;
//! - a run of attempts without a reply that is too long to be chance, given how often its siblings
//!   get one: with ratio r, at least n so that (1 − r)^n is below one in a million. Judged when an
//!   attempt finishes, so failover does not wait for a pass;
//! - silence: attempts were begun, siblings answered since, and it has not for far longer than
//!   they take. Judged every `silence`, so a member that swallows work is found before timeouts;
//! - its reply ratio since the last pass is below a part (one half) of its siblings'.
//!
//! A person's mark outranks all of it. No more than a part of the members is out at a time; what
//! was denied for that reason counts, and the evidence starts over. An ejection ends when its hold
//! is over or when replies that still arrive show that the member is well; it returns slowly, and
//! each further ejection lasts twice as long until healthy passes have worn the strikes off.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::member::{Mark, MemberId, Slot, Window, float};
use super::roster::{Member, Roster, Router};
use super::view::Ejection;
use crate::fault::Outcome;
use crate::time::Time;

/// Why a member was ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// Its own sends failed several times in a row.
    SendFailures,
    /// Too many attempts in a row without a reply while siblings had theirs.
    NoReplies,
    /// Nothing came back for far longer than siblings take.
    Silence,
    /// A reply ratio far below its siblings'.
    ReplyRatio,
}

/// What happened to a member's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Thrown out.
    Ejected(Ejection),
    /// Taken back, because it answers again (`recovered`) or because its time was over.
    Returned {
        /// Whether replies showed it to be well.
        recovered: bool,
    },
}

/// A change of one member's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthEvent {
    /// Which member.
    pub member: MemberId,
    /// Its name.
    pub name: String,
    /// What happened.
    pub change: Change,
}

/// Events kept until the next [`Router::check`]; there are at most two per member and check unless
/// nobody checks.
const EVENTS_MAX: usize = 512;

/// How much longer than its siblings a member may take before it is called silent.
const PATIENCE: u32 = 8;

/// The longest pause asked for by a peer that its latency estimate believes.
const PAUSE_MAX: Duration = Duration::from_secs(300);

impl Router {
    /// Begins an attempt with `id`; false, with nothing taken, when the member was removed or is
    /// draining (a candidate may be a moment old). A member marked down or ejected meanwhile is
    /// still given it. Each true is followed by one of [`Self::finish`], [`Self::unsent`] and
    /// [`Self::abandon`].
    #[inline]
    #[must_use = "an attempt that did not begin must not be finished"]
    pub fn start(&self, id: MemberId) -> bool {
        self.slot(id).begin(id)
    }

    /// Ends an attempt: what the peer said, and how long after the start it did.
    ///
    /// Success and Slow are replies. RateLimited is one too, but counts as slow as the pause. A
    /// Failure is no reply and counts as slow, however fast it came. Ignored says nothing, save
    /// that a latency above the estimate raises it (the attempt took at least so long).
    #[inline]
    pub fn finish(&self, id: MemberId, now: Time, latency: Option<Duration>, outcome: Outcome) {
        let slot = self.slot(id);
        if !slot.has_attempt(id) {
            return;
        }
        let mut run = 0;
        match outcome {
            Outcome::Success | Outcome::Slow => {
                slot.note_reply(now);
                if let Some(took) = latency {
                    slot.note_latency(float(took), now, self.decay);
                }
            }
            Outcome::RateLimited(pause) => {
                slot.note_reply(now);
                self.penalize(slot, now, latency.max(Some(pause.min(PAUSE_MAX))));
            }
            Outcome::Failure => {
                run = slot.note_failure(now);
                self.penalize(slot, now, latency);
                self.counts().member_failures.fetch_add(1, Relaxed);
            }
            Outcome::Ignored => {
                slot.note_ignored();
                if let Some(took) = latency {
                    slot.note_latency_floor(float(took), now, self.decay);
                }
            }
        }
        let ended = slot.end();
        if ended && run >= self.policy.run_min {
            self.suspect(id, now, run);
        }
    }

    /// Ends an attempt that the member could not send: its own fault, not its peer's.
    pub fn unsent(&self, id: MemberId, now: Time) {
        let slot = self.slot(id);
        if !slot.has_attempt(id) {
            return;
        }
        let run = slot.note_unsent();
        self.counts().member_failures.fetch_add(1, Relaxed);
        if slot.end() && run >= self.policy.send_failures {
            self.eject_now(id, now, Why::SendFailures);
        }
    }

    /// Ends an attempt that nobody waits for any more, as Ignored; needs no clock.
    pub fn abandon(&self, id: MemberId) {
        let slot = self.slot(id);
        if slot.has_attempt(id) {
            slot.note_ignored();
            slot.end();
        }
    }

    /// Judges the members, takes back who has served, and returns what happened since the last
    /// call. Call it at [`Self::next_wakeup`]; more often does no harm, and the counts need it (or
    /// another look at them) once in four billion attempts.
    pub fn check(&self, now: Time) -> Vec<HealthEvent> {
        let mut roster = self.roster();
        self.extend_totals(&mut roster);
        let mut changed = self.take_back(&mut roster, now);
        changed |= self.judge_silence(&mut roster, now);
        if now >= roster.next_pass {
            changed |= self.judge_ratios(&mut roster, now);
            roster.next_pass = now + self.policy.check_every;
        }
        roster.next_tick = now + self.policy.silence;
        if changed {
            self.publish(&mut roster);
        }
        roster.events.drain(..).collect()
    }

    /// When [`Self::check`] has something to do.
    pub fn next_wakeup(&self) -> Time {
        let roster = self.roster();
        let holds = roster.members.iter().filter_map(|m| m.ejection);
        let tick = (roster.members.len() > 1).then_some(roster.next_tick);
        let due = holds.map(|e| e.until).chain(tick);
        due.fold(roster.next_pass, Time::min)
    }

    fn penalize(&self, slot: &Slot, now: Time, latency: Option<Duration>) {
        let sample = latency.unwrap_or_default().max(self.policy.failure_penalty);
        slot.note_latency(float(sample), now, self.decay);
    }

    /// Ejects `id` if `run` attempts without a reply are more than chance. Takes no lock unless
    /// they are.
    #[cold]
    fn suspect(&self, id: MemberId, now: Time, run: u32) {
        let began = self.slot(id).run_began();
        let guilty = self.current.with(|s| {
            let mut siblings = Siblings::default();
            for entry in s.entries.iter().filter(|e| e.id != id) {
                siblings.add(self.slot(entry.id), began, 0.0);
            }
            s.position(id).is_some() && siblings.answered && run >= self.improbable(&siblings)
        });
        if guilty {
            self.eject_now(id, now, Why::NoReplies);
        }
    }

    fn improbable(&self, siblings: &Siblings) -> u32 {
        improbable_run(siblings.ratio()).max(self.policy.run_min)
    }

    fn eject_now(&self, id: MemberId, now: Time, why: Why) {
        let mut roster = self.roster();
        if let Some(at) = roster.members.iter().position(|m| m.id == id)
            && self.eject(&mut roster, at, now, why)
        {
            self.publish(&mut roster);
        }
    }

    /// Ejects the member at `at` if a person's mark and the cap allow it. The caller publishes.
    fn eject(&self, roster: &mut Roster, at: usize, now: Time, why: Why) -> bool {
        let present = roster.members.iter().filter(|m| !m.draining).count();
        let out = roster
            .members
            .iter()
            .filter(|m| m.ejection.is_some())
            .count();
        let member = &mut roster.members[at];
        let slot = self.slot(member.id);
        if member.mark != Mark::Auto || member.draining || member.ejection.is_some() {
            slot.absolve();
            return false;
        }
        if (out + 1) as f32 > self.policy.ejected_max * present as f32 {
            self.counts().ejections_denied.fetch_add(1, Relaxed);
            slot.absolve();
            member.base = slot.tally();
            return false;
        }
        let doubled = self.policy.hold.saturating_mul(1 << member.strikes.min(16));
        let until = now + doubled.min(self.policy.hold_max);
        let ejection = Ejection { why, until };
        member.ejection = Some(ejection);
        member.strikes = member.strikes.saturating_add(1);
        member.base = slot.tally();
        self.counts().ejections.fetch_add(1, Relaxed);
        let event = event(member, Change::Ejected(ejection));
        push(roster, event);
        true
    }

    fn take_back(&self, roster: &mut Roster, now: Time) -> bool {
        let mut changed = false;
        for at in 0..roster.members.len() {
            let Some(ejection) = roster.members[at].ejection else {
                continue;
            };
            let recovered = self.has_recovered(roster, at, now);
            if now < ejection.until && !recovered {
                continue;
            }
            let Roster {
                members,
                warming_until,
                ..
            } = &mut *roster;
            members[at].ejection = None;
            self.start_afresh(&mut members[at], warming_until, now);
            self.counts().returns.fetch_add(1, Relaxed);
            let event = event(&members[at], Change::Returned { recovered });
            push(roster, event);
            changed = true;
        }
        changed
    }

    /// Whether the replies since the ejection (late ones, and those of a panic) speak for it.
    fn has_recovered(&self, roster: &Roster, at: usize, now: Time) -> bool {
        let member = &roster.members[at];
        let window = self.window(member);
        let siblings = self.siblings(roster, at, Time::MAX, now);
        window.attempts() >= self.policy.min_sample
            && ratio(window) >= self.policy.ratio_floor.max(0.5) * siblings.ratio()
    }

    fn judge_silence(&self, roster: &mut Roster, now: Time) -> bool {
        let mut changed = false;
        for at in 0..roster.members.len() {
            let member = &roster.members[at];
            if member.ejection.is_some() || member.draining {
                continue;
            }
            let slot = self.slot(member.id);
            let siblings = self.siblings(roster, at, member.tick.at, now);
            let tally = slot.tally();
            let excused = tally.ignored.wrapping_add(tally.unsent);
            let mut tick = member.tick;
            if slot.replied_at() > tick.at {
                tick.excused = excused;
            } else if now.saturating_since(tick.at) < self.patience(&siblings) {
                continue;
            } else {
                let begun = tick.started.wrapping_sub(slot.replied_upto()).cast_signed();
                let excused = excused.wrapping_sub(tick.excused);
                let unanswered = u32::try_from(begun).unwrap_or(0).saturating_sub(excused);
                if siblings.answered && unanswered >= self.improbable(&siblings) {
                    changed |= self.eject(roster, at, now, Why::Silence);
                }
            }
            tick.at = now;
            tick.started = tally.started;
            roster.members[at].tick = tick;
        }
        changed
    }

    fn patience(&self, siblings: &Siblings) -> Duration {
        let slowest = Duration::from_secs_f64(f64::from(siblings.slowest) / 1e9);
        self.policy.silence.max(slowest.saturating_mul(PATIENCE))
    }

    fn judge_ratios(&self, roster: &mut Roster, now: Time) -> bool {
        let mut changed = false;
        // The worst first: the others are then compared without it.
        while let Some(at) = self.worst(roster) {
            let ejected = self.eject(roster, at, now, Why::ReplyRatio);
            changed |= ejected;
            if !ejected {
                break;
            }
        }
        for member in &mut roster.members {
            if member.ejection.is_some() {
                continue;
            }
            if now.saturating_since(member.clean_since) >= self.policy.check_every {
                member.strikes = member.strikes.saturating_sub(1);
            }
            if self.window(member).attempts() >= self.policy.min_sample {
                member.base = self.slot(member.id).tally();
            }
        }
        changed
    }

    /// The member with the lowest reply ratio, if that is too low beside the others'.
    fn worst(&self, roster: &Roster) -> Option<usize> {
        let counted: Vec<(usize, Window)> = roster
            .members
            .iter()
            .enumerate()
            .filter(|(_, m)| m.ejection.is_none() && m.mark == Mark::Auto && !m.draining)
            .map(|(at, m)| (at, self.window(m)))
            .collect();
        let judged = counted
            .iter()
            .filter(|(_, w)| w.attempts() >= self.policy.min_sample);
        let (at, own) = *judged.min_by(|a, b| ratio(a.1).total_cmp(&ratio(b.1)))?;
        let mut others = Window::default();
        for (_, window) in counted.iter().filter(|(other, _)| *other != at) {
            others.replies = others.replies.saturating_add(window.replies);
            others.failed = others.failed.saturating_add(window.failed);
        }
        let enough = others.attempts() >= self.policy.min_sample;
        (enough && ratio(own) < self.policy.ratio_floor * ratio(others)).then_some(at)
    }

    fn window(&self, member: &Member) -> Window {
        self.slot(member.id).tally().since(member.base)
    }

    fn siblings(&self, roster: &Roster, at: usize, since: Time, now: Time) -> Siblings {
        let mut siblings = Siblings::default();
        for (other, member) in roster.members.iter().enumerate() {
            if other != at && member.ejection.is_none() {
                let slot = self.slot(member.id);
                siblings.add(slot, since, slot.latency(now, self.decay));
            }
        }
        siblings
    }
}

/// The other members, summed up.
#[derive(Default)]
struct Siblings {
    ratios: f32,
    count: f32,
    /// Whether one of them got a reply at or after the time asked for.
    answered: bool,
    /// The longest latency of those that ever answered, in nanoseconds.
    slowest: f32,
}

impl Siblings {
    fn add(&mut self, slot: &Slot, since: Time, latency: f32) {
        self.ratios += slot.reply_ratio();
        self.count += 1.0;
        let replied_at = slot.replied_at();
        if replied_at > Time::ZERO {
            self.answered |= replied_at >= since;
            self.slowest = self.slowest.max(latency);
        }
    }

    /// Their mean reply ratio; 0 without siblings.
    fn ratio(&self) -> f32 {
        self.ratios / self.count.max(1.0)
    }
}

/// The shortest run without a reply that a member as good as its siblings has at most once in a
/// million runs.
fn improbable_run(ratio: f32) -> u32 {
    let miss = f64::from(1.0 - ratio).clamp(0.000_1, 0.999_9);
    // At most 138,148.
    (1e-6f64.ln() / miss.ln()).ceil() as u32
}

/// Replies among the window's attempts; 0 without any.
fn ratio(window: Window) -> f32 {
    window.replies as f32 / window.attempts().max(1) as f32
}

fn event(member: &Member, change: Change) -> HealthEvent {
    HealthEvent {
        member: member.id,
        name: member.name.clone(),
        change,
    }
}

fn push(roster: &mut Roster, event: HealthEvent) {
    if roster.events.len() == EVENTS_MAX {
        roster.events.pop_front();
    }
    roster.events.push_back(event);
}

#[cfg(test)]
mod tests {
    use super::super::{MemberSpec, RouterPolicy, Strategy};
    use super::*;
    use crate::rng::Rng;

    const T0: Time = Time::from_millis(1_000);

    struct Bench {
        router: Router,
        ids: Vec<MemberId>,
        rng: Rng,
        now: Time,
    }

    impl Bench {
        fn new(members: usize, edit: impl FnOnce(&mut RouterPolicy)) -> Self {
            let mut policy = RouterPolicy {
                strategy: Strategy::RoundRobin,
                slow_start: Duration::ZERO,
                ..RouterPolicy::default()
            };
            edit(&mut policy);
            let mut rng = Rng::seeded(4);
            let router = Router::new(policy, &mut rng).unwrap();
            let add = |n| router.add(T0, MemberSpec::named(format!("m{n}"))).unwrap();
            let ids = (0..members).map(add).collect();
            Self {
                router,
                ids,
                rng,
                now: T0,
            }
        }

        fn attempt(&mut self, member: usize, outcome: Outcome) {
            let id = self.ids[member];
            assert!(self.router.start(id));
            let took = Some(Duration::from_millis(10));
            self.router.finish(id, self.now, took, outcome);
        }

        fn pass(&mut self, seconds: u64) -> Vec<HealthEvent> {
            self.now = self.now + Duration::from_secs(seconds);
            self.router.check(self.now)
        }

        fn usable(&self, member: usize) -> bool {
            self.router.members(self.now)[member].usable
        }
    }

    fn changes(events: &[HealthEvent]) -> Vec<(&str, &'static str)> {
        let name = |change: &Change| match change {
            Change::Ejected(ejection) => match ejection.why {
                Why::SendFailures => "send failures",
                Why::NoReplies => "no replies",
                Why::Silence => "silence",
                Why::ReplyRatio => "reply ratio",
            },
            Change::Returned { recovered: true } => "recovered",
            Change::Returned { recovered: false } => "returned",
        };
        events
            .iter()
            .map(|e| (e.name.as_str(), name(&e.change)))
            .collect()
    }

    #[test]
    fn a_run_without_replies_ejects_before_any_pass() {
        let mut b = Bench::new(2, |_| {});
        for _ in 0..40 {
            b.attempt(0, Outcome::Success);
            b.attempt(1, Outcome::Success);
        }
        let began = b.now;
        let mut failures = 0;
        while b.usable(1) {
            b.now = b.now + Duration::from_millis(1);
            b.attempt(0, Outcome::Success);
            b.attempt(1, Outcome::Failure);
            failures += 1;
            assert!(failures < 100);
        }
        assert_eq!(
            failures, 5,
            "siblings answer nearly always: the smallest run is enough"
        );
        assert!(b.now.saturating_since(began) < Duration::from_secs(1));
        assert!((0..20).all(|k| b.router.pick(b.now, k, &mut b.rng).next() == Some(b.ids[0])));
        assert_eq!(changes(&b.pass(0)), [("m1", "no replies")]);
        assert!(b.pass(0).is_empty(), "told once");
    }

    #[test]
    fn failures_that_siblings_share_eject_nobody() {
        let mut b = Bench::new(3, |_| {});
        // Nine of ten peers behind every member are dead.
        for n in 0..3_000 {
            let outcome = if n % 10 == 0 {
                Outcome::Success
            } else {
                Outcome::Failure
            };
            for member in 0..3 {
                b.attempt(member, outcome);
            }
            b.now = b.now + Duration::from_millis(10);
            if n % 100 == 0 {
                assert!(b.pass(0).is_empty(), "after {n}");
            }
        }
        // All dead: nobody answers, so nobody is to blame.
        for _ in 0..2_000 {
            (0..3).for_each(|member| b.attempt(member, Outcome::Failure));
        }
        assert!(b.pass(30).is_empty());
        assert_eq!(b.router.stats().ejections, 0);
    }

    #[test]
    fn the_run_that_convicts_grows_as_siblings_fail_more() {
        for (ratio, run) in [(1.0, 2), (0.95, 5), (0.5, 20), (0.1, 132)] {
            assert_eq!(improbable_run(ratio), run, "at {ratio}");
        }
        assert_eq!(improbable_run(0.0), 138_149);
    }

    #[test]
    fn own_send_failures_eject_at_once() {
        let mut b = Bench::new(2, |p| p.send_failures = 3);
        let unsent = |b: &Bench| {
            assert!(b.router.start(b.ids[0]));
            b.router.unsent(b.ids[0], b.now);
        };
        unsent(&b);
        unsent(&b);
        b.attempt(0, Outcome::Success);
        unsent(&b);
        unsent(&b);
        assert!(b.usable(0), "a reply between ends the run");
        unsent(&b);
        assert!(!b.usable(0));
        assert_eq!(changes(&b.pass(0)), [("m0", "send failures")]);
        let view = &b.router.members(b.now)[0];
        assert_eq!((view.unsent, view.started, view.in_flight), (5, 6, 0));
    }

    #[test]
    fn a_low_reply_ratio_is_found_by_the_pass() {
        // (replies of 40 by the suspect, by each sibling, ejected)
        let cases = [
            (40, 40, false),
            (21, 40, false),
            (19, 40, true),
            (9, 20, true),
            (0, 0, false),
        ];
        for (own, theirs, ejected) in cases {
            let mut b = Bench::new(3, |p| p.run_min = 1_000);
            b.pass(0);
            for n in 0..40 {
                // Spread out, so that no run convicts first.
                let answers = |k: u32| (n * k) / 40 != ((n + 1) * k) / 40;
                for (member, k) in [(0, own), (1, theirs), (2, theirs)] {
                    let outcome = if answers(k) {
                        Outcome::Success
                    } else {
                        Outcome::Failure
                    };
                    b.attempt(member, outcome);
                }
            }
            assert!(b.pass(29).is_empty(), "not before the pass is due");
            let events = b.pass(1);
            let expected: &[_] = if ejected {
                &[("m0", "reply ratio")]
            } else {
                &[]
            };
            assert_eq!(changes(&events), expected, "{own} beside {theirs}");
        }
    }

    #[test]
    fn small_samples_wait_for_the_next_pass() {
        let mut b = Bench::new(2, |p| p.run_min = 1_000);
        b.pass(0);
        for round in 0..2 {
            for n in 0..12 {
                b.attempt(
                    0,
                    if n % 4 == 0 {
                        Outcome::Success
                    } else {
                        Outcome::Failure
                    },
                );
                b.attempt(1, Outcome::Success);
            }
            let events = b.pass(30);
            assert_eq!(events.len(), round, "12 are too few, 24 are not");
        }
    }

    #[test]
    fn a_member_that_swallows_work_is_found_before_timeouts() {
        let mut b = Bench::new(2, |_| {});
        for _ in 0..50 {
            b.attempt(0, Outcome::Success);
            b.attempt(1, Outcome::Success);
        }
        b.pass(0);
        let died = b.now;
        // Member 1 takes 20 attempts a second and answers none; nothing times out for 5 s.
        while b.usable(1) {
            b.now = b.now + Duration::from_millis(50);
            b.attempt(0, Outcome::Success);
            assert!(b.router.start(b.ids[1]));
            if b.router.next_wakeup() <= b.now {
                let events = b.router.check(b.now);
                assert!(events.is_empty() || changes(&events) == [("m1", "silence")]);
            }
            assert!(b.now < died + Duration::from_secs(3));
        }
        let took = b.now.saturating_since(died);
        assert!(took < Duration::from_secs(1), "{took:?}");
    }

    #[test]
    fn slow_or_idle_or_abandoned_is_not_silent() {
        let mut b = Bench::new(2, |_| {});
        b.pass(0);
        // Siblings take half a second: 2 s without a reply are nothing.
        for _ in 0..10 {
            for member in 0..2 {
                let id = b.ids[member];
                assert!(b.router.start(id));
                b.router.finish(
                    id,
                    b.now,
                    Some(Duration::from_millis(500)),
                    Outcome::Success,
                );
            }
        }
        for _ in 0..20 {
            assert!(b.router.start(b.ids[1]));
        }
        for _ in 0..8 {
            b.now = b.now + Duration::from_millis(250);
            b.attempt(0, Outcome::Success);
            assert!(b.router.check(b.now).is_empty());
        }
        // Those 20 are given up; nothing more is asked of it for an hour.
        for _ in 0..20 {
            b.router.abandon(b.ids[1]);
        }
        for _ in 0..3_600 {
            b.attempt(0, Outcome::Success);
            assert!(b.pass(1).is_empty());
        }
    }

    #[test]
    fn no_more_than_the_cap_are_out_and_denials_count() {
        let mut b = Bench::new(4, |p| p.panic_below = 0.0);
        for _ in 0..40 {
            (0..4).for_each(|member| b.attempt(member, Outcome::Success));
        }
        for _ in 0..200 {
            b.attempt(0, Outcome::Success);
            (1..4).for_each(|member| b.attempt(member, Outcome::Failure));
        }
        let out = (0..4).filter(|member| !b.usable(*member)).count();
        assert_eq!(out, 2, "half of four");
        let stats = b.router.stats();
        assert_eq!(stats.ejections, 2);
        assert!(stats.ejections_denied >= 1);

        let b = Bench::new(1, |_| {});
        for _ in 0..10 {
            assert!(b.router.start(b.ids[0]));
            b.router.unsent(b.ids[0], b.now);
        }
        assert!(b.usable(0), "the only one is never ejected");
    }

    #[test]
    fn holds_double_and_wear_off() {
        let mut b = Bench::new(2, |_| {});
        let mut holds = Vec::new();
        for _ in 0..6 {
            for _ in 0..5 {
                assert!(b.router.start(b.ids[0]));
                b.router.unsent(b.ids[0], b.now);
            }
            let ejection = b.router.members(b.now)[0].ejection.unwrap();
            holds.push(ejection.until.saturating_since(b.now).as_secs());
            b.now = ejection.until - Duration::from_nanos(1);
            b.router.check(b.now);
            assert!(!b.usable(0));
            assert!(b.router.next_wakeup() <= ejection.until);
            b.now = ejection.until;
            assert!(changes(&b.router.check(b.now)).contains(&("m0", "returned")));
            assert!(b.usable(0));
        }
        assert_eq!(holds, [30, 60, 120, 240, 300, 300]);
        for _ in 0..10 {
            b.pass(30);
        }
        for _ in 0..5 {
            assert!(b.router.start(b.ids[0]));
            b.router.unsent(b.ids[0], b.now);
        }
        let ejection = b.router.members(b.now)[0].ejection.unwrap();
        assert_eq!(
            ejection.until.saturating_since(b.now).as_secs(),
            30,
            "worn off"
        );
    }

    #[test]
    fn late_replies_bring_a_member_back_early() {
        let mut b = Bench::new(2, |_| {});
        for _ in 0..30 {
            assert!(b.router.start(b.ids[0]));
        }
        for _ in 0..5 {
            assert!(b.router.start(b.ids[0]));
            b.router.unsent(b.ids[0], b.now);
        }
        assert!(!b.usable(0));
        b.attempt(1, Outcome::Success);
        b.pass(1);
        for n in 0..30 {
            b.router.finish(b.ids[0], b.now, None, Outcome::Success);
            if n == 10 {
                b.pass(0);
                assert!(!b.usable(0), "eleven replies are too few");
            }
        }
        assert_eq!(changes(&b.pass(0)), [("m0", "recovered")]);
        assert!(b.usable(0));
    }

    #[test]
    fn in_a_panic_ejections_are_ignored_and_marks_are_not() {
        use super::super::Mark;
        let b = Bench::new(4, |_| {});
        for member in [0, 1] {
            for _ in 0..5 {
                assert!(b.router.start(b.ids[member]));
                b.router.unsent(b.ids[member], b.now);
            }
        }
        assert!(!b.usable(0) && !b.usable(1) && !b.router.stats().panicking);
        b.router.mark(b.ids[2], Mark::Down, b.now).unwrap();
        assert!(b.router.stats().panicking, "one of four is healthy");
        let usable: Vec<_> = (0..4).map(|member| b.usable(member)).collect();
        assert_eq!(usable, [true, true, false, true]);
        b.router.mark(b.ids[2], Mark::Up, b.now).unwrap();
        let usable: Vec<_> = (0..4).map(|member| b.usable(member)).collect();
        assert_eq!(usable, [false, false, true, true]);
    }

    #[test]
    fn a_member_marked_up_is_never_ejected() {
        use super::super::Mark;
        let mut b = Bench::new(2, |_| {});
        b.router.mark(b.ids[0], Mark::Up, b.now).unwrap();
        for _ in 0..100 {
            assert!(b.router.start(b.ids[0]));
            b.router.unsent(b.ids[0], b.now);
            b.attempt(1, Outcome::Success);
            b.attempt(0, Outcome::Failure);
        }
        b.pass(30);
        assert!(b.usable(0));
        assert_eq!(b.router.stats().ejections, 0);
    }

    #[test]
    fn outcomes_move_the_right_counts() {
        let mut b = Bench::new(2, |_| {});
        let outcomes = [
            Outcome::Success,
            Outcome::Slow,
            Outcome::RateLimited(Duration::from_secs(9_999)),
            Outcome::Failure,
            Outcome::Ignored,
        ];
        for outcome in outcomes {
            b.attempt(0, outcome);
        }
        let view = &b.router.members(b.now)[0];
        assert_eq!(
            (view.started, view.failed, view.ignored, view.in_flight),
            (5, 1, 1, 0)
        );
        // A pause is believed up to a cap.
        assert!(
            (299..=300).contains(&view.latency.as_secs()),
            "{:?}",
            view.latency
        );
        assert_eq!(b.router.stats().member_failures, 1);
    }
}
