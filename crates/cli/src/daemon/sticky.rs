//! What operators decided, kept over restarts (invariant 9).
//!
//! One small file per system, written within a second of a change and read at start. What it names
//! that no longer exists is passed over.

use serde_json::Value as Json;
use trunkline_runtime::state::StateDir;
use trunkline_system_snmp::{OperatorState, System};

/// Keeps one system's decisions on disk.
pub(crate) struct Sticky {
    file: String,
    saved: Option<Json>,
}

impl Sticky {
    pub(crate) fn of(system: &System) -> Self {
        Self {
            file: format!("snmp-{}-operator.json", system.name()),
            saved: None,
        }
    }

    /// Takes up what was decided before; the error says why that was not possible.
    pub(crate) fn restore(&mut self, dir: &StateDir, system: &System) -> Result<(), String> {
        let Some(bytes) = dir.load(&self.file).map_err(|error| error.to_string())? else {
            return Ok(());
        };
        let state: OperatorState = serde_json::from_slice(&bytes)
            .map_err(|error| format!("{} is not readable: {error}", self.file))?;
        system.restore_operator_state(&state);
        Ok(())
    }

    /// Writes the decisions if they have changed.
    pub(crate) fn save(&mut self, dir: &StateDir, system: &System) -> Result<(), String> {
        let state = serde_json::to_value(system.operator_state()).map_err(|e| e.to_string())?;
        if self.saved.as_ref() == Some(&state) {
            return Ok(());
        }
        let text = state.to_string();
        dir.save(&self.file, text.as_bytes())
            .map_err(|error| error.to_string())?;
        self.saved = Some(state);
        Ok(())
    }
}
