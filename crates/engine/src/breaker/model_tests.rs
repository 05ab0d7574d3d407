//! The breaker against a plain one: structs, sets and a list of every call, in virtual time.
//!
//! The reference knows nothing of words or buckets. What it shares are the grains: open times end
//! on a millisecond, leases on a tick of 2^28 ns, and a call ages by whole tenths of its window.

use super::*;
use crate::rng::Rng;
use proptest::prelude::*;
use std::collections::{BTreeSet, VecDeque};

#[derive(Clone, Copy, Debug)]
enum Op {
    Allow,
    Record(prop::sample::Index, Outcome),
    Abandon(prop::sample::Index),
    Pass(Duration),
    Force(Forced),
    Reset,
}

#[derive(Clone, Debug)]
enum Model {
    Closed {
        since: Time,
        consecutive: u32,
    },
    Open {
        until: Time,
    },
    HalfOpen {
        out: BTreeSet<usize>,
        passed: usize,
        lease: Time,
    },
    ForcedOpen,
    ForcedClosed,
}

/// A call that the reference let through: its number, when (in generations), and as what.
#[derive(Clone, Copy, Debug)]
struct Call {
    number: usize,
    generation: u64,
    probe: bool,
}

struct Reference {
    policy: BreakerPolicy,
    model: Model,
    generation: u64,
    trips: u32,
    failures: VecDeque<(u64, bool)>,
    slow: VecDeque<(u64, bool)>,
    calls: usize,
}

fn ceil_to(time: Time, grain: u64) -> Time {
    Time::from_nanos(time.as_nanos().div_ceil(grain) * grain)
}

const TICK: u64 = 1 << 28;

impl Reference {
    fn new(policy: &BreakerPolicy) -> Self {
        Self {
            policy: policy.clone(),
            model: Model::Closed {
                since: Time::ZERO,
                consecutive: 0,
            },
            generation: 0,
            trips: 0,
            failures: VecDeque::new(),
            slow: VecDeque::new(),
            calls: 0,
        }
    }

    fn kind(&self) -> StateKind {
        match self.model {
            Model::Closed { .. } => StateKind::Closed,
            Model::Open { .. } => StateKind::Open,
            Model::HalfOpen { .. } => StateKind::HalfOpen,
            Model::ForcedOpen => StateKind::ForcedOpen,
            Model::ForcedClosed => StateKind::ForcedClosed,
        }
    }

    fn change(&mut self, model: Model, reason: Reason) -> Option<Transition> {
        let from = self.kind();
        self.generation += 1;
        if let Model::Closed { .. } = model {
            self.failures.clear();
            self.slow.clear();
        }
        self.model = model;
        let generation = u16::try_from(self.generation % 65_536).unwrap();
        let to = self.kind();
        (from != to).then_some(Transition {
            from,
            to,
            reason,
            generation,
        })
    }

    fn open_for_a_trip(&mut self, now: Time, reason: Reason) -> Option<Transition> {
        let factor = 2f64.powi(i32::try_from(self.trips).unwrap());
        let span = self.policy.open.mul_f64(factor).min(self.policy.open_max);
        self.trips = (self.trips + 1).min(15);
        let until = ceil_to(now + span, 1_000_000);
        self.change(Model::Open { until }, reason)
    }

    fn pause(&mut self, now: Time, asked: Duration) -> Option<Transition> {
        let span = asked
            .max(Duration::from_millis(100))
            .min(self.policy.open_max);
        let until = ceil_to(now + span, 1_000_000);
        self.change(Model::Open { until }, Reason::RateLimited)
    }

    fn admit(&mut self, probe: bool) -> Call {
        self.calls += 1;
        Call {
            number: self.calls,
            generation: self.generation,
            probe,
        }
    }

