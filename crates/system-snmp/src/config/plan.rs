//! From what the operator wrote to what the engine takes, once.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use trunkline_config::{Name, Secret, SecretFile};
use trunkline_engine::guard::GuardPolicy;
use trunkline_engine::lane::LanePolicy;
use trunkline_engine::limit::RatePolicy;
use trunkline_engine::router::{MemberSpec, Strategy};
use trunkline_wire_snmp::{Oid, OidBuf, Value, Version, encode_varbinds};

use super::{
    EngineBlock, JobBlock, SnmpConfig, SourceChoice, StrategyChoice, TargetBlock, VersionChoice,
};
use crate::address::{Address, AddressError, SNMP_PORT, expand};
use crate::rtt::TimeoutPolicy;
use crate::shard::BatchPolicy;
use crate::target::{SourcePolicy, TargetPolicy};

/// A whole system, ready to be started.
#[derive(Clone, Debug)]
pub struct SystemPlan {
    /// Its name.
    pub name: String,
    /// Shards.
    pub shards: u16,
    /// Sockets per shard and engine.
    pub sockets: u16,
    /// Receive buffer of each socket in bytes.
    pub receive_buffer: usize,
    /// Requests per shard.
    pub max_requests: usize,
    /// Targets per shard.
    pub max_targets: usize,
    /// The ways out, at least one.
    pub engines: Vec<EnginePlan>,
    /// How requests are spread over them.
    pub strategy: Strategy,
    /// How often their health is compared.
    pub check_interval: Duration,
    /// How datagrams are gathered.
    pub batch: BatchPolicy,
    /// How a target is treated unless it says otherwise.
    pub policy: Arc<TargetPolicy>,
    /// Whom to poll.
    pub targets: Vec<Arc<TargetPlan>>,
    /// What to poll.
    pub jobs: Vec<JobPlan>,
    /// Where results go.
    pub sinks: Vec<SinkPlan>,
    /// Results on their way there.
    pub results: LanePolicy,
}

/// A way out.
#[derive(Clone, Debug)]
pub struct EnginePlan {
    /// Name, weight and capacity, for the router.
    pub member: MemberSpec,
    /// The local address; both families when none.
    pub bind: Option<IpAddr>,
    /// The interface.
    pub interface: Option<String>,
}

/// A target to poll.
#[derive(Clone, Debug)]
pub struct TargetPlan {
    /// Its name.
    pub name: Arc<str>,
    /// Where it is.
    pub address: Address,
    /// v1 or v2c.
    pub version: Version,
    /// The community.
    pub community: Arc<[u8]>,
    /// Whose answers count.
    pub source: SourcePolicy,
    /// How it is treated.
    pub policy: Arc<TargetPolicy>,
    /// 0 for all engines, `n` for only the `n`th.
    pub egress: u16,
    /// Its jobs, by number; shared by all targets of one table.
    pub jobs: Arc<[usize]>,
}

/// A job.
#[derive(Clone, Debug)]
pub struct JobPlan {
    /// Its name.
    pub name: String,
    /// How often.
    pub interval: Duration,
    /// How long a run may take.
    pub deadline: Duration,
    /// Encoded questions for the single values, each of which fits a datagram.
    pub gets: Vec<Arc<[u8]>>,
    /// Subtrees.
    pub walks: Vec<OidBuf>,
    /// Rows per GETBULK.
    pub max_repetitions: u32,
    /// Rows per run.
    pub max_rows: u64,
}

/// A sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkPlan {
    /// JSON lines to a file, or to standard output.
    JsonLines {
        /// Its name.
        name: String,
        /// The file.
        path: Option<PathBuf>,
    },
    /// The last numbers, in `/metrics`.
    Metrics {
        /// Its name.
        name: String,
        /// The most samples.
        max_series: usize,
    },
}

/// Why a checked configuration still cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A secret file that was readable a moment ago is not any more.
    #[error("the community of {who} cannot be read: {why}")]
    Secret {
        /// Whose.
        who: String,
        /// Why.
        why: String,
    },
    /// An address.
    #[error("target {target}: {error}")]
    Address {
        /// Which target.
        target: String,
        /// What is wrong.
        error: AddressError,
    },
    /// An OID that does not parse or encode.
    #[error("job {job}: \"{oid}\" is not an OID")]
    Oid {
        /// Which job.
        job: String,
        /// What it says.
        oid: String,
    },
}

/// Variables asked for in one GET: the answer to this many usually fits a datagram.
const GET_CHUNK: usize = 24;

