//! The engine's front: targets in, requests in, answers out.
//!
//! A client spreads targets over shards by rendezvous hashing on their address, so a target's home
//! follows from its address alone. Requests go through the home shard's door; answers come to the
//! inbox that the request named. The calls that wait are thin covers over that.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trunkline_engine::breaker::Forced;
use trunkline_engine::guard::{Gate, Guard};
use trunkline_engine::ledger::{Balance, SheetReader};
use trunkline_engine::rng::mix64;
use trunkline_engine::time::Time;

use crate::completion::{Completion, Done, Event, Inbox, Reply};
use crate::door::Door;
use crate::error::SnmpError;
use crate::job::{Ask, Exchange, JobOptions, Submission};
use crate::machine::ShardMachine;
use crate::shard::{Command, NewTarget, Shard, ShardSetup, ShardStats};
use crate::target::{TargetFigures, TargetId, TargetSpec, TargetStats};
use crate::walk::{WalkEnd, WalkSpec};

/// Commands that one door holds; a batch of requests is one.
const DOOR_COMMANDS: usize = 4096;

/// One shard as the client sees it.
#[derive(Debug)]
struct Link {
    door: Arc<Door>,
    stats: Arc<ShardStats>,
    sheet: Mutex<Option<SheetReader>>,
    registry: Mutex<Registry>,
}

/// The targets of one shard, from which a restarted one is filled again.
#[derive(Debug, Default)]
struct Registry {
    slots: Vec<Option<NewTarget>>,
    generations: Vec<u16>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Inner {
    links: Vec<Link>,
    guards: Vec<Guard>,
    targets_max: usize,
    next_cancel: AtomicU64,
    door_refused: AtomicU64,
}

/// A handle to the engine; clones are the same engine.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

/// What one target is and does.
#[derive(Clone, Debug)]
pub struct TargetView {
    /// Its name.
    pub id: TargetId,
    /// Who and how.
    pub spec: TargetSpec,
    /// Its figures.
    pub figures: TargetFigures,
    /// Its breaker, limits and books.
    pub gate: Arc<Gate>,
    /// Whether an operator drained it.
    pub drained: bool,
}

/// Takes back one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CancelKey {
    shard: u16,
    key: u64,
}

/// One request of a batch.
#[derive(Clone, Debug)]
pub struct Request {
    /// Whom to ask.
    pub target: TargetId,
    /// What.
    pub ask: Ask,
    /// How.
    pub options: JobOptions,
    /// The number that its completion carries.
    pub token: u64,
}

impl Client {
    /// A client of as many shards as `bells`, each of which wakes one shard's driver.
    /// `guards` are the ways out, the first of which is all engines.
    pub fn new(
        bells: Vec<Box<dyn Fn() + Send + Sync>>,
        guards: Vec<Guard>,
        targets_max: usize,
    ) -> Self {
        let link = |ring| Link {
            door: Arc::new(Door::new(DOOR_COMMANDS, ring)),
            stats: Arc::default(),
            sheet: Mutex::default(),
            registry: Mutex::default(),
        };
        let links = bells.into_iter().map(link).collect();
        let (next_cancel, door_refused) = (AtomicU64::new(1), AtomicU64::new(0));
        Self {
            inner: Arc::new(Inner {
                links,
                guards,
                targets_max,
                next_cancel,
                door_refused,
            }),
        }
    }

    /// The machine of shard `setup.index`, with the targets that it has: called at the start, and
    /// again when its thread has died.
    pub fn machine(&self, mut setup: ShardSetup, now: Time) -> ShardMachine {
        let link = &self.inner.links[usize::from(setup.index)];
        setup.stats = link.stats.clone();
        setup.targets_max = self.inner.targets_max;
        let mut shard = Shard::new(setup, now);
        let mut sheet = lock(&link.sheet);
        if let Some(last) = sheet.as_ref().map(SheetReader::read) {
            shard.carry(&last);
        }
        *sheet = Some(shard.sheet());
        drop(sheet);
        for target in lock(&link.registry).slots.iter().flatten() {
            shard.command(
                now,
                Command::AddTarget(Box::new(target.clone())),
                &link.door,
            );
        }
        ShardMachine::new(shard, link.door.clone())
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.inner.links.len()
    }

