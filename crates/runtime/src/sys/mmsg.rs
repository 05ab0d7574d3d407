//! Many datagrams per system call: `recvmmsg` and `sendmmsg`.
//!
//! Headers, vectors, names and control space are allocated once; every pointer in them is written
//! anew before each call from references that the call holds, so none can dangle.
#![expect(unsafe_code, reason = "the kernel takes pointers to buffers")]

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

use super::address::{NOBODY, Name};
use super::control::{Control, Item};

/// Which queue of a socket to receive from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// Datagrams.
    Data,
    /// Errors of datagrams that were sent (`MSG_ERRQUEUE`).
    Errors,
}

/// A datagram to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) to: SocketAddr,
    pub(crate) from: Option<IpAddr>,
    pub(crate) bytes: &'a [u8],
}

/// What one received message is, beside its bytes.
#[derive(Debug)]
pub(crate) struct Incoming<'a> {
    /// The sender; from the error queue, the receiver of the datagram that failed.
    pub(crate) name: SocketAddr,
    pub(crate) len: usize,
    pub(crate) truncated: bool,
    control: &'a Control,
    control_len: usize,
}

impl Incoming<'_> {
    pub(crate) fn items(&self) -> impl Iterator<Item = Item> {
        self.control.items(self.control_len)
    }
}

/// Message headers and all that they point to, apart from the datagrams themselves.
struct Headers {
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    names: Box<[Name]>,
    control: Box<[Control]>,
}

// SAFETY: the raw pointers inside are never followed by this process, only by the kernel during a
// call that first rewrites every pointer it uses; what they point to is owned by the same struct or
// borrowed by that call. Nothing is tied to a thread.
unsafe impl Send for Headers {}

impl Headers {
    fn new(slots: usize) -> Self {
        const VECTOR: libc::iovec = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        // SAFETY: mmsghdr is a plain C struct of integers and pointers; all zeroes (null pointers
        // with zero lengths) is a valid value of it.
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        Self {
            headers: vec![header; slots].into(),
            vectors: vec![VECTOR; slots].into(),
            names: vec![Name::EMPTY; slots].into(),
            control: vec![Control::EMPTY; slots].into(),
        }
    }

    /// Points header `i` at name, vector and control of its index.
    fn link(&mut self, i: usize, base: *mut u8, len: usize, name_len: u32, control_len: usize) {
        self.vectors[i] = libc::iovec {
            iov_base: base.cast(),
            iov_len: len,
        };
        let header = &mut self.headers[i].msg_hdr;
        header.msg_name = (&raw mut self.names[i]).cast();
        header.msg_namelen = name_len;
        header.msg_iov = &raw mut self.vectors[i];
        header.msg_iovlen = 1;
        header.msg_control = (&raw mut self.control[i]).cast();
        header.msg_controllen = control_len;
        header.msg_flags = 0;
    }
}

/// Receives batches.
pub(crate) struct Receiver {
    inner: Headers,
}

impl Receiver {
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            inner: Headers::new(slots),
        }
    }

    /// Receives what `queue` holds into `slots`, without waiting; how many came. `WouldBlock` when
    /// none did.
    pub(crate) fn receive<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        queue: Queue,
        slots: impl Iterator<Item = &'a mut [u8]>,
    ) -> io::Result<usize> {
        let mut count = 0;
        for slot in slots.take(self.inner.headers.len()) {
            let (base, len) = (slot.as_mut_ptr(), slot.len());
            self.inner.link(count, base, len, Name::LEN, Control::LEN);
            count += 1;
        }
        let flags = match queue {
            Queue::Data => libc::MSG_DONTWAIT,
            Queue::Errors => libc::MSG_DONTWAIT | libc::MSG_ERRQUEUE,
        };
        // SAFETY: the first `count` headers were linked just now: to slots borrowed mutably for 'a,
        // which outlives this call and are disjoint because they are exclusive references, and to
        // names, vectors and control space in boxes that `&mut self` keeps in place, each with its
        // true length. `count` is at most the number of headers. No timeout is passed.
        let got = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.inner.headers.as_mut_ptr(),
                count as libc::c_uint,
                flags,
                std::ptr::null_mut(),
            )
        };
        usize::try_from(got).map_err(|_| io::Error::last_os_error())
    }

    /// The `i`th message of the last receive; what an earlier one left there beyond its count.
    pub(crate) fn message(&self, i: usize) -> Incoming<'_> {
        let header = &self.inner.headers[i];
        let name = self.inner.names[i].address(header.msg_hdr.msg_namelen);
        Incoming {
            name: name.unwrap_or(NOBODY),
            len: header.msg_len as usize,
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            control: &self.inner.control[i],
            control_len: header.msg_hdr.msg_controllen,
        }
    }
}

/// Sends batches.
pub(crate) struct Sender {
    inner: Headers,
}

impl Sender {
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            inner: Headers::new(slots),
        }
    }

    /// Sends `messages` in order, without waiting; how many the kernel took. A count short of what
    /// was given hides the error of the first one that was not taken.
    pub(crate) fn send<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        messages: impl Iterator<Item = Outgoing<'a>>,
    ) -> io::Result<usize> {
        let mut count = 0;
        for message in messages.take(self.inner.headers.len()) {
            let name_len = self.inner.names[count].set(message.to);
            let control_len = message
                .from
                .map_or(0, |from| self.inner.control[count].set_source(from));
            // sendmmsg only reads the bytes; iovec has no const form.
            let (base, len) = (message.bytes.as_ptr().cast_mut(), message.bytes.len());
            self.inner.link(count, base, len, name_len, control_len);
            count += 1;
        }
        // SAFETY: as in `Receiver::receive`, with datagrams borrowed for 'a that the kernel reads
        // and does not write; the name and control lengths are what was written there just now.
        let taken = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.inner.headers.as_mut_ptr(),
                count as libc::c_uint,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        usize::try_from(taken).map_err(|_| io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_batch_crosses_the_loopback_in_order() {
        let (here, there) = (
            UdpSocket::bind("127.0.0.1:0").unwrap(),
            UdpSocket::bind("127.0.0.1:0").unwrap(),
        );
        let to = there.local_addr().unwrap();
        let payloads: Vec<Vec<u8>> = (0..5u8).map(|n| vec![n; usize::from(n) * 10]).collect();
        let outgoing = payloads.iter().map(|bytes| Outgoing {
            to,
            from: None,
            bytes,
        });
        assert_eq!(Sender::new(8).send(here.as_fd(), outgoing).unwrap(), 5);

        let mut memory = vec![vec![0; 30]; 8];
        let mut receiver = Receiver::new(8);
        let slots = memory.iter_mut().map(Vec::as_mut_slice);
        let got = receiver.receive(there.as_fd(), Queue::Data, slots).unwrap();
        assert_eq!(got, 5);
        for n in 0..4 {
            let message = receiver.message(n);
            assert_eq!(message.name, here.local_addr().unwrap());
            assert_eq!(memory[n][..message.len], payloads[n]);
            assert!(!message.truncated);
        }
        assert!(receiver.message(4).truncated, "40 bytes into 30");
        let slots = memory.iter_mut().map(Vec::as_mut_slice);
        let error = receiver
            .receive(there.as_fd(), Queue::Data, slots)
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
