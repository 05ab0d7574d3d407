//! A circuit breaker per target: stop asking a peer that does not answer, and notice at the price
//! of a few probes when it does again.
//!
//! **Rules.** A closed breaker trips on N consecutive failures, *or* on a failure rate, *or* on a
//! rate of slow calls. A success, also a slow one, resets the count. Open lasts `open` times two
//! to the number of trips in a row (jitter, cap); each `open` spent closed takes one trip back.
//! Then K probes are let through. It closes when all K succeeded; any that fails reopens it.
//! A peer that asks for a pause gets it: the breaker opens for that long, clamped.
//!
//! **One word.** State, generation and counts are one 64-bit word, so every change is one
//! compare-and-swap and its winner alone gets the [`Transition`]. Every change of state is a new
//! generation. An [`Admission`] carries the generation that it was given in, and a result of
//! another generation is not counted at all: a straggler from before the trip never decides a
//! probe, and a cancelled call never gives back a permit that it did not take.
//!
//! **Nothing waits.** There is no timer: time passes in [`Breaker::allow`]. A probe that never
//! reports loses its permit when its lease ends; the next `allow` counts that as a failed probe.
//!
//! Edge cases. Only a failure is measured against the failure rate and only a slow call against
//! the slow rate: a success never trips. A slow probe fails where a slow rate is configured, and
//! succeeds elsewhere. A peer that asks for a pause of zero counts in the failure rate, not in the
//! consecutive count, and fails a probe. Issuing a probe renews the lease of those that are out.
//! What a person forced stays until a person takes it back; calls of that time are not counted.

mod admission;
mod counters;
mod policy;
mod transition;
mod window;
mod word;

pub use admission::{Admission, OpenCircuit};
pub use counters::{BreakerCounters, CounterValues, Note};
pub use policy::{BreakerPolicy, RateRule};
pub use transition::{Forced, Reason, State, StateKind, Transition};
pub use window::Tally;

use crate::fault::Outcome;
use crate::rng::{Rng, mix64};
use crate::sync::{AtomicU64, Ordering};
use crate::time::{self, Time};
use admission::{refusal, settle};
use std::time::Duration;
use window::{Ring, Windows};
use word::{CONSECUTIVE_MAX, Phase, Tick, Word};

/// What an operator sees of one breaker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerView {
    /// As [`Breaker::state`] says.
    pub state: State,
    /// Changes so far, modulo 2^16.
    pub generation: u16,
    /// Failures since the last success; closed only.
    pub consecutive: u32,
    /// Trips in a row that the next open time grows with.
    pub trips: u8,
    /// Probes out and probes that succeeded; half-open only.
    pub probes: (u8, u8),
    /// The failure window, where the policy has one.
    pub failures: Option<Tally>,
    /// The slow-call window, where the policy has one.
    pub slow: Option<Tally>,
}

/// See the [module](self). 16 bytes; a failure window adds a box of 104.
#[derive(Debug)]
pub struct Breaker {
    word: AtomicU64,
    windows: Option<Box<Windows>>,
}

impl Breaker {
    /// A closed breaker with the windows that `policy` needs.
    pub fn new(policy: &BreakerPolicy) -> Self {
        Self {
            word: AtomicU64::new(0),
            windows: Windows::for_policy(policy),
        }
    }

    /// A breaker for a new policy that starts in this one's state, a forced one included, with
    /// empty windows. Needed only when [`Self::fits`] says no; admissions stay with this one.
    pub fn carried_to(&self, policy: &BreakerPolicy) -> Self {
        Self {
            word: AtomicU64::new(self.load().0),
            windows: Windows::for_policy(policy),
        }
    }

    /// Whether this breaker has the windows that `policy` needs, in their lengths. All else of a
    /// policy may change from call to call.
    pub fn fits(&self, policy: &BreakerPolicy) -> bool {
        Windows::fit(self.windows.as_deref(), policy)
    }