impl SystemPlan {
    /// The plan of a checked configuration.
    ///
    /// # Errors
    /// What has changed since the check, such as a secret file that is gone.
    pub fn new(name: &str, config: &SnmpConfig) -> Result<Self, PlanError> {
        let jobs = config
            .job
            .iter()
            .map(|(name, job)| job_plan(name.as_str(), job));
        let jobs = jobs.collect::<Result<Vec<_>, _>>()?;
        let community = community(
            name,
            config.community.as_ref(),
            config.community_file.as_ref(),
        )?;
        let community: Arc<[u8]> = community
            .unwrap_or_else(|| "public".into())
            .into_bytes()
            .into();
        let mut targets = Vec::new();
        let policy = Arc::new(target_policy(config, None));
        for (name, target) in &config.target {
            let plan = target_plan(name.as_str(), target, config, &community, &policy)?;
            spread(&plan, &target.address, &mut targets)?;
        }
        Ok(Self {
            name: name.to_owned(),
            shards: shards(config.shards),
            sockets: config.sockets,
            receive_buffer: config.receive_buffer.as_usize(),
            max_requests: config.max_requests as usize,
            max_targets: config.max_targets as usize,
            engines: engines(config),
            strategy: strategy(config.router.strategy),
            check_interval: config.router.check_interval.get(),
            batch: BatchPolicy {
                max: config.max_batch.into(),
                linger: config.linger.get(),
            },
            policy,
            targets,
            jobs,
            sinks: sinks(config),
            results: config.results.policy(1),
        })
    }
}

