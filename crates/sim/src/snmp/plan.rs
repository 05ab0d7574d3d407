//! The fault list: `dead=10%,slow=5%:200ms,loss=2%`.
//!
//! The rule: items are separated by commas, each is `name=percent[:parameter]`. The percentage of
//! a device fault is the share of devices that have it, exactly; those of `loss`, `duplicate` and
//! `reorder` are chances per answer of every device.
//!
//! Edge cases: a name may stand only once per parameter; shares of device faults may not exceed
//! 100 % together, because a device has one fault at most; a parameter that its fault does not
//! take is refused. What [`FaultPlan`] prints, it parses back.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use trunkline_wire_snmp::OidBuf;

use super::faults::{DeviceFault, Share, TrafficFaults, percent};

/// Fault kinds of one plan at most; an agent's is kept in one octet.
pub(super) const SHARES_MAX: usize = 200;

const NAMES: &str = "dead, slow, late, wrong-source, too-big, loop, repeat, skip-rows, garbage, \
     gen-err, wrong-id, empty-bulk, ends-early, loss, duplicate, reorder";

/// Which devices of a fleet misbehave, and what may befall their answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FaultPlan {
    /// Faults of devices; together 100 % at most.
    pub devices: Vec<Share>,
    /// Faults of single answers.
    pub traffic: TrafficFaults,
}

/// Why a fault list is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultPlanError {
    /// An item without `=`.
    #[error("\"{0}\" is not a fault: write name=percent, for example dead=10%")]
    NoPercentage(String),
    /// An unknown name.
    #[error("\"{0}\" is not a fault that exists; there are {NAMES}")]
    UnknownName(String),
    /// An amount that is not a percentage from 0 to 100.
    #[error("{name}={text}: the amount must be a percentage from 0% to 100%, for example 2.5%")]
    Percentage {
        /// The fault.
        name: String,
        /// What was written.
        text: String,
    },
    /// A parameter that the fault does not take.
    #[error("{name} takes no parameter, but has \"{text}\"")]
    Superfluous {
        /// The fault.
        name: String,
        /// What was written.
        text: String,
    },
    /// A parameter of the wrong form, or a necessary one that is missing.
    #[error("{name}:{text}: {wanted}")]
    Parameter {
        /// The fault.
        name: String,
        /// What was written.
        text: String,
        /// What should have been.
        wanted: &'static str,
    },
    /// The same item twice.
    #[error("{0} stands in the list twice")]
    Twice(String),
    /// Shares of more than all devices.
    #[error("the shares of devices add up to {0} %; a device has one fault, so 100 % is the most")]
    TooMuch(String),
    /// More kinds than a plan can hold.
    #[error("a plan holds {SHARES_MAX} kinds of faults at most")]
    TooMany,
}

impl FaultPlan {
    /// No faults.
    pub fn none() -> Self {
        Self::default()
    }

    /// One fault that all devices have.
    pub fn all(fault: DeviceFault) -> Self {
        Self {
            devices: vec![Share { fault, share: 1.0 }],
            traffic: TrafficFaults::default(),
        }
    }

    /// Whether the numbers make sense.
    ///
    /// # Errors
    /// When a share or chance is none, or the shares exceed 100 %.
    pub fn validate(&self) -> Result<(), FaultPlanError> {
        if self.devices.len() > SHARES_MAX {
            return Err(FaultPlanError::TooMany);
        }
        let shares = self.devices.iter().map(|s| (s.fault.name(), s.share));
        let chances = [
            ("loss", self.traffic.loss),
            ("duplicate", self.traffic.duplicate),
            ("reorder", self.traffic.reorder),
        ];
        for (name, value) in shares.chain(chances) {
            if !(0.0..=1.0).contains(&value) {
                return Err(FaultPlanError::Percentage {
                    name: name.to_owned(),
                    text: format!("{}%", percent(value)),
                });
            }
        }
        let total: f64 = self.devices.iter().map(|share| share.share).sum();
        if total > 1.0 + 1e-9 {
            return Err(FaultPlanError::TooMuch(percent(total).to_string()));
        }
        Ok(())
    }

    fn add(&mut self, item: &str) -> Result<(), FaultPlanError> {
        let no_percentage = || FaultPlanError::NoPercentage(item.to_owned());
        let (name, rest) = item.split_once('=').ok_or_else(no_percentage)?;
        let (amount, parameter) = match rest.split_once(':') {
            Some((amount, parameter)) => (amount.trim(), Some(parameter.trim())),
            None => (rest.trim(), None),
        };
        let name = name.trim();
        let parameter = Parameter {
            name,
            text: parameter,
        };
        let known = self.add_traffic(name, amount, parameter)?;
        if known {
            return Ok(());
        }
        let fault = device_fault(name, parameter)?;
        let share = percentage(name, amount)?;
        if self.devices.iter().any(|other| other.fault == fault) {
            return Err(FaultPlanError::Twice(name.to_owned()));
        }
        self.devices.push(Share { fault, share });
        Ok(())
    }

