//! Sending dead letters again, slowly, and only as long as somebody wants it.
//!
//! The machine says which letter may be sent when: at most so many per second, at most so many on
//! their way at once, so a sink that has just come back is not flooded. A breaker that is open
//! stops it until it may be tried again. A dry run matches and sends nothing. A letter that nobody
//! settles gives its place back by the lease.
//!
//! The machine holds ids; the [`LetterBox`](super::LetterBox) holds the truth. A letter that left
//! the box meanwhile is settled as [`Settled::Gone`].

use super::{Filter, LetterId};
use crate::time::Time;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How much of the rate a late caller may catch up.
const CATCH_UP: Duration = Duration::from_millis(50);

/// Which letters to send again, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct RedrivePlan {
    /// Which; quarantined letters and those without their whole content are left out.
    pub filter: Filter,
    /// At most so many per second; above 0.
    pub per_second: f64,
    /// At most so many on their way at once; at least 1.
    pub in_flight_max: usize,
    /// Only say which.
    pub dry_run: bool,
}

impl Default for RedrivePlan {
    /// All, 10 per second, 16 on their way.
    fn default() -> Self {
        Self {
            filter: Filter::default(),
            per_second: 10.0,
            in_flight_max: 16,
            dry_run: false,
        }
    }
}

/// Why a plan makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RedriveError {
    /// The rate is not above 0, or no number.
    #[error("the rate must be above 0 and not {0}")]
    Rate(f64),
    /// Nothing may be on its way.
    #[error("at least one letter must be allowed on its way")]
    InFlight,
}

/// What became of a letter that the machine gave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The receiver acknowledged it.
    Acked,
    /// It was sent in vain.
    Failed,
    /// It was not sent; it comes again, and nothing else before `retry_at`.
    Aborted {
        /// When the receiver may be tried again.
        retry_at: Time,
    },
    /// It is not in the box any more, or may not be sent.
    Gone,
}

/// How far a redrive is. `matched = waiting + in_flight + acked + failed + gone + cancelled`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RedriveProgress {
    /// Letters that will be or were sent.
    pub matched: u64,
    /// Letters that match the filter and cannot be sent (quarantined, on their way, not whole).
    pub unfit: u64,
    /// Letters whose turn is to come.
    pub waiting: u64,
    /// Letters on their way.
    pub in_flight: u64,
    /// Letters acknowledged.
    pub acked: u64,
    /// Letters sent in vain, and those of which nothing was heard.
    pub failed: u64,
    /// Letters that left the box meanwhile.
    pub gone: u64,
    /// Letters whose turn did not come.
    pub cancelled: u64,
}

/// The machine; made by [`LetterBox::plan_redrive`](super::LetterBox::plan_redrive).
#[derive(Clone, Debug)]
pub struct Redrive {
    plan: RedrivePlan,
    interval: Duration,
    lease: Duration,
    waiting: VecDeque<LetterId>,
    in_flight: BTreeMap<LetterId, Time>,
    next_at: Time,
    progress: RedriveProgress,
}

impl Redrive {
    pub(super) fn new(
        plan: RedrivePlan,
        ids: VecDeque<LetterId>,
        unfit: u64,
        lease: Duration,
        now: Time,
    ) -> Result<Self, RedriveError> {
        if !(plan.per_second > 0.0 && plan.per_second.is_finite()) {
            return Err(RedriveError::Rate(plan.per_second));
        }
        if plan.in_flight_max == 0 {
            return Err(RedriveError::InFlight);
        }
        let interval = Duration::try_from_secs_f64(1.0 / plan.per_second);
        let progress = RedriveProgress {
            matched: ids.len() as u64,
            unfit,
            ..RedriveProgress::default()
        };
        Ok(Self {
            plan,
            interval: interval.unwrap_or(Duration::MAX),
            lease,
            waiting: ids,
            in_flight: BTreeMap::new(),
            next_at: now,
            progress,
        })
    }

