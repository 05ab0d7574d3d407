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
        Self {
            shared: Arc::new(Shared { router, attempts }),
        }
    }

    /// The router.
    pub fn router(&self) -> &Arc<Router> {
        &self.shared.router
    }

    /// The books now.
    pub fn attempts(&self) -> AttemptCounts {
        self.shared.attempts.read(self.shared.router.in_flight())
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
            Ok((member, admission)) => {
                self.shared.attempts.note_admitted();
                Ok(Permit {
                    gate: Some(Arc::clone(gate)),
                    admission,
                    member,
                })
            }
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
