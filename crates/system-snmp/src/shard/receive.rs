//! From a datagram to the job that it answers.
//!
//! A reply is believed when its id belongs to a job that was asked, its version and community are
//! the target's, its source satisfies the target's policy, and its variables parse to the last
//! byte. Anything else is counted by reason and changes nothing: the job goes on waiting, and no
//! attempt is spent.

use std::net::SocketAddr;
use std::time::Duration;

use trunkline_engine::correlate::Found;
use trunkline_engine::datagram::{RxBatch, RxMeta};
use trunkline_engine::fault::Outcome as AttemptOutcome;
use trunkline_engine::ledger::Outcome;
use trunkline_engine::time::Time;
use trunkline_wire_snmp::{self as wire, ErrorStatus, Message, PduKind};

use super::{BadDatagram, Shard};
use crate::completion::{Event, PageCredit, Reply};
use crate::error::{SnmpError, UnreachableReason};
use crate::job::{Stage, Work};
use crate::walk::Next;

impl Shard {
    /// Takes what one turn received.
    pub fn receive(&mut self, now: Time, rx: &RxBatch) {
        for (meta, bytes) in rx.iter() {
            self.setup.stats.count_received(bytes.len());
            if let Err(bad) = self.datagram(now, meta, bytes) {
                self.setup.stats.count_bad(bad);
            }
        }
    }

    fn datagram(&mut self, now: Time, meta: &RxMeta, bytes: &[u8]) -> Result<(), BadDatagram> {
        let message = wire::decode(bytes).map_err(|_| BadDatagram::Malformed)?;
        if message.pdu.kind != PduKind::Response {
            return Err(BadDatagram::NotAResponse);
        }
        let id = u32::try_from(message.pdu.request_id).map_err(|_| BadDatagram::UnknownId)?;
        let is_walk = self.believe(id, meta.from, &message)?;
        let reply = |bytes: &[u8], (rtt, attempts)| Reply {
            from: meta.from,
            status: message.pdu.error_status,
            index: message.pdu.error_index,
            rtt,
            attempts,
            bytes: bytes.into(),
        };
        if is_walk {
            return self.on_page(now, id, &message, reply);
        }
        let times = self.note_answer(now, id);
        self.on_answer(now, id, reply(message.pdu.varbinds.raw(), times));
        Ok(())
    }

    /// Whether a message answers job `id`; if so, whether that is a walk. The page of a walk from
    /// its own target is not read here: [`Self::on_page`] reads it anyway, and refuses it as well.
    fn believe(
        &mut self,
        id: u32,
        from: SocketAddr,
        message: &Message<'_>,
    ) -> Result<bool, BadDatagram> {
        let Self { targets, jobs, .. } = self;
        let job = match jobs.find(id) {
            Found::Live(job) if job.attempts > 0 => job,
            Found::Late => return Err(BadDatagram::Late),
            Found::Live(_) | Found::Unknown => return Err(BadDatagram::UnknownId),
        };
        let target = targets
            .get_mut(job.target as usize)
            .and_then(Option::as_mut);
        let Some(target) = target else {
            return Err(BadDatagram::UnknownId);
        };
        if message.version != target.spec.version {
            return Err(BadDatagram::Version);
        }
        if message.community != &target.spec.community[..] {
            return Err(BadDatagram::Community);
        }
        let is_walk = matches!(job.work, Work::Walk { .. });
        let read_later = is_walk && message.pdu.error_status == 0 && from == target.spec.addr;
        if !read_later && message.pdu.varbinds.clone().any(|varbind| varbind.is_err()) {
            return Err(BadDatagram::Malformed);
        }
        if !target.accepts(from) {
            return Err(BadDatagram::Source);
        }
        Ok(is_walk)
    }

    /// Samples the round trip and returns it with the number of attempts.
    fn note_answer(&mut self, now: Time, id: u32) -> (Duration, u32) {
        let Self {
            targets,
            jobs,
            setup,
            ..
        } = self;
        let Found::Live(job) = jobs.find(id) else {
            return Default::default();
        };
        let sent_at = match &job.stage {
            Stage::Sent { sent_at, .. } => *sent_at,
            _ => job.first_sent,
        };
        let (rtt, attempts) = (now.saturating_since(sent_at), job.attempts);
        if let Some(target) = targets
            .get_mut(job.target as usize)
            .and_then(Option::as_mut)
        {
            if attempts == 1 {
                target.rtt.sample(rtt);
            }
            target.stats.answered(now, target.rtt.smoothed());
        }
        setup.stats.count_answer(rtt);
        setup.stats.retries().note_success(attempts);
        (rtt, attempts)
    }

