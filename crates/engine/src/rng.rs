//! Chance as an argument, and ids that cannot be guessed.
//!
//! [`Rng`] is a small fast generator for jitter, tie-breaks and sampling; the driver seeds it from
//! the operating system, a test from a number that it prints. An id by which a reply is believed
//! must not come from it: whoever sees a few outputs can predict the rest. Such an id is a
//! [`Permutation`] of a counter, so it is unique by construction and opaque without the key.

use std::time::Duration;

/// xoshiro256++ (Blackman and Vigna, 2019), seeded through SplitMix64.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// A generator whose whole sequence follows from `seed`.
    pub fn seeded(seed: u64) -> Self {
        let mut mix = seed;
        Self {
            state: std::array::from_fn(|_| splitmix(&mut mix)),
        }
    }

    /// An independent generator; each fork of one parent differs from the others.
    pub fn fork(&mut self) -> Self {
        Self::seeded(self.next_u64())
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let out = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let mut s = [a, b, c ^ a, d ^ b];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= b << 17;
        s[3] = s[3].rotate_left(45);
        self.state = s;
        out
    }

    /// Uniform in `0..bound`; 0 when `bound` is 0. (Lemire's multiply-shift; the bias is below
    /// bound / 2^64.)
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Uniform in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// Uniform between two spans, both ends included; `low` when `high` is not above it.
    pub fn span(&mut self, low: Duration, high: Duration) -> Duration {
        let (low, high) = (crate::time::nanos(low), crate::time::nanos(high));
        if high <= low {
            return Duration::from_nanos(low);
        }
        Duration::from_nanos(low + self.below((high - low).saturating_add(1)))
    }
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mix64(*state)
}

/// SplitMix64's finalizer: a bijection on 64 bits in which every input bit reaches every output
/// bit.
pub const fn mix64(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A keyed bijection on 31-bit numbers: a four-round Feistel network on halves of 15 and 16 bits.
///
/// The outer rounds are pairwise independent hash functions (multiply-shift, Dietzfelbinger 1996),
/// which is all that Naor and Reingold (1999) ask of them; the inner rounds fold a full product of
/// 64 by 64 bits. It keeps ids from being guessed by those who see a few; it is not encryption.
#[derive(Clone, Copy)]
pub struct Permutation {
    /// What is added to the half, and by what the sum is multiplied (odd), per round.
    keys: [(u64, u64); 4],
}

impl std::fmt::Debug for Permutation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Permutation(***)")
    }
}

impl Permutation {
    /// The largest number that the bijection maps.
    pub const MAX: u32 = (1 << 31) - 1;

    /// The bijection of `key`; draw the key from the operating system in production.
    pub fn keyed(key: u64) -> Self {
        let mut mix = key;
        Self {
            keys: std::array::from_fn(|_| (splitmix(&mut mix), splitmix(&mut mix) | 1)),
        }
    }

    /// Where `plain` (at most [`Self::MAX`]) is mapped to.
    pub fn apply(&self, plain: u32) -> u32 {
        debug_assert!(plain <= Self::MAX);
        let (mut left, mut right) = split(plain);
        left ^= shifted(right, self.keys[0]) & LEFT;
        right ^= folded(left, self.keys[1]) & RIGHT;
        left ^= folded(right, self.keys[2]) & LEFT;
        right ^= shifted(left, self.keys[3]) & RIGHT;
        join(left, right)
    }

    /// The number that [`Self::apply`] maps to `opaque`; `None` above [`Self::MAX`].
    pub fn invert(&self, opaque: u32) -> Option<u32> {
        let (mut left, mut right) = split(opaque & Self::MAX);
        right ^= shifted(left, self.keys[3]) & RIGHT;
        left ^= folded(right, self.keys[2]) & LEFT;
        right ^= folded(left, self.keys[1]) & RIGHT;
        left ^= shifted(right, self.keys[0]) & LEFT;
        (opaque <= Self::MAX).then(|| join(left, right))
    }
}

const LEFT: u64 = 0x7fff;
const RIGHT: u64 = 0xffff;

const fn split(value: u32) -> (u64, u64) {
    ((value >> 16) as u64, (value & 0xffff) as u64)
}

const fn join(left: u64, right: u64) -> u32 {
    (left << 16 | right) as u32
}

/// The top 16 bits of an affine function modulo 2^64.
const fn shifted(half: u64, (add, factor): (u64, u64)) -> u64 {
    half.wrapping_mul(factor).wrapping_add(add) >> 48
}

/// The middle bits of a full product, both halves of it folded together.
const fn folded(half: u64, (add, factor): (u64, u64)) -> u64 {
    let product = half.wrapping_add(add) as u128 * factor as u128;
    ((product >> 64) as u64 ^ product as u64) >> 24
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_repeats_and_forks_differ() {
        let (mut a, mut b) = (Rng::seeded(7), Rng::seeded(7));
        assert!((0..100).all(|_| a.next_u64() == b.next_u64()));
        assert_ne!(a.fork().next_u64(), a.fork().next_u64());
    }

    #[test]
    fn below_covers_its_range_evenly() {
        let mut rng = Rng::seeded(1);
        let mut seen = [0u32; 10];
        for _ in 0..100_000 {
            seen[rng.below(10) as usize] += 1;
        }
        assert!(seen.iter().all(|n| (9_500..10_500).contains(n)), "{seen:?}");
        assert_eq!(rng.below(0), 0);
    }

    #[test]
    fn span_stays_within_its_ends() {
        let mut rng = Rng::seeded(3);
        let (low, high) = (Duration::from_millis(5), Duration::from_millis(9));
        assert!((0..1000).all(|_| (low..=high).contains(&rng.span(low, high))));
        assert_eq!(rng.span(high, low), high);
    }

    #[test]
    fn permutation_inverts_and_never_collides() {
        let map = Permutation::keyed(42);
        let mut seen = std::collections::HashSet::new();
        for plain in (0..1000).chain(Permutation::MAX - 1000..=Permutation::MAX) {
            let opaque = map.apply(plain);
            assert!(opaque <= Permutation::MAX);
            assert!(seen.insert(opaque), "collision at {plain}");
            assert_eq!(map.invert(opaque), Some(plain));
        }
        assert_eq!(map.invert(u32::MAX), None);
    }

    #[test]
    fn permutation_maps_neighbours_far_apart() {
        let mut rng = Rng::seeded(11);
        let mut flips = [0u32; 31];
        for _ in 0..4_000 {
            let map = Permutation::keyed(rng.next_u64());
            let plain = (rng.next_u64() as u32) & (Permutation::MAX - 1);
            let changed = map.apply(plain) ^ map.apply(plain + 1);
            (0..31).for_each(|bit| flips[bit] += changed >> bit & 1);
        }
        assert!(
            flips.iter().all(|n| (1_800..2_200).contains(n)),
            "{flips:?}"
        );
    }

    #[test]
    fn keys_give_unrelated_sequences() {
        let (a, b) = (Permutation::keyed(1), Permutation::keyed(2));
        assert!((0..64).filter(|n| a.apply(*n) == b.apply(*n)).count() < 2);
    }
}
