//! How a router chooses and how strict it is with its members.
//!
//! Every default is chosen for a set of two to a few dozen members: half of them may be ejected
//! (Envoy's tenth would never eject one of three), and a set of which less than half is usable is
//! used whole, since sending everything to the rest would take that down too.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use crate::policy::{PolicyError, span_within, within};

/// How the next member is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// Each in turn.
    RoundRobin,
    /// Each in turn, in proportion to weight × capacity and without bursts (stride scheduling,
    /// Waldspurger 1995).
    Weighted,
    /// The fewest in flight for its weight × capacity; ties at random. Reads every member.
    LeastLoaded,
    /// The less loaded of two drawn at random (Mitzenmacher 2001).
    #[default]
    P2c,
    /// The better of two by peak latency × in flight; a failure counts as a long latency.
    PeakEwma,
    /// As [`Self::PeakEwma`], divided by the square of the share of attempts that got a reply.
    Adaptive,
    /// A key stays with the member that it was first given to until that member leaves.
    Sticky,
    /// A key goes where its hash says, unless that member has too much more than its share.
    Hash,
}

impl Strategy {
    /// All strategies.
    pub const ALL: [Self; 8] = [
        Self::RoundRobin,
        Self::Weighted,
        Self::LeastLoaded,
        Self::P2c,
        Self::PeakEwma,
        Self::Adaptive,
        Self::Sticky,
        Self::Hash,
    ];

    /// The name in a config file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::Weighted => "weighted",
            Self::LeastLoaded => "least-loaded",
            Self::P2c => "p2c",
            Self::PeakEwma => "peak-ewma",
            Self::Adaptive => "adaptive",
            Self::Sticky => "sticky",
            Self::Hash => "hash",
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No strategy has this name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "no routing strategy is called {0:?}; there are round-robin, weighted, least-loaded, p2c, \
     peak-ewma, adaptive, sticky and hash"
)]
pub struct UnknownStrategy(pub String);

impl FromStr for Strategy {
    type Err = UnknownStrategy;

    fn from_str(name: &str) -> Result<Self, UnknownStrategy> {
        Self::ALL
            .into_iter()
            .find(|strategy| strategy.as_str() == name)
            .ok_or_else(|| UnknownStrategy(name.to_owned()))
    }
}

/// What a router needs to know before its first member.
#[derive(Clone, Debug, PartialEq)]
pub struct RouterPolicy {
    /// The strategy to begin with; [`super::Router::set_strategy`] changes it while in use.
    pub strategy: Strategy,
    /// Time between two passes that compare the members' reply ratios. Above zero, at most a day.
    pub check_every: Duration,
    /// Time after which a member that was given work and never answered, while its siblings did,
    /// is taken for dead; at least this and eight times the siblings' latency. Above zero, at most
    /// a day.
    pub silence: Duration,
    /// Finished attempts that a member, and its siblings together, must have before their reply
    /// ratios are compared. `1..=1_000_000`.
    pub min_sample: u32,
    /// A member below this part of its siblings' reply ratio is ejected. In `0.0..=0.99`; 0
    /// turns the comparison off.
    pub ratio_floor: f32,
    /// Attempts in a row without a reply, at least, before a member can be ejected at once. The
    /// run must also be one that siblings' ratio makes a one-in-a-million event. `2..=1_000_000`.
    pub run_min: u32,
    /// Own send failures in a row that eject at once. `1..=1_000_000`.
    pub send_failures: u32,
    /// How long the first ejection lasts; each further one twice as long. Above zero, at most
    /// `hold_max`.
    pub hold: Duration,
    /// How long an ejection lasts at most. Above zero, at most a day.
    pub hold_max: Duration,
    /// The part of the members that may be ejected at the same time. In `0.0..=1.0`.
    pub ejected_max: f32,
    /// With a smaller part of the members than this usable, ejections are ignored. In `0.0..=1.0`.
    pub panic_below: f32,
    /// Time over which a member that came back, or came late, is brought from a tenth to all of
    /// its share; zero turns it off. `hash` and keys that are already kept take no part.
    pub slow_start: Duration,
    /// Latency that a member without a measurement is taken to have, when no sibling has one.
    pub latency_seed: Duration,
    /// Time in which a latency estimate that is not renewed falls to one half. 1 ms to a day.
    pub latency_half_life: Duration,
    /// Latency that a failed attempt counts as, at least.
    pub failure_penalty: Duration,
    /// With `hash`, the most that a member may have in flight, in multiples of its share.
    /// `1.0..=1000.0`.
    pub load_bound: f32,
    /// Keys that `sticky` remembers at most; rounded up to a power of two. In `8..=16_777_216`.
    pub sticky_keys: u32,
}

