//! When each target's jobs run: at a fixed rate, with a phase that spreads them.
//!
//! A slot runs at `phase + n × interval`, whatever earlier runs took, so samples stay equally
//! spaced. The phase follows from the names of target and job: it survives restarts and reloads,
//! and thousands of targets do not start in the same millisecond. A slot whose last run has not
//! ended is not started twice: it is missed, and counted. After a stall the runs that would have
//! been in the past are missed too, not caught up in a burst.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use trunkline_engine::time::{Time, nanos};
use trunkline_engine::wheel::Wheel;

/// One job of one target.
#[derive(Clone, Debug)]
struct Slot {
    interval: Duration,
    next: Time,
    running: bool,
    missed: u64,
}

/// The runs of many slots.
#[derive(Debug)]
pub struct Schedule {
    start: Time,
    slots: Vec<Slot>,
    wheel: Wheel,
    fired: Vec<u64>,
    missed: u64,
}

/// How finely runs are timed.
const TICK: Duration = Duration::from_millis(1);

impl Schedule {
    /// An empty schedule whose phases count from `start`.
    pub fn new(start: Time) -> Self {
        let wheel = Wheel::new(start, TICK);
        Self {
            start,
            slots: Vec::new(),
            wheel,
            fired: Vec::new(),
            missed: 0,
        }
    }

    /// Adds a slot and returns its number. `interval` of less than a millisecond counts as one.
    pub fn add(&mut self, target: &str, job: &str, interval: Duration) -> usize {
        let interval = interval.max(TICK);
        let next = self.start + phase(target, job, interval);
        let number = self.slots.len();
        self.slots.push(Slot {
            interval,
            next,
            running: false,
            missed: 0,
        });
        self.wheel.insert(next, number as u64);
        number
    }

    /// Appends the slots that start now to `due`, and when each was meant to.
    pub fn due(&mut self, now: Time, due: &mut Vec<(usize, Time)>) {
        let mut fired = std::mem::take(&mut self.fired);
        self.wheel.expire(now, &mut fired);
        for token in fired.drain(..) {
            self.fire(now, token as usize, due);
        }
        self.fired = fired;
    }

    fn fire(&mut self, now: Time, number: usize, due: &mut Vec<(usize, Time)>) {
        let Some(slot) = self.slots.get_mut(number) else {
            return;
        };
        let planned = slot.next;
        let late = nanos(now.saturating_since(planned)) / nanos(slot.interval);
        let steps = u32::try_from(late + 1).unwrap_or(u32::MAX);
        slot.next = planned + slot.interval.saturating_mul(steps);
        let mut missed = late;
        if slot.running {
            missed += 1;
        } else {
            slot.running = true;
            due.push((number, planned));
        }
        slot.missed += missed;
        self.missed += missed;
        self.wheel.insert(slot.next, number as u64);
    }

    /// A slot's run has ended.
    pub fn ended(&mut self, number: usize) {
        if let Some(slot) = self.slots.get_mut(number) {
            slot.running = false;
        }
    }

    /// When to call [`Self::due`] next.
    pub fn next_wakeup(&self) -> Option<Time> {
        self.wheel.next_wakeup()
    }

    /// Runs that did not start in time.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// Slots whose run has not ended.
    pub fn running(&self) -> usize {
        self.slots.iter().filter(|slot| slot.running).count()
    }

    /// How many slots there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

/// Where within its interval a slot runs.
fn phase(target: &str, job: &str, interval: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    (target, job).hash(&mut hasher);
    let span = u128::from(nanos(interval));
    let nanos = (u128::from(hasher.finish()) * span) >> 64;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn run(schedule: &mut Schedule, until: Time, mut end: impl FnMut(usize) -> bool) -> Vec<Time> {
        let (mut starts, mut due) = (Vec::new(), Vec::new());
        while let Some(at) = schedule.next_wakeup().filter(|at| *at <= until) {
            schedule.due(at, &mut due);
            for (number, planned) in due.drain(..) {
                starts.push(planned);
                if end(number) {
                    schedule.ended(number);
                }
            }
        }
        starts
    }

    #[test]
    fn runs_keep_their_rate_whatever_a_run_takes() {
        let mut schedule = Schedule::new(Time::ZERO);
        schedule.add("router-1", "system", SECOND);
        let starts = run(&mut schedule, Time::from_millis(100_000), |_| true);
        assert_eq!(starts.len(), 100);
        assert!(
            starts
                .windows(2)
                .all(|pair| pair[1].saturating_since(pair[0]) == SECOND)
        );
        assert_eq!(schedule.missed(), 0);
    }

    #[test]
    fn phases_spread_over_the_interval_and_repeat() {
        let phases: Vec<_> = (0..10_000)
            .map(|n| phase(&format!("t{n}"), "if", SECOND))
            .collect();
        let early = phases.iter().filter(|phase| **phase < SECOND / 10).count();
        assert!(
            (850..1150).contains(&early),
            "{early} of 10,000 in the first tenth"
        );
        assert_eq!(phases[7], phase("t7", "if", SECOND));
    }

    #[test]
    fn a_run_that_has_not_ended_is_missed_not_doubled() {
        let mut schedule = Schedule::new(Time::ZERO);
        schedule.add("slow", "if", SECOND);
        let starts = run(&mut schedule, Time::from_millis(9_999), |_| false);
        assert_eq!(
            (starts.len(), schedule.missed(), schedule.running()),
            (1, 9, 1)
        );
    }

    #[test]
    fn a_stall_is_counted_and_not_caught_up() {
        let mut schedule = Schedule::new(Time::ZERO);
        schedule.add("a", "b", SECOND);
        let mut due = Vec::new();
        schedule.due(Time::from_millis(60_999), &mut due);
        assert_eq!((due.len(), schedule.missed()), (1, 60));
        let next = schedule.next_wakeup().unwrap();
        assert!(next > Time::from_millis(60_999) && next <= Time::from_millis(62_000));
    }
}
