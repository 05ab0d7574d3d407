//! Asking a configured target now, through the same shards, breakers and limits as its polls.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use trunkline_runtime::operation::{
    Context, Effect, ErrorKind, ItemSender, Operation, OperationError,
};
use trunkline_wire_snmp::{Oid, OidBuf, Value, Version, encode_varbinds};

use super::{failed, known};
use crate::client::WalkItem;
use crate::completion::Reply;
use crate::job::{Exchange, JobOptions};
use crate::results::value_json;
use crate::system::System;
use crate::target::Priority;
use crate::walk::{Method, WalkEnd, WalkSpec};

/// A target and what to get of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct GetInput {
    /// The target's name in the configuration.
    target: String,
    /// The OIDs, by number.
    oids: Vec<String>,
}

/// What a target answered.
#[derive(Debug, Serialize, JsonSchema)]
struct GetOutput {
    /// The error status; `noError` when all is well.
    status: String,
    /// The index of the OID that the status blames, from 1.
    index: i32,
    /// From the last datagram to the answer, in microseconds.
    rtt_us: u64,
    /// Datagrams sent.
    attempts: u32,
    /// The values, each `{oid, type, value}`.
    values: Vec<Json>,
}

/// A target and a subtree.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WalkInput {
    /// The target's name in the configuration.
    target: String,
    /// The subtree, by number.
    root: String,
    /// Rows per GETBULK; 25 when not given, 0 for GETNEXT.
    max_repetitions: Option<u32>,
}

/// Rows of a walk, or its end.
#[derive(Debug, Serialize, JsonSchema)]
struct WalkOutput {
    /// Rows, each `{oid, type, value}`.
    values: Vec<Json>,
    /// How the walk ended, in its last item: `complete`, or why not.
    end: Option<String>,
}

pub(super) fn operations(system: &Arc<System>) -> Vec<Operation> {
    let name = system.name().to_owned();
    let own = system.clone();
    let get = Operation::one(
        "snmp",
        &name,
        "get",
        "Get values of a configured target now",
        Effect::Run,
        move |context: Context, input: GetInput| get(own.clone(), context, input),
    );
    let own = system.clone();
    let walk = Operation::stream(
        "snmp",
        &name,
        "walk",
        "Walk a subtree of a configured target now",
        Effect::Run,
        move |context: Context, input: WalkInput, tx| walk(own.clone(), context, input, tx),
    );
    vec![get.idempotent(true), walk.idempotent(true)]
}

async fn get(
    system: Arc<System>,
    context: Context,
    input: GetInput,
) -> Result<GetOutput, OperationError> {
    let (_, id) = known(&system, &input.target)?;
    let oids = input
        .oids
        .iter()
        .map(|text| oid(text))
        .collect::<Result<Vec<_>, _>>()?;
    let rows: Vec<(Oid<'_>, Value<'_>)> =
        oids.iter().map(|oid| (oid.as_oid(), Value::Null)).collect();
    let list = encode_varbinds(&rows).map_err(|error| bad_input(error.to_string()))?;
    let exchange = Exchange::get(list.into());
    let options = options(&system, &context);
    let reply = system
        .client()
        .ask(id, exchange, options)
        .await
        .map_err(|e| failed(&e))?;
    Ok(GetOutput {
        status: reply
            .error_status()
            .map_or("unknown", |status| status.as_str())
            .to_owned(),
        index: reply.index,
        rtt_us: u64::try_from(reply.rtt.as_micros()).unwrap_or(u64::MAX),
        attempts: reply.attempts,
        values: values(&reply),
    })
}

async fn walk(
    system: Arc<System>,
    context: Context,
    input: WalkInput,
    out: ItemSender<WalkOutput>,
) -> Result<(), OperationError> {
    let (target, id) = known(&system, &input.target)?;
    let most = if target.plan.version == Version::V1 {
        Some(0)
    } else {
        input.max_repetitions
    };
    let method = match most.unwrap_or(25) {
        0 => Method::Next,
        most => Method::Bulk(most.min(65_535)),
    };
    let spec = WalkSpec::new(oid(&input.root)?, method);
    let mut walk = system.client().walk(id, spec, options(&system, &context));
    while let Some(item) = walk.next().await {
        let output = match item {
            WalkItem::Page(reply) => WalkOutput {
                values: values(&reply),
                end: None,
            },
            WalkItem::End(end) => WalkOutput {
                values: Vec::new(),
                end: Some(end_text(&end)),
            },
        };
        out.send(&output).await?;
    }
    Ok(())
}

fn end_text(end: &WalkEnd) -> String {
    match end {
        WalkEnd::Complete { .. } => "complete".to_owned(),
        WalkEnd::Partial { reason, .. } => format!("partial: {reason}"),
        WalkEnd::Failed(reason) => format!("failed: {reason}"),
    }
}

fn options(system: &System, context: &Context) -> JobOptions {
    let deadline = system.clock().now() + context.remaining();
    JobOptions {
        deadline,
        priority: Priority::High,
    }
}

fn values(reply: &Reply) -> Vec<Json> {
    reply
        .varbinds()
        .filter_map(Result::ok)
        .map(|varbind| value_json(&varbind))
        .collect()
}

fn oid(text: &str) -> Result<OidBuf, OperationError> {
    text.parse()
        .map_err(|error| bad_input(format!("\"{text}\" is not an OID: {error}")))
}

fn bad_input(message: String) -> OperationError {
    OperationError::new(ErrorKind::BadInput, "T0202", message)
        .help("write numbers, like \"1.3.6.1.2.1.1.3.0\"")
}
