//! The bounds of a box of dead letters, and their defaults.
//!
//! Nothing here is unlimited: what comes from a config is checked once, before a box is made.

use std::time::Duration;

/// What becomes of a new letter when the box is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// The oldest letters make room.
    DropOldest,
    /// The new one is refused.
    Reject,
}

/// The bounds of a box.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LetterPolicy {
    /// The most letters; at least 1.
    pub count_max: usize,
    /// The most bytes, as [`Letter::cost_bytes`] counts; at least 64 KiB.
    pub bytes_max: usize,
    /// The most bytes of a payload that are kept; at most 16 MiB.
    pub payload_max: usize,
    /// How long after its death a letter is kept; not zero.
    pub age_max: Duration,
    /// What gives way when the box is full.
    pub on_full: OnFull,
    /// How often a letter is sent again before it is quarantined; 0 means never.
    pub redrives_max: u32,
    /// After this long without news a redrive counts as failed; not zero.
    pub lease: Duration,
}

impl Default for LetterPolicy {
    /// 1,000 letters, 64 MiB, payloads of 64 KiB, 7 days, drop-oldest, 3 redrives, 60 s.
    fn default() -> Self {
        Self {
            count_max: 1_000,
            bytes_max: 64 << 20,
            payload_max: 64 << 10,
            age_max: Duration::from_secs(7 * 86_400),
            on_full: OnFull::DropOldest,
            redrives_max: 3,
            lease: Duration::from_secs(60),
        }
    }
}

/// Which bound makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// `count_max` is 0.
    #[error("a box must hold at least one letter")]
    Count,
    /// `bytes_max` is below 64 KiB.
    #[error("a box must hold at least 64 KiB")]
    Bytes,
    /// `payload_max` is above 16 MiB.
    #[error("at most 16 MiB of a payload can be kept")]
    Payload,
    /// `age_max` or `lease` is zero.
    #[error("a letter's age and the lease of a redrive cannot be zero")]
    Span,
}

impl LetterPolicy {
    /// Checks the ranges.
    ///
    /// # Errors
    /// The first bound that makes no sense.
    pub fn validate(&self) -> Result<(), PolicyError> {
        match self {
            _ if self.count_max == 0 => Err(PolicyError::Count),
            _ if self.bytes_max < 64 << 10 => Err(PolicyError::Bytes),
            _ if self.payload_max > 16 << 20 => Err(PolicyError::Payload),
            _ if self.age_max.is_zero() || self.lease.is_zero() => Err(PolicyError::Span),
            _ => Ok(()),
        }
    }
}
