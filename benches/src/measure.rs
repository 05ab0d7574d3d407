//! Cases, and rounds of them.
//!
//! A case is one operation in a loop. Each round takes one sample of every case, with a sample of
//! the reference operation before and after it; the case's figure is the median of the ratios. A
//! sample on two threads counts only when both ran nearly all the time; otherwise one was alone,
//! found everything in its cache, and the sample is taken again.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use crate::clock::{cpu_nanos_of, reading_cost_nanos};

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Rounds; at least 9 for a figure that is quoted.
    pub rounds: usize,
    /// CPU time of one sample.
    pub sample_nanos: u64,
}

impl Plan {
    /// 15 rounds with samples of 4 ms; or, quick, 5 of 1 ms.
    pub const fn new(quick: bool) -> Self {
        let (rounds, sample_nanos) = if quick {
            (5, 1_000_000)
        } else {
            (15, 4_000_000)
        };
        Self {
            rounds,
            sample_nanos,
        }
    }
}

/// What one sample took.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// How often the operation was done.
    pub iterations: u64,
    /// CPU time for all of them.
    pub nanos: u64,
}

impl Sample {
    fn nanos_each(self) -> f64 {
        self.nanos as f64 / self.iterations.max(1) as f64
    }
}

type Run = Box<dyn FnMut(u64) -> Sample>;
type Pair = Box<dyn Fn(u64) -> Option<f64>>;

/// An operation to be measured.
pub struct Case {
    /// The primitive that it belongs to.
    pub group: &'static str,
    /// What is done.
    pub name: &'static str,
    /// The crate that it is done with; `None` is ours.
    pub peer: Option<&'static str>,
    /// The ratio that the design allows at most.
    pub target: Option<f64>,
    items: f64,
    run: Run,
    pair: Option<Pair>,
}

impl Case {
    /// A case without an operation yet.
    pub fn of(group: &'static str, name: &'static str) -> Self {
        Self {
            group,
            name,
            peer: None,
            target: None,
            items: 1.0,
            run: Box::new(|_| Sample {
                iterations: 1,
                nanos: 0,
            }),
            pair: None,
        }
    }

    /// Done with this crate.
    #[must_use]
    pub fn by(mut self, peer: &'static str) -> Self {
        self.peer = Some(peer);
        self
    }

    /// The most that the design allows, as a ratio.
    #[must_use]
    pub fn target(mut self, ratio: f64) -> Self {
        self.target = Some(ratio);
        self
    }

    /// One operation is about so many items, and the figures are per item.
    #[must_use]
    pub fn per(mut self, items: u32) -> Self {
        self.items = f64::from(items);
        self
    }

    /// The operation, on one thread.
    #[must_use]
    pub fn solo(mut self, op: impl FnMut() + 'static) -> Self {
        self.run = looping(op);
        self
    }

    /// An operation on something shared: `make` gives each thread, and each sample, a handle to it.
    #[must_use]
    pub fn shared<O: FnMut() + 'static>(
        mut self,
        make: impl Fn() -> O + Send + Sync + 'static,
    ) -> Self {
        let make = Arc::new(make);
        let again = Arc::clone(&make);
        self.run = Box::new(move |iterations| {
            begin_sample();
            looped(iterations, &mut again())
        });
        self.pair = Some(Box::new(move |iterations| {
            on_two_threads(&*make, iterations)
        }));
        self
    }

    /// An operation that needs preparing, `block` times at once: `prepare` is not measured.
    #[must_use]
    pub fn blocks<S: 'static>(
        mut self,
        block: u64,
        mut state: S,
        prepare: impl Fn(&mut S) + 'static,
        run: impl Fn(&mut S) + 'static,
    ) -> Self {
        self.run = Box::new(move |iterations| {
            let (blocks, reading) = (iterations.div_ceil(block), reading_cost_nanos());
            let mut nanos = 0;
            for _ in 0..blocks {
                prepare(&mut state);
                nanos += cpu_nanos_of(|| run(&mut state)).saturating_sub(reading);
            }
            let iterations = blocks * block;
            Sample { iterations, nanos }
        });
        self
    }

    /// How many operations make a sample of about `nanos`.
    fn calibrated(&mut self, nanos: u64) -> u64 {
        let mut iterations = 16;
        loop {
            let sample = (self.run)(iterations);
            if sample.nanos > nanos / 4 || iterations > 1 << 32 {
                let wanted = nanos as f64 / sample.nanos_each().max(0.01);
                return (wanted as u64).max(1);
            }
            iterations *= 4;
        }
    }
}

