//! `[snmp.NAME]`: what an operator writes, and its conversion into what the engine takes.
//!
//! The structs here are the file's shape; [`plan`] makes of them, once, everything that the rest of
//! the crate works with, so that no key is read in two places.

mod check;
mod plan;

pub use plan::{EnginePlan, JobPlan, PlanError, SinkPlan, SystemPlan, TargetPlan};

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_config::{
    BreakerBlock, ByteSize, CurveChoice, Duration, LimitsBlock, Name, QueueBlock, RetryBlock,
    Secret, SecretFile,
};

/// An SNMP manager: its targets, the jobs that poll them, and where results go.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SnmpConfig {
    /// Threads that do SNMP; 0 is one less than the machine has cores, at least 1.
    #[schemars(range(min = 0, max = 256))]
    pub shards: u16,
    /// Sockets per shard and engine; more than one spreads replies over more receive queues.
    #[schemars(range(min = 1, max = 4))]
    pub sockets: u16,
    /// Receive buffer of each socket.
    #[schemars(extend("x-min" = "64KiB", "x-max" = "1GiB"))]
    pub receive_buffer: ByteSize,
    /// The most datagrams that one system call sends.
    #[schemars(range(min = 1, max = 64))]
    pub max_batch: u16,
    /// How long the first datagram of a batch waits for others; 0s sends what is ready.
    #[schemars(extend("x-max" = "1s"))]
    pub linger: Duration,
    /// Requests that one shard holds, waiting and on the wire.
    #[schemars(range(min = 16, max = 8_000_000))]
    pub max_requests: u32,
    /// Targets that one shard holds.
    #[schemars(range(min = 1, max = 4_000_000))]
    pub max_targets: u32,
    /// The version that targets are asked in unless they say otherwise.
    pub version: VersionChoice,
    /// The community, from the environment only; "public" when neither this nor the file is set.
    pub community: Option<Secret>,
    /// A file that holds the community, mode 0600.
    pub community_file: Option<SecretFile>,
    /// Whose answers count.
    pub source: SourceChoice,
    /// How long to wait for the first answer of a target.
    #[schemars(extend("x-min" = "1ms", "x-max" = "10m"))]
    pub timeout: Duration,
    /// The learned timeout is never shorter.
    #[schemars(extend("x-min" = "1ms", "x-max" = "10m"))]
    pub timeout_min: Duration,
    /// The learned timeout is never longer, doublings included.
    #[schemars(extend("x-min" = "1ms", "x-max" = "10m"))]
    pub timeout_max: Duration,
    /// Whether the timeout follows each target's round-trip time; otherwise it is `timeout`.
    pub adaptive_timeout: bool,
    /// The least time between two datagrams to one target; 0s is none.
    #[schemars(extend("x-max" = "1h"))]
    pub spacing: Duration,
    /// Local address that requests leave from when no engine is configured.
    pub bind: Option<std::net::IpAddr>,
    /// Interface that requests leave by when no engine is configured.
    pub interface: Option<String>,
    /// How requests are spread over the engines.
    pub router: RouterBlock,
    /// When a target that fails is left alone.
    pub breaker: BreakerBlock,
    /// How often a target is asked again. A timeout is a wait already, so by default none is added.
    pub retry: RetryBlock,
    /// Rate and requests in flight, per target.
    pub limits: LimitsBlock,
    /// How many requests wait per target.
    pub queue: TargetQueueBlock,
    /// Results on their way to the sinks.
    pub results: QueueBlock,
    /// Named ways out; without any there is one, called "default".
    pub engine: BTreeMap<Name, EngineBlock>,
    /// Whom to poll.
    pub target: BTreeMap<Name, TargetBlock>,
    /// What to poll.
    pub job: BTreeMap<Name, JobBlock>,
    /// Where results go.
    pub sink: SinkBlock,
}

/// The protocol version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum VersionChoice {
    /// SNMPv1 (RFC 1157): no GETBULK, no 64-bit counters.
    #[serde(rename = "1")]
    V1,
    /// SNMPv2c (RFC 3416 with communities).
    #[default]
    #[serde(rename = "2c")]
    V2c,
}

/// Whose answers count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SourceChoice {
    /// Only those from the address that was asked.
    #[default]
    Strict,
    /// The first answer settles from where a target answers.
    Learn,
    /// Those from anywhere; unsafe where others can send to us.
    Any,
}

/// How requests are spread over the engines, and when an engine is passed over.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RouterBlock {
    /// The strategy.
    pub strategy: StrategyChoice,
    /// How often the engines' health is compared.
    #[schemars(extend("x-min" = "100ms", "x-max" = "1h"))]
    pub check_interval: Duration,
}

impl Default for RouterBlock {
    fn default() -> Self {
        Self {
            strategy: StrategyChoice::default(),
            check_interval: Duration::from_secs(30),
        }
    }
}

/// The strategies of the router.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StrategyChoice {
    /// One after the other.
    #[default]
    RoundRobin,
    /// In proportion to weight, smoothly.
    Weighted,
    /// The one with the least in flight for its capacity.
    LeastLoaded,
    /// The less loaded of two drawn at random.
    P2c,
    /// The lowest round-trip time, failures counted as slow.
    PeakEwma,
    /// Round-trip time, load and success together.
    Adaptive,
    /// A target keeps its engine until that leaves.
    Sticky,
    /// A target's engine follows from its address.
    Hash,
}

