//! The one way to a peer: may this attempt go, to which member, and what came of it.
//!
//! [`Guard::admit`] asks in this order, and what a step took is given back when a later one
//! refuses: the deadline, the router (a member), the breaker (a probe, when half-open), the rate (a
//! token), the concurrency (a place), and last the books: the member's and the attempt sheet's.
//! The [`Permit`] that it returns ends in exactly one way:
//!
//! | end | breaker | concurrency | router | sheet |
//! |---|---|---|---|---|
//! | `Success` | success | answered | reply | succeeded |
//! | `Slow` (or slower than `slow_call`) | slow call | answered | reply | slow |
//! | `RateLimited(pause)` | the pause | lost | reply as slow as the pause | rate limited |
//! | `Failure` | failure | lost | no reply | failed |
//! | `Ignored` | probe goes back | nothing | nothing | ignored |
//! | [`Permit::unsent`] | probe goes back | nothing | the member's own failure | unsent |
//! | dropped | probe goes back | nothing | nothing | abandoned |
//!
//! Edge cases. A result from before a trip, or from an earlier half-open, changes no breaker
//! (its admission is of another generation). A member that leaves between the pick and the start
//! is passed over for the next candidate. A permit needs neither clock nor policy to be dropped.
//! A refusal is nobody's fault and is never recorded with a breaker.

mod books;
mod rejected;
mod unannounced;

pub use books::{AttemptCounts, AttemptSheet, RejectedCounts};
pub use rejected::Rejected;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::breaker::{
    Admission, Breaker, BreakerCounters, BreakerPolicy, BreakerView, CounterValues, Forced, Note,
    State, Transition,
};
use crate::fault::Outcome;
use crate::limit::{Flight, FlightPolicy, Gcra, RatePolicy};
use crate::policy::PolicyError;
use crate::rng::Rng;
use crate::router::{MemberId, Router};
use crate::time::Time;
use unannounced::Unannounced;

/// What a gate lets through.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GuardPolicy {
    /// When the target is left alone.
    pub breaker: BreakerPolicy,
    /// Attempts per second; none is no limit.
    pub rate: Option<RatePolicy>,
    /// Attempts at the same time.
    pub flight: FlightPolicy,
}

impl GuardPolicy {
    /// Whether every field is in its range.
    ///
    /// # Errors
    /// The first field that is not, with the name of its block.
    pub fn check(&self) -> Result<(), PolicyError> {
        self.breaker
            .check()
            .map_err(|error| error.within("breaker"))?;
        if let Some(rate) = &self.rate {
            rate.check().map_err(|error| error.within("rate"))?;
        }
        self.flight.check().map_err(|error| error.within("flight"))
    }
}

/// Whose work it is, where not all of it fits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Class {
    /// May take every place.
    #[default]
    Normal,
    /// Leaves an eighth of the places, at least one of several, to the others.
    Low,
}

#[derive(Debug)]
struct Shared {
    router: Arc<Router>,
    attempts: AttemptSheet,
    /// What the router had begun before.
    begun: u64,
}

/// A router and the books of the attempts that go through it. Cheap to clone.
///
/// The router's members carry the count of permits: one guard per router, and nobody else may
/// start attempts on it, or its books do not balance.
#[derive(Clone, Debug)]
pub struct Guard {
    shared: Arc<Shared>,
}

/// What stands before one target: breaker, rate, concurrency, and their counts.
pub struct Gate {
    breaker: Breaker,
    rate: Gcra,
    flight: Flight,
    counters: BreakerCounters,
    unannounced: Unannounced,
    shared: Arc<Shared>,
}

