//! The whole state of a breaker in one 64-bit word, so that every change is one compare-and-swap.
//!
//! From the top: state (3 bits), trips in a row (4), generation (16), payload (41). The payload is
//! - Closed: the tick since when (29) and consecutive failures (12);
//! - Open: until when, in milliseconds since the origin (41, which is 69 years);
//! - HalfOpen: the tick at which the lease ends (29), probes that succeeded (6), probes out (6).
//!
//! A tick is 2^28 ns (268 ms); ticks are compared modulo 2^29 (4.5 years), so uptime is no limit.
//! All zero is Closed, the state of a new breaker.

use super::{Admission, StateKind};
use crate::time::Time;
use std::time::Duration;

const PAYLOAD_BITS: u32 = 41;
const PAYLOAD_MASK: u64 = (1 << PAYLOAD_BITS) - 1;
const GENERATION_SHIFT: u32 = PAYLOAD_BITS;
const TRIPS_SHIFT: u32 = GENERATION_SHIFT + 16;
const KIND_SHIFT: u32 = TRIPS_SHIFT + 4;
const TICK_SHIFT: u32 = 28;
const TICK_BITS: u32 = 29;
const TICK_MASK: u64 = (1 << TICK_BITS) - 1;

/// The most that the counter of consecutive failures holds.
pub(super) const CONSECUTIVE_MAX: u32 = (1 << 12) - 1;
/// The most probes that a half-open breaker can count.
pub(super) const PROBES_MAX: u8 = (1 << 6) - 1;
/// The most trips in a row that the open time still grows with.
pub(super) const TRIPS_MAX: u8 = (1 << 4) - 1;

const CLOSED: u64 = 0;
const FORCED_CLOSED: u64 = 1;
const OPEN: u64 = 2;
const HALF_OPEN: u64 = 3;

/// A point in time as the word keeps it: ticks modulo 2^29.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tick(u64);

impl Tick {
    /// The tick that `time` is in.
    pub(super) fn containing(time: Time) -> Self {
        Self(time.as_nanos() >> TICK_SHIFT & TICK_MASK)
    }

    /// The first tick that starts after `time`, so that what waits for it is never early.
    pub(super) fn after(time: Time) -> Self {
        Self(((time.as_nanos() >> TICK_SHIFT) + 1) & TICK_MASK)
    }

    /// Whether `now` is in this tick or after it.
    pub(super) fn reached(self, now: Time) -> bool {
        let ahead = Self::containing(now).0.wrapping_sub(self.0) & TICK_MASK;
        ahead < 1 << (TICK_BITS - 1)
    }

    /// When this tick starts, seen from `now`; `now` itself when that is past.
    pub(super) fn start(self, now: Time) -> Time {
        if self.reached(now) {
            return now;
        }
        let wait = self.0.wrapping_sub(Self::containing(now).0) & TICK_MASK;
        let tick = (now.as_nanos() >> TICK_SHIFT).saturating_add(wait);
        Time::from_nanos(tick.saturating_mul(1 << TICK_SHIFT))
    }

    /// How long this tick is past, in whole ticks; zero when it is not.
    pub(super) fn elapsed(self, now: Time) -> Duration {
        if !self.reached(now) {
            return Duration::ZERO;
        }
        let ticks = Self::containing(now).0.wrapping_sub(self.0) & TICK_MASK;
        Duration::from_nanos(ticks << TICK_SHIFT)
    }
}

/// What the payload says, by state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Closed { since: Tick, consecutive: u32 },
    ForcedClosed,
    Open { until_ms: u64 },
    HalfOpen { out: u8, ok: u8, lease: Tick },
    ForcedOpen,
}

/// The word as it lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

impl Word {
    /// Fields above their range saturate.
    pub(super) fn pack(generation: u16, trips: u8, phase: Phase) -> Self {
        let (kind, payload) = match phase {
            Phase::Closed { since, consecutive } => {
                let count = u64::from(consecutive.min(CONSECUTIVE_MAX));
                (CLOSED, since.0 << 12 | count)
            }
            Phase::ForcedClosed => (FORCED_CLOSED, 0),
            Phase::Open { until_ms } => (OPEN, until_ms.min(PAYLOAD_MASK)),
            Phase::HalfOpen { out, ok, lease } => {
                let (out, ok) = (out.min(PROBES_MAX), ok.min(PROBES_MAX));
                (
                    HALF_OPEN,
                    lease.0 << 12 | u64::from(ok) << 6 | u64::from(out),
                )
            }
            Phase::ForcedOpen => (HALF_OPEN + 1, 0),
        };
        Self(
            kind << KIND_SHIFT
                | u64::from(trips.min(TRIPS_MAX)) << TRIPS_SHIFT
                | u64::from(generation) << GENERATION_SHIFT
                | payload,
        )
    }

    /// Whether every call is admitted: one comparison, for the fast path.
    #[inline]
    pub(super) fn admits_all(self) -> bool {
        self.0 >> KIND_SHIFT <= FORCED_CLOSED
    }

    /// Whether a success of this admission changes nothing: closed by itself in the generation
    /// that gave it, with no failure counted. One comparison: the marks of a probe's admission
    /// fall on bits that are masked out here, so they never match.
    #[inline]
    pub(super) fn is_clean_for(self, admission: Admission) -> bool {
        const KIND: u64 = !0 << KIND_SHIFT;
        const GENERATION: u64 = 0xffff << GENERATION_SHIFT;
        const COUNT: u64 = CONSECUTIVE_MAX as u64;
        self.0 & (KIND | GENERATION | COUNT) == u64::from(admission.bits()) << GENERATION_SHIFT
    }

