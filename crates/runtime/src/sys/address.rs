//! Socket addresses as the kernel lays them out (`sockaddr_in`, `sockaddr_in6`).
//!
//! Written and read byte by byte, so that a batch of them needs no unsafe code and no allocation.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Bytes of the larger of the two layouts.
const BYTES: usize = 28;
const V4_BYTES: u32 = 16;
const V6_BYTES: u32 = 28;

/// Room for one address, aligned as the kernel's types are.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name([u8; BYTES]);

impl Name {
    pub(crate) const EMPTY: Self = Self([0; BYTES]);
    pub(crate) const LEN: u32 = V6_BYTES;

    /// Writes `address` and returns how many bytes it took.
    pub(crate) fn set(&mut self, address: SocketAddr) -> u32 {
        let bytes = &mut self.0;
        bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        match address {
            SocketAddr::V4(v4) => {
                bytes[..2].copy_from_slice(&family(libc::AF_INET));
                bytes[4..8].copy_from_slice(&v4.ip().octets());
                bytes[8..16].fill(0);
                V4_BYTES
            }
            SocketAddr::V6(v6) => {
                bytes[..2].copy_from_slice(&family(libc::AF_INET6));
                bytes[4..8].copy_from_slice(&v6.flowinfo().to_be_bytes());
                bytes[8..24].copy_from_slice(&v6.ip().octets());
                bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                V6_BYTES
            }
        }
    }

    /// The address that the kernel wrote in `len` bytes; `None` for another family.
    pub(crate) fn address(&self, len: u32) -> Option<SocketAddr> {
        let [f0, f1, p0, p1, rest @ ..] = &self.0;
        let (kind, port) = ([*f0, *f1], u16::from_be_bytes([*p0, *p1]));
        if kind == family(libc::AF_INET) && len >= V4_BYTES {
            let octets: [u8; 4] = rest[..4].try_into().ok()?;
            return Some(SocketAddr::new(IpAddr::V4(octets.into()), port));
        }
        if kind == family(libc::AF_INET6) && len >= V6_BYTES {
            let ip: [u8; 16] = rest[4..20].try_into().ok()?;
            // The flow label is dropped: a peer is the same peer whatever label it sets.
            let scope = u32::from_ne_bytes(rest[20..24].try_into().ok()?);
            let ip = Ipv6Addr::from(ip);
            return Some(SocketAddrV6::new(ip, port, 0, scope).into());
        }
        None
    }
}

/// What a message without a readable sender is said to come from: nobody.
pub(crate) const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

fn family(family: libc::c_int) -> [u8; 2] {
    // AF_INET is 2 and AF_INET6 is 10.
    (family as u16).to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip_and_short_ones_are_refused() {
        for text in ["192.0.2.1:161", "[2001:db8::1]:162", "[fe80::1%3]:65535"] {
            let address: SocketAddr = text.parse().unwrap();
            let mut name = Name([0xff; BYTES]);
            let len = name.set(address);
            assert_eq!(name.address(len), Some(address));
            assert_eq!(name.address(len - 1), None);
        }
        assert_eq!(Name::EMPTY.address(28), None);
    }
}
