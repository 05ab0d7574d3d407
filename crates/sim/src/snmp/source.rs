//! Where the value of a row comes from: written down, or made from the time and the address.
//!
//! The rule: a live value is a pure function of the agent's key, the row and the agent's uptime,
//! so an agent needs no memory to have counters that only grow, and a test can ask twice. Agents
//! of one model differ in where their counters stand and how fast they run.

use std::net::Ipv4Addr;
use std::time::Duration;

use trunkline_engine::rng::mix64;
use trunkline_engine::time::nanos;
use trunkline_wire_snmp::OwnedValue;

/// Most bytes of the prefix of [`Source::Name`].
pub const NAME_PREFIX_MAX: usize = 64;

/// Where the value of a row comes from.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Source {
    /// Always this.
    Fixed(OwnedValue),
    /// TimeTicks since the agent started.
    Uptime,
    /// A Counter32 that grows by about this much per second (each agent has its own rate between
    /// half and one and a half of it) and wraps.
    Counter32 {
        /// Growth per second.
        per_second: u32,
    },
    /// A Counter64 that grows likewise.
    Counter64 {
        /// Growth per second.
        per_second: u64,
    },
    /// A Gauge32 that takes another value between the two, both included, every so often.
    Gauge32 {
        /// The least value.
        low: u32,
        /// The greatest value.
        high: u32,
        /// How long each value stays.
        every: Duration,
    },
    /// An INTEGER that behaves likewise.
    Integer {
        /// The least value.
        low: i32,
        /// The greatest value.
        high: i32,
        /// How long each value stays.
        every: Duration,
    },
    /// An OCTET STRING of a prefix and the agent's address: `switch-127-1-0-1`.
    Name {
        /// What stands before the address, at most [`NAME_PREFIX_MAX`] bytes.
        prefix: String,
    },
}

impl Source {
    /// The first octet of the value's encoding, which tells its type.
    pub(super) fn tag(&self) -> u8 {
        match self {
            Self::Fixed(value) => type_tag(value),
            Self::Uptime => tag::TIME_TICKS,
            Self::Counter32 { .. } => tag::COUNTER32,
            Self::Counter64 { .. } => tag::COUNTER64,
            Self::Gauge32 { .. } => tag::GAUGE32,
            Self::Integer { .. } => tag::INTEGER,
            Self::Name { .. } => tag::OCTET_STRING,
        }
    }

    /// Encodes a live value, tag and length included; `None` for a fixed one, which is encoded
    /// beforehand.
    pub(super) fn encode(&self, moment: &Moment, row: u32) -> Option<Encoded> {
        Some(match self {
            Self::Fixed(_) => return None,
            Self::Uptime => Encoded::unsigned(tag::TIME_TICKS, moment.ticks()),
            Self::Counter32 { per_second } => {
                let count = moment.count(u64::from(*per_second), row) & u64::from(u32::MAX);
                Encoded::unsigned(tag::COUNTER32, count)
            }
            Self::Counter64 { per_second } => {
                Encoded::unsigned(tag::COUNTER64, moment.count(*per_second, row))
            }
            Self::Gauge32 { low, high, every } => {
                let span = u64::from(high.saturating_sub(*low));
                let value = u64::from(*low) + moment.wander(span, *every, row);
                Encoded::unsigned(tag::GAUGE32, value)
            }
            Self::Integer { low, high, every } => {
                let span = (i64::from(*high) - i64::from(*low)).max(0).unsigned_abs();
                let step = i64::try_from(moment.wander(span, *every, row)).unwrap_or(0);
                Encoded::signed(i64::from(*low) + step)
            }
            Self::Name { prefix } => Encoded::name(prefix, moment.address),
        })
    }
}

/// Which agent is asked, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// How long the agent has been up.
    pub(super) uptime_ms: u64,
    /// What makes this agent differ from others of its model.
    pub(super) key: u64,
    /// Its address.
    pub(super) address: Ipv4Addr,
}

impl Moment {
    fn ticks(&self) -> u64 {
        (self.uptime_ms / 10) & u64::from(u32::MAX)
    }

