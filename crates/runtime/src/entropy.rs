//! Keys and seeds from the operating system.
//!
//! Generators that decide jitter and ids by which replies are believed are seeded from here in
//! production and from a printed number in tests.

use rustix::rand::{GetRandomFlags, getrandom};

/// Eight bytes that nobody can predict. Waits until the kernel's generator is ready, which is over
/// before any service starts.
pub fn seed() -> u64 {
    let mut bytes = [0; 8];
    let mut filled = 0;
    while filled < bytes.len() {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(n) => filled += n,
            // Linux 5.10 has the call, and waits rather than fails; only a signal interrupts it.
            Err(_) => continue,
        }
    }
    u64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn seeds_differ_in_every_byte() {
        let seeds: Vec<u64> = (0..64).map(|_| seed()).collect();
        assert_eq!(seeds.iter().collect::<HashSet<_>>().len(), 64);
        let bits = seeds.iter().fold(0, |all, seed| all | (seed ^ seeds[0]));
        assert!(bits.to_ne_bytes().iter().all(|byte| *byte != 0), "{bits:x}");
    }
}
