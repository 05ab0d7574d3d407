//! The datagram driver: one thread, its own epoll, many peers per system call.
//!
//! A [`Machine`] is a state machine that never touches a socket; a [`Driver`] owns the sockets and
//! the buffers, and turns: wait, read the clock once, hand over all that came, let the machine
//! think, send all that it wants, ask when to wake. With nothing to do it sleeps and costs nothing.
//!
//! Sockets are not connected, so one serves any number of peers. That makes errors the hard part:
//! the kernel reports an ICMP error to whichever call comes next, which has nothing to do with the
//! peer concerned. The driver therefore reads every socket's error queue, which names the peer,
//! charges only that one, and sends again from the first datagram that did not go out.

mod driver;
mod errors;
mod outbox;
mod poll;
mod sockets;
mod stats;

use std::net::SocketAddr;

use trunkline_engine::datagram::{RxBatch, TxBatch};
use trunkline_engine::fault::{Blame, Fault, Place, Retry};
use trunkline_engine::time::Time;

pub use self::driver::{BATCH_SLOTS, Driver};
pub use self::sockets::{OpenError, SocketSpec, Sockets};
pub use self::stats::{DriverStats, SocketStats};

/// A state machine that talks in datagrams. The driver calls it from one thread only.
pub trait Machine {
    /// Datagrams that came in, in the order of their arrival per socket.
    fn receive(&mut self, now: Time, rx: &RxBatch);

    /// Timers and commands: called once in every turn, after what was received and before
    /// [`Self::fill`]. Timers that are due at `now` must be taken, or the driver spins.
    fn turn(&mut self, now: Time) -> Turn;

    /// Encodes what may be sent now into the free slots. A batch that comes back full is sent and
    /// asked for again, up to a bound that keeps the turn short.
    fn fill(&mut self, now: Time, tx: &mut TxBatch);

    /// When to turn although nothing comes in; `None` for never.
    fn next_wakeup(&self) -> Option<Time>;

    /// The datagram named `token` did not go out, and trying again as it is would not help.
    fn unsent(&mut self, now: Time, token: u64, to: SocketAddr, error: SendFailure);

    /// A router or the peer's own machine says that what was sent to `peer` did not arrive. Anybody
    /// on the path can forge this, so it may shorten a wait but proves nothing.
    fn unreachable(&mut self, now: Time, peer: SocketAddr, kind: Unreachable);

    /// The queue of `socket` was full: `dropped_total` datagrams are lost since it was opened
    /// (wraps). Told when it changes.
    fn overflow(&mut self, socket: u16, dropped_total: u32);
}

/// What the driver does after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Goes on.
    Continue,
    /// Fills and sends once more, then returns the machine from [`Driver::run`].
    Stop,
}

/// Why a datagram did not go out. It is never the peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SendFailure {
    /// Longer than the path or UDP allows (EMSGSIZE).
    #[error("the datagram is too long to send")]
    TooLong,
    /// A local firewall rule, or a broadcast address (EPERM, EACCES).
    #[error("this machine does not permit sending there")]
    Forbidden,
    /// No route, or the interface is down (ENETUNREACH, EHOSTUNREACH, ENETDOWN). IPv4 says the same
    /// of a source address that is not one of this machine's.
    #[error("this machine has no route there")]
    NoRoute,
    /// The source address is not one of this machine's (IPv6: EADDRNOTAVAIL, EINVAL).
    #[error("the source address is not available on this machine")]
    SourceAddress,
    /// The address and the socket do not fit together: family, port 0, no such socket.
    #[error("the address does not fit the socket")]
    Address,
    /// The interface took nothing for [`Self::BLOCKED_MAX`].
    #[error("the interface takes no more datagrams")]
    Blocked,
    /// Anything else, by its error number.
    #[error("sending failed: {}", std::io::Error::from_raw_os_error(*.0))]
    Other(i32),
}

impl SendFailure {
    /// How long a datagram waits for room in the socket before it comes back as
    /// [`Self::Blocked`].
    pub const BLOCKED_MAX: std::time::Duration = std::time::Duration::from_millis(250);

    fn from_errno(errno: i32, has_source: bool) -> Self {
        match errno {
            libc::EMSGSIZE => Self::TooLong,
            libc::EPERM | libc::EACCES => Self::Forbidden,
            libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN | libc::ENODEV => Self::NoRoute,
            libc::EADDRNOTAVAIL => Self::SourceAddress,
            libc::EINVAL if has_source => Self::SourceAddress,
            libc::EINVAL | libc::EAFNOSUPPORT | libc::EDESTADDRREQ => Self::Address,
            other => Self::Other(other),
        }
    }
}

impl Fault for SendFailure {
    fn blame(&self) -> Blame {
        match self {
            Self::TooLong | Self::Address | Self::SourceAddress => Blame::Caller,
            _ => Blame::Local,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Blocked | Self::NoRoute | Self::Other(_) => Retry::at(Place::AnyPeer),
            Self::Forbidden => Retry::at(Place::OtherPeer),
            Self::TooLong | Self::Address | Self::SourceAddress => Retry::NEVER,
        }
    }
}

/// What an ICMP error says of a peer (RFC 792, RFC 1122 section 3.2.2.1, RFC 4443 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unreachable {
    /// Its machine lives, but nothing listens on that port.
    Port,
    /// No such machine answers there.
    Host,
    /// No way to its network.
    Network,
    /// Something on the way forbids it.
    Prohibited,
    /// Another error, by ICMP type and code: time exceeded, parameter problem, bad protocol.
    Other {
        /// The ICMP type.
        kind: u8,
        /// The ICMP code.
        code: u8,
    },
}

impl std::fmt::Display for Unreachable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Port => f.write_str("port unreachable"),
            Self::Host => f.write_str("host unreachable"),
            Self::Network => f.write_str("network unreachable"),
            Self::Prohibited => f.write_str("communication prohibited"),
            Self::Other { kind, code } => write!(f, "ICMP type {kind} code {code}"),
        }
    }
}
