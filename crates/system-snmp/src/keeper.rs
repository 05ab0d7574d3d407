//! The poller's thread: its loop, its orders, and the routers' health passes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use trunkline_engine::rng::Rng;
use trunkline_engine::time::Time;
use trunkline_runtime::clock::Clock;

use crate::client::Client;
use crate::config::JobPlan;
use crate::poller::{PolledTarget, Poller, PollerStats};
use crate::results::Results;

#[derive(Debug, Default)]
pub(crate) struct Flags {
    /// Start nothing more.
    pub(crate) drain: AtomicBool,
    /// End when nothing runs.
    pub(crate) stop: AtomicBool,
    /// Die, to prove that death is noticed.
    pub(crate) die: AtomicBool,
}

/// News for the poller's thread.
pub(crate) enum Order {
    /// Poll this from now on; what runs is finished first.
    Replace(Vec<JobPlan>, Vec<Arc<PolledTarget>>),
    /// Poll this too.
    Add(Arc<PolledTarget>),
}

/// The poller's thread.
pub(crate) struct Keeper {
    pub(crate) name: String,
    pub(crate) clock: Clock,
    pub(crate) client: Client,
    pub(crate) results: Arc<Results>,
    pub(crate) stats: Arc<PollerStats>,
    pub(crate) orders: Receiver<Order>,
    pub(crate) flags: Arc<Flags>,
    pub(crate) jobs: Vec<JobPlan>,
    pub(crate) targets: Vec<Arc<PolledTarget>>,
    pub(crate) rng: Rng,
}

/// Picks that are timed together.
const PICKS: u32 = 64;

/// The longest that the poller sleeps, so that orders and flags are seen soon.
const NAP: Duration = Duration::from_millis(50);

impl Keeper {
    pub(crate) fn into_body(
        mut self,
    ) -> impl FnMut() -> Result<(), Box<dyn std::error::Error + Send + Sync>> + Send {
        move || {
            self.live();
            Ok(())
        }
    }

    fn poller(&self) -> Poller {
        let results = self.results.clone();
        Poller::new(
            &self.name,
            self.client.clone(),
            self.jobs.clone(),
            self.targets.clone(),
            self.stats.clone(),
            Box::new(move |record| results.offer(record)),
            self.clock.now(),
        )
    }

    fn live(&mut self) {
        let mut poller = self.poller();
        let mut retiring: Vec<Poller> = Vec::new();
        let mut drained = false;
        loop {
            self.follow_orders(&mut poller, &mut retiring);
            #[expect(clippy::panic, reason = "a test asks for it, to see the death noticed")]
            if self.flags.die.swap(false, Ordering::AcqRel) {
                panic!("asked to die");
            }
            let now = self.clock.now();
            self.watch_routers(now);
            retiring.retain_mut(|old| {
                old.take_arrivals(now);
                old.running() > 0
            });
            let wake = if self.flags.drain.load(Ordering::Acquire) {
                poller.take_arrivals(now);
                if !drained && poller.running() == 0 {
                    drained = true;
                    self.client.drain();
                }
                None
            } else {
                poller.step(now, self.clock.wall())
            };
            if self.flags.stop.load(Ordering::Acquire) && poller.running() == 0 {
                return;
            }
            poller.wait(nap(wake, self.clock.now()));
        }
    }

    /// Runs the routers' health passes when they are due, and times a few picks: what routing costs
    /// is then known without a clock on the way of every request.
    fn watch_routers(&mut self, now: Time) {
        for router in self.client.guards().iter().map(|guard| guard.router()) {
            if router.next_wakeup() > now {
                continue;
            }
            router.check(now);
            let begin = self.clock.now();
            for key in 0..PICKS {
                // Looking at the candidates is what is timed; none of them is taken.
                std::hint::black_box(router.pick(now, u64::from(key), &mut self.rng).next());
            }
            router.note_routing_time(self.clock.now().saturating_since(begin) / PICKS);
        }
    }

    fn follow_orders(&mut self, poller: &mut Poller, retiring: &mut Vec<Poller>) {
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Add(target) => {
                    self.targets.push(target.clone());
                    poller.add(target);
                }
                Order::Replace(jobs, targets) => {
                    (self.jobs, self.targets) = (jobs, targets);
                    retiring.push(std::mem::replace(poller, self.poller()));
                }
            }
        }
    }
}

fn nap(wake: Option<Time>, now: Time) -> Duration {
    wake.map_or(NAP, |wake| wake.saturating_since(now)).min(NAP)
}