    fn on_answer(&mut self, now: Time, id: u32, reply: Reply) {
        let Some(job) = self.take_off(now, id, AttemptOutcome::Success) else {
            return;
        };
        self.sheet.end(job.ticket, Outcome::Delivered);
        job.reply.finish(Event::Reply(reply), &mut self.done);
    }

    /// Takes a page of a walk, unless it is malformed: then nothing has changed.
    fn on_page(
        &mut self,
        now: Time,
        id: u32,
        message: &Message<'_>,
        reply: impl Fn(&[u8], (Duration, u32)) -> Reply,
    ) -> Result<(), BadDatagram> {
        let Found::Live(job) = self.jobs.find(id) else {
            return Ok(());
        };
        let Work::Walk { walk, credit, .. } = &mut job.work else {
            return Ok(());
        };
        let varbinds = &message.pdu.varbinds;
        let mut kept = None;
        let next = match message.pdu.error_status {
            0 => {
                let page = walk.page(varbinds.clone());
                let page = page.map_err(|_| BadDatagram::Malformed)?;
                if page.rows > 0 {
                    let bytes = &varbinds.raw()[..page.kept_bytes];
                    kept = Some((bytes, page.rows, credit.charge()));
                }
                page.next
            }
            status => {
                let status = ErrorStatus::from_i32(status).unwrap_or(ErrorStatus::GenErr);
                walk.status(status, message.pdu.error_index)
            }
        };
        let times = self.note_answer(now, id);
        if let Some((bytes, rows, charge)) = kept {
            self.setup.stats.count_rows(rows);
            self.hand_over(id, reply(bytes, times), charge);
        }
        match next {
            Next::End(end) => self.end_walk(now, id, end),
            Next::Ask => self.ask_on(now, id),
        }
        Ok(())
    }

    fn hand_over(&mut self, id: u32, page: Reply, charge: PageCredit) {
        let Self { jobs, done, .. } = self;
        if let Found::Live(job) = jobs.find(id) {
            job.reply.page(page, charge, done);
        }
    }

    /// Gives a walk's next question an id of its own, so that a late copy of this page cannot be
    /// taken for the answer to it.
    fn ask_on(&mut self, now: Time, id: u32) {
        // Off the job for the moment, so that its entry stays and is only renamed below.
        let cancel_key = self.live(id).and_then(|job| job.cancel_key.take());
        let Some(mut job) = self.take_off(now, id, AttemptOutcome::Success) else {
            return;
        };
        job.cancel_key = cancel_key;
        job.attempts = 0;
        job.backoff = None;
        let parked = match &job.work {
            Work::Walk { credit, .. } => credit.clone().park(),
            Work::Exchange(_) => false,
        };
        job.stage = if parked { Stage::Parked } else { Stage::Queued };
        let (slot, priority, deadline) = (job.target, job.priority, job.deadline);
        let id = match self.jobs.insert(job) {
            Ok(id) => id,
            // Its own slot was freed above, so this is out of reach; it still ends the walk.
            Err(full) => return self.end_unplaced(full.0, SnmpError::QueueFull("jobs_max")),
        };
        if let Some(entry) = cancel_key.and_then(|key| self.cancels.get_mut(&key)) {
            *entry = id;
        }
        let timer = (deadline != Time::MAX).then(|| self.wheel.insert(deadline, u64::from(id)));
        if let Some(job) = self.live(id) {
            job.timer = timer;
        }
        if let Some(target) = self.target(slot) {
            if parked {
                target.set_aside(id);
            } else {
                target.enqueue(id, priority);
            }
        }
        self.make_ready(slot);
    }

    /// The network says that `peer` cannot be reached: what is on the wire to it ends at once.
    pub fn unreachable(&mut self, now: Time, peer: SocketAddr, reason: UnreachableReason) {
        let Some(slots) = self.by_addr.get(&peer).cloned() else {
            return;
        };
        for slot in slots {
            let Some(target) = self.target(slot) else {
                continue;
            };
            for id in target.sent.clone() {
                self.fail(now, id, SnmpError::Unreachable { reason });
            }
        }
    }
}