impl Default for RouterPolicy {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            check_every: Duration::from_secs(30),
            silence: Duration::from_millis(250),
            min_sample: 20,
            ratio_floor: 0.5,
            run_min: 5,
            send_failures: 5,
            hold: Duration::from_secs(30),
            hold_max: Duration::from_secs(300),
            ejected_max: 0.5,
            panic_below: 0.5,
            slow_start: Duration::from_secs(10),
            latency_seed: Duration::from_millis(30),
            latency_half_life: Duration::from_secs(7),
            failure_penalty: Duration::from_secs(5),
            load_bound: 1.25,
            sticky_keys: 65_536,
        }
    }
}

impl RouterPolicy {
    /// Whether every field is in its range.
    ///
    /// # Errors
    /// The first field that is not.
    pub fn check(&self) -> Result<(), PolicyError> {
        const NANO: Duration = Duration::from_nanos(1);
        const DAY: Duration = Duration::from_secs(86_400);
        span_within("check_every", self.check_every, NANO, DAY)?;
        span_within("silence", self.silence, NANO, DAY)?;
        within("min_sample", self.min_sample, 1, 1_000_000)?;
        within("ratio_floor", self.ratio_floor, 0.0, 0.99)?;
        within("run_min", self.run_min, 2, 1_000_000)?;
        within("send_failures", self.send_failures, 1, 1_000_000)?;
        span_within("hold_max", self.hold_max, NANO, DAY)?;
        span_within("hold", self.hold, NANO, self.hold_max)?;
        within("ejected_max", self.ejected_max, 0.0, 1.0)?;
        within("panic_below", self.panic_below, 0.0, 1.0)?;
        span_within("slow_start", self.slow_start, Duration::ZERO, DAY)?;
        span_within("latency_seed", self.latency_seed, Duration::ZERO, DAY)?;
        span_within(
            "latency_half_life",
            self.latency_half_life,
            Duration::from_millis(1),
            DAY,
        )?;
        span_within("failure_penalty", self.failure_penalty, Duration::ZERO, DAY)?;
        within("load_bound", self.load_bound, 1.0, 1_000.0)?;
        within("sticky_keys", self.sticky_keys, 8, 1 << 24)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_strategy_is_found_by_its_name() {
        for strategy in Strategy::ALL {
            assert_eq!(strategy.as_str().parse(), Ok(strategy));
        }
        let error = "Round-Robin".parse::<Strategy>().unwrap_err();
        assert!(error.to_string().contains("\"Round-Robin\""), "{error}");
    }

    #[test]
    fn each_bad_value_is_named() {
        type Spoil = fn(&mut RouterPolicy);
        let cases: &[(&str, Spoil)] = &[
            ("check_every", |p| p.check_every = Duration::ZERO),
            ("silence", |p| p.silence = Duration::ZERO),
            ("min_sample", |p| p.min_sample = 0),
            ("ratio_floor", |p| p.ratio_floor = 1.0),
            ("ratio_floor", |p| p.ratio_floor = f32::NAN),
            ("run_min", |p| p.run_min = 1),
            ("send_failures", |p| p.send_failures = 0),
            ("hold", |p| p.hold = Duration::ZERO),
            ("hold", |p| p.hold = Duration::from_secs(301)),
            ("hold_max", |p| p.hold_max = Duration::MAX),
            ("ejected_max", |p| p.ejected_max = 1.5),
            ("panic_below", |p| p.panic_below = -0.1),
            ("latency_half_life", |p| {
                p.latency_half_life = Duration::ZERO
            }),
            ("load_bound", |p| p.load_bound = 0.9),
            ("load_bound", |p| p.load_bound = f32::INFINITY),
            ("slow_start", |p| p.slow_start = Duration::MAX),
            ("latency_seed", |p| p.latency_seed = Duration::MAX),
            ("failure_penalty", |p| p.failure_penalty = Duration::MAX),
            ("sticky_keys", |p| p.sticky_keys = 7),
        ];
        assert_eq!(RouterPolicy::default().check(), Ok(()));
        for (field, spoil) in cases {
            let mut policy = RouterPolicy::default();
            spoil(&mut policy);
            assert_eq!(policy.check().unwrap_err().field, *field);
        }
    }
}
