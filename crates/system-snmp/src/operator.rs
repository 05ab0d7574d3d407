//! What a person decided about a system, in a form that survives a restart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use trunkline_engine::breaker::{Forced, StateKind};
use trunkline_engine::router::Mark;

use crate::system::System;

/// Decisions that no timer undoes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct OperatorState {
    /// Targets taken out of service.
    pub drained: Vec<String>,
    /// Breakers forced: `open` or `closed`, by target.
    pub breakers: BTreeMap<String, String>,
    /// Engines marked `up` or `down`, or `drain`ing.
    pub engines: BTreeMap<String, String>,
}

impl System {
    /// What operators decided so far.
    pub fn operator_state(&self) -> OperatorState {
        let now = self.clock().now();
        let mut state = OperatorState::default();
        // A daemon asks this every second, of however many targets: nothing is copied or sorted
        // but what somebody decided.
        self.for_each_target(|target| {
            let Some(view) = target.id.and_then(|id| self.client().target(id)) else {
                return;
            };
            if view.drained {
                state.drained.push(target.plan.name.to_string());
            }
            let forced = match view.gate.state(now).kind() {
                StateKind::ForcedOpen => "open",
                StateKind::ForcedClosed => "closed",
                _ => return,
            };
            let name = target.plan.name.to_string();
            state.breakers.insert(name, forced.to_owned());
        });
        state.drained.sort();
        for member in self.client().guards()[0].router().members(now) {
            let decision = match (member.draining, member.mark) {
                (true, _) => "drain",
                (_, Mark::Up) => "up",
                (_, Mark::Down) => "down",
                (_, Mark::Auto) => continue,
            };
            state.engines.insert(member.name, decision.to_owned());
        }
        state
    }

    /// Takes up earlier decisions; names that no longer exist are passed over.
    pub fn restore_operator_state(&self, state: &OperatorState) {
        let id = |name: &String| self.target(name).and_then(|target| target.id);
        for id in state.drained.iter().filter_map(id) {
            // The door of a system that was just started has room.
            let _accepted = self.client().drain_target(id, true);
        }
        for (name, forced) in &state.breakers {
            let forced = if forced == "open" {
                Forced::Open
            } else {
                Forced::Closed
            };
            if let Some(id) = id(name) {
                let _accepted = self.client().force_breaker(id, forced);
            }
        }
        let router = self.client().guards()[0].router();
        for (name, decision) in &state.engines {
            let Some(id) = router.find(name) else {
                continue;
            };
            let now = self.clock().now();
            let _known = match decision.as_str() {
                "drain" => router.drain(id),
                "up" => router.mark(id, Mark::Up, now),
                _ => router.mark(id, Mark::Down, now),
            };
        }
    }
}
