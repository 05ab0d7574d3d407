//! The daemon's end of the control socket.
//!
//! One task reads a connection's requests; each call runs in a task of its own and writes its
//! answers under the connection's lock, so a slow reader makes only his own calls wait, and those
//! hold one answer each. A reader who takes nothing for the allowed stall loses the connection. A
//! caller who closes it takes his calls with him; one who only says that he sends no more (as a
//! pipe into `nc` does) gets his answers first.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::io::Interest;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trunkline_runtime::operation::{Actor, Answer, Context, Door, ErrorKind};

use super::wire::{Ask, Body, Call, Error, Id, Lines, NoLine, Reply, parse};
use crate::counters::Refusal;
use crate::explain::codes;
use crate::json;
use crate::pace::{self, Unread};
use crate::server::Shared;

/// How often a half-closed connection is looked at, while its calls are under way.
const HANGUP_CHECK: Duration = Duration::from_millis(50);
/// The pause after an accept that failed, as it does when there are no file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections until the process stops, then waits for those under way.
pub(crate) async fn run(listener: UnixListener, shared: Arc<Shared>) {
    let connections = TaskTracker::new();
    let room = Arc::new(Semaphore::new(shared.limits.socket_connections));
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let counters = shared.counters.door(Door::Socket);
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            counters.refused(Refusal::Connections);
            turn_away(&stream);
            continue;
        };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            shared.counters.door(Door::Socket).connected();
            serve(stream, &shared).await;
            shared.counters.door(Door::Socket).disconnected();
            drop(permit);
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// Says why, as far as the socket's buffer takes it at once.
fn turn_away(stream: &UnixStream) {
    let message = "as many connections are open as are allowed";
    let error = Error::new(ErrorKind::Refused, codes::TOO_MANY, message);
    let reply: Reply<'_, ()> = Reply {
        id: None,
        body: Body::Error(&error),
    };
    if let Some(mut line) = json::line(&reply, 4096) {
        line.push(b'\n');
        // Whoever is turned away may miss the reason; he sees the end all the same.
        stream.try_write(&line).ok();
    }
}

/// What the calls of one connection share.
struct Peer {
    shared: Arc<Shared>,
    writer: Mutex<OwnedWriteHalf>,
    /// Cancelled when nothing can be written any more.
    broken: CancellationToken,
    uid: Option<u32>,
}

type Calls = JoinSet<Id>;

async fn serve(stream: UnixStream, shared: &Arc<Shared>) {
    let uid = stream.peer_cred().ok().map(|cred| cred.uid());
    let (reader, writer) = stream.into_split();
    let limits = &shared.limits;
    let mut lines = Lines::new(reader, limits.request_bytes, limits.receive);
    let peer = Arc::new(Peer {
        shared: Arc::clone(shared),
        writer: Mutex::new(writer),
        broken: CancellationToken::new(),
        uid,
    });
    let mut calls = Calls::new();
    let mut ids = BTreeSet::new();
    let mut reading = true;
    let mut rest_until = Instant::now() + limits.idle;
    while reading || !calls.is_empty() {
        tokio::select! {
            () = peer.broken.cancelled() => break,
            () = shared.kill.cancelled() => break,
            () = shared.stop.cancelled(), if reading => reading = false,
            () = sleep_until(rest_until), if calls.is_empty() => break,
            Some(ended) = calls.join_next(), if !calls.is_empty() => {
                forget(&mut ids, ended);
                rest_until = Instant::now() + limits.idle;
            }
            heard = hear(&mut lines, reading) => {
                reading = match heard {
                    None => break,
                    Some(Ok(line)) => {
                        take(&peer, &line, &mut calls, &mut ids).await;
                        true
                    }
                    Some(Err(why)) => {
                        peer.part(why).await;
                        false
                    }
                };
                rest_until = Instant::now() + limits.idle;
            }
        }
    }
    // Calls that are left end here: dropping the set aborts them, and so their handlers.
}

fn forget(ids: &mut BTreeSet<Id>, ended: Result<Id, JoinError>) {
    match ended {
        Ok(id) => {
            ids.remove(&id);
        }
        // Nothing in a call's task panics; should it all the same, its id stays taken.
        Err(error) => tracing::error!(%error, "a call of the control socket panicked"),
    }
}