    /// Sets a traffic fault; false when `name` is none.
    fn add_traffic(
        &mut self,
        name: &str,
        amount: &str,
        parameter: Parameter<'_>,
    ) -> Result<bool, FaultPlanError> {
        let traffic = &mut self.traffic;
        let chance = match name {
            "loss" => &mut traffic.loss,
            "duplicate" => &mut traffic.duplicate,
            "reorder" => &mut traffic.reorder,
            _ => return Ok(false),
        };
        if *chance != 0.0 {
            return Err(FaultPlanError::Twice(name.to_owned()));
        }
        *chance = percentage(name, amount)?;
        if name == "reorder" {
            traffic.reorder_delay = parameter.duration(Some(traffic.reorder_delay))?;
        } else {
            parameter.none()?;
        }
        Ok(true)
    }
}

impl FromStr for FaultPlan {
    type Err = FaultPlanError;

    /// Parses a fault list; the empty list has no faults.
    fn from_str(text: &str) -> Result<Self, FaultPlanError> {
        let mut plan = Self::default();
        let items = text.split(',').map(str::trim);
        for item in items.filter(|item| !item.is_empty()) {
            plan.add(item)?;
        }
        plan.validate()?;
        Ok(plan)
    }
}

impl fmt::Display for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut items: Vec<String> = self.devices.iter().map(Share::to_string).collect();
        let traffic = &self.traffic;
        let mut chance = |name: &str, chance: f64, parameter: String| {
            if chance > 0.0 {
                items.push(format!("{name}={}%{parameter}", percent(chance)));
            }
        };
        chance("loss", traffic.loss, String::new());
        chance("duplicate", traffic.duplicate, String::new());
        let delay = format!(":{:?}", traffic.reorder_delay);
        chance("reorder", traffic.reorder, delay);
        f.write_str(&items.join(","))
    }
}

fn device_fault(name: &str, parameter: Parameter<'_>) -> Result<DeviceFault, FaultPlanError> {
    let plain = |fault| parameter.none().map(|()| fault);
    match name {
        "dead" => plain(DeviceFault::Dead),
        "wrong-source" => plain(DeviceFault::WrongSource),
        "garbage" => plain(DeviceFault::Garbage),
        "wrong-id" => plain(DeviceFault::WrongId),
        "empty-bulk" => plain(DeviceFault::EmptyBulk),
        "slow" => {
            let delay = parameter.duration(Some(Duration::from_millis(200)))?;
            Ok(DeviceFault::Slow(delay))
        }
        "late" => {
            let delay = parameter.duration(Some(Duration::from_secs(5)))?;
            Ok(DeviceFault::Late(delay))
        }
        "too-big" => Ok(DeviceFault::TooBig(parameter.number(20)?)),
        "loop" => Ok(DeviceFault::Loop(parameter.number(16)?)),
        "repeat" => Ok(DeviceFault::Repeat(parameter.number(16)?)),
        "skip-rows" => Ok(DeviceFault::SkipRows(parameter.number(10)?)),
        "ends-early" => Ok(DeviceFault::EndsEarly(parameter.number(50)?)),
        "gen-err" => Ok(DeviceFault::GenErr(parameter.oid()?)),
        _ => Err(FaultPlanError::UnknownName(name.to_owned())),
    }
}

fn percentage(name: &str, text: &str) -> Result<f64, FaultPlanError> {
    let number = text
        .strip_suffix('%')
        .and_then(|n| n.trim().parse::<f64>().ok());
    match number {
        Some(number) if (0.0..=100.0).contains(&number) => Ok(number / 100.0),
        _ => Err(FaultPlanError::Percentage {
            name: name.to_owned(),
            text: text.to_owned(),
        }),
    }
}

/// What stands behind the colon.
#[derive(Clone, Copy)]
struct Parameter<'a> {
    name: &'a str,
    text: Option<&'a str>,
}