    /// The letters whose turn is to come, in order. All of them in a dry run.
    pub fn waiting(&self) -> impl Iterator<Item = LetterId> + '_ {
        self.waiting.iter().copied()
    }

    /// The next letter to send, if one may be sent now. Whoever gets it must settle it.
    pub fn next(&mut self, now: Time) -> Option<LetterId> {
        self.lapse(now);
        let may = !self.plan.dry_run
            && now >= self.next_at
            && self.in_flight.len() < self.plan.in_flight_max;
        let id = if may {
            self.waiting.pop_front()?
        } else {
            return None;
        };
        self.next_at = self.next_at.max(now - CATCH_UP) + self.interval;
        self.in_flight.insert(id, now + self.lease);
        Some(id)
    }

    /// Notes what became of a letter. One that is not on its way (any more) is ignored.
    pub fn settle(&mut self, id: LetterId, settled: Settled) {
        if self.in_flight.remove(&id).is_none() {
            return;
        }
        match settled {
            Settled::Acked => self.progress.acked += 1,
            Settled::Failed => self.progress.failed += 1,
            Settled::Gone => self.progress.gone += 1,
            Settled::Aborted { retry_at } => {
                self.waiting.push_front(id);
                self.next_at = self.next_at.max(retry_at);
            }
        }
    }

    /// Sends nothing more. What is on its way is still to be settled.
    pub fn cancel(&mut self) {
        self.progress.cancelled += self.waiting.len() as u64;
        self.waiting.clear();
    }

    /// Whether nothing is to come and nothing on its way. A dry run is over from the start.
    pub fn is_over(&self) -> bool {
        self.in_flight.is_empty() && (self.waiting.is_empty() || self.plan.dry_run)
    }

    /// When [`Self::next`] may have something; `None` when it is over.
    pub fn next_wakeup(&self) -> Option<Time> {
        let lease = self.in_flight.values().min().copied();
        let full = self.in_flight.len() >= self.plan.in_flight_max;
        let turn =
            (!self.waiting.is_empty() && !full && !self.plan.dry_run).then_some(self.next_at);
        lease.into_iter().chain(turn).min()
    }

    /// How far it is.
    pub fn progress(&self) -> RedriveProgress {
        RedriveProgress {
            waiting: self.waiting.len() as u64,
            in_flight: self.in_flight.len() as u64,
            ..self.progress
        }
    }

    fn lapse(&mut self, now: Time) {
        let before = self.in_flight.len();
        self.in_flight.retain(|_, until| *until > now);
        self.progress.failed += (before - self.in_flight.len()) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LEASE: Duration = Duration::from_secs(60);

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    fn id(n: u64) -> LetterId {
        LetterId::from_bits(n.into())
    }

    fn redrive(plan: RedrivePlan, count: u64) -> Redrive {
        Redrive::new(plan, (0..count).map(id).collect(), 0, LEASE, Time::ZERO).unwrap()
    }

    #[test]
    fn the_rate_is_kept_and_the_order_too() {
        let mut machine = redrive(RedrivePlan::default(), 9);
        assert_eq!(machine.next(at(0)), Some(id(0)));
        assert_eq!(machine.next(at(99)), None);
        assert_eq!(machine.next_wakeup(), Some(at(100)));
        assert_eq!(machine.next(at(100)), Some(id(1)));
        // A caller that comes an hour late does not get an hour's worth at once.
        assert_eq!(machine.next(at(3_600_000)), Some(id(2)));
        assert_eq!(machine.next(at(3_600_001)), None);
    }

    #[test]
    fn no_more_are_on_their_way_than_allowed() {
        let plan = RedrivePlan {
            per_second: 1e6,
            in_flight_max: 2,
            ..RedrivePlan::default()
        };
        let mut machine = redrive(plan, 4);
        let given: Vec<_> = (0..10).filter_map(|ms| machine.next(at(ms))).collect();
        assert_eq!(given, [id(0), id(1)]);
        assert_eq!(
            machine.next_wakeup(),
            Some(at(60_000)),
            "only a lease can change that"
        );
        machine.settle(id(1), Settled::Acked);
        machine.settle(id(1), Settled::Failed);
        assert_eq!(machine.next(at(11)), Some(id(2)));
        assert_eq!(machine.progress().acked, 1);
        assert_eq!(machine.progress().failed, 0, "settled once");
    }

    #[test]
    fn a_letter_that_nobody_settles_gives_its_place_back() {
        let plan = RedrivePlan {
            in_flight_max: 1,
            ..RedrivePlan::default()
        };
        let mut machine = redrive(plan, 2);
        machine.next(at(0));
        assert_eq!(machine.next(at(59_999)), None);
        assert_eq!(machine.next(at(60_000)), Some(id(1)));
        machine.settle(id(1), Settled::Gone);
        let progress = machine.progress();
        assert_eq!(
            (progress.failed, progress.gone, machine.is_over()),
            (1, 1, true)
        );
        assert_eq!(machine.next_wakeup(), None);
    }

    #[test]
    fn an_open_breaker_pauses_it_and_the_letter_comes_again() {
        let mut machine = redrive(RedrivePlan::default(), 2);
        machine.next(at(0));
        machine.settle(
            id(0),
            Settled::Aborted {
                retry_at: at(5_000),
            },
        );
        assert_eq!(
            (machine.next(at(4_999)), machine.next_wakeup()),
            (None, Some(at(5_000)))
        );
        assert_eq!(machine.next(at(5_000)), Some(id(0)));
    }

    #[test]
    fn a_dry_run_sends_nothing_and_a_cancelled_one_nothing_more() {
        let plan = RedrivePlan {
            dry_run: true,
            ..RedrivePlan::default()
        };
        let mut dry = redrive(plan, 3);
        assert!(dry.is_over() && dry.next(at(0)).is_none() && dry.next_wakeup().is_none());
        assert_eq!((dry.waiting().count(), dry.progress().matched), (3, 3));
        let mut machine = redrive(RedrivePlan::default(), 3);
        machine.next(at(0));
        machine.cancel();
        assert!(!machine.is_over());
        machine.settle(id(0), Settled::Failed);
        assert!(machine.is_over());
        assert_eq!(
            (machine.progress().cancelled, machine.progress().failed),
            (2, 1)
        );
    }

    #[test]
    fn plans_that_make_no_sense_are_refused() {
        let with = |per_second, in_flight_max| {
            let plan = RedrivePlan {
                per_second,
                in_flight_max,
                ..RedrivePlan::default()
            };
            Redrive::new(plan, VecDeque::new(), 0, LEASE, Time::ZERO).err()
        };
        assert_eq!(with(0.0, 1), Some(RedriveError::Rate(0.0)));
        assert!(with(f64::NAN, 1).is_some() && with(f64::INFINITY, 1).is_some());
        assert_eq!(with(1e-300, 1), None);
        assert_eq!(with(1.0, 0), Some(RedriveError::InFlight));
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 128, failure_persistence: None, ..ProptestConfig::default()
        })]

        #[test]
        fn the_books_balance_and_it_comes_to_an_end(
            count in 0u64..30,
            in_flight_max in 1usize..5,
            acts in proptest::collection::vec((0u64..500, 0u8..6), 0..80),
        ) {
            let plan = RedrivePlan { in_flight_max, ..RedrivePlan::default() };
            let mut machine = redrive(plan, count);
            let (mut now, mut given, mut out) = (0, 0, Vec::new());
            let check = |machine: &Redrive| {
                let p = machine.progress();
                let sum = p.waiting + p.in_flight + p.acked + p.failed + p.gone + p.cancelled;
                p.matched == sum && p.in_flight <= in_flight_max as u64
            };
            for (wait, act) in acts {
                now += wait;
                if let Some(id) = machine.next(at(now)) {
                    given += 1;
                    out.push(id);
                }
                let settled = match act {
                    0 => Some(Settled::Acked),
                    1 => Some(Settled::Failed),
                    2 => Some(Settled::Gone),
                    3 => Some(Settled::Aborted { retry_at: at(now + 100) }),
                    _ => None,
                };
                if let (Some(settled), Some(id)) = (settled, out.pop()) {
                    machine.settle(id, settled);
                }
                prop_assert!(check(&machine));
                prop_assert!(given <= now / 100 + 2, "the rate");
            }
            while let Some(wakeup) = machine.next_wakeup() {
                now = now.max(wakeup.as_millis()) + 1;
                if let Some(id) = machine.next(at(now)) {
                    machine.settle(id, Settled::Acked);
                }
            }
            prop_assert!(machine.is_over() && check(&machine));
        }
    }
}