/// Starts what one line asks for.
async fn take(peer: &Arc<Peer>, line: &[u8], calls: &mut Calls, ids: &mut BTreeSet<Id>) {
    let counters = peer.shared.counters.door(Door::Socket);
    let (id, ask) = match parse(line) {
        Ok(request) => request,
        Err((id, error)) => {
            counters.refused(Refusal::Garbage);
            return peer.fail(id.as_ref(), &error).await;
        }
    };
    if ids.contains(&id) {
        counters.refused(Refusal::Garbage);
        let error = Error::bad_request("a call with this id is under way");
        return peer.fail(Some(&id), &error).await;
    }
    if calls.len() >= peer.shared.limits.calls_per_connection {
        counters.refused(Refusal::InFlight);
        let message = "as many calls of this connection are under way as are allowed";
        let error = Error::new(ErrorKind::Refused, codes::TOO_MANY, message)
            .help("try again when one has ended");
        return peer.fail(Some(&id), &error).await;
    }
    counters.requested();
    ids.insert(id.clone());
    let peer = Arc::clone(peer);
    calls.spawn(async move {
        match ask {
            Ask::List => {
                peer.reply(&id, Body::Result(&peer.shared.registry.list()))
                    .await
            }
            Ask::Call(call) => answer(&peer, &id, call).await,
        };
        id
    });
}

async fn answer(peer: &Peer, id: &Id, call: Call) -> bool {
    let Call {
        kind,
        name,
        operation,
        input,
        deadline,
    } = call;
    let via = Door::Socket;
    let mut context = Context::new(Actor { uid: peer.uid, via });
    if let Some(deadline) = deadline {
        context = context.timeout(deadline);
    }
    let registry = &peer.shared.registry;
    let mut items = match registry
        .call(&kind, &name, &operation, input, context)
        .await
    {
        Err(error) => return peer.reply::<()>(id, Body::Error(&error.into())).await,
        Ok(Answer::One(value)) => return peer.reply(id, Body::Result(&value)).await,
        Ok(Answer::Stream(items)) => items,
    };
    loop {
        let item = tokio::select! {
            item = items.recv() => item,
            () = peer.shared.stop.cancelled() => {
                return peer.reply::<()>(id, Body::Error(&Error::shutting_down())).await;
            }
        };
        let goes_on = match item {
            Some(Ok(item)) => peer.reply(id, Body::Item(&item)).await,
            Some(Err(error)) => return peer.reply::<()>(id, Body::Error(&error.into())).await,
            None => return peer.reply::<()>(id, Body::Done(true)).await,
        };
        if !goes_on {
            return false;
        }
    }
}

impl Peer {
    /// Writes an answer; false when the call is over by it.
    async fn reply<T: Serialize>(&self, id: &Id, body: Body<'_, T>) -> bool {
        let bytes_max = self.shared.limits.answer_bytes;
        match json::line(&Reply { id: Some(id), body }, bytes_max) {
            Some(line) => self.write(line).await,
            None => {
                let counters = self.shared.counters.door(Door::Socket);
                counters.refused(Refusal::LongAnswer);
                self.fail(Some(id), &Error::answer_too_long(bytes_max))
                    .await;
                false
            }
        }
    }

    async fn fail(&self, id: Option<&Id>, error: &Error) {
        let body: Body<'_, ()> = Body::Error(error);
        if let Some(line) = json::line(&Reply { id, body }, usize::MAX) {
            self.write(line).await;
        }
    }

    /// Says why no more requests are read, where that is not plain.
    async fn part(&self, why: NoLine) {
        let counters = self.shared.counters.door(Door::Socket);
        let limits = &self.shared.limits;
        let (refusal, error) = match why {
            NoLine::End => return,
            NoLine::Broken(error) => {
                tracing::debug!(%error, "a connection to the control socket broke");
                return self.broken.cancel();
            }
            NoLine::TooLong => {
                let message = format!("a request has at most {} bytes", limits.request_bytes);
                let error = Error::new(ErrorKind::Refused, codes::TOO_LONG, message);
                (Refusal::Oversize, error)
            }
            NoLine::TooSlow => {
                let message = "the request did not arrive in time";
                let error = Error::new(ErrorKind::Timeout, codes::TOO_SLOW, message);
                (Refusal::SlowSender, error)
            }
        };
        counters.refused(refusal);
        self.fail(None, &error).await;
    }

    async fn write(&self, mut line: Vec<u8>) -> bool {
        line.push(b'\n');
        let mut writer = tokio::select! {
            writer = self.writer.lock() => writer,
            () = self.broken.cancelled() => return false,
        };
        let limits = &self.shared.limits;
        let Err(why) = pace::write(&mut *writer, &line, limits).await else {
            return true;
        };
        if why == Unread::Slow {
            let counters = self.shared.counters.door(Door::Socket);
            counters.refused(Refusal::SlowReader);
        }
        self.broken.cancel();
        false
    }
}

/// The next line, or once no more are read, `None` when the other side has closed both directions
/// and not only its own.
async fn hear(lines: &mut Lines<OwnedReadHalf>, reading: bool) -> Option<Result<Vec<u8>, NoLine>> {
    if reading {
        return Some(lines.next().await);
    }
    loop {
        sleep(HANGUP_CHECK).await;
        // Waits while the other side is slow to read: then it is there.
        let ready = lines.reader().as_ref().ready(Interest::WRITABLE).await;
        if ready.is_ok_and(|ready| ready.is_write_closed()) {
            return None;
        }
    }
}