    fn allow(&mut self, now: Time) -> (Result<Call, Time>, Option<Transition>) {
        let exact = now + self.policy.probe_lease;
        let lease_end = Time::from_nanos((exact.as_nanos() / TICK + 1) * TICK);
        match self.model.clone() {
            Model::Closed { .. } | Model::ForcedClosed => (Ok(self.admit(false)), None),
            Model::ForcedOpen => (Err(Time::MAX), None),
            Model::Open { until } if now < until => (Err(until), None),
            Model::Open { .. } => {
                let model = Model::HalfOpen {
                    out: BTreeSet::new(),
                    passed: 0,
                    lease: lease_end,
                };
                let change = self.change(model, Reason::OpenElapsed);
                let call = self.admit(true);
                self.probes().insert(call.number);
                (Ok(call), change)
            }
            Model::HalfOpen { out, lease, .. } if !out.is_empty() && now >= lease => {
                let change = self.open_for_a_trip(now, Reason::ProbeLost);
                let Model::Open { until } = self.model else {
                    unreachable!()
                };
                (Err(until), change)
            }
            Model::HalfOpen { out, passed, .. }
                if !out.is_empty() && out.len() + passed >= usize::from(self.policy.probes) =>
            {
                let Model::HalfOpen { lease, .. } = self.model else {
                    unreachable!()
                };
                (Err(lease), None)
            }
            Model::HalfOpen {
                mut out, passed, ..
            } => {
                let call = self.admit(true);
                out.insert(call.number);
                self.model = Model::HalfOpen {
                    out,
                    passed,
                    lease: lease_end,
                };
                (Ok(call), None)
            }
        }
    }

    fn probes(&mut self) -> &mut BTreeSet<usize> {
        match &mut self.model {
            Model::HalfOpen { out, .. } => out,
            other => panic!("{other:?}"),
        }
    }

    fn abandon(&mut self, call: Call) {
        if call.probe && call.generation == self.generation {
            self.probes().remove(&call.number);
        }
    }

    fn record(&mut self, call: Call, outcome: Outcome, now: Time) -> Option<Transition> {
        if call.generation != self.generation {
            return None;
        }
        match self.model.clone() {
            Model::HalfOpen { .. } => self.record_probe(call, outcome, now),
            Model::Closed { since, consecutive } => {
                self.record_closed(outcome, now, since, consecutive)
            }
            _ => None,
        }
    }

    fn record_probe(&mut self, call: Call, outcome: Outcome, now: Time) -> Option<Transition> {
        let passes = match outcome {
            Outcome::Ignored => {
                self.abandon(call);
                return None;
            }
            Outcome::RateLimited(asked) if asked > Duration::ZERO => return self.pause(now, asked),
            Outcome::Slow => self.policy.slow_rate.is_none(),
            other => other == Outcome::Success,
        };
        if !passes {
            return self.open_for_a_trip(now, Reason::ProbeFailed);
        }
        let Model::HalfOpen { out, passed, .. } = &mut self.model else {
            unreachable!()
        };
        out.remove(&call.number);
        *passed += 1;
        if *passed < usize::from(self.policy.probes) {
            return None;
        }
        self.change(
            Model::Closed {
                since: now,
                consecutive: 0,
            },
            Reason::ProbesSucceeded,
        )
    }

    fn record_closed(
        &mut self,
        outcome: Outcome,
        now: Time,
        since: Time,
        consecutive: u32,
    ) -> Option<Transition> {
        if outcome == Outcome::Ignored {
            return None;
        }
        let failed = matches!(outcome, Outcome::Failure | Outcome::RateLimited(_));
        let slow = outcome == Outcome::Slow;
        let by_rate = share(&mut self.failures, self.policy.failure_rate, failed, now);
        let by_slow = share(&mut self.slow, self.policy.slow_rate, slow, now);
        let count = match outcome {
            Outcome::Failure if self.policy.consecutive_failures > 0 => consecutive + 1,
            Outcome::Success | Outcome::Slow => 0,
            _ => consecutive,
        };
        let in_a_row = count > consecutive && count >= self.policy.consecutive_failures;
        let reason = match outcome {
            Outcome::RateLimited(asked) if asked > Duration::ZERO => Some(Reason::RateLimited),
            _ if in_a_row => Some(Reason::ConsecutiveFailures(count)),
            _ => by_rate
                .map(Reason::FailureRate)
                .or(by_slow.map(Reason::SlowRate)),
        };
        let Some(reason) = reason else {
            self.model = Model::Closed {
                since,
                consecutive: count,
            };
            return None;
        };
        let ticks = now.as_nanos() / TICK - since.as_nanos() / TICK;
        let healthy = u128::from(ticks * TICK) / self.policy.open.as_nanos();
        self.trips = self
            .trips
            .saturating_sub(u32::try_from(healthy).unwrap_or(u32::MAX));
        match outcome {
            Outcome::RateLimited(asked) if asked > Duration::ZERO => self.pause(now, asked),
            _ => self.open_for_a_trip(now, reason),
        }
    }

