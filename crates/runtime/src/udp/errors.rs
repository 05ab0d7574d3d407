//! Reading a socket's error queue.
//!
//! An entry names the address that a failed datagram was sent to and the ICMP message that came
//! back. Entries of this machine's own making (a datagram too long for the interface) are skipped:
//! the call that sent it has failed already. So are requests for smaller packets: the kernel keeps
//! the path's size and cuts the next datagram itself, and the peer is reachable.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use super::Unreachable;
use super::stats::DriverStats;
use crate::sys::control::{ExtendedError, Item};
use crate::sys::mmsg::{Queue, Receiver};

/// Entries read per system call.
const SLOTS: usize = 16;
/// The queue returns the datagram that failed; its head is enough to tell that it is one.
const SLOT_BYTES: usize = 8;
/// Calls per drain; what is left shows as an event in the next turn.
const ROUNDS: usize = 16;

const UNREACHABLE_V4: u8 = 3;
const UNREACHABLE_V6: u8 = 1;
const TOO_BIG_V6: u8 = 2;

pub(super) struct Errors {
    receiver: Receiver,
    memory: Box<[u8]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Unreachable(Unreachable),
    TooBig,
    Local,
}

impl Errors {
    pub(super) fn new() -> Self {
        Self {
            receiver: Receiver::new(SLOTS),
            memory: vec![0; SLOTS * SLOT_BYTES].into(),
        }
    }

    /// Reads what the queue of `socket` holds and tells `each` about every peer it charges. Returns
    /// how many entries the network caused, whether they charge anybody or not.
    pub(super) fn drain(
        &mut self,
        socket: BorrowedFd<'_>,
        stats: &DriverStats,
        mut each: impl FnMut(SocketAddr, Unreachable),
    ) -> usize {
        let mut network = 0;
        for _ in 0..ROUNDS {
            let slots = self.memory.chunks_exact_mut(SLOT_BYTES);
            let Ok(got) = self.receiver.receive(socket, Queue::Errors, slots) else {
                break;
            };
            stats.errors.add(got as u64);
            for i in 0..got {
                let message = self.receiver.message(i);
                let error = message.items().find_map(|item| match item {
                    Item::Error(error) => Some(classify(error)),
                    _ => None,
                });
                match error {
                    Some(Verdict::Unreachable(kind)) => {
                        network += 1;
                        each(message.name, kind);
                    }
                    Some(Verdict::TooBig) => {
                        network += 1;
                        stats.packets_too_big.add(1);
                    }
                    Some(Verdict::Local) | None => {}
                }
            }
            if got < SLOTS {
                break;
            }
        }
        network
    }
}

fn classify(error: ExtendedError) -> Verdict {
    use Unreachable::{Host, Network, Port, Prohibited};
    let other = Unreachable::Other {
        kind: error.kind,
        code: error.code,
    };
    let kind = match (error.origin, error.kind, error.code) {
        (libc::SO_EE_ORIGIN_ICMP, UNREACHABLE_V4, code) => match code {
            0 | 6 | 11 => Network,
            1 | 7 | 8 | 12 => Host,
            3 => Port,
            4 => return Verdict::TooBig,
            9 | 10 | 13 => Prohibited,
            _ => other,
        },
        (libc::SO_EE_ORIGIN_ICMP6, UNREACHABLE_V6, code) => match code {
            0 | 2 => Network,
            1 | 5 | 6 => Prohibited,
            3 => Host,
            4 => Port,
            _ => other,
        },
        (libc::SO_EE_ORIGIN_ICMP6, TOO_BIG_V6, _) => return Verdict::TooBig,
        (libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6, _, _) => other,
        _ => return Verdict::Local,
    };
    Verdict::Unreachable(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn icmp_is_told_apart() {
        let (v4, v6) = (libc::SO_EE_ORIGIN_ICMP, libc::SO_EE_ORIGIN_ICMP6);
        let unreachable = Verdict::Unreachable;
        let ttl = Unreachable::Other { kind: 11, code: 0 };
        for (origin, kind, code, verdict) in [
            (v4, 3, 3, unreachable(Unreachable::Port)),
            (v4, 3, 1, unreachable(Unreachable::Host)),
            (v4, 3, 0, unreachable(Unreachable::Network)),
            (v4, 3, 13, unreachable(Unreachable::Prohibited)),
            (v4, 3, 4, Verdict::TooBig),
            (v4, 11, 0, unreachable(ttl)),
            (v6, 1, 4, unreachable(Unreachable::Port)),
            (v6, 1, 3, unreachable(Unreachable::Host)),
            (v6, 1, 1, unreachable(Unreachable::Prohibited)),
            (v6, 2, 0, Verdict::TooBig),
            (libc::SO_EE_ORIGIN_LOCAL, 0, 0, Verdict::Local),
        ] {
            let error = ExtendedError {
                errno: 0,
                origin,
                kind,
                code,
            };
            assert_eq!(classify(error), verdict, "{origin} {kind} {code}");
        }
    }
}
