//! The SNMP manager: shards, walks, engines, the poller and its operations.
//!
//! What a walk, a community, a bulk size and an engine *mean* is here; how bytes are laid out is
//! `wire-snmp`'s, what moves them is `runtime`'s, and breakers, limits, books and wheels are
//! `engine`'s.

mod address;
mod client;
mod completion;
mod config;
mod door;
mod error;
mod job;
mod keeper;
mod machine;
pub mod operations;
mod operator;
mod poller;
mod results;
mod rtt;
mod shard;
mod status;
mod system;
mod target;
pub mod text;
mod walk;
mod wire;

pub use address::{Address, AddressError, EXPAND_MAX, SNMP_PORT, expand};
pub use client::{CancelKey, Client, Request, TargetView, WalkItem, WalkStream};
pub use completion::{Completion, Event, Inbox, PageCredit, Reply};
pub use config::{
    EnginePlan, JobPlan, PlanError, SinkPlan, SnmpConfig, StrategyChoice, SystemPlan, TargetPlan,
};
pub use door::Door;
pub use error::{SnmpError, UnreachableReason};
pub use job::{Ask, Exchange, JobOptions};
pub use machine::ShardMachine;
pub use operator::OperatorState;
pub use poller::{PolledTarget, Poller, PollerFigures, PollerStats, Record, RunOutcome, Schedule};
pub use results::{
    JsonLines, Results, Samples, Sink, SinkError, SinkView, Undertaker, decode_record,
    encode_record, redriver, undertaker, value_json,
};
pub use rtt::{RttEstimate, TimeoutPolicy};
pub use shard::{
    BadDatagram, BatchPolicy, BreakerEvent, Egress, EngineSockets, Shard, ShardFigures, ShardSetup,
    ShardStats,
};
pub use status::{PoolStatus, ShardReport, SocketReport, export, pool_status};
pub use system::{NamedTarget, Prepared, ReloadReport, StartError, System};
pub use target::{
    Priority, SourcePolicy, TargetFigures, TargetId, TargetPolicy, TargetSpec, TargetStats,
};
pub use walk::{EndSign, Method, Next, Order, Page, Walk, WalkEnd, WalkSpec, WalkStop};
pub use wire::{OnDeath, Wire, WireError, WirePlan};