    fn force(&mut self, forced: Forced, now: Time) -> Option<Transition> {
        let probing = Model::HalfOpen {
            out: BTreeSet::new(),
            passed: 0,
            lease: now,
        };
        let (model, to, reason) = match (forced, self.kind()) {
            (Forced::Open, _) => (Model::ForcedOpen, StateKind::ForcedOpen, Reason::Forced),
            (Forced::Closed, _) => (Model::ForcedClosed, StateKind::ForcedClosed, Reason::Forced),
            (Forced::HalfOpen, _) => (probing, StateKind::HalfOpen, Reason::Forced),
            (Forced::None, StateKind::ForcedOpen) => {
                (probing, StateKind::HalfOpen, Reason::Released)
            }
            (Forced::None, StateKind::ForcedClosed) => {
                let model = Model::Closed {
                    since: now,
                    consecutive: 0,
                };
                (model, StateKind::Closed, Reason::Released)
            }
            (Forced::None, _) => return None,
        };
        if to == self.kind() {
            None
        } else {
            self.change(model, reason)
        }
    }

    fn reset(&mut self, now: Time) -> Option<Transition> {
        self.trips = 0;
        self.change(
            Model::Closed {
                since: now,
                consecutive: 0,
            },
            Reason::Reset,
        )
    }
}

/// Adds the call and returns the share, if the rule is broken by this call.
fn share(
    calls: &mut VecDeque<(u64, bool)>,
    rule: Option<RateRule>,
    bad: bool,
    now: Time,
) -> Option<Tally> {
    let rule = rule?;
    let tenth = now.as_nanos() / (time::nanos(rule.window) / 10);
    calls.push_back((tenth, bad));
    calls.retain(|(when, _)| tenth - when < 10);
    let total = u32::try_from(calls.len()).unwrap();
    let failed = u32::try_from(calls.iter().filter(|(_, bad)| *bad).count()).unwrap();
    let enough = f64::from(failed) >= f64::from(rule.threshold) * f64::from(total) - 1e-6;
    (bad && total >= rule.min_calls && enough).then_some(Tally { bad: failed, total })
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        5 => Just(Outcome::Failure),
        4 => Just(Outcome::Success),
        2 => Just(Outcome::Slow),
        1 => Just(Outcome::Ignored),
        1 => Just(Outcome::RateLimited(Duration::ZERO)),
        1 => (1u64..20_000).prop_map(|ms| Outcome::RateLimited(Duration::from_millis(ms))),
    ]
}

fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => Just(Op::Allow),
        12 => (any::<prop::sample::Index>(), outcomes()).prop_map(|(at, how)| Op::Record(at, how)),
        2 => any::<prop::sample::Index>().prop_map(Op::Abandon),
        4 => (0u64..400_000_000).prop_map(|nanos| Op::Pass(Duration::from_nanos(nanos))),
        3 => (0u64..9_000_000_000).prop_map(|nanos| Op::Pass(Duration::from_nanos(nanos))),
        // As long as 2^24 buckets of the one-second window: equal epochs.
        1 => Just(Op::Pass(Duration::from_millis(100 << 24))),
        1 => prop_oneof![
            Just(Forced::Open),
            Just(Forced::Closed),
            Just(Forced::HalfOpen),
            Just(Forced::None),
            Just(Forced::None),
        ]
        .prop_map(Op::Force),
        1 => Just(Op::Reset),
    ]
}

