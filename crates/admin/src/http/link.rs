//! One TCP connection, watched.
//!
//! The HTTP library answers requests; how long and how much a peer may take to send one, and how
//! long he may leave an answer unread, is decided here, beneath it, where bytes pass. The phase of
//! a connection says which bound holds: *resting* between requests, *head* while one arrives,
//! *busy* from then until its answer is handed over. Whoever answers holds a [`Busy`].

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;
use trunkline_runtime::operation::{Door, ErrorKind};

use crate::counters::{DoorCounters, Refusal};
use crate::explain::codes;
use crate::json;
use crate::server::Shared;
use crate::socket::wire::{Body, Error};

/// The pause after an accept that failed, as it does when there are no file descriptors.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);
/// When a silent peer is asked by the kernel whether he is there.
const KEEPALIVE: std::time::Duration = std::time::Duration::from_secs(60);

/// Accepts connections, as many at once as are allowed.
pub(crate) struct DoorListener {
    listener: TcpListener,
    local: SocketAddr,
    shared: Arc<Shared>,
    room: Arc<Semaphore>,
}

impl DoorListener {
    pub(crate) fn new(listener: TcpListener, local: SocketAddr, shared: Arc<Shared>) -> Self {
        Self {
            listener,
            local,
            room: Arc::clone(&shared.http_room),
            shared,
        }
    }
}