    /// The home shard of an address.
    pub fn home(&self, addr: SocketAddr) -> u16 {
        let mut hasher = DefaultHasher::new();
        addr.hash(&mut hasher);
        let hash = hasher.finish();
        let score = |shard: &u16| mix64(hash ^ mix64(u64::from(*shard) + 1));
        let shards = u16::try_from(self.shards()).unwrap_or(u16::MAX);
        (0..shards).max_by_key(score).unwrap_or(0)
    }

    /// Takes on a target.
    ///
    /// # Errors
    /// [`SnmpError::TooManyTargets`] when its shard has as many as it may, [`SnmpError::QueueFull`]
    /// when its door is full;
    /// [`SnmpError::NoEngine`] when the spec names an egress group that does not exist.
    pub fn add_target(&self, spec: TargetSpec) -> Result<TargetId, SnmpError> {
        let shard = self.home(spec.addr);
        let link = &self.inner.links[usize::from(shard)];
        let guard = self
            .inner
            .guards
            .get(usize::from(spec.egress))
            .ok_or(SnmpError::NoEngine)?;
        let gate = guard.gate(&spec.policy.guard);
        let stats = Arc::new(TargetStats::default());
        let mut registry = lock(&link.registry);
        let slot = match registry.free.pop() {
            Some(slot) => slot,
            None if registry.slots.len() >= self.inner.targets_max => {
                return Err(SnmpError::TooManyTargets);
            }
            None => {
                registry.slots.push(None);
                registry.generations.push(0);
                u32::try_from(registry.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        let generation = registry.generations[slot as usize];
        let id = TargetId {
            shard,
            generation,
            slot,
        };
        let new = NewTarget {
            id,
            spec,
            gate,
            stats,
            drained: false,
        };
        // Pushed under the registry's lock, so that commands about one slot keep their order.
        if let Err((_, error)) = link.door.push(Command::AddTarget(Box::new(new.clone()))) {
            registry.free.push(slot);
            return Err(error);
        }
        registry.slots[slot as usize] = Some(new);
        Ok(id)
    }

    /// Forgets a target; its requests end as dropped.
    ///
    /// # Errors
    /// When its shard's door is full; nothing has changed then.
    pub fn remove_target(&self, id: TargetId) -> Result<(), SnmpError> {
        let link = self.link(id.shard)?;
        let mut registry = lock(&link.registry);
        let Some(slot) = registry.slots.get_mut(id.slot as usize) else {
            return Ok(());
        };
        if slot.as_ref().is_none_or(|target| target.id != id) {
            return Ok(());
        }
        link.door
            .push(Command::RemoveTarget(id))
            .map_err(|(_, error)| error)?;
        *slot = None;
        let generation = &mut registry.generations[id.slot as usize];
        *generation = generation.wrapping_add(1);
        registry.free.push(id.slot);
        Ok(())
    }

    /// Stops (true) or resumes (false) new requests to a target.
    ///
    /// # Errors
    /// When its shard's door is full.
    pub fn drain_target(&self, id: TargetId, drained: bool) -> Result<(), SnmpError> {
        let link = self.link(id.shard)?;
        let mut registry = lock(&link.registry);
        let known = registry
            .slots
            .get_mut(id.slot as usize)
            .and_then(Option::as_mut);
        let Some(target) = known.filter(|target| target.id == id) else {
            return Err(SnmpError::TargetRemoved);
        };
        link.door
            .push(Command::DrainTarget(id, drained))
            .map_err(|(_, error)| error)?;
        target.drained = drained;
        Ok(())
    }

    /// Forces a target's breaker, or lets it go.
    ///
    /// # Errors
    /// When its shard's door is full.
    pub fn force_breaker(&self, id: TargetId, forced: Forced) -> Result<(), SnmpError> {
        let link = self.link(id.shard)?;
        link.door
            .push(Command::Force(id, forced))
            .map_err(|(_, error)| error)
    }

    /// Hands in a request; its news comes to `inbox`. A request that finds the door full has its
    /// ending there at once, like any other refusal.
    pub fn submit(&self, request: Request, inbox: &Arc<Inbox>) -> CancelKey {
        let Request {
            target,
            ask,
            options,
            token,
        } = request;
        let mut submission = Submission::new(target, ask, options, inbox.clone(), token);
        let key = self.inner.next_cancel.fetch_add(1, Ordering::Relaxed);
        submission.cancel_key = Some(key);
        self.hand_in(target.shard, vec![submission]);
        CancelKey {
            shard: target.shard,
            key,
        }
    }

    /// Hands in many requests at once; each has its own news in `inbox`, as it completes.
    pub fn submit_batch(&self, requests: impl IntoIterator<Item = Request>, inbox: &Arc<Inbox>) {
        if let Some(guard) = self.inner.guards.first() {
            guard.router().note_batch();
        }
        let mut by_shard: Vec<Vec<Submission>> = Vec::new();
        by_shard.resize_with(self.shards(), Vec::new);
        for Request {
            target,
            ask,
            options,
            token,
        } in requests
        {
            let mut submission = Submission::new(target, ask, options, inbox.clone(), token);
            if matches!(submission.ask, Ask::Walk(_)) {
                let key = self.inner.next_cancel.fetch_add(1, Ordering::Relaxed);
                submission.cancel_key = Some(key);
            }
            by_shard[usize::from(target.shard)].push(submission);
        }
        for (shard, batch) in by_shard.into_iter().enumerate() {
            if !batch.is_empty() {
                self.hand_in(u16::try_from(shard).unwrap_or(u16::MAX), batch);
            }
        }
    }

    /// Takes back a request that has not ended; it ends as cancelled.
    pub fn cancel(&self, key: CancelKey) {
        if let Ok(link) = self.link(key.shard) {
            link.door.knock(Command::Cancel(key.key));
        }
    }

    /// One exchange, awaited. Dropping the future cancels it.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn ask(
        &self,
        target: TargetId,
        exchange: Exchange,
        options: JobOptions,
    ) -> Result<Reply, SnmpError> {
        let inbox = Inbox::new();
        let request = Request {
            target,
            ask: Ask::Exchange(exchange),
            options,
            token: 0,
        };
        let key = self.submit(request, &inbox);
        let mut cancel = CancelOnDrop {
            client: self,
            key: Some(key),
        };
        let completion = inbox.take().await;
        cancel.key = None;
        match completion.event {
            Event::Reply(reply) => Ok(reply),
            Event::Failed(error) => Err(error),
            Event::Page(..) | Event::End(_) => Err(SnmpError::ShardDied),
        }
    }

    /// A walk, whose pages are awaited one by one. Dropping it cancels it.
    pub fn walk(&self, target: TargetId, spec: WalkSpec, options: JobOptions) -> WalkStream {
        let inbox = Inbox::new();
        let request = Request {
            target,
            ask: Ask::Walk(spec),
            options,
            token: 0,
        };
        let key = self.submit(request, &inbox);
        WalkStream {
            client: self.clone(),
            inbox,
            key: Some(key),
        }
    }

    /// Refuses new requests from now on; those under way go on.
    pub fn drain(&self) {
        self.broadcast(|| Command::Drain);
    }

    /// Ends all requests now.
    pub fn close(&self) {
        self.broadcast(|| Command::Close);
    }

    /// Ends all requests and the shards' threads.
    pub fn stop(&self) {
        self.broadcast(|| Command::Stop);
    }

    /// Kills one shard's thread, to prove that its death is noticed.
    #[doc(hidden)]
    pub fn kill_shard(&self, shard: u16) {
        if let Ok(link) = self.link(shard) {
            link.door.knock(Command::Panic);
        }
    }

    /// The books of all shards together.
    pub fn balance(&self) -> Balance {
        let mut sum: Balance = self.balances().into_iter().sum();
        let refused = self.inner.door_refused.load(Ordering::Relaxed);
        sum.submitted += refused;
        sum.rejected += refused;
        sum
    }

    /// The books of each shard.
    pub fn balances(&self) -> Vec<Balance> {
        let read = |link: &Link| lock(&link.sheet).as_ref().map(SheetReader::read);
        self.inner
            .links
            .iter()
            .map(|link| read(link).unwrap_or_default())
            .collect()
    }

    /// The counters of each shard.
    pub fn stats(&self) -> Vec<Arc<ShardStats>> {
        self.inner
            .links
            .iter()
            .map(|link| link.stats.clone())
            .collect()
    }

    /// The ways out, the first of which is all engines.
    pub fn guards(&self) -> &[Guard] {
        &self.inner.guards
    }

    /// Every target.
    pub fn targets(&self) -> Vec<TargetView> {
        let mut views = Vec::new();
        self.for_each_target(|target| views.push(target.clone()));
        views
    }

    /// Every target, one by one, under its shard's lock: `visit` must be brief.
    pub fn for_each_target(&self, mut visit: impl FnMut(&TargetView)) {
        for link in &self.inner.links {
            let registry = lock(&link.registry);
            let targets = registry.slots.iter().flatten();
            targets.for_each(|target| visit(&view(target)));
        }
    }

    /// One target.
    pub fn target(&self, id: TargetId) -> Option<TargetView> {
        let link = self.link(id.shard).ok()?;
        let registry = lock(&link.registry);
        registry
            .slots
            .get(id.slot as usize)?
            .as_ref()
            .filter(|target| target.id == id)
            .map(view)
    }

    fn hand_in(&self, shard: u16, batch: Vec<Submission>) {
        let link = match self.link(shard) {
            Ok(link) => link,
            Err(error) => return self.refuse(batch, &error),
        };
        if let Err((Command::Submit(batch), error)) = link.door.push(Command::Submit(batch)) {
            self.refuse(batch, &error);
        }
    }

    fn refuse(&self, batch: Vec<Submission>, error: &SnmpError) {
        self.inner
            .door_refused
            .fetch_add(batch.len() as u64, Ordering::Relaxed);
        let mut done = Done::default();
        for Submission { ask, reply, .. } in batch {
            reply.finish(ask.failed(error.clone()), &mut done);
        }
        done.flush();
    }

    fn broadcast(&self, command: impl Fn() -> Command) {
        for link in &self.inner.links {
            link.door.knock(command());
        }
    }

    fn link(&self, shard: u16) -> Result<&Link, SnmpError> {
        self.inner
            .links
            .get(usize::from(shard))
            .ok_or(SnmpError::TargetRemoved)
    }
}

fn view(target: &NewTarget) -> TargetView {
    TargetView {
        id: target.id,
        spec: target.spec.clone(),
        figures: target.stats.read(),
        gate: target.gate.clone(),
        drained: target.drained,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct CancelOnDrop<'a> {
    client: &'a Client,
    key: Option<CancelKey>,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.client.cancel(key);
        }
    }
}

/// A walk under way.
#[derive(Debug)]
pub struct WalkStream {
    client: Client,
    inbox: Arc<Inbox>,
    key: Option<CancelKey>,
}

/// What a walk yields.
#[derive(Debug)]
pub enum WalkItem {
    /// Rows.
    Page(Reply),
    /// The end; nothing follows.
    End(WalkEnd),
}

impl WalkStream {
    /// The next page or the end; `None` after the end.
    pub async fn next(&mut self) -> Option<WalkItem> {
        self.key?;
        let Completion { event, .. } = self.inbox.take().await;
        if event.is_last() {
            self.key = None;
        }
        Some(match event {
            Event::Page(reply, _) | Event::Reply(reply) => WalkItem::Page(reply),
            Event::End(end) => WalkItem::End(end),
            Event::Failed(error) => WalkItem::End(WalkEnd::Failed(error.into())),
        })
    }
}

impl Drop for WalkStream {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.client.cancel(key);
        }
    }
}