/// A named way out.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EngineBlock {
    /// Local address that its requests leave from.
    pub bind: Option<std::net::IpAddr>,
    /// Interface that its requests leave by.
    pub interface: Option<String>,
    /// Its share under `strategy = "weighted"`.
    #[schemars(range(min = 1, max = 65_535))]
    pub weight: u32,
    /// Its size beside the others, for the strategies that look at load.
    #[schemars(range(min = 1, max = 65_535))]
    pub capacity: u32,
}

impl Default for EngineBlock {
    fn default() -> Self {
        Self {
            bind: None,
            interface: None,
            weight: 1,
            capacity: 1000,
        }
    }
}

/// The queue of each target.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TargetQueueBlock {
    /// Requests that wait for one target; more are refused.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub items: u32,
}

impl Default for TargetQueueBlock {
    fn default() -> Self {
        Self { items: 1000 }
    }
}

/// Whom to poll: one agent, or many of a kind.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TargetBlock {
    /// Host or address, with `:port` when it is not 161. `ADDRESS+N` is N agents from that address
    /// upwards, which are named after it: `name-0`, `name-1`, …
    pub address: String,
    /// Jobs to run; all of them when not set.
    pub jobs: Option<Vec<Name>>,
    /// The version.
    pub version: Option<VersionChoice>,
    /// The community, from the environment only.
    pub community: Option<Secret>,
    /// A file that holds the community, mode 0600.
    pub community_file: Option<SecretFile>,
    /// Whose answers count.
    pub source: Option<SourceChoice>,
    /// The only engine that its requests leave by.
    pub engine: Option<Name>,
    /// How long to wait for its first answer.
    #[schemars(extend("x-min" = "1ms", "x-max" = "10m"))]
    pub timeout: Option<Duration>,
    /// Requests in flight at most.
    #[schemars(range(min = 1, max = 200_000))]
    pub in_flight_max: Option<u32>,
    /// The least time between two datagrams.
    #[schemars(extend("x-max" = "1h"))]
    pub spacing: Option<Duration>,
}

/// What to poll and how often.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JobBlock {
    /// How often; at a fixed rate, whatever a run takes.
    #[schemars(extend("x-min" = "10ms", "x-max" = "7d"))]
    pub interval: Duration,
    /// Single values to get, by number.
    pub get: Vec<String>,
    /// Subtrees to walk, by number.
    pub walk: Vec<String>,
    /// Rows that one GETBULK asks for.
    #[schemars(range(min = 1, max = 65_535))]
    pub max_repetitions: u32,
    /// The most rows of one run.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub max_rows: u32,
    /// When a run ends at the latest; the interval when not set.
    #[schemars(extend("x-min" = "10ms", "x-max" = "7d"))]
    pub deadline: Option<Duration>,
}

impl Default for JobBlock {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(60),
            get: Vec::new(),
            walk: Vec::new(),
            max_repetitions: 25,
            max_rows: 100_000,
            deadline: None,
        }
    }
}

/// Where results go, by kind of sink.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SinkBlock {
    /// JSON, one line per run.
    pub jsonl: BTreeMap<Name, JsonLinesBlock>,
    /// The last numbers, in `/metrics`.
    pub metrics: BTreeMap<Name, MetricsBlock>,
}

/// JSON lines to a file or to standard output.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JsonLinesBlock {
    /// The file, appended to; standard output when not set.
    pub path: Option<PathBuf>,
}

/// The last numeric values as samples in `/metrics`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsBlock {
    /// The most samples kept; values of more are counted and left out.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_series: u32,
}

impl Default for MetricsBlock {
    fn default() -> Self {
        Self { max_series: 10_000 }
    }
}

impl Default for SnmpConfig {
    fn default() -> Self {
        Self {
            shards: 0,
            sockets: 1,
            receive_buffer: ByteSize::from_mib(8),
            max_batch: 64,
            linger: Duration::from_secs(0),
            max_requests: 200_000,
            max_targets: 100_000,
            version: VersionChoice::default(),
            community: None,
            community_file: None,
            source: SourceChoice::default(),
            timeout: Duration::from_secs(1),
            timeout_min: Duration::from_millis(100),
            timeout_max: Duration::from_secs(5),
            adaptive_timeout: true,
            spacing: Duration::from_secs(0),
            bind: None,
            interface: None,
            router: RouterBlock::default(),
            breaker: BreakerBlock::default(),
            retry: RetryBlock {
                backoff: CurveChoice::Fixed,
                base: Duration::from_secs(0),
                ..RetryBlock::default()
            },
            limits: LimitsBlock::default(),
            queue: TargetQueueBlock::default(),
            results: QueueBlock {
                items: 65_536,
                ..QueueBlock::default()
            },
            engine: BTreeMap::new(),
            target: BTreeMap::new(),
            job: BTreeMap::new(),
            sink: SinkBlock::default(),
        }
    }
}