impl Listener for DoorListener {
    type Io = WatchedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (WatchedStream, SocketAddr) {
        loop {
            let Ok((stream, peer)) = self.listener.accept().await else {
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
                self.shared
                    .counters
                    .door(Door::Http)
                    .refused(Refusal::Connections);
                // Whoever is turned away may miss the reason; he sees the end all the same.
                let message = "as many connections are open as are allowed";
                let error = Error::new(ErrorKind::Refused, codes::TOO_MANY, message);
                let answer = whole("503 Service Unavailable", &error);
                stream.try_write(answer.as_bytes()).ok();
                continue;
            };
            return (
                WatchedStream::new(stream, self.local, permit, &self.shared),
                peer,
            );
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

/// A connection, for those who answer its requests.
#[derive(Clone)]
pub(crate) struct Link {
    shared: Arc<Shared>,
    state: Arc<Mutex<State>>,
    local: SocketAddr,
}

impl Link {
    /// The address that the peer connected to.
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// A request has arrived.
    pub(crate) fn begin(&self) -> Busy {
        lock(&self.state).phase = Phase::Busy;
        Busy {
            state: Arc::clone(&self.state),
        }
    }

    fn counters(&self) -> &DoorCounters {
        self.shared.counters.door(Door::Http)
    }
}

impl Connected<IncomingStream<'_, DoorListener>> for Link {
    fn connect_info(stream: IncomingStream<'_, DoorListener>) -> Self {
        stream.io().link.clone()
    }
}

/// Held while a request is answered; then the connection rests.
pub(crate) struct Busy {
    state: Arc<Mutex<State>>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.phase = Phase::Resting(Instant::now());
        let reader = state.reader.take();
        drop(state);
        // Whoever waits for bytes has to wait with a bound from now on.
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

struct State {
    phase: Phase,
    /// Who waits for bytes, to be woken when another bound holds. The library asks for bytes
    /// before a request's handler is called, and not again until something happens.
    reader: Option<Waker>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Resting(Instant),
    Head {
        since: Instant,
        bytes: usize,
    },
    Busy,
    /// It was given up and the reason counted.
    Over,
}

/// The bytes of one connection.
pub(crate) struct WatchedStream {
    stream: TcpStream,
    link: Link,
    read_timer: Pin<Box<Sleep>>,
    /// Runs while the peer takes nothing.
    stall_timer: Option<Pin<Box<Sleep>>>,
    kill: Pin<Box<WaitForCancellationFutureOwned>>,
    _permit: OwnedSemaphorePermit,
}

impl WatchedStream {
    fn new(
        stream: TcpStream,
        bound: SocketAddr,
        permit: OwnedSemaphorePermit,
        shared: &Arc<Shared>,
    ) -> Self {
        // A connection without these works too.
        stream.set_nodelay(true).ok();
        sockopt::set_socket_keepalive(&stream, true).ok();
        sockopt::set_tcp_keepidle(&stream, KEEPALIVE).ok();
        let link = Link {
            local: stream.local_addr().unwrap_or(bound),
            state: Arc::new(Mutex::new(State {
                phase: Phase::Head {
                    since: Instant::now(),
                    bytes: 0,
                },
                reader: None,
            })),
            shared: Arc::clone(shared),
        };
        link.counters().connected();
        Self {
            stream,
            read_timer: Box::pin(sleep_until(Instant::now())),
            stall_timer: None,
            kill: Box::pin(shared.kill.clone().cancelled_owned()),
            link,
            _permit: permit,
        }
    }

    fn poll_killed(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.kill.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }

    fn give_up(&mut self, why: Refusal) -> io::Error {
        let (status, kind, code, message) = match why {
            Refusal::Oversize => {
                let message = "the head of the request is too long";
                let status = "431 Request Header Fields Too Large";
                (status, ErrorKind::Refused, codes::TOO_LONG, message)
            }
            _ => {
                let message = "the request did not arrive in time";
                let status = "408 Request Timeout";
                (status, ErrorKind::Timeout, codes::TOO_SLOW, message)
            }
        };
        let answer = whole(status, &Error::new(kind, code, message));
        self.link.counters().refused(why);
        lock(&self.link.state).phase = Phase::Over;
        // Nothing else is being written: the library answers only what has arrived in full.
        self.stream.try_write(answer.as_bytes()).ok();
        io::ErrorKind::TimedOut.into()
    }

    /// Ready, with what went wrong, when the peer has had his time.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let limits = &self.link.shared.limits;
        let mut state = lock(&self.link.state);
        let phase = state.phase;
        state.reader = Some(cx.waker().clone());
        let until = match phase {
            Phase::Resting(since) => since + limits.idle,
            Phase::Head { since, .. } => since + limits.receive,
            Phase::Busy => return Poll::Pending,
            Phase::Over => return Poll::Ready(io::ErrorKind::TimedOut.into()),
        };
        drop(state);
        if self.read_timer.deadline() != until {
            self.read_timer.as_mut().reset(until);
        }
        ready!(self.read_timer.as_mut().poll(cx));
        Poll::Ready(match phase {
            Phase::Head { bytes, .. } if bytes > 0 => self.give_up(Refusal::SlowSender),
            _ => io::ErrorKind::TimedOut.into(),
        })
    }

    /// Notes that bytes have come in.
    fn received(&self, count: usize) {
        let mut state = lock(&self.link.state);
        state.phase = match state.phase {
            Phase::Resting(_) => Phase::Head {
                since: Instant::now(),
                bytes: count,
            },
            Phase::Head { since, bytes } => Phase::Head {
                since,
                bytes: bytes + count,
            },
            other => other,
        };
    }

    fn poll_write_with(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.poll_killed(cx)?;
        if let Poll::Ready(written) = write(Pin::new(&mut self.stream), cx) {
            self.stall_timer = None;
            return Poll::Ready(written);
        }
        let stall = self.link.shared.limits.stall;
        let timer = self
            .stall_timer
            .get_or_insert_with(|| Box::pin(sleep(stall)));
        ready!(timer.as_mut().poll(cx));
        self.link.counters().refused(Refusal::SlowReader);
        lock(&self.link.state).phase = Phase::Over;
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_killed(cx)?;
        let head_max = self.link.shared.limits.head_bytes;
        let phase = lock(&self.link.state).phase;
        if matches!(phase, Phase::Head { bytes, .. } if bytes >= head_max) {
            return Poll::Ready(Err(self.give_up(Refusal::Oversize)));
        }
        let before = buffer.filled().len();
        // Time is looked at first: bytes that trickle must not keep it from passing.
        if let Poll::Ready(error) = self.poll_late(cx) {
            return Poll::Ready(Err(error));
        }
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.received(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |stream, cx| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |stream, cx| stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for WatchedStream {
    fn drop(&mut self) {
        // What never became a request and was not given up for another reason.
        if matches!(lock(&self.link.state).phase, Phase::Head { bytes, .. } if bytes > 0) {
            self.link.counters().refused(Refusal::Garbage);
        }
        self.link.counters().disconnected();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An answer with its head, for where the library does not get to write one.
fn whole(status: &str, error: &Error) -> String {
    let body = json::line(&Body::<()>::Error(error), usize::MAX).unwrap_or_default();
    let body = String::from_utf8_lossy(&body);
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
}
