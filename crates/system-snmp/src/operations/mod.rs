//! What a person or a program may ask of a running SNMP system.
//!
//! The operations about targets and polling have kind `snmp`; those about the engine's own parts
//! (breakers, routers, books) have kind `engine`, under the same system name, so that every system
//! answers them alike.

mod ask;
mod engine;
mod targets;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_runtime::operation::{ErrorKind, OperationError, Registration, Registry};

use crate::error::SnmpError;
use crate::system::{NamedTarget, System};
use crate::target::TargetId;

/// Registers everything; the operations are there for as long as the result is held.
#[must_use = "the operations are gone when this is dropped"]
pub fn register(system: &Arc<System>, registry: &Registry) -> Vec<Registration> {
    let all = targets::operations(system)
        .into_iter()
        .chain(ask::operations(system))
        .chain(engine::operations(system));
    all.map(|operation| registry.register(operation)).collect()
}

/// No input.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Nothing {}

/// A target by name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ByTarget {
    /// The target's name in the configuration.
    target: String,
}

/// An operator's decision was carried out.
#[derive(Debug, Serialize, JsonSchema)]
struct Done {
    /// What is true now.
    now: String,
}

impl Done {
    fn say(now: impl Into<String>) -> Self {
        Self { now: now.into() }
    }
}

fn not_found(what: &str, name: &str, help: &str) -> OperationError {
    OperationError::new(
        ErrorKind::NotFound,
        "T0210",
        format!("there is no {what} \"{name}\""),
    )
    .help(help)
}

fn failed(error: &SnmpError) -> OperationError {
    let kind = match error {
        SnmpError::Timeout { .. } | SnmpError::Deadline => ErrorKind::Timeout,
        SnmpError::QueueFull(_) | SnmpError::ShuttingDown => ErrorKind::Unavailable,
        _ => ErrorKind::Failed,
    };
    OperationError::new(kind, "T0211", error.to_string())
}

/// The target of this name, with its address.
fn known(system: &System, name: &str) -> Result<(NamedTarget, TargetId), OperationError> {
    let target = system
        .target(name)
        .ok_or_else(|| not_found("target", name, "`trunkline targets` lists them"))?;
    match (target.id, &target.unresolved) {
        (Some(id), _) => Ok((target, id)),
        (None, why) => {
            let why = why.clone().unwrap_or_default();
            Err(OperationError::new(ErrorKind::Unavailable, "T0212", why))
        }
    }
}