    /// Whether one call may be sent now: one load when closed.
    ///
    /// # Errors
    /// [`OpenCircuit`], with the time from which asking again is of use.
    #[inline]
    pub fn allow(&self, policy: &BreakerPolicy, now: Time) -> Result<Admission, OpenCircuit> {
        let word = self.load();
        if word.admits_all() {
            return Ok(Admission::plain(word.generation()));
        }
        if let Some(until) = word.open_until().filter(|until| now < *until) {
            return Err(OpenCircuit::until(word.generation(), until));
        }
        self.allow_guarded(word, policy, now)
    }

    /// Tells how an admitted call ended. `Ignored` gives a probe's permit back.
    ///
    /// Returns the change of state, if this result made one.
    #[inline]
    pub fn record(
        &self,
        policy: &BreakerPolicy,
        admission: Admission,
        outcome: Outcome,
        now: Time,
        rng: &mut Rng,
    ) -> Option<Transition> {
        let word = self.load();
        if matches!(outcome, Outcome::Success) && word.is_clean_for(admission) {
            if let Some(windows) = self.windows.as_deref() {
                windows.count_good(now);
            }
            return None;
        }
        self.record_notable(word, policy, admission, outcome, now, rng)
    }

    /// The call was given up: a probe's permit goes back, if the breaker is still in the generation
    /// that gave it.
    pub fn abandon(&self, admission: Admission) {
        if !admission.probe() {
            return;
        }
        self.update(|word| match word.phase() {
            Phase::HalfOpen { out, ok, lease } if word.generation() == admission.generation() => {
                let out = out.checked_sub(1)?;
                let phase = Phase::HalfOpen { out, ok, lease };
                Some(Word::pack(word.generation(), word.trips(), phase))
            }
            _ => None,
        });
    }

    /// What a person wants. `Open` and `Closed` stay until `None`; `HalfOpen` is one move, from any
    /// state. `None` lets go: a breaker forced open probes first, one forced closed is closed.
    pub fn force(&self, forced: Forced, now: Time) -> Option<Transition> {
        if forced == Forced::None && self.load().kind() == StateKind::ForcedClosed {
            self.clear_windows();
        }
        let changed = self.update(|word| {
            let phase = forced.phase(word.kind(), now)?;
            let moved = phase.kind() != word.kind();
            moved.then(|| Word::pack(next(word), word.trips(), phase))
        })?;
        let reason = match forced {
            Forced::None => Reason::Released,
            _ => Reason::Forced,
        };
        Some(transition(changed, reason))
    }

    /// Closed, with nothing remembered: the counts, the windows, the trips, a forced state.
    pub fn reset(&self, now: Time) -> Option<Transition> {
        self.clear_windows();
        let (old, new) = self.update(|word| Some(Word::pack(next(word), 0, closed(now))))?;
        (old.kind() != new.kind()).then(|| transition((old, new), Reason::Reset))
    }