/// The operation's own state is moved to the stack for each sample: behind a box, `black_box` would
/// force it to memory at every step, and a clock that ticks would cost as much as what is measured.
fn looping(op: impl FnMut() + 'static) -> Run {
    let mut kept = Some(op);
    Box::new(move |iterations| {
        let Some(mut op) = kept.take() else {
            unreachable!("it is put back below")
        };
        let sample = looped(iterations, &mut op);
        kept = Some(op);
        sample
    })
}

#[inline(always)]
fn looped(iterations: u64, op: &mut impl FnMut()) -> Sample {
    let nanos = cpu_nanos_of(|| {
        for _ in 0..iterations {
            op();
        }
    });
    Sample { iterations, nanos }
}

/// The part of the longer of two samples that both must run at the same time.
const TOGETHER_MIN: f64 = 0.85;

/// Nanoseconds per operation while two threads do it; `None` when they did not run together.
fn on_two_threads<O: FnMut()>(
    make: &(impl Fn() -> O + Send + Sync),
    iterations: u64,
) -> Option<f64> {
    begin_sample();
    let arrived = AtomicU64::new(0);
    let one = || {
        let mut op = make();
        // Spinning: whoever is woken from a wait starts late.
        arrived.fetch_add(1, Relaxed);
        while arrived.load(Relaxed) < 2 {
            std::hint::spin_loop();
        }
        let start = Instant::now();
        let sample = looped(iterations, &mut op);
        (sample, start, Instant::now())
    };
    let (a, b) = std::thread::scope(|scope| {
        let other = scope.spawn(one);
        let here = one();
        Some((here, other.join().ok()?))
    })?;
    let (first, last) = (a.1.min(b.1), a.2.max(b.2));
    let (start, end) = (a.1.max(b.1), a.2.min(b.2));
    let both = end.saturating_duration_since(start).as_secs_f64();
    let whole = last.duration_since(first).as_secs_f64();
    // Time that either spent off its core is time that the other was alone.
    let working = (a.0.nanos.min(b.0.nanos) as f64) * 1e-9 / whole;
    let together = (both / whole).min(working) >= TOGETHER_MIN;
    together.then(|| f64::midpoint(a.0.nanos_each(), b.0.nanos_each()))
}

static SAMPLES: AtomicU64 = AtomicU64::new(0);

fn begin_sample() {
    SAMPLES.fetch_add(1, Relaxed);
}

/// A number that is larger in each sample than in those before, and the same for both threads of
/// one: for operations that need a time which never goes back.
pub fn sample_number() -> u64 {
    SAMPLES.load(Relaxed)
}

/// The median of several figures, and the smallest and largest.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// Half of the figures are below.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of these figures; `None` when there are none.
    pub fn of(mut figures: Vec<f64>) -> Option<Self> {
        figures.sort_by(f64::total_cmp);
        let (min, max) = (*figures.first()?, *figures.last()?);
        let half = figures.len() / 2;
        let median = if figures.len() % 2 == 1 {
            figures[half]
        } else {
            (figures[half - 1] + figures[half]) / 2.0
        };
        Some(Self { median, min, max })
    }
}

/// A measured case. Ratios are per item, to one uncontended `fetch_add`.
#[derive(Clone, Debug)]
pub struct Row {
    /// As [`Case::group`].
    pub group: &'static str,
    /// As [`Case::name`].
    pub name: &'static str,
    /// As [`Case::peer`].
    pub peer: Option<&'static str>,
    /// As [`Case::target`].
    pub target: Option<f64>,
    /// On one thread.
    pub ratio: Spread,
    /// Nanoseconds on one thread, the median.
    pub nanos: f64,
    /// On two threads at once, where the case is about something shared; `None` also when the
    /// machine never ran both together.
    pub ratio_of_two: Option<Spread>,
}