fn rules() -> impl Strategy<Value = Option<RateRule>> {
    let rule = (
        prop::sample::select(vec![1_000u64, 3_000]),
        1u32..8,
        1u32..=10,
    );
    prop::option::of(rule.prop_map(|(ms, min_calls, tenths)| RateRule {
        window: Duration::from_millis(ms),
        min_calls,
        threshold: tenths as f32 / 10.0,
    }))
}

fn policies() -> impl Strategy<Value = BreakerPolicy> {
    (
        0u32..5,
        rules(),
        rules(),
        1u64..3_000,
        1u64..8,
        1u8..4,
        1u64..5_000,
    )
        .prop_map(
            |(consecutive_failures, failure_rate, slow_rate, open_ms, times, probes, lease_ms)| {
                BreakerPolicy {
                    consecutive_failures,
                    failure_rate,
                    slow_rate,
                    slow_call: Duration::from_secs(1),
                    open: Duration::from_millis(open_ms),
                    open_max: Duration::from_millis(open_ms * times),
                    open_jitter: 0.0,
                    probes,
                    probe_lease: Duration::from_millis(lease_ms),
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(256)
    })]

    #[test]
    fn the_breaker_does_what_the_plain_one_does(
        policy in policies(),
        ops in prop::collection::vec(ops(), 1..200),
    ) {
        policy.check().unwrap();
        let (breaker, mut model) = (Breaker::new(&policy), Reference::new(&policy));
        let (mut now, mut rng) = (Time::ZERO, Rng::seeded(1));
        let mut pending: Vec<(Admission, Call)> = Vec::new();
        for op in ops {
            let (ours, plain) = match op {
                Op::Allow => {
                    let (answer, change) = model.allow(now);
                    match (breaker.allow(&policy, now), answer) {
                        (Ok(leave), Ok(call)) => {
                            prop_assert_eq!(leave.probe(), call.probe);
                            pending.push((leave, call));
                            (leave.transition(), change)
                        }
                        (Err(refused), Err(retry_at)) => {
                            prop_assert_eq!(refused.retry_at, retry_at);
                            prop_assert_eq!(refused.state, model.kind());
                            (refused.transition(), change)
                        }
                        (ours, plain) => {
                            return Err(TestCaseError::fail(format!("{ours:?} / {plain:?}")));
                        }
                    }
                }
                Op::Record(at, outcome) if !pending.is_empty() => {
                    let (leave, call) = pending.swap_remove(at.index(pending.len()));
                    let ours = breaker.record(&policy, leave, outcome, now, &mut rng);
                    (ours, model.record(call, outcome, now))
                }
                Op::Abandon(at) if !pending.is_empty() => {
                    let (leave, call) = pending.swap_remove(at.index(pending.len()));
                    breaker.abandon(leave);
                    model.abandon(call);
                    (None, None)
                }
                Op::Record(..) | Op::Abandon(_) => (None, None),
                Op::Pass(span) => {
                    now = now + span;
                    (None, None)
                }
                Op::Force(forced) => (breaker.force(forced, now), model.force(forced, now)),
                Op::Reset => (breaker.reset(now), model.reset(now)),
            };
            prop_assert_eq!(ours, plain, "{:?} at {:?}", op, now);
            prop_assert_eq!(breaker.load().kind(), model.kind());
            let view = breaker.view(&policy, now);
            prop_assert_eq!(u32::from(view.trips), model.trips);
            if let Model::HalfOpen { out, passed, .. } = &model.model {
                prop_assert_eq!(usize::from(view.probes.0), out.len());
                prop_assert!(out.len() + *passed <= usize::from(policy.probes));
            }
        }
    }
}