    /// The state as the next call would find it: open whose time is over is half-open.
    pub fn state(&self, now: Time) -> State {
        match self.load().phase() {
            Phase::Closed { .. } => State::Closed,
            Phase::ForcedClosed => State::ForcedClosed,
            Phase::ForcedOpen => State::ForcedOpen,
            Phase::Open { until_ms } if until_ms > now.as_millis() => State::Open {
                until: Time::from_millis(until_ms),
            },
            Phase::Open { .. } | Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// Everything that an operator may want to see; changes nothing.
    pub fn view(&self, policy: &BreakerPolicy, now: Time) -> BreakerView {
        let word = self.load();
        let (consecutive, probes) = match word.phase() {
            Phase::Closed { consecutive, .. } => (consecutive, (0, 0)),
            Phase::HalfOpen { out, ok, .. } => (0, (out, ok)),
            _ => (0, (0, 0)),
        };
        let windows = self.windows.as_deref();
        let failures = windows.and_then(|w| w.failures.as_ref());
        let slow = windows.and_then(|w| w.slow.as_deref());
        BreakerView {
            state: self.state(now),
            generation: word.generation(),
            consecutive,
            trips: word.trips(),
            probes,
            failures: failures
                .zip(policy.failure_rate.as_ref())
                .map(|(ring, _)| ring.sum(now)),
            slow: slow
                .zip(policy.slow_rate.as_ref())
                .map(|(ring, _)| ring.sum(now)),
        }
    }

    /// What a person forced, as a code to keep over a restart: 0 nothing, 1 open, 2 closed.
    pub fn snapshot(&self) -> u8 {
        match self.load().kind() {
            StateKind::ForcedOpen => 1,
            StateKind::ForcedClosed => 2,
            _ => 0,
        }
    }

    /// Forces what [`Self::snapshot`] kept; another code does nothing.
    pub fn restore(&self, code: u8, now: Time) -> Option<Transition> {
        match code {
            1 => self.force(Forced::Open, now),
            2 => self.force(Forced::Closed, now),
            _ => None,
        }
    }
}

impl Breaker {
    #[inline]
    fn load(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    /// Replaces `old` by `new`, or says what is there instead.
    fn swap(&self, old: Word, new: Word) -> Result<(), Word> {
        self.word
            .compare_exchange(old.0, new.0, Ordering::AcqRel, Ordering::Acquire)
            .map_or_else(|seen| Err(Word(seen)), |_| Ok(()))
    }

    /// Applies `change` to the word until it is applied to what is there; the old and the new word.
    fn update(&self, change: impl Fn(Word) -> Option<Word>) -> Option<(Word, Word)> {
        let mut word = self.load();
        loop {
            let new = change(word)?;
            match self.swap(word, new) {
                Ok(()) => return Some((word, new)),
                Err(seen) => word = seen,
            }
        }
    }

    #[inline(never)]
    fn allow_guarded(
        &self,
        mut word: Word,
        policy: &BreakerPolicy,
        now: Time,
    ) -> Result<Admission, OpenCircuit> {
        loop {
            let new = match word.phase() {
                Phase::Closed { .. } | Phase::ForcedClosed => {
                    return Ok(Admission::plain(word.generation()));
                }
                Phase::ForcedOpen => return Err(refusal(word, Time::MAX)),
                Phase::Open { until_ms } if now.as_millis() < until_ms => {
                    return Err(refusal(word, Time::from_millis(until_ms)));
                }
                Phase::Open { .. } => {
                    let phase = Phase::HalfOpen {
                        out: 1,
                        ok: 0,
                        lease: lease(policy, now),
                    };
                    Word::pack(next(word), word.trips(), phase)
                }
                Phase::HalfOpen {
                    out, lease: end, ..
                } if out > 0 && end.reached(now) => {
                    // No generator at hand: what differs between breakers and moments will do.
                    let dice = mix64(word.0 ^ now.as_nanos()) as f64 / u64::MAX as f64;
                    let span = policy.open_span(word.trips(), dice);
                    Word::pack(next(word), word.trips() + 1, open(now, span))
                }
                Phase::HalfOpen {
                    out,
                    ok,
                    lease: end,
                } => {
                    // With none out one more may go, or a quota lowered by a reload would wedge.
                    if out > 0 && out + ok >= policy.probe_quota() {
                        return Err(refusal(word, end.start(now)));
                    }
                    let phase = Phase::HalfOpen {
                        out: out + 1,
                        ok,
                        lease: lease(policy, now),
                    };
                    Word::pack(word.generation(), word.trips(), phase)
                }
            };
            match self.swap(word, new) {
                Ok(()) => return settle(word, new),
                Err(seen) => word = seen,
            }
        }
    }

    /// What is left: not a success, or not the first since a failure, or a probe.
    #[inline(never)]
    fn record_notable(
        &self,
        word: Word,
        policy: &BreakerPolicy,
        admission: Admission,
        outcome: Outcome,
        now: Time,
        rng: &mut Rng,
    ) -> Option<Transition> {
        if word.generation() != admission.generation() {
            return None;
        }
        if admission.probe() {
            return self.record_probe(policy, admission, outcome, now, rng);
        }
        self.record_closed(word, policy, outcome, now, rng)
    }

    fn record_probe(
        &self,
        policy: &BreakerPolicy,
        admission: Admission,
        outcome: Outcome,
        now: Time,
        rng: &mut Rng,
    ) -> Option<Transition> {
        let slow_fails = policy.slow_rate.is_some();
        let (reason, span) = match outcome {
            Outcome::Ignored => {
                self.abandon(admission);
                return None;
            }
            Outcome::Slow if !slow_fails => return self.pass_probe(policy, admission, now),
            Outcome::Success => return self.pass_probe(policy, admission, now),
            Outcome::RateLimited(asked) if !asked.is_zero() => {
                (Reason::RateLimited, Some(policy.pause_span(asked)))
            }
            Outcome::Failure | Outcome::Slow | Outcome::RateLimited(_) => {
                (Reason::ProbeFailed, None)
            }
        };
        let dice = rng.unit();
        let changed = self.update(|word| {
            let current = word.generation() == admission.generation();
            if !current || word.kind() != StateKind::HalfOpen {
                return None;
            }
            let trips = word.trips();
            let (span, trips) = match span {
                Some(pause) => (pause, trips),
                None => (policy.open_span(trips, dice), trips + 1),
            };
            Some(Word::pack(next(word), trips, open(now, span)))
        })?;
        Some(transition(changed, reason))
    }

    fn pass_probe(
        &self,
        policy: &BreakerPolicy,
        admission: Admission,
        now: Time,
    ) -> Option<Transition> {
        // Nothing of before the trip may trip the closed breaker again. Nobody counts in the
        // windows while half-open, so clearing them early, or for nothing, does no harm.
        self.clear_windows();
        let (old, new) = self.update(|word| match word.phase() {
            Phase::HalfOpen { out, ok, lease } if word.generation() == admission.generation() => {
                let (out, ok) = (out.saturating_sub(1), ok + 1);
                if ok >= policy.probe_quota() {
                    return Some(Word::pack(next(word), word.trips(), closed(now)));
                }
                let phase = Phase::HalfOpen { out, ok, lease };
                Some(Word::pack(word.generation(), word.trips(), phase))
            }
            _ => None,
        })?;
        let closed = new.kind() == StateKind::Closed;
        closed.then(|| transition((old, new), Reason::ProbesSucceeded))
    }

    fn record_closed(
        &self,
        mut word: Word,
        policy: &BreakerPolicy,
        outcome: Outcome,
        now: Time,
        rng: &mut Rng,
    ) -> Option<Transition> {
        if outcome == Outcome::Ignored || word.kind() != StateKind::Closed {
            return None;
        }
        let broken = self.count(policy, outcome, now);
        let generation = word.generation();
        let dice = if broken.is_some() || outcome == Outcome::Failure {
            rng.unit()
        } else {
            0.0
        };
        while word.generation() == generation {
            let Phase::Closed { since, consecutive } = word.phase() else {
                return None;
            };
            let (reason, count) = judge(policy, outcome, consecutive, broken);
            let new = match reason {
                None if count == consecutive => return None,
                None => {
                    let phase = Phase::Closed {
                        since,
                        consecutive: count,
                    };
                    Word::pack(generation, word.trips(), phase)
                }
                Some(_) => {
                    let trips = decayed(policy, word.trips(), since, now);
                    let (span, trips) = match outcome {
                        Outcome::RateLimited(asked) if !asked.is_zero() => {
                            (policy.pause_span(asked), trips)
                        }
                        _ => (policy.open_span(trips, dice), trips + 1),
                    };
                    Word::pack(next(word), trips, open(now, span))
                }
            };
            match self.swap(word, new) {
                Ok(()) => return reason.map(|reason| transition((word, new), reason)),
                Err(seen) => word = seen,
            }
        }
        None
    }

    /// Counts the call in the windows; the rate that it broke, if it is of the kind that can.
    fn count(&self, policy: &BreakerPolicy, outcome: Outcome, now: Time) -> Option<Reason> {
        let windows = self.windows.as_deref()?;
        let failed = matches!(outcome, Outcome::Failure | Outcome::RateLimited(_));
        let slow = matches!(outcome, Outcome::Slow);
        let by_rate = judged(
            windows.failures.as_ref(),
            policy.failure_rate.as_ref(),
            failed,
            now,
        );
        let by_slow = judged(
            windows.slow.as_deref(),
            policy.slow_rate.as_ref(),
            slow,
            now,
        );
        by_rate
            .map(Reason::FailureRate)
            .or(by_slow.map(Reason::SlowRate))
    }

    fn clear_windows(&self) {
        self.windows.iter().for_each(|windows| windows.clear());
    }
}

/// Counts one call; the tally, if the call is bad and breaks the rule.
fn judged(ring: Option<&Ring>, rule: Option<&RateRule>, bad: bool, now: Time) -> Option<Tally> {
    let ring = ring?;
    ring.add(bad, now);
    let rule = rule.filter(|_| bad)?;
    let tally = ring.sum(now);
    tally.exceeds(rule).then_some(tally)
}

/// What a result means to a closed breaker: why it trips, if it does, and the count after it.
fn judge(
    policy: &BreakerPolicy,
    outcome: Outcome,
    consecutive: u32,
    broken: Option<Reason>,
) -> (Option<Reason>, u32) {
    match outcome {
        Outcome::Failure if policy.consecutive_failures > 0 => {
            let count = (consecutive + 1).min(CONSECUTIVE_MAX);
            let limit = policy.consecutive_failures.min(CONSECUTIVE_MAX);
            let tripped = (count >= limit).then_some(Reason::ConsecutiveFailures(count));
            (tripped.or(broken), count)
        }
        Outcome::Failure => (broken, consecutive),
        Outcome::RateLimited(asked) if !asked.is_zero() => (Some(Reason::RateLimited), consecutive),
        Outcome::RateLimited(_) => (broken, consecutive),
        Outcome::Success | Outcome::Slow => (broken, 0),
        Outcome::Ignored => (None, consecutive),
    }
}

/// One trip is taken back for every `open` that the breaker was closed.
fn decayed(policy: &BreakerPolicy, trips: u8, since: Tick, now: Time) -> u8 {
    if trips == 0 {
        return 0;
    }
    let healthy = time::nanos(since.elapsed(now)) / time::nanos(policy.open).max(1);
    trips.saturating_sub(u8::try_from(healthy).unwrap_or(u8::MAX))
}

fn transition((old, new): (Word, Word), reason: Reason) -> Transition {
    Transition {
        from: old.kind(),
        to: new.kind(),
        reason,
        generation: new.generation(),
    }
}

fn next(word: Word) -> u16 {
    word.generation().wrapping_add(1)
}

fn closed(now: Time) -> Phase {
    Phase::Closed {
        since: Tick::containing(now),
        consecutive: 0,
    }
}

/// Rounded up to the millisecond, so that a call is never admitted early.
fn open(now: Time, span: Duration) -> Phase {
    let until_ms = (now + span).as_nanos().div_ceil(1_000_000);
    Phase::Open { until_ms }
}

fn lease(policy: &BreakerPolicy, now: Time) -> Tick {
    Tick::after(now + policy.probe_lease)
}

impl Forced {
    /// Where it leads from `kind`; `None` when there is nothing to let go.
    fn phase(self, kind: StateKind, now: Time) -> Option<Phase> {
        let half_open = Phase::HalfOpen {
            out: 0,
            ok: 0,
            lease: Tick::after(now),
        };
        match (self, kind) {
            (Self::Open, _) => Some(Phase::ForcedOpen),
            (Self::Closed, _) => Some(Phase::ForcedClosed),
            (Self::HalfOpen, _) | (Self::None, StateKind::ForcedOpen) => Some(half_open),
            (Self::None, StateKind::ForcedClosed) => Some(closed(now)),
            (Self::None, _) => None,
        }
    }
}

#[cfg(test)]
#[cfg(feature = "loom")]
mod loom_tests;
#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod model_tests;
#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests;
