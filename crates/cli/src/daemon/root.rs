//! The whole configuration file: what belongs to the process, and the systems.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_admin::AdminConfig;
use trunkline_config::{At, Check, Duration, Name, Root};
use trunkline_system_snmp::SnmpConfig;

/// Trunkline's configuration.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RootConfig {
    /// The process.
    pub(crate) trunkline: ProcessConfig,
    /// Control socket and HTTP.
    pub(crate) admin: AdminConfig,
    /// SNMP managers by name.
    pub(crate) snmp: BTreeMap<Name, SnmpConfig>,
}

/// The process.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ProcessConfig {
    /// Where state is kept: operators' decisions and dead letters. $STATE_DIRECTORY, else
    /// $XDG_STATE_HOME/trunkline when not set.
    pub(crate) state_dir: Option<PathBuf>,
    /// The log, on stderr.
    pub(crate) log: LogConfig,
    /// How the process stops.
    pub(crate) shutdown: ShutdownConfig,
}

/// The log.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LogConfig {
    /// What is worth a line; changeable while running.
    pub(crate) level: LevelChoice,
    /// How a line is written.
    pub(crate) format: FormatChoice,
}

/// A log level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LevelChoice {
    /// What needs a person.
    Error,
    /// What may need one soon.
    Warn,
    /// Changes of state.
    #[default]
    Info,
    /// Details for finding faults.
    Debug,
}

/// A log format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FormatChoice {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// How the process stops.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ShutdownConfig {
    /// How long work under way may go on; less when no deadline in the configuration is as long.
    #[schemars(extend("x-max" = "1h"))]
    pub(crate) drain: Duration,
    /// From the first signal to the end, whatever is left.
    #[schemars(extend("x-min" = "1s", "x-max" = "2h"))]
    pub(crate) force: Duration,
}

impl Default for ShutdownConfig {
    fn default() -> Self {
        Self {
            drain: Duration::from_secs(30),
            force: Duration::from_secs(60),
        }
    }
}

impl Root for RootConfig {
    /// Names of the requirement document, and ours for them.
    const RENAMED: &'static [(&'static str, &'static str)] = &[
        ("snmp.pool_size", "sockets"),
        ("snmp.max_rps", "limits.per_second"),
        ("snmp.max_requests_per_second", "limits.per_second"),
        ("snmp.failure_threshold", "breaker.consecutive_failures"),
        ("snmp.recovery_timeout", "breaker.open"),
        ("snmp.half_open_max_calls", "breaker.probes"),
        ("snmp.retries", "retry.attempts"),
        ("snmp.max_retries", "retry.attempts"),
        ("snmp.strategy", "router.strategy"),
        ("snmp.health_check_interval", "router.check_interval"),
    ];

    const RESTART: &'static [&'static str] = &[
        "trunkline.state_dir",
        "trunkline.log.format",
        "trunkline.shutdown",
        "admin",
        "snmp.*.shards",
        "snmp.*.sockets",
        "snmp.*.receive_buffer",
        "snmp.*.max_batch",
        "snmp.*.linger",
        "snmp.*.max_requests",
        "snmp.*.max_targets",
        "snmp.*.router",
        "snmp.*.engine",
        "snmp.*.sink",
        "snmp.*.results",
    ];
}

impl Check for RootConfig {
    fn check(&self, at: &mut At<'_>) {
        self.admin.check(&mut at.key("admin"));
        if self.trunkline.shutdown.drain > self.trunkline.shutdown.force {
            at.key("trunkline")
                .key("shutdown")
                .key("drain")
                .error(
                    "T0401",
                    "`drain` is longer than `force`, which ends everything",
                )
                .help("lower drain or raise force");
        }
        for (name, system) in &self.snmp {
            system.check(&mut at.key("snmp").key(name.as_str()));
        }
        if self.snmp.is_empty() {
            at.warning(
                "T0402",
                "no system is configured, so the daemon does nothing",
            )
            .help("add a table like [snmp.core], or write a file with `trunkline config init`");
        }
    }
}
