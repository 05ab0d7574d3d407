//! Opening UDP sockets and saying what the kernel granted.
//!
//! An IPv6 socket is IPv6 only: a peer has one address, not two spellings. Every socket reports
//! errors with the address they concern and counts what its queue had no room for. The receive
//! buffer decides whether a burst of replies is lost, which looks like dead peers, so it is asked
//! for with privilege first and what was granted is reported rather than assumed.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use crate::sys::sockopt;

/// A socket to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketSpec {
    /// The local address; port 0 lets the kernel choose.
    pub bind: SocketAddr,
    /// Only this interface sends and receives (SO_BINDTODEVICE).
    pub interface: Option<String>,
    /// Bytes of receive buffer to ask for; 0 keeps the system's default.
    pub rcvbuf: usize,
    /// Bytes of send buffer to ask for; 0 keeps the system's default.
    pub sndbuf: usize,
    /// Several sockets may share the address, and the kernel spreads peers over them
    /// (SO_REUSEPORT).
    pub reuse: bool,
    /// Received datagrams tell the local address they were sent to.
    pub pktinfo: bool,
}

impl SocketSpec {
    /// A socket at `bind` with the system's defaults.
    pub const fn new(bind: SocketAddr) -> Self {
        Self {
            bind,
            interface: None,
            rcvbuf: 0,
            sndbuf: 0,
            reuse: false,
            pktinfo: false,
        }
    }
}

/// Why a socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open a UDP socket on {bind}: {step}: {source}")]
pub struct OpenError {
    /// The address asked for.
    pub bind: SocketAddr,
    /// What was being done.
    pub step: &'static str,
    /// What the kernel said.
    pub source: io::Error,
}

/// Open sockets, in the order of their specs: a datagram names its socket by this index.
#[derive(Debug)]
pub struct Sockets {
    pub(super) open: Vec<Open>,
}

#[derive(Debug)]
pub(super) struct Open {
    pub(super) socket: UdpSocket,
    pub(super) local: SocketAddr,
    pub(super) rcvbuf: usize,
    pub(super) sndbuf: usize,
}

impl Sockets {
    /// Opens all of `specs` or none.
    ///
    /// # Errors
    /// The first socket that could not be opened, and why. More than 65,536 of them are refused.
    pub fn open(specs: &[SocketSpec]) -> Result<Self, OpenError> {
        if let Some(extra) = specs.get(usize::from(u16::MAX) + 1) {
            return Err(OpenError {
                bind: extra.bind,
                step: "too many sockets",
                source: io::ErrorKind::InvalidInput.into(),
            });
        }
        let open: Result<Vec<Open>, OpenError> = specs.iter().map(open_one).collect();
        Ok(Self { open: open? })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The address that `socket` is bound to, with the port that the kernel chose.
    pub fn local_addr(&self, socket: u16) -> Option<SocketAddr> {
        self.open.get(usize::from(socket)).map(|open| open.local)
    }

    /// The receive buffer that the kernel granted to `socket`, in bytes as they were asked for
    /// (the kernel doubles them for its own bookkeeping and says so; this is half of that).
    pub fn rcvbuf_granted(&self, socket: u16) -> Option<usize> {
        self.open.get(usize::from(socket)).map(|open| open.rcvbuf)
    }
}

fn open_one(spec: &SocketSpec) -> Result<Open, OpenError> {
    let at = |step: &'static str| {
        move |source: io::Error| OpenError {
            bind: spec.bind,
            step,
            source,
        }
    };
    let ipv6 = spec.bind.is_ipv6();
    let domain = Domain::for_address(spec.bind);
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)).map_err(at("no socket"))?;
    if ipv6 {
        socket.set_only_v6(true).map_err(at("IPV6_V6ONLY"))?;
    }
    if spec.reuse {
        socket.set_reuse_port(true).map_err(at("SO_REUSEPORT"))?;
    }
    if let Some(interface) = &spec.interface {
        socket
            .bind_device(Some(interface.as_bytes()))
            .map_err(at("binding to the interface"))?;
    }
    sockopt::enable(&socket, sockopt::errors(ipv6)).map_err(at("IP_RECVERR"))?;
    sockopt::enable(&socket, sockopt::OVERFLOW).map_err(at("SO_RXQ_OVFL"))?;
    if spec.pktinfo {
        sockopt::enable(&socket, sockopt::local_address(ipv6)).map_err(at("IP_PKTINFO"))?;
    }
    let rcvbuf = grow_rcvbuf(&socket, spec.rcvbuf).map_err(at("SO_RCVBUF"))?;
    let sndbuf = grow_sndbuf(&socket, spec.sndbuf).map_err(at("SO_SNDBUF"))?;
    socket.bind(&spec.bind.into()).map_err(at("bind"))?;
    socket.set_nonblocking(true).map_err(at("non-blocking"))?;
    let socket = UdpSocket::from(socket);
    let local = socket.local_addr().map_err(at("local address"))?;
    Ok(Open {
        socket,
        local,
        rcvbuf,
        sndbuf,
    })
}

fn grow_rcvbuf(socket: &Socket, bytes: usize) -> io::Result<usize> {
    if bytes > 0 {
        // Past net.core.rmem_max with CAP_NET_ADMIN; without it, up to that.
        let forced = rustix::net::sockopt::set_socket_recv_buffer_size_force(socket, bytes);
        if forced.is_err() {
            socket.set_recv_buffer_size(bytes)?;
        }
    }
    Ok(socket.recv_buffer_size()? / 2)
}

fn grow_sndbuf(socket: &Socket, bytes: usize) -> io::Result<usize> {
    if bytes > 0 {
        socket.set_send_buffer_size(bytes)?;
    }
    Ok(socket.send_buffer_size()? / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_chosen_and_buffers_reported() {
        let spec = SocketSpec {
            rcvbuf: 100_000,
            sndbuf: 50_000,
            ..SocketSpec::new("127.0.0.1:0".parse().unwrap())
        };
        let sockets = Sockets::open(&[spec]).unwrap();
        assert_ne!(sockets.local_addr(0).unwrap().port(), 0);
        assert_eq!(sockets.rcvbuf_granted(0), Some(100_000));
        assert_eq!(sockets.open[0].sndbuf, 50_000);
        assert_eq!(sockets.local_addr(1), None);
    }

    #[test]
    fn an_address_is_shared_only_when_asked() {
        let mut spec = SocketSpec {
            reuse: true,
            ..SocketSpec::new("127.0.0.1:0".parse().unwrap())
        };
        let first = Sockets::open(std::slice::from_ref(&spec)).unwrap();
        spec.bind = first.local_addr(0).unwrap();
        assert!(Sockets::open(std::slice::from_ref(&spec)).is_ok());
        spec.reuse = false;
        let error = Sockets::open(&[spec]).unwrap_err();
        assert_eq!(
            (error.step, error.source.kind()),
            ("bind", io::ErrorKind::AddrInUse)
        );
    }

    #[test]
    fn an_unknown_interface_is_named_as_the_step() {
        let spec = SocketSpec {
            interface: Some("no-such-if0".into()),
            ..SocketSpec::new("127.0.0.1:0".parse().unwrap())
        };
        let error = Sockets::open(&[spec]).unwrap_err();
        assert_eq!(error.step, "binding to the interface");
    }
}
