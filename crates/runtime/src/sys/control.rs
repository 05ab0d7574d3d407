//! Control messages (`cmsghdr`) beside a datagram: the local address, the drop counter, an ICMP
//! error.
//!
//! Written and read byte by byte in the 64-bit Linux layout: length (8 bytes, header included),
//! level (4), type (4), data, padded to 8. The kernel wrote what is read here, yet lengths are
//! checked like anybody else's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const HEADER_BYTES: usize = 16;
/// Room for an ICMP error with its IPv6 offender, the local address and the drop counter.
const BYTES: usize = 160;

/// Room for the control messages of one datagram, aligned as the kernel wants it.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Control([u8; BYTES]);

/// One control message's data, by what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// The local address that the datagram was sent to.
    LocalAddress(IpAddr),
    /// Datagrams that the socket's queue had no room for, since it was opened (wraps).
    Overflow(u32),
    /// An error that a router, the peer or this machine reported.
    Error(ExtendedError),
}

/// `sock_extended_err`: what the error queue says of one datagram that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExtendedError {
    pub(crate) errno: i32,
    pub(crate) origin: u8,
    pub(crate) kind: u8,
    pub(crate) code: u8,
}

impl Control {
    pub(crate) const EMPTY: Self = Self([0; BYTES]);
    pub(crate) const LEN: usize = BYTES;

    /// Writes the message that chooses the local address to send from; returns its length.
    pub(crate) fn set_source(&mut self, from: IpAddr) -> usize {
        match from {
            IpAddr::V4(ip) => {
                // in_pktinfo: interface index, source, destination (unused on the way out).
                let mut data = [0; 12];
                data[4..8].copy_from_slice(&ip.octets());
                self.set(libc::IPPROTO_IP, libc::IP_PKTINFO, &data)
            }
            IpAddr::V6(ip) => {
                // in6_pktinfo: source, interface index.
                let mut data = [0; 20];
                data[..16].copy_from_slice(&ip.octets());
                self.set(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &data)
            }
        }
    }

    /// The messages in the first `len` bytes that mean something here.
    pub(crate) fn items(&self, len: usize) -> impl Iterator<Item = Item> {
        let mut rest = self.0.get(..len).unwrap_or(&self.0);
        std::iter::from_fn(move || {
            loop {
                let header = rest.get(..HEADER_BYTES)?;
                let size = usize::from_ne_bytes(header[..8].try_into().ok()?);
                let data = rest.get(HEADER_BYTES..size)?;
                let (level, kind) = (word(&header[8..])?, word(&header[12..])?);
                rest = rest.get(size.next_multiple_of(8)..).unwrap_or(&[]);
                if let Some(item) = read(level, kind, data) {
                    return Some(item);
                }
            }
        })
    }

    fn set(&mut self, level: libc::c_int, kind: libc::c_int, data: &[u8]) -> usize {
        let size = HEADER_BYTES + data.len();
        self.0[..8].copy_from_slice(&size.to_ne_bytes());
        self.0[8..12].copy_from_slice(&level.to_ne_bytes());
        self.0[12..16].copy_from_slice(&kind.to_ne_bytes());
        self.0[16..size].copy_from_slice(data);
        self.0[size..size.next_multiple_of(8)].fill(0);
        size.next_multiple_of(8)
    }
}

fn read(level: libc::c_int, kind: libc::c_int, data: &[u8]) -> Option<Item> {
    match (level, kind) {
        (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
            word(data).map(|total| Item::Overflow(total.cast_unsigned()))
        }
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
            // The second field is the local address to answer from: unlike the third, it is not
            // the group or broadcast address that the datagram may have been sent to.
            let octets: [u8; 4] = data.get(4..8)?.try_into().ok()?;
            Some(Item::LocalAddress(IpAddr::V4(Ipv4Addr::from(octets))))
        }
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
            let octets: [u8; 16] = data.get(..16)?.try_into().ok()?;
            Some(Item::LocalAddress(IpAddr::V6(Ipv6Addr::from(octets))))
        }
        (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => {
            let &[_, _, _, _, origin, kind, code, ..] = data else {
                return None;
            };
            Some(Item::Error(ExtendedError {
                errno: word(data)?,
                origin,
                kind,
                code,
            }))
        }
        _ => None,
    }
}

fn word(bytes: &[u8]) -> Option<i32> {
    Some(i32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(messages: &[(i32, i32, &[u8])]) -> Vec<Item> {
        let (mut all, mut len) = (Control::EMPTY, 0);
        for (level, kind, data) in messages {
            let mut one = Control::EMPTY;
            let size = one.set(*level, *kind, data);
            all.0[len..len + size].copy_from_slice(&one.0[..size]);
            len += size;
        }
        all.items(len).collect()
    }

    #[test]
    fn sources_are_written_as_the_kernel_reads_them() {
        let mut control = Control([0xff; BYTES]);
        let len = control.set_source("2001:db8::7".parse().unwrap());
        assert_eq!(len, 40);
        let local = Item::LocalAddress("2001:db8::7".parse().unwrap());
        assert_eq!(control.items(len).collect::<Vec<_>>(), [local]);
        let len = control.set_source("127.0.0.9".parse().unwrap());
        assert_eq!(len, 32);
        let local = Item::LocalAddress("127.0.0.9".parse().unwrap());
        assert_eq!(control.items(len).collect::<Vec<_>>(), [local]);
    }

    #[test]
    fn unknown_messages_are_stepped_over() {
        let seen = items(&[
            (libc::SOL_SOCKET, 999, b"odd"),
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &7u32.to_ne_bytes()),
        ]);
        assert_eq!(seen, [Item::Overflow(7)]);
    }

    #[test]
    fn errors_are_read_with_their_origin() {
        let mut data = [0; 32];
        data[..4].copy_from_slice(&libc::ECONNREFUSED.to_ne_bytes());
        data[4..7].copy_from_slice(&[libc::SO_EE_ORIGIN_ICMP, 3, 3]);
        let error = ExtendedError {
            errno: libc::ECONNREFUSED,
            origin: libc::SO_EE_ORIGIN_ICMP,
            kind: 3,
            code: 3,
        };
        let seen = items(&[(libc::IPPROTO_IP, libc::IP_RECVERR, &data)]);
        assert_eq!(seen, [Item::Error(error)]);
    }

    #[test]
    fn lying_lengths_end_the_walk() {
        for size in [0usize, 15, 17, 4096, usize::MAX] {
            let mut control = Control::EMPTY;
            control.0[..8].copy_from_slice(&size.to_ne_bytes());
            assert_eq!(control.items(32).count(), 0, "{size}");
        }
        assert_eq!(Control::EMPTY.items(BYTES + 1).count(), 0);
    }
}