impl Row {
    /// Whether the median is within the target; `None` without one.
    pub fn holds(&self) -> Option<bool> {
        self.target.map(|target| self.ratio.median <= target)
    }
}

struct Figures {
    iterations: u64,
    ratios: Vec<f64>,
    nanos: Vec<f64>,
    ratios_of_two: Vec<f64>,
}

/// A sample on two threads is so much shorter, also since contention makes it longer.
const PAIR_PART: u64 = 40;
/// How often it is tried to have both run together.
const PAIR_TRIES: usize = 12;

/// Measures all cases, interleaved.
pub fn rows_of(mut cases: Vec<Case>, plan: Plan) -> Vec<Row> {
    let mut reference = fetch_add();
    let reference_count = reference.calibrated(plan.sample_nanos / 4);
    let mut refer = || (reference.run)(reference_count).nanos_each();
    let mut all: Vec<_> = cases
        .iter_mut()
        .map(|case| Figures {
            iterations: case.calibrated(plan.sample_nanos),
            ratios: Vec::new(),
            nanos: Vec::new(),
            ratios_of_two: Vec::new(),
        })
        .collect();
    for _ in 0..plan.rounds {
        for (case, figures) in cases.iter_mut().zip(&mut all) {
            let before = refer();
            let nanos = (case.run)(figures.iterations).nanos_each() / case.items;
            let unit = (before + refer()) / 2.0;
            figures.ratios.push(nanos / unit);
            figures.nanos.push(nanos);
            if let Some(pair) = &case.pair {
                // Short, so that both are likely to keep their cores on a busy machine.
                let iterations = figures.iterations / PAIR_PART + 1;
                let nanos = (0..PAIR_TRIES).find_map(|_| pair(iterations));
                let ratio = nanos.map(|nanos| nanos / case.items / unit);
                figures.ratios_of_two.extend(ratio);
            }
        }
    }
    let rows = cases.iter().zip(all).map(|(case, figures)| Row {
        group: case.group,
        name: case.name,
        peer: case.peer,
        target: case.target,
        ratio: Spread::of(figures.ratios).unwrap_or_default(),
        nanos: Spread::of(figures.nanos).unwrap_or_default().median,
        ratio_of_two: Spread::of(figures.ratios_of_two),
    });
    rows.collect()
}

/// What everything is measured by: a locked addition to a word that no other thread has.
pub fn fetch_add() -> Case {
    let word = Arc::new(AtomicU64::new(0));
    Case::of("reference", "AtomicU64::fetch_add, relaxed").shared(move || {
        let word = Arc::clone(&word);
        move || {
            black_box(black_box(&*word).fetch_add(1, Relaxed));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_the_ends_are_kept() {
        let cases = [
            (vec![3.0, 1.0, 2.0], (2.0, 1.0, 3.0)),
            (vec![4.0, 1.0, 2.0, 3.0], (2.5, 1.0, 4.0)),
            (vec![7.0], (7.0, 7.0, 7.0)),
        ];
        for (figures, (median, min, max)) in cases {
            assert_eq!(Spread::of(figures), Some(Spread { median, min, max }));
        }
        assert_eq!(Spread::of(Vec::new()), None);
    }

    fn work(n: u64) -> impl FnMut() {
        move || (0..n).for_each(|i| _ = black_box(i))
    }

    #[test]
    fn more_work_is_a_larger_ratio_and_items_divide_it() {
        let plan = Plan {
            rounds: 3,
            sample_nanos: 200_000,
        };
        let rows = rows_of(
            vec![
                Case::of("g", "small").target(1e6).solo(work(100)),
                Case::of("g", "large").target(1e-6).solo(work(10_000)),
                Case::of("g", "per item").per(10_000).solo(work(10_000)),
                Case::of("g", "blocks").blocks(100, (), |()| work(10_000)(), |()| work(100)()),
            ],
            plan,
        );
        let ratio = |n: usize| rows[n].ratio.median;
        assert!(ratio(1) > 10.0 * ratio(0) && ratio(0) > 10.0 * ratio(2));
        assert!(ratio(3) < ratio(0), "preparing is not measured");
        assert_eq!(
            (rows[0].holds(), rows[1].holds()),
            (Some(true), Some(false))
        );
        assert_eq!(rows[2].holds(), None);
    }
}