    fn count(&self, per_second: u64, row: u32) -> u64 {
        let dice = mix64(self.key ^ u64::from(row));
        let rate = per_second / 2 + scale(dice, per_second.saturating_add(1));
        let start = scale(mix64(dice), per_second.saturating_mul(100_000));
        let grown = match rate.checked_mul(self.uptime_ms) {
            Some(milli) => milli / 1000,
            // Wrapping is what a counter of 64 bits does too.
            None => (u128::from(rate) * u128::from(self.uptime_ms) / 1000) as u64,
        };
        start.wrapping_add(grown)
    }

    fn wander(&self, span: u64, every: Duration, row: u32) -> u64 {
        let every_ms = (nanos(every) / 1_000_000).max(1);
        let dice = mix64(self.key ^ u64::from(row)) ^ (self.uptime_ms / every_ms);
        scale(mix64(dice), span.saturating_add(1))
    }
}

/// Maps 64 random bits evenly to `0..bound`, without a division.
fn scale(dice: u64, bound: u64) -> u64 {
    ((u128::from(dice) * u128::from(bound)) >> 64) as u64
}

/// A value in its BER encoding.
#[derive(Debug)]
pub(super) enum Encoded {
    /// A number: its first `len` octets.
    Number {
        bytes: [u8; Self::NUMBER_MAX],
        len: usize,
    },
    /// A string.
    Text(Box<[u8]>),
}

impl Encoded {
    /// Octets of a number at most: tag, length, nine octets of a Counter64. A power of two, so
    /// that copying them all is one instruction.
    pub(super) const NUMBER_MAX: usize = 16;

    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Number { bytes, len } => &bytes[..*len],
            Self::Text(bytes) => bytes,
        }
    }

    /// In as few octets as possible; a leading zero keeps the number from looking negative.
    fn unsigned(tag: u8, value: u64) -> Self {
        let significant = (64 - value.leading_zeros() as usize) / 8 + 1;
        Self::number(tag, u128::from(value), significant)
    }

    fn signed(value: i64) -> Self {
        let redundant = (value ^ (value >> 63)).leading_zeros() as usize;
        let significant = (64 - redundant) / 8 + 1;
        Self::number(tag::INTEGER, i128::from(value).cast_unsigned(), significant)
    }

    /// Of at most nine octets.
    fn number(tag: u8, value: u128, significant: usize) -> Self {
        let left = value << (8 * (16 - significant));
        let head = u128::from(tag) << 120 | (significant as u128) << 112;
        Self::Number {
            bytes: (head | left >> 16).to_be_bytes(),
            len: 2 + significant,
        }
    }

    /// At most [`NAME_PREFIX_MAX`] bytes and an address, so one length octet suffices.
    fn name(prefix: &str, address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        let name = format!("{prefix}-{a}-{b}-{c}-{d}");
        let len = u8::try_from(name.len()).unwrap_or(0x7f);
        Self::Text([&[tag::OCTET_STRING, len], name.as_bytes()].concat().into())
    }
}

/// The first octet of the encoding of `value`.
pub(super) fn type_tag(value: &OwnedValue) -> u8 {
    match value {
        OwnedValue::Integer(_) => tag::INTEGER,
        OwnedValue::BitString(_) => 0x03,
        OwnedValue::OctetString(_) => tag::OCTET_STRING,
        OwnedValue::Null => 0x05,
        OwnedValue::ObjectId(_) => 0x06,
        OwnedValue::IpAddress(_) => 0x40,
        OwnedValue::Counter32(_) => tag::COUNTER32,
        OwnedValue::Gauge32(_) => tag::GAUGE32,
        OwnedValue::TimeTicks(_) => tag::TIME_TICKS,
        OwnedValue::Opaque(_) | OwnedValue::OpaqueFloat(_) | OwnedValue::OpaqueDouble(_) => 0x44,
        OwnedValue::NsapAddress(_) => 0x45,
        OwnedValue::Counter64(_) => tag::COUNTER64,
        OwnedValue::UInteger32(_) => 0x47,
        OwnedValue::NoSuchObject => tag::NO_SUCH_OBJECT,
        OwnedValue::NoSuchInstance => tag::NO_SUCH_INSTANCE,
        OwnedValue::EndOfMibView => tag::END_OF_MIB_VIEW,
        OwnedValue::Unknown { tag, .. } => *tag,
    }
}

