//! A fleet as a peer of a [`World`](crate::world::World): the same answers, without a driver.

use std::net::SocketAddr;

use trunkline_engine::time::Time;

use super::{Fleet, Silence};
use crate::world::{Death, Peer, Reply};

impl Peer for Fleet {
    fn handle(
        &mut self,
        now: Time,
        from: SocketAddr,
        to: SocketAddr,
        bytes: &[u8],
        out: &mut dyn FnMut(Reply<'_>),
    ) {
        self.counters.received += 1;
        let mut slot = std::mem::take(&mut self.scratch);
        let outcome = self
            .respond(now, to.ip(), bytes, &mut slot)
            .and_then(|draft| {
                let answer = &slot[draft.range.clone()];
                if !draft.delay.is_zero() {
                    return self.postpone(now, &draft, from, to.port(), answer);
                }
                self.counters.replied += 1;
                self.counters.duplicated += u64::from(draft.twice);
                for _ in 0..=usize::from(draft.twice) {
                    out(Reply {
                        from: SocketAddr::new(draft.source, to.port()),
                        to: from,
                        bytes: answer,
                    });
                }
                Ok(())
            });
        self.scratch = slot;
        if let Err(why) = outcome {
            self.counters.silent[why as usize] += 1;
        }
    }

    fn wake(&mut self, now: Time, out: &mut dyn FnMut(Reply<'_>)) {
        while let Some(late) = self.pop_due(now) {
            self.counters.replied += 1;
            out(Reply {
                from: SocketAddr::new(late.from, late.socket),
                to: late.to,
                bytes: &late.bytes,
            });
        }
    }

    fn next_wakeup(&self) -> Option<Time> {
        self.late.next_due()
    }

    fn listens(&self, to: SocketAddr) -> bool {
        let agent = self.agent_at(to.ip());
        agent.and_then(|agent| self.death(agent)) != Some(Death::Closed)
    }

    fn restarted(&mut self, now: Time) {
        self.counters.silent[Silence::Killed as usize] += self.late.clear() as u64;
        for agent in 0..self.count() {
            self.restart(agent, now);
        }
    }
}
