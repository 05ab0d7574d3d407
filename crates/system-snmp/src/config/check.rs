//! What cannot be right about `[snmp.NAME]` although every value has the right type.

use trunkline_config::{At, Check};
use trunkline_wire_snmp::OidBuf;

use super::{JobBlock, SnmpConfig, TargetBlock};
use crate::address::{SNMP_PORT, expand};

/// An address cannot be read, or stands for nobody.
pub(crate) const BAD_ADDRESS: &str = "T0201";
/// A number is not an OID.
pub(crate) const BAD_OID: &str = "T0202";
/// A name refers to nothing.
pub(crate) const UNKNOWN_NAME: &str = "T0203";
/// Values contradict each other.
pub(crate) const CONTRADICTION: &str = "T0204";
/// A job or a target does nothing.
pub(crate) const IDLE: &str = "T0205";

impl Check for SnmpConfig {
    fn check(&self, at: &mut At<'_>) {
        self.breaker.check(&mut at.key("breaker"));
        self.retry.check(&mut at.key("retry"));
        self.limits.check(&mut at.key("limits"));
        self.results.check(&mut at.key("results"));
        self.timeouts(at);
        at.secret(
            "community",
            self.community.as_ref(),
            self.community_file.as_ref(),
        );
        if !self.engine.is_empty() {
            for (key, set) in [
                ("bind", self.bind.is_some()),
                ("interface", self.interface.is_some()),
            ] {
                if set {
                    at.key(key)
                        .error(
                            CONTRADICTION,
                            format!("`{key}` has no effect beside engines"),
                        )
                        .help("set it in each `engine` table");
                }
            }
        }
        for (name, target) in &self.target {
            self.target(target, &mut at.key("target").key(name.as_str()));
        }
        self.room(at);
        for (name, job) in &self.job {
            job.check(&mut at.key("job").key(name.as_str()));
        }
        if !self.target.is_empty() && self.job.is_empty() {
            at.key("target")
                .warning(IDLE, "there are targets but no jobs, so nothing is polled")
                .help("add a table like [snmp.core.job.system] with `get` or `walk`");
        }
    }
}

impl SnmpConfig {
    fn timeouts(&self, at: &mut At<'_>) {
        if self.timeout_min > self.timeout_max {
            at.key("timeout_min")
                .error(CONTRADICTION, "`timeout_min` is longer than `timeout_max`")
                .help("lower timeout_min or raise timeout_max");
        }
        for key in ["timeout_min", "timeout_max"] {
            let mut at = at.key(key);
            if !self.adaptive_timeout && at.is_set() {
                at.error(
                    CONTRADICTION,
                    format!("`{key}` has no effect with a fixed timeout"),
                )
                .help("take it out, or set adaptive_timeout = true");
            }
        }
    }

    /// Whether the shards can hold all targets.
    fn room(&self, at: &mut At<'_>) {
        let of =
            |target: &TargetBlock| expand(&target.address, SNMP_PORT).map_or(0, |all| all.len());
        let targets: usize = self.target.values().map(of).sum();
        let shards = usize::from(self.shards.max(1));
        let room = self.max_targets as usize * shards;
        if targets > room {
            let message = format!("there are {targets} targets, and room for {room}");
            at.key("max_targets")
                .error(CONTRADICTION, message)
                .help("raise `max_targets`");
        }
    }

    fn target(&self, target: &TargetBlock, at: &mut At<'_>) {
        if target.address.is_empty() {
            at.error(BAD_ADDRESS, "the target has no `address`")
                .help("add address = \"HOST\" or \"HOST:PORT\"");
        } else if let Err(error) = expand(&target.address, SNMP_PORT) {
            at.key("address").error(BAD_ADDRESS, error.to_string());
        }
        at.secret(
            "community",
            target.community.as_ref(),
            target.community_file.as_ref(),
        );
        for (index, job) in target.jobs.iter().flatten().enumerate() {
            if !self.job.contains_key(job) {
                let known = self.job.keys().map(|name| name.as_str());
                unknown(
                    &mut at.key("jobs").key(&index.to_string()),
                    "job",
                    job.as_str(),
                    known,
                );
            }
        }
        if let Some(engine) = &target.engine
            && !self.engine.contains_key(engine)
        {
            let known = self.engine.keys().map(|name| name.as_str());
            unknown(&mut at.key("engine"), "engine", engine.as_str(), known);
        }
    }
}

fn unknown<'a>(at: &mut At<'_>, what: &str, name: &str, known: impl Iterator<Item = &'a str>) {
    let known: Vec<&str> = known.collect();
    let near = trunkline_config::nearest(name, known.iter().copied());
    let problem = at.error(UNKNOWN_NAME, format!("there is no {what} \"{name}\""));
    match near {
        Some(near) => problem.help(format!("did you mean \"{near}\"?")),
        None if known.is_empty() => problem.help(format!("no {what} is configured")),
        None => problem.help(format!("known: {}", known.join(", "))),
    };
}

impl Check for JobBlock {
    fn check(&self, at: &mut At<'_>) {
        for (key, list) in [("get", &self.get), ("walk", &self.walk)] {
            for (index, text) in list.iter().enumerate() {
                if let Err(error) = text.parse::<OidBuf>() {
                    at.key(key)
                        .key(&index.to_string())
                        .error(BAD_OID, format!("\"{text}\" is not an OID: {error}"))
                        .help("write numbers, like \"1.3.6.1.2.1.1.3.0\"");
                }
            }
        }
        if self.get.is_empty() && self.walk.is_empty() {
            at.error(IDLE, "the job polls nothing")
                .help("add `get` or `walk` with OIDs");
        }
        if let Some(deadline) = self.deadline
            && deadline > self.interval
        {
            at.key("deadline")
                .warning(
                    CONTRADICTION,
                    "runs may last longer than the interval, so some are missed",
                )
                .help("lower the deadline or raise the interval");
        }
    }
}