impl Guard {
    /// A guard over `router`, with its books in `attempts`.
    pub fn new(router: Arc<Router>, attempts: AttemptSheet) -> Self {
        let begun = router.stats().requests_routed;
        let shared = Shared {
            router,
            attempts,
            begun,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The router.
    pub fn router(&self) -> &Arc<Router> {
        &self.shared.router
    }

    /// The books now.
    pub fn attempts(&self) -> AttemptCounts {
        let router = self.shared.router.stats();
        let admitted = router.requests_routed.saturating_sub(self.shared.begun);
        self.shared.attempts.read(admitted, router.in_flight)
    }

    /// A new gate, for one target: closed, with its whole burst and nothing in flight.
    pub fn gate(&self, policy: &GuardPolicy) -> Arc<Gate> {
        self.gate_with(Breaker::new(&policy.breaker), policy)
    }

    /// The gate to use from now on when `policy` needs more than `gate` has (a window); its
    /// breaker goes on where the old one is, its counts begin again. `None` when `gate` will do.
    /// Permits of the old gate end there.
    pub fn regate(&self, gate: &Gate, policy: &GuardPolicy) -> Option<Arc<Gate>> {
        let fits = gate.breaker.fits(&policy.breaker);
        (!fits).then(|| self.gate_with(gate.breaker.carried_to(&policy.breaker), policy))
    }

    fn gate_with(&self, breaker: Breaker, policy: &GuardPolicy) -> Arc<Gate> {
        Arc::new(Gate {
            breaker,
            rate: Gcra::new(),
            flight: Flight::new(&policy.flight),
            counters: BreakerCounters::default(),
            unannounced: Unannounced::default(),
            shared: Arc::clone(&self.shared),
        })
    }

    /// Asks for one attempt through `gate`, which must be this guard's. `key` is for the router
    /// (see [`Router::pick`]). Ask [`Gate::take_transition`] afterwards: time may have moved the
    /// breaker.
    ///
    /// # Errors
    /// The first step that refused; nothing is taken then.
    #[expect(clippy::too_many_arguments, reason = "one attempt has this many sides")]
    #[inline]
    pub fn admit(
        &self,
        gate: &Arc<Gate>,
        policy: &GuardPolicy,
        now: Time,
        class: Class,
        deadline: Time,
        key: u64,
        rng: &mut Rng,
    ) -> Result<Permit, Rejected> {
        debug_assert!(
            Arc::ptr_eq(&self.shared, &gate.shared),
            "the gate of another guard"
        );
        let taken = if now >= deadline {
            Err(Rejected::Deadline)
        } else {
            gate.take(policy, now, class, key, rng)
        };
        match taken {
            Ok((member, admission)) => Ok(Permit {
                gate: Some(Arc::clone(gate)),
                admission,
                member,
            }),
            Err(why) => {
                self.shared.attempts.note_rejected(&why);
                Err(why)
            }
        }
    }
}

impl Gate {
    /// The pick and everything after it, in order; a refusal gives back in reverse.
    #[inline]
    fn take(
        &self,
        policy: &GuardPolicy,
        now: Time,
        class: Class,
        key: u64,
        rng: &mut Rng,
    ) -> Result<(MemberId, Admission), Rejected> {
        let router = &self.shared.router;
        let mut candidates = router.pick(now, key, rng);
        let mut member = candidates.next().ok_or(Rejected::NoMember)?;
        let admission = self.pass_breaker(policy, now)?;
        if let Some(rate) = &policy.rate
            && let Err(early) = self.rate.check(rate, now)
        {
            self.breaker.abandon(admission);
            return Err(Rejected::Rate { ready_at: early.0 });
        }
        if !self.has_place(policy, class) || !self.flight.try_acquire(&policy.flight) {
            self.give_back_rate(policy);
            self.breaker.abandon(admission);
            return Err(Rejected::Concurrency);
        }
        while !router.start(member) {
            let Some(next) = candidates.next() else {
                self.flight.release(&policy.flight, None);
                self.give_back_rate(policy);
                self.breaker.abandon(admission);
                return Err(Rejected::NoMember);
            };
            member = next;
        }
        Ok((member, admission))
    }

    #[inline]
    fn pass_breaker(&self, policy: &GuardPolicy, now: Time) -> Result<Admission, Rejected> {
        match self.breaker.allow(&policy.breaker, now) {
            Ok(admission) => {
                self.announce(admission.transition());
                Ok(admission)
            }
            Err(open) => {
                self.counters.note(Note::Rejected);
                self.announce(open.transition());
                Err(Rejected::BreakerOpen {
                    retry_at: open.retry_at,
                })
            }
        }
    }

    fn give_back_rate(&self, policy: &GuardPolicy) {
        if let Some(rate) = &policy.rate {
            self.rate.refund(rate);
        }
    }

    /// Whether the class may take a place of those that are free. Two threads may both see the
    /// last such place: the reserve is a courtesy, the limit itself is exact.
    #[inline]
    fn has_place(&self, policy: &GuardPolicy, class: Class) -> bool {
        if class == Class::Normal {
            return true;
        }
        let limit = self.flight.limit(&policy.flight);
        let reserve = if limit > 1 { (limit / 8).max(1) } else { 0 };
        self.flight.in_flight() < limit - reserve
    }

    #[inline]
    fn announce(&self, transition: Option<Transition>) {
        if let Some(transition) = transition {
            self.counters.note(Note::Changed(transition));
            self.unannounced.put(transition);
        }
    }

    /// A change of the breaker that an admission made (its open time was over, or a probe was
    /// lost), once. Those that a result or a person makes are returned where they are made.
    #[inline]
    pub fn take_transition(&self) -> Option<Transition> {
        self.unannounced.take()
    }

    /// What a person wants of the breaker; sticky but for `HalfOpen`.
    pub fn force(&self, forced: Forced, now: Time) -> Option<Transition> {
        self.changed(self.breaker.force(forced, now))
    }

    /// Closes the breaker and forgets all that it held against the target.
    pub fn reset(&self, now: Time) -> Option<Transition> {
        self.changed(self.breaker.reset(now))
    }

    /// What a person forced, to keep over a restart (see [`Breaker::snapshot`]).
    pub fn operator_state(&self) -> u8 {
        self.breaker.snapshot()
    }

    /// Forces what [`Self::operator_state`] kept.
    pub fn restore_operator_state(&self, code: u8, now: Time) -> Option<Transition> {
        self.changed(self.breaker.restore(code, now))
    }

    /// The breaker's state.
    pub fn state(&self, now: Time) -> State {
        self.breaker.state(now)
    }

    /// The breaker, for an operator.
    pub fn view(&self, policy: &GuardPolicy, now: Time) -> BreakerView {
        self.breaker.view(&policy.breaker, now)
    }

    /// The breaker's totals.
    pub fn counters(&self) -> CounterValues {
        self.counters.values()
    }

    /// Permits of this gate that exist.
    pub fn in_flight(&self) -> u32 {
        self.flight.in_flight()
    }

    /// How many permits may exist now.
    pub fn limit(&self, policy: &GuardPolicy) -> u32 {
        self.flight.limit(&policy.flight)
    }

    fn changed(&self, transition: Option<Transition>) -> Option<Transition> {
        if let Some(transition) = transition {
            self.counters.note(Note::Changed(transition));
        }
        transition
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("breaker", &self.breaker)
            .field("flight", &self.flight)
            .finish_non_exhaustive()
    }
}

/// Leave for one attempt. It ends by [`Self::finish`], by [`Self::unsent`], or abandoned, when it
/// is dropped.
#[must_use = "a permit that is dropped is an attempt abandoned"]
pub struct Permit {
    /// Taken when it ends.
    gate: Option<Arc<Gate>>,
    admission: Admission,
    member: MemberId,
}

impl Permit {
    /// The member that the attempt goes to.
    pub const fn member(&self) -> MemberId {
        self.member
    }

    /// Whether the attempt decides if the breaker closes.
    pub fn probe(&self) -> bool {
        self.admission.probe()
    }

    /// Ends the attempt. `latency` is the time from sending to the answer; a Failure without one
    /// was silence. Returns the breaker's change of state, if this result made one.
    #[inline]
    pub fn finish(
        mut self,
        policy: &GuardPolicy,
        now: Time,
        outcome: Outcome,
        latency: Option<Duration>,
        rng: &mut Rng,
    ) -> Option<Transition> {
        let gate = self.gate.take()?;
        let outcome = policy.breaker.classify(outcome, latency);
        let transition = gate
            .breaker
            .record(&policy.breaker, self.admission, outcome, now, rng);
        gate.counters.note(match (outcome, latency) {
            (Outcome::Failure, None) => Note::TimedOut,
            _ => Note::Ended(outcome),
        });
        gate.flight.release(&policy.flight, loss(outcome));
        gate.shared
            .router
            .finish(self.member, now, latency, outcome);
        gate.shared.attempts.note_ended(outcome);
        gate.changed(transition)
    }

    /// Ends an attempt that its own member could not send.
    pub fn unsent(mut self, now: Time) {
        if let Some(gate) = self.gate.take() {
            gate.breaker.abandon(self.admission);
            gate.flight.release(&PLAIN, None);
            gate.shared.router.unsent(self.member, now);
            gate.shared.attempts.note_unsent();
        }
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if let Some(gate) = self.gate.take() {
            gate.breaker.abandon(self.admission);
            gate.flight.release(&PLAIN, None);
            gate.shared.router.abandon(self.member);
            gate.shared.attempts.note_abandoned();
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("member", &self.member)
            .field("admission", &self.admission)
            .finish_non_exhaustive()
    }
}

/// A release that says nothing about the path leaves the limit alone, whatever the policy; a
/// policy that is not adaptive does that with the least work.
const PLAIN: FlightPolicy = FlightPolicy {
    min: 1,
    max: 1,
    initial: 1,
    adaptive: false,
};

const fn loss(outcome: Outcome) -> Option<bool> {
    match outcome {
        Outcome::Success | Outcome::Slow => Some(false),
        Outcome::RateLimited(_) | Outcome::Failure => Some(true),
        Outcome::Ignored => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::{Reason, StateKind};
    use crate::router::{Mark, MemberSpec, RouterPolicy, Strategy};

    const T0: Time = Time::from_millis(10_000);
    const OPEN: Duration = Duration::from_secs(30);

    struct Bench {
        guard: Guard,
        gate: Arc<Gate>,
        policy: GuardPolicy,
        rng: Rng,
        now: Time,
    }

    impl Bench {
        fn new(members: usize, edit: impl FnOnce(&mut GuardPolicy)) -> Self {
            let mut rng = Rng::seeded(6);
            let strategy = Strategy::RoundRobin;
            let router = RouterPolicy {
                strategy,
                ..RouterPolicy::default()
            };
            let router = Router::new(router, &mut rng).unwrap();
            for n in 0..members {
                router.add(T0, MemberSpec::named(format!("m{n}"))).unwrap();
            }
            let mut policy = GuardPolicy::default();
            policy.breaker.open_jitter = 0.0;
            policy.breaker.open = OPEN;
            edit(&mut policy);
            let guard = Guard::new(Arc::new(router), AttemptSheet::default());
            let gate = guard.gate(&policy);
            Self {
                guard,
                gate,
                policy,
                rng,
                now: T0,
            }
        }

        fn admit(&mut self) -> Result<Permit, Rejected> {
            self.admit_as(Class::Normal, Time::MAX)
        }

        fn admit_as(&mut self, class: Class, deadline: Time) -> Result<Permit, Rejected> {
            let (gate, policy) = (&self.gate, &self.policy);
            self.guard
                .admit(gate, policy, self.now, class, deadline, 7, &mut self.rng)
        }

        fn finish(&mut self, permit: Permit, outcome: Outcome) -> Option<Transition> {
            let took = Some(Duration::from_millis(1));
            permit.finish(&self.policy, self.now, outcome, took, &mut self.rng)
        }

        fn trip(&mut self) {
            for _ in 0..5 {
                let permit = self.admit().unwrap();
                self.finish(permit, Outcome::Failure);
            }
            assert!(matches!(self.gate.state(self.now), State::Open { .. }));
        }

        /// Nothing is held anywhere, and the books agree.
        fn assert_at_rest(&self) {
            let counts = self.guard.attempts();
            assert_eq!((counts.in_flight, counts.imbalance()), (0, 0), "{counts:?}");
            assert_eq!(self.gate.in_flight(), 0);
        }
    }

    fn rate(burst: u32) -> Option<RatePolicy> {
        Some(RatePolicy {
            per_second: 1.0,
            burst,
        })
    }

    #[test]
    fn a_gate_fits_its_budget() {
        assert!(size_of::<Gate>() <= 96, "{}", size_of::<Gate>());
        assert!(size_of::<Permit>() <= 16, "{}", size_of::<Permit>());
        fn is_send<T: Send>() {}
        is_send::<Permit>();
    }

    #[test]
    fn a_bad_block_is_named_with_its_field() {
        type Spoil = fn(&mut GuardPolicy);
        let cases: [(&str, Spoil); 3] = [
            ("breaker.probes", |p| p.breaker.probes = 0),
            ("rate.burst", |p| {
                p.rate = Some(RatePolicy {
                    per_second: 1.0,
                    burst: 0,
                })
            }),
            ("flight.max", |p| p.flight.max = 0),
        ];
        assert_eq!(GuardPolicy::default().check(), Ok(()));
        for (field, spoil) in cases {
            let mut policy = GuardPolicy::default();
            spoil(&mut policy);
            assert_eq!(policy.check().unwrap_err().field, field);
        }
    }

    #[test]
    fn steps_refuse_in_order() {
        let mut b = Bench::new(1, |p| p.rate = rate(6));
        let member = b.guard.router().find("m0").unwrap();
        b.trip();
        let one = Bench::new(1, |_| {}).admit().map(|_| ());
        assert_eq!(one, Ok(()));
        // Everything is wrong at once; each mended step uncovers the next.
        b.policy.flight = FlightPolicy {
            min: 1,
            max: 1,
            initial: 1,
            adaptive: false,
        };
        b.guard.router().mark(member, Mark::Down, b.now).unwrap();
        assert_eq!(
            b.admit_as(Class::Normal, b.now).unwrap_err(),
            Rejected::Deadline
        );
        assert_eq!(b.admit().unwrap_err(), Rejected::NoMember);
        b.guard.router().mark(member, Mark::Auto, b.now).unwrap();
        let retry_at = T0 + OPEN;
        assert_eq!(b.admit().unwrap_err(), Rejected::BreakerOpen { retry_at });
        b.gate.force(Forced::Closed, b.now);
        let held = b.admit().unwrap();
        let ready_at = T0 + Duration::from_secs(1);
        assert_eq!(b.admit().unwrap_err(), Rejected::Rate { ready_at });
        b.now = ready_at;
        assert_eq!(b.admit().unwrap_err(), Rejected::Concurrency);
        drop(held);
        assert!(b.admit().is_ok());
        let rejected = RejectedCounts {
            deadline: 1,
            no_member: 1,
            breaker_open: 1,
            rate: 1,
            concurrency: 1,
        };
        assert_eq!(b.guard.attempts().rejected, rejected);
        assert_eq!(b.gate.counters().rejected, 1);
        b.assert_at_rest();
    }

    #[test]
    fn refused_by_the_rate_gives_the_probe_back() {
        let mut b = Bench::new(1, |p| p.rate = rate(5));
        b.policy.breaker.probes = 1;
        b.trip();
        b.now = T0 + OPEN;
        b.policy.rate = Some(RatePolicy {
            per_second: 1e-5,
            burst: 1,
        });
        drop(b.admit().unwrap());
        for _ in 0..10 {
            // Without the probe the second try would be refused by the breaker.
            assert!(matches!(b.admit().unwrap_err(), Rejected::Rate { .. }));
        }
        b.policy.rate = None;
        assert!(b.admit().unwrap().probe());
        b.assert_at_rest();
    }

    #[test]
    fn refused_by_concurrency_gives_token_and_probe_back() {
        let mut b = Bench::new(1, |p| {
            p.rate = rate(8);
            p.flight = FlightPolicy {
                min: 1,
                max: 1,
                initial: 1,
                adaptive: false,
            };
            p.breaker.probes = 1;
        });
        b.trip();
        let before = b.gate.limit(&b.policy);
        // A straggler holds the only place while the breaker is half-open.
        b.gate.force(Forced::Closed, b.now);
        let straggler = b.admit().unwrap();
        b.gate.force(Forced::HalfOpen, b.now);
        for _ in 0..50 {
            assert_eq!(b.admit().unwrap_err(), Rejected::Concurrency);
        }
        drop(straggler);
        // Two of eight tokens are left: six were spent on calls, none on refusals.
        let probe = b.admit().unwrap();
        assert!(probe.probe());
        b.finish(probe, Outcome::Success);
        assert!(b.admit().is_ok());
        assert!(matches!(b.admit(), Err(Rejected::Rate { .. })));
        assert_eq!(b.gate.limit(&b.policy), before);
        b.assert_at_rest();
    }

    #[test]
    fn a_member_that_left_after_the_pick_costs_nothing() {
        let mut b = Bench::new(3, |p| p.rate = rate(2));
        let router = Arc::clone(b.guard.router());
        router.set_strategy(Strategy::Sticky);
        let first = b.admit().unwrap().member();
        // Removal and snapshot are one step for a reader, so the race is made by a drain that is
        // noticed at the start: the pick is repeated until it offers somebody else.
        router.drain(first).unwrap();
        let second = b.admit().unwrap();
        assert_ne!(second.member(), first);
        drop(second);
        b.now = b.now + Duration::from_secs(10);
        for id in [0, 1, 2] {
            router.drain(router.members(b.now)[id].id).unwrap();
        }
        assert_eq!(b.admit().unwrap_err(), Rejected::NoMember);
        b.assert_at_rest();
    }

    #[test]
    fn every_end_is_counted_where_the_table_says() {
        let pause = Duration::from_secs(1);
        let cases = [
            (Outcome::Success, 1u64),
            (Outcome::Slow, 2),
            (Outcome::Failure, 4),
            (Outcome::Ignored, 5),
            (Outcome::RateLimited(pause), 3),
        ];
        for (outcome, column) in cases {
            let mut b = Bench::new(1, |_| {});
            let permit = b.admit().unwrap();
            assert_eq!((b.guard.attempts().in_flight, b.gate.in_flight()), (1, 1));
            b.finish(permit, outcome);
            let c = b.guard.attempts();
            let row = [c.succeeded, c.slow, c.rate_limited, c.failed, c.ignored];
            let mut due = [0; 5];
            due[column as usize - 1] = 1;
            assert_eq!(row, due, "{outcome:?}");
            let values = b.gate.counters();
            let answered = matches!(outcome, Outcome::Success | Outcome::Slow);
            let failed = matches!(outcome, Outcome::Failure | Outcome::RateLimited(_));
            assert_eq!(
                (values.successes, values.failures),
                (answered.into(), failed.into())
            );
            b.assert_at_rest();
        }
        let mut b = Bench::new(1, |_| {});
        b.admit().unwrap().unsent(T0);
        drop(b.admit().unwrap());
        let c = b.guard.attempts();
        assert_eq!((c.unsent, c.abandoned, c.ended(), c.admitted), (1, 1, 2, 2));
        assert_eq!(b.guard.router().members(T0)[0].unsent, 1);
        assert_eq!(b.gate.counters(), CounterValues::default());
        b.assert_at_rest();
    }

    #[test]
    fn a_failure_without_latency_was_silence() {
        let mut b = Bench::new(1, |_| {});
        for latency in [None, Some(Duration::from_millis(3))] {
            let permit = b.admit().unwrap();
            permit.finish(&b.policy, b.now, Outcome::Failure, latency, &mut b.rng);
        }
        let values = b.gate.counters();
        assert_eq!((values.failures, values.timeouts), (2, 1));
    }

    #[test]
    fn loss_moves_the_limit_and_what_says_nothing_does_not() {
        let cases = [
            (Outcome::Failure, 3),
            (Outcome::RateLimited(Duration::from_millis(1)), 3),
            (Outcome::Ignored, 4),
            (Outcome::Success, 4),
        ];
        for (outcome, limit) in cases {
            let mut b = Bench::new(1, |_| {});
            let permit = b.admit().unwrap();
            b.finish(permit, outcome);
            assert_eq!(b.gate.limit(&b.policy), limit, "{outcome:?}");
        }
        let mut b = Bench::new(1, |_| {});
        for _ in 0..50 {
            drop(b.admit().unwrap());
            b.admit().unwrap().unsent(T0);
        }
        assert_eq!(b.gate.limit(&b.policy), 4);
    }

    #[test]
    fn stragglers_never_decide_and_dropped_probes_come_back() {
        let mut b = Bench::new(1, |p| p.flight.initial = 64);
        let stragglers: Vec<_> = (0..20).map(|_| b.admit().unwrap()).collect();
        b.trip();
        b.now = T0 + OPEN;
        let probes: Vec<_> = (0..3).map(|_| b.admit().unwrap()).collect();
        assert!(probes.iter().all(Permit::probe));
        assert!(
            matches!(b.admit(), Err(Rejected::BreakerOpen { .. })),
            "three are out"
        );
        for (n, straggler) in stragglers.into_iter().enumerate() {
            let outcome = if n % 2 == 0 {
                Outcome::Success
            } else {
                Outcome::Failure
            };
            match n % 5 {
                0 => drop(straggler),
                _ => assert_eq!(b.finish(straggler, outcome), None),
            }
            assert_eq!(b.gate.state(b.now), State::HalfOpen);
            assert!(
                matches!(b.admit(), Err(Rejected::BreakerOpen { .. })),
                "no permit grew"
            );
        }
        drop(probes);
        let probes: Vec<_> = (0..3).map(|_| b.admit().unwrap()).collect();
        let ends: Vec<_> = probes
            .into_iter()
            .map(|probe| b.finish(probe, Outcome::Success))
            .collect();
        assert_eq!(ends[..2], [None, None]);
        assert_eq!(
            ends[2].map(|t| (t.from, t.to)),
            Some((StateKind::HalfOpen, StateKind::Closed))
        );
        let values = b.gate.counters();
        assert_eq!((values.opens, values.closes), (1, 1));
        b.assert_at_rest();
    }

    #[test]
    fn changes_that_time_made_are_told_once() {
        let mut b = Bench::new(1, |p| p.flight.initial = 64);
        b.trip();
        assert_eq!(b.gate.take_transition(), None, "the trip was returned");
        b.now = T0 + OPEN;
        let probe = b.admit().unwrap();
        let change = b.gate.take_transition().unwrap();
        assert_eq!(
            (change.to, change.reason),
            (StateKind::HalfOpen, Reason::OpenElapsed)
        );
        assert_eq!(b.gate.take_transition(), None);
        // The probe is lost, the next call notices: open again, and half-open after that.
        b.now = b.now + b.policy.breaker.probe_lease + Duration::from_secs(1);
        assert!(matches!(b.admit(), Err(Rejected::BreakerOpen { .. })));
        b.now = b.now + b.policy.breaker.open_max;
        let next = b.admit().unwrap();
        let (lost, again) = (
            b.gate.take_transition().unwrap(),
            b.gate.take_transition().unwrap(),
        );
        assert_eq!((lost.to, lost.reason), (StateKind::Open, Reason::ProbeLost));
        assert_eq!(
            (again.to, again.reason),
            (StateKind::HalfOpen, Reason::OpenElapsed)
        );
        assert_eq!(again.generation, lost.generation.wrapping_add(1));
        assert_eq!(b.gate.take_transition(), None);
        drop((probe, next));
        b.assert_at_rest();
    }

    #[test]
    fn low_work_leaves_room() {
        let flight = |max| FlightPolicy {
            min: 1,
            max,
            initial: max,
            adaptive: false,
        };
        for (limit, low) in [(1, 1), (2, 1), (8, 7), (64, 56)] {
            let mut b = Bench::new(1, |p| p.flight = flight(limit));
            let mut held = Vec::new();
            while let Ok(permit) = b.admit_as(Class::Low, Time::MAX) {
                held.push(permit);
            }
            assert_eq!(held.len(), low, "of {limit}");
            while let Ok(permit) = b.admit() {
                held.push(permit);
            }
            assert_eq!(held.len(), limit as usize);
        }
    }

    #[test]
    fn what_a_person_forced_holds_and_is_carried() {
        let mut b = Bench::new(1, |_| {});
        assert!(b.gate.force(Forced::Open, b.now).is_some());
        for hours in 0..48 {
            b.now = T0 + Duration::from_secs(3_600 * hours);
            let refused = b.admit().unwrap_err();
            assert_eq!(refused.ready_at(), Some(Time::MAX));
        }
        let code = b.gate.operator_state();
        let restored = b.guard.gate(&b.policy);
        restored.restore_operator_state(code, b.now);
        assert_eq!(restored.state(b.now), State::ForcedOpen);

        assert!(b.guard.regate(&b.gate, &b.policy).is_none());
        let window = Duration::from_secs(10);
        let rule = crate::breaker::RateRule {
            window,
            min_calls: 10,
            threshold: 0.5,
        };
        b.policy.breaker.failure_rate = Some(rule);
        let renewed = b.guard.regate(&b.gate, &b.policy).unwrap();
        assert_eq!(renewed.state(b.now), State::ForcedOpen);
        assert!(renewed.view(&b.policy, b.now).failures.is_some());
        assert!(renewed.reset(b.now).is_some());
        assert_eq!(renewed.state(b.now), State::Closed);
    }

    #[test]
    fn refusals_are_nobody_s_fault() {
        use crate::fault::{Blame, Fault, Place};
        let cases = [
            (Rejected::Deadline, Place::Nowhere, None, "deadline"),
            (Rejected::NoMember, Place::AnyPeer, None, "no-member"),
            (
                Rejected::BreakerOpen { retry_at: T0 },
                Place::OtherPeer,
                Some(T0),
                "breaker-open",
            ),
            (
                Rejected::Rate { ready_at: T0 },
                Place::AnyPeer,
                Some(T0),
                "rate",
            ),
            (Rejected::Concurrency, Place::AnyPeer, None, "concurrency"),
        ];
        for (rejected, place, ready_at, name) in cases {
            assert_eq!(
                (rejected.blame(), rejected.retry().place),
                (Blame::Local, place)
            );
            assert_eq!((rejected.ready_at(), rejected.as_str()), (ready_at, name));
        }
    }
}
