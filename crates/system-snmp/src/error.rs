//! Why a request has no answer, whose fault that is, and what to do next.
//!
//! An agent that answers with an error status *has* answered: that is a [`crate::Reply`], not one
//! of these. Each message here tells a person what happened and what to try, because the same
//! silence has several causes and the text is often all that an operator has at night.

use std::net::SocketAddr;
use std::time::Duration;

use trunkline_engine::fault::{Blame, Fault, Place, Retry};

/// Why a request ended without an answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SnmpError {
    /// Every attempt's timeout passed in silence.
    #[error("{}", timeout_text(*.attempts, *.waited, *.stranger))]
    Timeout {
        /// Datagrams sent.
        attempts: u32,
        /// From the first datagram to the last timeout.
        waited: Duration,
        /// Somebody else who answered with the right id, which the source policy refused.
        stranger: Option<SocketAddr>,
    },
    /// The network said that the target cannot be reached.
    #[error(
        "{reason}: nothing listens there or a firewall rejects it; check the address and the port"
    )]
    Unreachable {
        /// What the ICMP error said.
        reason: UnreachableReason,
    },
    /// This machine could not send the request.
    #[error("could not send: {0}")]
    Send(String),
    /// The target's breaker is open after repeated failures.
    #[error(
        "the breaker is open after repeated failures; next probe in {} ms \
         (`trunkline breakers` shows why)", retry_in.as_millis()
    )]
    BreakerOpen {
        /// When the breaker lets a probe through.
        retry_in: Duration,
    },
    /// A queue on the way is full.
    #[error("the queue is full ({0}); send less, or raise its bound under `queue`")]
    QueueFull(&'static str),
    /// The shard holds as many targets as it may.
    #[error("the shard holds as many targets as it may; raise `max_targets`")]
    TooManyTargets,
    /// The deadline passed before a datagram was sent.
    #[error("the deadline passed before the request could be sent")]
    Deadline,
    /// The caller took it back.
    #[error("cancelled")]
    Cancelled,
    /// No engine (named egress) is usable.
    #[error("no engine is usable: all are drained, marked down or failing (`trunkline routers`)")]
    NoEngine,
    /// The target was removed while the request waited.
    #[error("the target was removed while the request waited")]
    TargetRemoved,
    /// An operator drained the target.
    #[error("the target is drained by an operator (`trunkline targets` shows it)")]
    TargetDrained,
    /// The daemon is stopping.
    #[error("the daemon is shutting down")]
    ShuttingDown,
    /// The shard that held the request died; it is being restarted.
    #[error("the shard that held the request died and is being restarted; try again")]
    ShardDied,
    /// The request does not fit into one datagram.
    #[error("the request does not fit into a datagram of 1,472 bytes; ask for fewer OIDs at once")]
    TooLarge,
}

/// What an ICMP error said about a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum UnreachableReason {
    /// The host answers, the port does not.
    #[error("port closed")]
    Port,
    /// No route to the host, or it does not answer on its network.
    #[error("host unreachable")]
    Host,
    /// No route to its network.
    #[error("network unreachable")]
    Network,
    /// A firewall says no.
    #[error("administratively prohibited")]
    Prohibited,
}

fn timeout_text(attempts: u32, waited: Duration, stranger: Option<SocketAddr>) -> String {
    let tries = if attempts == 1 {
        "1 attempt".to_owned()
    } else {
        format!("{attempts} attempts")
    };
    let ms = waited.as_millis();
    match stranger {
        None => format!("no answer within {ms} ms ({tries})"),
        Some(from) => format!(
            "no answer from the target within {ms} ms ({tries}), but {from} answered in its place; \
             if that is the same device, set source = \"learn\" in the configuration or \
             --source learn on the command line"
        ),
    }
}

impl Fault for SnmpError {
    fn blame(&self) -> Blame {
        match self {
            Self::Timeout { .. } | Self::Unreachable { .. } | Self::BreakerOpen { .. } => {
                Blame::Peer
            }
            Self::Cancelled | Self::TooLarge | Self::TargetRemoved | Self::Deadline => {
                Blame::Caller
            }
            Self::Send(_)
            | Self::QueueFull(_)
            | Self::TooManyTargets
            | Self::NoEngine
            | Self::TargetDrained
            | Self::ShuttingDown
            | Self::ShardDied => Blame::Local,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::BreakerOpen { retry_in } => Retry {
                place: Place::SamePeer,
                after: *retry_in,
            },
            Self::Timeout { .. }
            | Self::Unreachable { .. }
            | Self::Send(_)
            | Self::QueueFull(_)
            | Self::NoEngine
            | Self::ShardDied => Retry::at(Place::SamePeer),
            Self::Cancelled
            | Self::TooLarge
            | Self::TargetRemoved
            | Self::TargetDrained
            | Self::TooManyTargets
            | Self::ShuttingDown
            | Self::Deadline => Retry::NEVER,
        }
    }
}

impl SnmpError {
    /// A short stable word for labels and counters.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Timeout { .. } => "timeout",
            Self::Unreachable { .. } => "unreachable",
            Self::Send(_) => "send",
            Self::BreakerOpen { .. } => "breaker_open",
            Self::QueueFull(_) => "queue_full",
            Self::TooManyTargets => "too_many_targets",
            Self::Deadline => "deadline",
            Self::Cancelled => "cancelled",
            Self::NoEngine => "no_engine",
            Self::TargetRemoved => "target_removed",
            Self::TargetDrained => "target_drained",
            Self::ShuttingDown => "shutting_down",
            Self::ShardDied => "shard_died",
            Self::TooLarge => "too_large",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_peers_own_faults_reach_its_breaker() {
        let timeout = SnmpError::Timeout {
            attempts: 2,
            waited: Duration::ZERO,
            stranger: None,
        };
        assert_eq!(timeout.blame(), Blame::Peer);
        assert_eq!(SnmpError::Send("EPERM".into()).blame(), Blame::Local);
        assert_eq!(SnmpError::Cancelled.retry(), Retry::NEVER);
    }

    #[test]
    fn a_timeout_names_the_stranger_and_the_remedy() {
        let stranger = Some("10.0.0.9:161".parse().unwrap());
        let text = SnmpError::Timeout {
            attempts: 1,
            waited: Duration::from_secs(1),
            stranger,
        }
        .to_string();
        assert!(
            ["10.0.0.9:161", "source = \"learn\"", "--source learn"]
                .iter()
                .all(|part| text.contains(part)),
            "{text}"
        );
    }
}
