//! Recording, and what the collector does once a second.

use std::hint::black_box;
use std::sync::{Arc, Mutex};

use benches::measure::Case;
use trunkline_engine::rng::Rng;
use trunkline_engine::stats::{Counter, Histogram, Ladder, LadderPolicy, MetricSet, Unit};

use crate::support::{START, Ticker};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        counter().target(1.2),
        counter_owned(),
        prometheus_counter(),
        histogram().target(2.0),
        histogram_owned(),
        prometheus_histogram(),
        hdr(),
        hdr_in_a_mutex(),
        ladder_of_counter(),
        ladder_of_histogram(),
        collect(),
    ]
}

fn counter() -> Case {
    let counter = Arc::new(Counter::new());
    Case::of("stats", "counter: add").shared(move || {
        let counter = Arc::clone(&counter);
        move || black_box(&*counter).add(1)
    })
}

fn counter_owned() -> Case {
    let counter = Counter::new();
    Case::of("stats", "counter: add, one owner").solo(move || black_box(&counter).add_owned(1))
}

fn prometheus_counter() -> Case {
    let counter = prometheus::IntCounter::new("c", "c").expect("a good name");
    Case::of("stats", "IntCounter: inc")
        .by("prometheus")
        .shared(move || {
            let counter = counter.clone();
            move || black_box(&counter).inc()
        })
}

/// Latencies in nanoseconds, from microseconds to a second.
fn latencies() -> [u64; 1024] {
    let mut rng = Rng::seeded(8);
    std::array::from_fn(|_| 1_000 + (rng.next_u64() >> 34 >> rng.below(16)))
}

/// Hands the latencies out in turn.
fn in_turn() -> impl FnMut() -> u64 {
    let (values, mut at) = (latencies(), 0);
    move || {
        at = (at + 1) % values.len();
        values[at]
    }
}

fn histogram() -> Case {
    let histogram = Arc::new(Histogram::new());
    Case::of("stats", "histogram: record").shared(move || {
        let (histogram, mut next) = (Arc::clone(&histogram), in_turn());
        move || black_box(&*histogram).record(next())
    })
}

fn histogram_owned() -> Case {
    let (histogram, mut next) = (Histogram::new(), in_turn());
    let name = "histogram: record, one owner";
    Case::of("stats", name).solo(move || black_box(&histogram).record_owned(next()))
}

fn prometheus_histogram() -> Case {
    let options = prometheus::HistogramOpts::new("h", "h");
    let histogram = prometheus::Histogram::with_opts(options).expect("a good name");
    let name = "Histogram of 11 buckets: observe";
    Case::of("stats", name).by("prometheus").shared(move || {
        let (histogram, mut next) = (histogram.clone(), in_turn());
        move || black_box(&histogram).observe(next() as f64 * 1e-9)
    })
}

fn hdr_histogram() -> hdrhistogram::Histogram<u64> {
    // A nanosecond to a minute in two digits: the error is nearest to ours.
    hdrhistogram::Histogram::new_with_bounds(1, 60_000_000_000, 2).expect("good bounds")
}

fn hdr() -> Case {
    let (mut histogram, mut next) = (hdr_histogram(), in_turn());
    let name = "Histogram, 2 digits: record, one owner";
    Case::of("stats", name).by("hdrhistogram").solo(move || {
        black_box(black_box(&mut histogram).record(next()).is_ok());
    })
}

fn hdr_in_a_mutex() -> Case {
    let histogram = Arc::new(Mutex::new(hdr_histogram()));
    let name = "Histogram, 2 digits, in a Mutex: record";
    Case::of("stats", name).by("hdrhistogram").shared(move || {
        let (histogram, mut next) = (Arc::clone(&histogram), in_turn());
        move || {
            if let Ok(mut histogram) = histogram.lock() {
                black_box(histogram.record(next()).is_ok());
            }
        }
    })
}

fn ladder_of_counter() -> Case {
    let policy = LadderPolicy::default();
    let mut ladder = Ladder::new(&policy, START, 0_u64).expect("the policy is valid");
    let (mut clock, mut total) = (Ticker::steps(1_000_000_000), 0);
    Case::of("stats", "ladder: collect a counter").solo(move || {
        total += 100;
        ladder.collect(clock.tick(), total);
    })
}

/// A snapshot of a histogram in which some 300 buckets were hit, and its difference.
fn ladder_of_histogram() -> Case {
    let (policy, histogram) = (LadderPolicy::default(), Histogram::new());
    let mut ladder =
        Ladder::new(&policy, START, histogram.snapshot()).expect("the policy is valid");
    let (mut clock, mut next) = (Ticker::steps(1_000_000_000), in_turn());
    Case::of("stats", "ladder: collect a histogram").solo(move || {
        (0..100).for_each(|_| histogram.record_owned(next()));
        ladder.collect(clock.tick(), histogram.snapshot());
    })
}

/// A clean-up pass of the set: 90 counters, 10 histograms, nobody watching.
fn collect() -> Case {
    let set = MetricSet::new(LadderPolicy::default(), 100, START).expect("the policy is valid");
    let mut next = in_turn();
    for n in 0..90 {
        let made = set.counter(&format!("events_{n}"), "Events", Unit::None);
        made.expect("a good name").add(7);
    }
    for n in 0..10 {
        let made = set.histogram(&format!("latency_{n}_seconds"), "Latency", Unit::Seconds);
        let histogram = made.expect("a good name");
        (0..1_000).for_each(|_| histogram.record(next()));
    }
    let mut clock = Ticker::steps(1_000_000_000);
    let name = "set: collect 90 counters and 10 histograms";
    Case::of("stats", name).solo(move || set.collect(clock.tick()))
}
