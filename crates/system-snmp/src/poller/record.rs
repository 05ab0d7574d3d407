//! What one run of a job at a target found.

use std::sync::Arc;
use std::time::Duration;

use trunkline_engine::time::WallTime;
use trunkline_wire_snmp::{VarBind, VarBinds};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    /// Every question was answered in full.
    Complete,
    /// Something is missing; the errors say what.
    Partial,
    /// Nothing was had.
    Failed,
}

impl RunOutcome {
    /// The outcome in records and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::Failed => "failed",
        }
    }
}

/// One run's result, as the bytes that the agent sent.
#[derive(Clone, Debug)]
pub struct Record {
    /// The system.
    pub system: Arc<str>,
    /// The target's name.
    pub target: Arc<str>,
    /// Its address.
    pub address: Arc<str>,
    /// The job's name.
    pub job: Arc<str>,
    /// When the run was meant to start.
    pub at: WallTime,
    /// How long it took.
    pub took: Duration,
    /// How it ended.
    pub outcome: RunOutcome,
    /// What went wrong, one sentence each.
    pub errors: Vec<String>,
    /// BER varbind lists, validated by the shard.
    pub pages: Vec<Box<[u8]>>,
}

impl Record {
    /// Every variable.
    pub fn varbinds(&self) -> impl Iterator<Item = VarBind<'_>> {
        self.pages
            .iter()
            .flat_map(|page| VarBinds::from_raw(page))
            .filter_map(Result::ok)
    }

    /// Its size in memory, for queue bounds.
    pub fn cost_bytes(&self) -> usize {
        let pages: usize = self.pages.iter().map(|page| page.len()).sum();
        let errors: usize = self.errors.iter().map(String::len).sum();
        size_of::<Self>() + pages + errors
    }
}
