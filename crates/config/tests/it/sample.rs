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
    /// The door.
    pub(crate) admin: Admin,
    /// Pollers by name.
    pub(crate) snmp: BTreeMap<Name, Snmp>,
    /// Taps by name.
    pub(crate) tap: BTreeMap<Name, Tap>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Admin {
    /// Where to listen.
    pub(crate) listen: SocketAddr,
    /// Whether to say more.
    pub(crate) verbose: bool,
    /// The token.
    pub(crate) token: Option<Secret>,
    /// The file of the token.
    pub(crate) token_file: Option<SecretFile>,
    /// Names of this host.
    #[schemars(length(max = 2))]
    pub(crate) hosts: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Snmp {
    /// Whom to poll.
    pub(crate) targets: Vec<IpAddr>,
    /// How long an answer may take.
    #[serde(default = "timeout")]
    #[schemars(extend("x-min" = "10ms", "x-max" = "1m"))]
    pub(crate) timeout: Duration,
    /// The port.
    #[serde(default = "port")]
    #[schemars(range(min = 1, max = 65535))]
    pub(crate) port: u16,
    /// The version.
    #[serde(default)]
    pub(crate) version: Version,
    /// When to stop.
    #[serde(default)]
    pub(crate) breaker: BreakerBlock,
    /// When to try again.
    #[serde(default)]
    pub(crate) retry: RetryBlock,
    /// How much.
    #[serde(default)]
    pub(crate) limits: LimitsBlock,
    /// Encryption; off without the table.
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
    /// Who signs.
    pub(crate) ca: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stdout {}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tap {
    /// What waits.
    pub(crate) queue: QueueBlock,
    /// How sure.
    pub(crate) commitment: String,
    /// How much.
    pub(crate) buffer: ByteSize,
    /// Encryption; off without the table.
    pub(crate) tls: Option<Tls>,
    /// Printers by name.
    pub(crate) stdout: BTreeMap<Name, Stdout>,
    /// Which part.
    pub(crate) share: Fraction,
    /// How heavy.
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

fn port() -> u16 {
    161
}

fn timeout() -> Duration {
    Duration::from_secs(1)
}

impl Check for Sample {
    fn check(&self, at: &mut At<'_>) {
        let (token, file) = (self.admin.token.as_ref(), self.admin.token_file.as_ref());
        at.key("admin").secret("token", token, file);
        if token.is_some_and(|token| token.expose().len() < 3) {
            let message = "the token is too short";
            at.key("admin").key("token").error("T0203", message);
        }
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
