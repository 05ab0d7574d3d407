//! What may be asked of the process itself: its phase, its log, its configuration, its end.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;
use trunkline_engine::health::{Health, Report};
use trunkline_engine::time::Time;
use trunkline_runtime::clock::Clock;
use trunkline_runtime::log::{Level, LogHandle};
use trunkline_runtime::operation::{
    Effect, ErrorKind, ItemSender, Operation, OperationError, Registration, Registry,
};
use trunkline_runtime::shutdown::ShutdownHandle;

use super::systems::{Event, Systems};

/// Makes a health report.
pub(super) type Reporter = Arc<dyn Fn() -> Report + Send + Sync>;

/// Takes over the configuration file again; says what changed, or why not.
pub(super) type Reloader = Arc<dyn Fn() -> Result<Vec<String>, String> + Send + Sync>;

/// What the operations act on.
pub(super) struct Process {
    pub(super) clock: Clock,
    pub(super) started: Time,
    pub(super) log: Option<LogHandle>,
    pub(super) shutdown: ShutdownHandle,
    pub(super) report: Reporter,
    pub(super) reload: Reloader,
    pub(super) config_text: String,
    pub(super) systems: Weak<Systems>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Nothing {}

/// The process in short.
#[derive(Debug, Serialize, JsonSchema)]
struct Status {
    /// This program's version.
    version: &'static str,
    /// Its process id.
    pid: u32,
    /// `running`, or the phase of its shutdown.
    phase: &'static str,
    /// Seconds since it started.
    uptime_seconds: u64,
    /// Whether its loops turn.
    live: bool,
    /// Whether it takes work.
    ready: bool,
    /// What is wrong, in words.
    reasons: Vec<String>,
}

/// A component's health.
#[derive(Debug, Serialize, JsonSchema)]
struct Checked {
    /// Every component's state by its name.
    components: BTreeMap<String, String>,
    /// Whether the process is live.
    live: bool,
    /// Whether it is ready.
    ready: bool,
    /// What is wrong, in words.
    reasons: Vec<String>,
}

/// The log's level.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct LevelOrder {
    /// `error`, `warn`, `info` or `debug`; nothing changes without it.
    level: Option<String>,
}

/// What was done.
#[derive(Debug, Serialize, JsonSchema)]
struct Said {
    /// One sentence each.
    said: Vec<String>,
}

/// Text.
#[derive(Debug, Serialize, JsonSchema)]
struct Text {
    /// The text.
    text: String,
}

impl Process {
    /// Registers everything; the operations are there for as long as the result is held.
    pub(super) fn register(self, registry: &Registry) -> Vec<Registration> {
        let process = Arc::new(self);
        let all = [
            status(&process),
            check(&process),
            level(&process),
            reload(&process),
            stop(&process),
            config(&process),
            events(&process),
        ];
        all.into_iter()
            .map(|operation| registry.register(operation))
            .collect()
    }
}

fn status(process: &Arc<Process>) -> Operation {
    let own = process.clone();
    let summary = "Phase, health and age of the process";
    Operation::one(
        "engine",
        "process",
        "status",
        summary,
        Effect::Read,
        move |_, Nothing {}| {
            let report = (own.report)();
            std::future::ready(Ok(Status {
                version: env!("CARGO_PKG_VERSION"),
                pid: std::process::id(),
                phase: own.shutdown.phase().as_str(),
                uptime_seconds: own.clock.now().saturating_since(own.started).as_secs(),
                live: report.is_live(),
                ready: report.is_ready(),
                reasons: report.reasons(),
            }))
        },
    )
}

fn check(process: &Arc<Process>) -> Operation {
    let own = process.clone();
    let summary = "Every component's health";
    Operation::one(
        "engine",
        "process",
        "check",
        summary,
        Effect::Read,
        move |_, Nothing {}| {
            let report = (own.report)();
            let components = report
                .components
                .iter()
                .map(|one| (one.name.clone(), one.status().as_str().to_owned()))
                .collect();
            std::future::ready(Ok(Checked {
                components,
                live: report.is_live(),
                ready: report.is_ready(),
                reasons: report.reasons(),
            }))
        },
    )
}