impl Parameter<'_> {
    fn none(&self) -> Result<(), FaultPlanError> {
        match self.text {
            None => Ok(()),
            Some(text) => Err(FaultPlanError::Superfluous {
                name: self.name.to_owned(),
                text: text.to_owned(),
            }),
        }
    }

    fn duration(&self, default: Option<Duration>) -> Result<Duration, FaultPlanError> {
        let parsed = self.text.map_or(default, parse_duration);
        parsed.ok_or_else(|| self.wrong("write a time such as 200ms, 1.5s or 2m"))
    }

    fn number(&self, default: u32) -> Result<u32, FaultPlanError> {
        let parsed = self.text.map_or(Some(default), |text| text.parse().ok());
        let parsed = parsed.filter(|number| *number > 0);
        parsed.ok_or_else(|| self.wrong("write a whole number from 1 on"))
    }

    fn oid(&self) -> Result<OidBuf, FaultPlanError> {
        let parsed = self.text.and_then(|text| text.parse().ok());
        parsed.ok_or_else(|| self.wrong("write an OID such as 1.3.6.1.2.1.2.2.1.10"))
    }

    fn wrong(&self, wanted: &'static str) -> FaultPlanError {
        FaultPlanError::Parameter {
            name: self.name.to_owned(),
            text: self.text.unwrap_or("").to_owned(),
            wanted,
        }
    }
}

/// A day is longer than any simulated delay needs to be, and keeps every sum in range.
const DELAY_MAX_S: f64 = 86_400.0;

fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let number: f64 = text[..digits].parse().ok()?;
    let seconds = match text[digits..].trim() {
        "ns" => number * 1e-9,
        "us" | "µs" => number * 1e-6,
        "ms" => number * 1e-3,
        "s" => number,
        "m" => number * 60.0,
        _ => return None,
    };
    let nanos = (seconds * 1e9).round();
    (seconds <= DELAY_MAX_S).then(|| Duration::from_nanos(nanos as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> FaultPlan {
        text.parse().unwrap()
    }

    #[test]
    fn lists_mean_what_they_say() {
        let p = plan(" dead=10%, slow=5%:200ms ,loss=2%,reorder=1%:50ms");
        let devices: Vec<_> = p
            .devices
            .iter()
            .map(|s| (s.fault.name(), s.share))
            .collect();
        assert_eq!(devices, [("dead", 0.1), ("slow", 0.05)]);
        assert_eq!(
            p.devices[1].fault,
            DeviceFault::Slow(Duration::from_millis(200))
        );
        assert_eq!((p.traffic.loss, p.traffic.reorder), (0.02, 0.01));
        assert_eq!(p.traffic.reorder_delay, Duration::from_millis(50));
        assert_eq!(plan(""), FaultPlan::none());
    }

    #[test]
    fn what_is_printed_parses_back() {
        let all = "dead=1%,slow=2.5%:1.5s,late=1%:3s,wrong-source=1%,too-big=0.001%:9,loop=1%:4,\
                   repeat=1%:5,skip-rows=1%:6,garbage=7%,gen-err=1%:1.3.6.1.2.1.2,wrong-id=1%,\
                   empty-bulk=1%,ends-early=1%:7,loss=2%,duplicate=3%,reorder=4%:20ms";
        let shown = plan(all).to_string();
        assert_eq!(shown, all.replace(' ', ""));
        assert_eq!(plan(&shown), plan(all));
        let micros = plan("slow=1%:3us,late=1%:2m").to_string();
        assert_eq!(plan(&micros).to_string(), micros);
        // Every fault has its default, but a subtree has to be named.
        let defaults = "slow=1%,late=1%,too-big=1%,loop=1%,repeat=1%,skip-rows=1%,ends-early=1%";
        assert_eq!(plan(defaults).devices.len(), 7);
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("dead", "\"dead\" is not a fault: write name=percent"),
            (
                "deed=1%",
                "\"deed\" is not a fault that exists; there are dead, slow",
            ),
            ("dead=10", "dead=10: the amount must be a percentage"),
            ("loss=101%", "loss=101%: the amount must be a percentage"),
            ("loss=nan%", "loss=nan%: the amount"),
            ("dead=1%:5s", "dead takes no parameter, but has \"5s\""),
            ("loss=1%:5s", "loss takes no parameter"),
            ("slow=1%:fast", "slow:fast: write a time such as 200ms"),
            ("slow=1%:5", "slow:5: write a time"),
            ("slow=1%:2000000s", "write a time"),
            ("loop=1%:0", "loop:0: write a whole number from 1 on"),
            ("gen-err=1%", "gen-err:: write an OID such as"),
            ("dead=1%,dead=2%", "dead stands in the list twice"),
            ("loss=1%,loss=2%", "loss stands in the list twice"),
            ("dead=60%,garbage=41%", "add up to 101 %"),
        ];
        for (text, wanted) in cases {
            let error = text.parse::<FaultPlan>().unwrap_err().to_string();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }
}
