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
mod machine;
mod poller;
mod rtt;
mod shard;
mod target;
mod walk;

pub use address::{Address, AddressError, SNMP_PORT, expand};
pub use client::{CancelKey, Client, Request, TargetView, WalkItem, WalkStream};
pub use completion::{Completion, Event, Inbox, PageCredit, Reply};
pub use config::{
    EnginePlan, JobPlan, PlanError, SinkPlan, SnmpConfig, StrategyChoice, SystemPlan, TargetPlan,
};
pub use door::Door;
pub use error::{SnmpError, UnreachableReason};
pub use job::{Ask, Exchange, JobOptions};
pub use machine::ShardMachine;
pub use rtt::{RttEstimate, TimeoutPolicy};
pub use shard::{
    BadDatagram, BreakerEvent, Egress, EngineSockets, Shard, ShardFigures, ShardSetup, ShardStats,
};
pub use target::{
    Priority, SourcePolicy, TargetFigures, TargetId, TargetPolicy, TargetSpec, TargetStats,
};
pub use walk::{EndSign, Method, Next, Order, Page, Walk, WalkEnd, WalkSpec, WalkStop};
