//! Simulated SNMP agents: a whole fleet behind one object, fast enough to load a real client.
//!
//! A [`Mib`] is what a model of device knows, shared by all devices of the model; a [`Fleet`]
//! answers for thousands of addresses from a few of them; a [`FaultPlan`] says which devices
//! misbehave and how. MIBs come from [`models`], from [`MibBuilder`], or from a recording of a
//! real device ([`recording`], [`walktext`]).

mod agent;
mod faults;
mod fleet;
mod mib;
pub mod models;
mod page;
mod plan;
pub mod recording;
mod source;
pub mod walktext;

pub use self::faults::{DeviceFault, Share, TrafficFaults};
pub use self::fleet::{
    Fleet, FleetCounters, FleetError, FleetSpec, LATE_BYTES_MAX, LATE_MAX, SETS_MAX,
    SETS_PER_AGENT_MAX, Silence,
};
pub use self::mib::{MIB_BYTES_MAX, Mib, MibBuilder, MibError, ROWS_MAX};
pub use self::plan::{FaultPlan, FaultPlanError};
pub use self::source::{NAME_PREFIX_MAX, Source};