    /// Until when it is open; `None` in another state.
    #[inline]
    pub(super) fn open_until(self) -> Option<Time> {
        let open = self.0 >> KIND_SHIFT == OPEN;
        open.then(|| Time::from_millis(self.0 & PAYLOAD_MASK))
    }

    #[inline]
    pub(super) fn generation(self) -> u16 {
        low_bits(self.0 >> GENERATION_SHIFT)
    }

    pub(super) fn trips(self) -> u8 {
        low_bits(self.0 >> TRIPS_SHIFT & u64::from(TRIPS_MAX)).to_le_bytes()[0]
    }

    pub(super) fn phase(self) -> Phase {
        let payload = self.0 & PAYLOAD_MASK;
        let high = Tick(payload >> 12);
        match self.0 >> KIND_SHIFT {
            CLOSED => Phase::Closed {
                since: high,
                consecutive: u32::from(low_bits(payload & u64::from(CONSECUTIVE_MAX))),
            },
            FORCED_CLOSED => Phase::ForcedClosed,
            OPEN => Phase::Open { until_ms: payload },
            HALF_OPEN => Phase::HalfOpen {
                out: low_bits(payload & u64::from(PROBES_MAX)).to_le_bytes()[0],
                ok: low_bits(payload >> 6 & u64::from(PROBES_MAX)).to_le_bytes()[0],
                lease: high,
            },
            _ => Phase::ForcedOpen,
        }
    }

    #[inline]
    pub(super) fn kind(self) -> StateKind {
        match self.0 >> KIND_SHIFT {
            CLOSED => StateKind::Closed,
            FORCED_CLOSED => StateKind::ForcedClosed,
            OPEN => StateKind::Open,
            HALF_OPEN => StateKind::HalfOpen,
            _ => StateKind::ForcedOpen,
        }
    }
}

impl Phase {
    pub(super) fn kind(self) -> StateKind {
        match self {
            Self::Closed { .. } => StateKind::Closed,
            Self::ForcedClosed => StateKind::ForcedClosed,
            Self::Open { .. } => StateKind::Open,
            Self::HalfOpen { .. } => StateKind::HalfOpen,
            Self::ForcedOpen => StateKind::ForcedOpen,
        }
    }
}

const fn low_bits(value: u64) -> u16 {
    (value & 0xffff) as u16
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use super::*;

    fn tick_of(nanos: u64) -> Tick {
        Tick::containing(Time::from_nanos(nanos))
    }

    #[test]
    fn every_phase_survives_packing_at_its_limits() {
        let last = Tick(TICK_MASK);
        let phases = [
            Phase::Closed {
                since: last,
                consecutive: CONSECUTIVE_MAX,
            },
            Phase::Closed {
                since: Tick(0),
                consecutive: 0,
            },
            Phase::ForcedClosed,
            Phase::Open {
                until_ms: PAYLOAD_MASK,
            },
            Phase::HalfOpen {
                out: PROBES_MAX,
                ok: 0,
                lease: last,
            },
            Phase::HalfOpen {
                out: 0,
                ok: PROBES_MAX,
                lease: Tick(0),
            },
            Phase::ForcedOpen,
        ];
        for phase in phases {
            for (generation, trips) in [(0, 0), (u16::MAX, TRIPS_MAX), (1, 0), (0, 1)] {
                let word = Word::pack(generation, trips, phase);
                assert_eq!((word.generation(), word.trips()), (generation, trips));
                assert_eq!((word.phase(), word.kind()), (phase, phase.kind()));
                let admits = matches!(phase, Phase::Closed { .. } | Phase::ForcedClosed);
                assert_eq!(word.admits_all(), admits, "{phase:?}");
            }
        }
    }

    #[test]
    fn only_a_plain_admission_of_this_generation_is_clean() {
        let since = Tick(TICK_MASK);
        let closed = |count| {
            let phase = Phase::Closed {
                since,
                consecutive: count,
            };
            Word::pack(9, TRIPS_MAX, phase)
        };
        let own = Admission::plain(9);
        assert!(closed(0).is_clean_for(own));
        assert!(!closed(1).is_clean_for(own) && !closed(CONSECUTIVE_MAX).is_clean_for(own));
        assert!(!closed(0).is_clean_for(Admission::plain(8)));
        for first in [false, true] {
            assert!(!closed(0).is_clean_for(Admission::of_probe(9, first)));
        }
        for phase in [
            Phase::ForcedClosed,
            Phase::ForcedOpen,
            Phase::Open { until_ms: 0 },
        ] {
            assert!(!Word::pack(9, 0, phase).is_clean_for(own), "{phase:?}");
        }
    }

    #[test]
    fn values_beyond_their_field_saturate_and_never_spill() {
        let open = Word::pack(7, 200, Phase::Open { until_ms: u64::MAX });
        assert_eq!((open.generation(), open.trips()), (7, TRIPS_MAX));
        assert_eq!(open.kind(), StateKind::Open);
        let since = Tick(5);
        let closed = Word::pack(
            7,
            0,
            Phase::Closed {
                since,
                consecutive: u32::MAX,
            },
        );
        let expected = Phase::Closed {
            since,
            consecutive: CONSECUTIVE_MAX,
        };
        assert_eq!(closed.phase(), expected);
    }

    #[test]
    fn ticks_compare_across_their_wrap() {
        let wrap = 1u64 << (TICK_SHIFT + TICK_BITS);
        let before = Time::from_nanos(wrap - 1);
        let lease = Tick::after(before);
        assert!(!lease.reached(before));
        assert_eq!(lease.start(before), Time::from_nanos(wrap));
        assert!(lease.reached(Time::from_nanos(wrap)));
        let day = Duration::from_secs(86_400);
        let later = before + day;
        let error = day.saturating_sub(tick_of(wrap - 1).elapsed(later));
        assert!(error < Duration::from_millis(269), "{error:?}");
    }
}
