//! Socket options that no safe wrapper offers: IP_RECVERR, IP_PKTINFO, SO_RXQ_OVFL.
#![expect(unsafe_code, reason = "setsockopt takes a pointer")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// An option that is on or off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    level: libc::c_int,
    option: libc::c_int,
}

/// Errors of sent datagrams are queued with the address that they concern.
pub(crate) const fn errors(ipv6: bool) -> Flag {
    flag(ipv6, libc::IPV6_RECVERR, libc::IP_RECVERR)
}

/// Received datagrams say which local address they were sent to.
pub(crate) const fn local_address(ipv6: bool) -> Flag {
    flag(ipv6, libc::IPV6_RECVPKTINFO, libc::IP_PKTINFO)
}

/// Received datagrams say how many were dropped before them.
pub(crate) const OVERFLOW: Flag = Flag {
    level: libc::SOL_SOCKET,
    option: libc::SO_RXQ_OVFL,
};

/// Switches `flag` on.
pub(crate) fn enable(socket: impl AsFd, flag: Flag) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is borrowed for the call, so it is open; the pointer is to a live
    // c_int and the length is its size, which is all that setsockopt reads.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            flag.level,
            flag.option,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

const fn flag(ipv6: bool, v6: libc::c_int, v4: libc::c_int) -> Flag {
    if ipv6 {
        Flag {
            level: libc::IPPROTO_IPV6,
            option: v6,
        }
    } else {
        Flag {
            level: libc::IPPROTO_IP,
            option: v4,
        }
    }
}