/// One core is left to the rest of the process, where there is more than one.
fn shards(configured: u16) -> u16 {
    if configured > 0 {
        return configured;
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u16::try_from(cores.saturating_sub(1).max(1))
        .unwrap_or(256)
        .min(256)
}

fn engines(config: &SnmpConfig) -> Vec<EnginePlan> {
    if config.engine.is_empty() {
        let only = EngineBlock {
            bind: config.bind,
            interface: config.interface.clone(),
            ..EngineBlock::default()
        };
        return vec![engine_plan("default", &only)];
    }
    config
        .engine
        .iter()
        .map(|(name, engine)| engine_plan(name.as_str(), engine))
        .collect()
}

fn engine_plan(name: &str, engine: &EngineBlock) -> EnginePlan {
    let member = MemberSpec {
        weight: engine.weight,
        capacity: engine.capacity,
        ..MemberSpec::named(name)
    };
    EnginePlan {
        member,
        bind: engine.bind,
        interface: engine.interface.clone(),
    }
}

/// The engine's name for a configured strategy.
pub(crate) const fn strategy(choice: StrategyChoice) -> Strategy {
    match choice {
        StrategyChoice::RoundRobin => Strategy::RoundRobin,
        StrategyChoice::Weighted => Strategy::Weighted,
        StrategyChoice::LeastLoaded => Strategy::LeastLoaded,
        StrategyChoice::P2c => Strategy::P2c,
        StrategyChoice::PeakEwma => Strategy::PeakEwma,
        StrategyChoice::Adaptive => Strategy::Adaptive,
        StrategyChoice::Sticky => Strategy::Sticky,
        StrategyChoice::Hash => Strategy::Hash,
    }
}

fn target_policy(config: &SnmpConfig, target: Option<&TargetBlock>) -> TargetPolicy {
    let initial = target
        .and_then(|target| target.timeout)
        .unwrap_or(config.timeout)
        .get();
    let mut limits = config.limits.clone();
    if let Some(most) = target.and_then(|target| target.in_flight_max) {
        limits.in_flight_max = most;
    }
    let spacing = target
        .and_then(|target| target.spacing)
        .unwrap_or(config.spacing)
        .get();
    TargetPolicy {
        timeout: TimeoutPolicy {
            initial,
            min: config.timeout_min.get(),
            max: config.timeout_max.get(),
            adaptive: config.adaptive_timeout,
        },
        retry: (&config.retry).into(),
        guard: GuardPolicy {
            breaker: (&config.breaker).into(),
            rate: paced(limits.rate(), spacing),
            flight: limits.flight(),
        },
        queue_max: config.queue.items as usize,
    }
}

/// A rate that also keeps `spacing` between two datagrams: no burst, and no faster than that.
fn paced(rate: Option<RatePolicy>, spacing: Duration) -> Option<RatePolicy> {
    if spacing.is_zero() {
        return rate;
    }
    let most = 1.0 / spacing.as_secs_f64();
    let per_second = rate.map_or(most, |rate| rate.per_second.min(most));
    Some(RatePolicy {
        per_second,
        burst: 1,
    })
}

fn target_plan(
    name: &str,
    target: &TargetBlock,
    config: &SnmpConfig,
    community_default: &Arc<[u8]>,
    policy: &Arc<TargetPolicy>,
) -> Result<TargetPlan, PlanError> {
    let own = community(
        name,
        target.community.as_ref(),
        target.community_file.as_ref(),
    )?;
    let plain = target.timeout.is_none() && target.in_flight_max.is_none();
    let plain = plain && target.spacing.is_none();
    let number = |wanted: &Name| config.job.keys().position(|job| job == wanted);
    let jobs = match &target.jobs {
        None => (0..config.job.len()).collect(),
        Some(names) => names.iter().filter_map(number).collect(),
    };
    let engine = target.engine.as_ref();
    let egress = engine.and_then(|wanted| config.engine.keys().position(|name| name == wanted));
    Ok(TargetPlan {
        name: name.into(),
        address: Address::Name {
            host: String::new(),
            port: SNMP_PORT,
        },
        version: version(target.version.unwrap_or(config.version)),
        community: own.map_or_else(|| community_default.clone(), |own| own.into_bytes().into()),
        source: source(target.source.unwrap_or(config.source)),
        policy: if plain {
            policy.clone()
        } else {
            target_policy(config, Some(target)).into()
        },
        egress: egress.map_or(0, |at| u16::try_from(at + 1).unwrap_or(0)),
        jobs,
    })
}

/// One plan for each agent that an address stands for.
fn spread(
    plan: &TargetPlan,
    address: &str,
    targets: &mut Vec<Arc<TargetPlan>>,
) -> Result<(), PlanError> {
    let addresses = expand(address, SNMP_PORT).map_err(|error| PlanError::Address {
        target: plan.name.to_string(),
        error,
    })?;
    let many = addresses.len() > 1;
    for (index, address) in addresses.into_iter().enumerate() {
        let name = if many {
            format!("{}-{index}", plan.name).into()
        } else {
            plan.name.clone()
        };
        targets.push(Arc::new(TargetPlan {
            name,
            address,
            ..plan.clone()
        }));
    }
    Ok(())
}

fn community(
    who: &str,
    value: Option<&Secret>,
    file: Option<&SecretFile>,
) -> Result<Option<String>, PlanError> {
    if let Some(value) = value {
        return Ok(Some(value.expose().to_owned()));
    }
    let Some(file) = file else { return Ok(None) };
    let unsealed = file.read().map_err(|error| PlanError::Secret {
        who: who.to_owned(),
        why: error.to_string(),
    })?;
    Ok(Some(unsealed.secret.expose().to_owned()))
}

fn job_plan(name: &str, job: &JobBlock) -> Result<JobPlan, PlanError> {
    let parse = |list: &[String]| -> Result<Vec<OidBuf>, PlanError> {
        let oid = |text: &String| {
            let bad = || PlanError::Oid {
                job: name.to_owned(),
                oid: text.clone(),
            };
            text.parse::<OidBuf>().map_err(|_| bad())
        };
        list.iter().map(oid).collect()
    };
    let get = parse(&job.get)?;
    let gets = get
        .chunks(GET_CHUNK)
        .map(encode_gets)
        .collect::<Option<Vec<_>>>();
    let bad = || PlanError::Oid {
        job: name.to_owned(),
        oid: job.get.join(" "),
    };
    Ok(JobPlan {
        name: name.to_owned(),
        interval: job.interval.get(),
        deadline: job.deadline.unwrap_or(job.interval).get(),
        gets: gets.ok_or_else(bad)?,
        walks: parse(&job.walk)?,
        max_repetitions: job.max_repetitions,
        max_rows: job.max_rows.into(),
    })
}

/// The variables of a question, encoded once for all who are asked it.
fn encode_gets(oids: &[OidBuf]) -> Option<Arc<[u8]>> {
    let rows: Vec<(Oid<'_>, Value<'_>)> =
        oids.iter().map(|oid| (oid.as_oid(), Value::Null)).collect();
    encode_varbinds(&rows).ok().map(Arc::from)
}

const fn version(choice: VersionChoice) -> Version {
    match choice {
        VersionChoice::V1 => Version::V1,
        VersionChoice::V2c => Version::V2c,
    }
}

const fn source(choice: SourceChoice) -> SourcePolicy {
    match choice {
        SourceChoice::Strict => SourcePolicy::Strict,
        SourceChoice::Learn => SourcePolicy::Learn,
        SourceChoice::Any => SourcePolicy::Any,
    }
}

fn sinks(config: &SnmpConfig) -> Vec<SinkPlan> {
    let lines: &BTreeMap<_, _> = &config.sink.jsonl;
    let lines = lines.iter().map(|(name, sink)| SinkPlan::JsonLines {
        name: name.to_string(),
        path: sink.path.clone(),
    });
    let metrics = config
        .sink
        .metrics
        .iter()
        .map(|(name, sink)| SinkPlan::Metrics {
            name: name.to_string(),
            max_series: sink.max_series as usize,
        });
    lines.chain(metrics).collect()
}