fn level(process: &Arc<Process>) -> Operation {
    let own = process.clone();
    let summary = "Show or change what the log says";
    let change = move |_, order: LevelOrder| {
        std::future::ready(set_level(&own, order).map(|level| Said { said: vec![level] }))
    };
    Operation::one(
        "engine",
        "process",
        "log-level",
        summary,
        Effect::Change,
        change,
    )
    .idempotent(true)
}

fn set_level(process: &Process, order: LevelOrder) -> Result<String, OperationError> {
    let Some(log) = &process.log else {
        let message = "this process has no log of its own".to_owned();
        return Err(OperationError::new(
            ErrorKind::Unavailable,
            "T0213",
            message,
        ));
    };
    if let Some(text) = order.level {
        let level: Level = text
            .parse()
            .map_err(|error: trunkline_runtime::log::NotALevel| {
                OperationError::new(ErrorKind::BadInput, "T0213", error.to_string())
            })?;
        log.set_level(level);
    }
    Ok(format!("the level is {}", log.level()))
}

fn reload(process: &Arc<Process>) -> Operation {
    let own = process.clone();
    let summary = "Read the configuration file again; all of it or nothing";
    let run = move |_, Nothing {}| {
        let own = own.clone();
        async move {
            let done = tokio::task::spawn_blocking(move || (own.reload)()).await;
            let refused = |why: String| OperationError::new(ErrorKind::Refused, "T0403", why);
            let said = done
                .map_err(|error| refused(error.to_string()))?
                .map_err(refused)?;
            Ok(Said { said })
        }
    };
    Operation::one("engine", "process", "reload", summary, Effect::Change, run)
        .deadline(std::time::Duration::from_secs(60))
}

fn stop(process: &Arc<Process>) -> Operation {
    let own = process.clone();
    let summary = "Stop the daemon, as SIGTERM does; a second time forces";
    Operation::one(
        "engine",
        "process",
        "stop",
        summary,
        Effect::Change,
        move |_, Nothing {}| {
            own.shutdown.request();
            std::future::ready(Ok(Said {
                said: vec!["stopping".to_owned()],
            }))
        },
    )
}

fn config(process: &Arc<Process>) -> Operation {
    let own = process.clone();
    let summary = "The configuration as it took effect, secrets hidden";
    Operation::one(
        "engine",
        "process",
        "config",
        summary,
        Effect::Read,
        move |_, Nothing {}| {
            std::future::ready(Ok(Text {
                text: own.config_text.clone(),
            }))
        },
    )
}

fn events(process: &Arc<Process>) -> Operation {
    let own = process.clone();
    let summary = "What changes from now on, as it happens";
    let watch = move |_, Nothing {}, out: ItemSender<Event>| {
        let receiver = own.systems.upgrade().map(|systems| systems.watch());
        async move {
            let Some(mut receiver) = receiver else {
                return Ok(());
            };
            loop {
                match receiver.recv().await {
                    Ok(event) => out.send(&event).await?,
                    Err(RecvError::Lagged(missed)) => {
                        tracing::warn!(missed, "a watcher of events was too slow");
                    }
                    Err(RecvError::Closed) => return Ok(()),
                }
            }
        }
    };
    Operation::stream("engine", "process", "events", summary, Effect::Read, watch)
}

/// A reporter over `health` that reads the machine's resources at most once a second.
pub(super) fn reporter(health: Health, clock: Clock, disk: std::path::PathBuf) -> Reporter {
    use std::sync::{Mutex, PoisonError};
    use trunkline_runtime::process::ResourceReader;
    let reader = Mutex::new(ResourceReader::new(clock.now(), disk));
    Arc::new(move || {
        let now = clock.now();
        let resources = reader
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .read(now);
        health.report(now, &resources)
    })
}
