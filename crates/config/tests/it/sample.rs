//! A root type to test with.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_config::{
    At, BreakerBlock, ByteSize, Check, Duration, Fraction, LimitsBlock, LoadOptions, Loaded, Name,
    Problems, QueueBlock, RetryBlock, Root, Secret, SecretFile, load,
};

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Sample {
    pub(crate) admin: Admin,
    pub(crate) snmp: BTreeMap<Name, Snmp>,
    pub(crate) tap: BTreeMap<Name, Tap>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Admin {
    pub(crate) listen: SocketAddr,
    pub(crate) verbose: bool,
    pub(crate) token: Option<Secret>,
    pub(crate) token_file: Option<SecretFile>,
    pub(crate) hosts: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Snmp {
    /// Required.
    pub(crate) targets: Vec<IpAddr>,
    #[serde(default = "timeout")]
    #[schemars(extend("x-min" = "10ms", "x-max" = "1m"))]
    pub(crate) timeout: Duration,
    #[serde(default)]
    #[schemars(range(min = 1, max = 65535))]
    pub(crate) port: u16,
    #[serde(default)]
    pub(crate) version: Version,
    #[serde(default)]
    pub(crate) breaker: BreakerBlock,
    #[serde(default)]
    pub(crate) retry: RetryBlock,
    #[serde(default)]
    pub(crate) limits: LimitsBlock,
    pub(crate) tls: Option<Tls>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Version {
    V1,
    #[default]
    V2c,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tls {
    pub(crate) ca: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tap {
    pub(crate) queue: QueueBlock,
    pub(crate) commitment: String,
    pub(crate) buffer: ByteSize,
    pub(crate) share: Fraction,
    pub(crate) weight: f64,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9464)),
            verbose: false,
            token: None,
            token_file: None,
            hosts: Vec::new(),
        }
    }
}

fn timeout() -> Duration {
    Duration::from_secs(1)
}

impl Check for Sample {
    fn check(&self, at: &mut At<'_>) {
        let (token, file) = (self.admin.token.as_ref(), self.admin.token_file.as_ref());
        at.key("admin").secret("token", token, file);
        for (name, snmp) in &self.snmp {
            let mut systems = at.key("snmp");
            let mut at = systems.key(name.as_str());
            snmp.breaker.check(&mut at.key("breaker"));
            snmp.retry.check(&mut at.key("retry"));
            snmp.limits.check(&mut at.key("limits"));
            if snmp.breaker.probe_lease <= snmp.timeout {
                let message = "`probe_lease` is not longer than a call may take";
                at.key("breaker").key("probe_lease").error("T0201", message);
            }
        }
        for (name, tap) in &self.tap {
            let mut systems = at.key("tap");
            let mut at = systems.key(name.as_str());
            tap.queue.check(&mut at.key("queue"));
            if tap.commitment.is_empty() {
                at.key("commitment")
                    .warning("T0202", "no commitment is set")
                    .note("the server decides");
            }
        }
    }
}

impl Root for Sample {
    const RENAMED: &'static [(&'static str, &'static str)] = &[
        ("retries", "retry.attempts"),
        ("snmp.failure_threshold", "breaker.consecutive_failures"),
        ("auth_token", "token"),
    ];
    const RESTART: &'static [&'static str] = &["admin", "snmp.*.port"];
}

pub(crate) fn parse(text: &str) -> Result<Loaded<Sample>, Box<Problems>> {
    load(&LoadOptions::from_text("t.toml", text))
}

/// What a person would see, without the lines that only give room.
pub(crate) fn report(options: &LoadOptions) -> String {
    let rendered = match load::<Sample>(options) {
        Ok(loaded) => loaded.warnings.render(false),
        Err(problems) => problems.render(false),
    };
    let told = |line: &&str| !matches!(line.trim(), "" | "|");
    let lines: Vec<&str> = rendered.lines().filter(told).map(str::trim_end).collect();
    lines.join("\n")
}