/// First octets of encodings (RFC 2578 section 7.1, RFC 3416 section 3).
pub(super) mod tag {
    pub(in super::super) const INTEGER: u8 = 0x02;
    pub(in super::super) const OCTET_STRING: u8 = 0x04;
    pub(in super::super) const SEQUENCE: u8 = 0x30;
    pub(in super::super) const COUNTER32: u8 = 0x41;
    pub(in super::super) const GAUGE32: u8 = 0x42;
    pub(in super::super) const TIME_TICKS: u8 = 0x43;
    pub(in super::super) const COUNTER64: u8 = 0x46;
    pub(in super::super) const NO_SUCH_OBJECT: u8 = 0x80;
    pub(in super::super) const NO_SUCH_INSTANCE: u8 = 0x81;
    pub(in super::super) const END_OF_MIB_VIEW: u8 = 0x82;
    pub(in super::super) const RESPONSE: u8 = 0xa2;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(uptime_ms: u64, key: u64) -> Moment {
        Moment {
            uptime_ms,
            key,
            address: Ipv4Addr::new(127, 1, 0, 9),
        }
    }

    #[test]
    fn numbers_take_as_few_octets_as_they_need() {
        let unsigned: &[(u64, &[u8])] = &[
            (0, &[0x42, 1, 0]),
            (127, &[0x42, 1, 0x7f]),
            (128, &[0x42, 2, 0, 0x80]),
            (65_535, &[0x42, 3, 0, 0xff, 0xff]),
            (
                u64::MAX,
                &[0x42, 9, 0, 255, 255, 255, 255, 255, 255, 255, 255],
            ),
        ];
        for (value, wanted) in unsigned {
            assert_eq!(Encoded::unsigned(0x42, *value).as_slice(), *wanted);
        }
        let signed: &[(i64, &[u8])] = &[
            (0, &[2, 1, 0]),
            (-1, &[2, 1, 0xff]),
            (-128, &[2, 1, 0x80]),
            (-129, &[2, 2, 0xff, 0x7f]),
            (128, &[2, 2, 0, 0x80]),
            (i64::from(i32::MIN), &[2, 4, 0x80, 0, 0, 0]),
        ];
        for (value, wanted) in signed {
            assert_eq!(Encoded::signed(*value).as_slice(), *wanted, "{value}");
        }
    }

    #[test]
    fn counters_only_grow_and_agents_differ() {
        let at = |uptime_ms, key| moment(uptime_ms, key).count(1000, 3);
        let series: Vec<u64> = (0..100).map(|s| at(s * 1000, 7)).collect();
        assert!(
            series
                .windows(2)
                .all(|w| (500..=1501).contains(&(w[1] - w[0])))
        );
        assert_ne!(at(0, 7), at(0, 8));
        assert_eq!(at(5000, 7), at(5000, 7));
    }

    #[test]
    fn wandering_values_stay_within_their_ends_and_move() {
        let source = Source::Integer {
            low: -5,
            high: 5,
            every: Duration::from_secs(1),
        };
        let read =
            |s: u64| source.encode(&moment(s * 1000, 1), 4).unwrap().as_slice()[2].cast_signed();
        let seen: std::collections::BTreeSet<i8> = (0..200).map(read).collect();
        assert_eq!(
            seen.into_iter().collect::<Vec<_>>(),
            (-5..=5).collect::<Vec<_>>()
        );
        assert_eq!(
            read(0),
            source.encode(&moment(999, 1), 4).unwrap().as_slice()[2].cast_signed()
        );
    }

    #[test]
    fn names_hold_the_address() {
        let prefix = "x".repeat(NAME_PREFIX_MAX);
        let name = Source::Name {
            prefix: prefix.clone(),
        };
        let encoded = name.encode(&moment(0, 0), 0).unwrap();
        assert_eq!(
            &encoded.as_slice()[2..],
            format!("{prefix}-127-1-0-9").as_bytes()
        );
    }
}
