//! Why an agent does not answer, told apart as far as the network allows, with what to do.
//!
//! An SNMP agent that refuses a community says nothing, so a wrong password, a wrong address and a
//! dead host are the same silence. One more question tells them apart: SNMPv3's discovery needs no
//! secret (RFC 3414 section 4), and an agent that speaks v3 answers it with a Report. It is sent
//! once, from a plain socket, after the request itself has failed.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use trunkline_system_snmp::{AddressError, SnmpError, UnreachableReason};

use crate::exit::Exit;

/// A failure in all its wordings.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    /// The exit code of an agent that ends with it.
    pub(crate) exit: Exit,
    /// A short stable word.
    pub(crate) kind: &'static str,
    /// One line.
    pub(crate) message: String,
    /// What net-snmp would write in its place, line ends included.
    pub(crate) words: Option<String>,
    /// What to do.
    pub(crate) hint: Option<String>,
}

impl Problem {
    pub(crate) fn unresolved(error: &AddressError) -> Self {
        Self {
            exit: Exit::Failed,
            kind: "unresolved",
            message: error.to_string(),
            words: None,
            hint: None,
        }
    }

    /// A failure whose own text says everything.
    pub(crate) fn other(error: &SnmpError) -> Self {
        Self {
            exit: Exit::Failed,
            kind: error.kind(),
            message: error.to_string(),
            words: None,
            hint: None,
        }
    }
}

/// What a discovery probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// An SNMPv3 agent.
    Alive,
    /// The port is closed.
    Closed,
    /// Nothing.
    Silent,
}

/// Finds out why `addr` did not answer; with patience for one probe, if any. `words` is what
/// net-snmp says of a timeout.
pub(crate) async fn explain(
    addr: SocketAddr,
    error: &SnmpError,
    patience: Option<Duration>,
    words: String,
) -> Problem {
    let mut problem = Problem::other(error);
    match error {
        SnmpError::Timeout { stranger, .. } => {
            let found = match (stranger, patience) {
                (None, Some(patience)) => Some(probe(addr, patience).await),
                _ => None,
            };
            problem.exit = Exit::NoAnswer;
            problem.words = Some(words);
            problem.hint = match stranger {
                Some(from) => Some(stranger_hint(addr, *from)),
                None => found.map(|found| silence_hint(addr, found)),
            };
        }
        SnmpError::Unreachable { reason } => {
            problem.message = format!("no answer: {reason}");
            problem.hint = Some(unreachable_hint(addr, *reason));
        }
        _ => {}
    }
    problem
}

fn stranger_hint(addr: SocketAddr, from: SocketAddr) -> String {
    format!(
        "{from} answered in place of {addr}, with the right request id and community; if that is \
         the same device (several addresses, or NAT), ask it directly or use --source learn"
    )
}

fn silence_hint(addr: SocketAddr, found: Probe) -> String {
    match found {
        Probe::Alive => format!(
            "the agent at {addr} is alive (it answers SNMPv3 discovery) but refuses this \
             community or version, without saying which: check -c and -v, and on the agent \
             the community, its view and the addresses from which it may be used"
        ),
        Probe::Closed => unreachable_hint(addr, UnreachableReason::Port),
        Probe::Silent => format!(
            "{addr} is silent, to SNMPv3 discovery as well: check the address, that the host is \
             up, that no firewall drops UDP port {}, that the agent listens on that address \
             (agentAddress), and that it accepts requests from this machine; an agent without \
             SNMPv3 that refuses the community looks exactly like this, so check -c as well",
            addr.port()
        ),
    }
}

fn unreachable_hint(addr: SocketAddr, reason: UnreachableReason) -> String {
    let (ip, port) = (addr.ip(), addr.port());
    match reason {
        UnreachableReason::Port => format!(
            "the host {ip} is up but nothing listens on its UDP port {port}: check the port, that \
             the agent runs, and that it listens on this address (agentAddress)"
        ),
        UnreachableReason::Network => {
            format!("no route leads to {ip}: check the address and this machine's routes")
        }
        UnreachableReason::Prohibited => format!(
            "a firewall on the way refuses UDP port {port} of {ip}: let it through, or ask from \
             a machine that may"
        ),
        _ => format!(
            "the last router finds no host {ip}: check the address, and that the host is up"
        ),
    }
}

/// A request that any SNMPv3 agent must answer with a Report: noAuthNoPriv, reportable, no engine
/// id, no user, an empty GET. The message id is 0x3f545200 and the request id 0x3f545201.
const DISCOVERY: [u8; 64] = [
    0x30, 0x3e, 0x02, 0x01, 0x03, // version 3
    0x30, 0x11, 0x02, 0x04, 0x3f, 0x54, 0x52, 0x00, // msgID
    0x02, 0x03, 0x00, 0xff, 0xe3, // msgMaxSize 65507
    0x04, 0x01, 0x04, 0x02, 0x01, 0x03, // reportable; user-based security
    0x04, 0x10, 0x30, 0x0e, 0x04, 0x00, 0x02, 0x01, 0x00, 0x02, 0x01, 0x00, // no engine
    0x04, 0x00, 0x04, 0x00, 0x04, 0x00, // no user, no digest, no salt
    0x30, 0x14, 0x04, 0x00, 0x04, 0x00, // no context
    0xa0, 0x0e, 0x02, 0x04, 0x3f, 0x54, 0x52, 0x01, 0x02, 0x01, 0x00, 0x02, 0x01, 0x00, 0x30, 0x00,
];

/// The message id within [`DISCOVERY`], with its tag and length.
const MSG_ID: [u8; 6] = [0x02, 0x04, 0x3f, 0x54, 0x52, 0x00];

/// Asks once.
async fn probe(addr: SocketAddr, patience: Duration) -> Probe {
    let any = if addr.is_ipv4() {
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
    } else {
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
    };
    let answer = async {
        let socket = UdpSocket::bind(any).await?;
        socket.connect(addr).await?;
        socket.send(&DISCOVERY).await?;
        let mut bytes = [0; 1_472];
        loop {
            let len = socket.recv(&mut bytes).await?;
            if is_answer(&bytes[..len]) {
                return std::io::Result::Ok(());
            }
        }
    };
    match tokio::time::timeout(patience, answer).await {
        Ok(Ok(())) => Probe::Alive,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => Probe::Closed,
        Ok(Err(_)) | Err(_) => Probe::Silent,
    }
}

/// Whether a datagram is an SNMPv3 message with our message id; what it reports does not matter.
fn is_answer(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(24)];
    let version = [0x02, 0x01, 0x03];
    let holds = |part: &[u8]| head.windows(part.len()).any(|window| window == part);
    head.first() == Some(&0x30) && holds(&version) && holds(&MSG_ID)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_is_well_formed_and_its_echo_is_no_surprise() {
        assert_eq!(usize::from(DISCOVERY[1]) + 2, DISCOVERY.len());
        assert!(is_answer(&DISCOVERY));
        let mut other = DISCOVERY;
        other[12] ^= 1;
        assert!(!is_answer(&other), "another message id");
        for cut in 0..13 {
            assert!(!is_answer(&DISCOVERY[..cut]));
        }
    }

    #[tokio::test]
    async fn each_cause_has_its_own_advice() {
        let addr: SocketAddr = "10.0.0.1:161".parse().unwrap();
        let timeout = |stranger| SnmpError::Timeout {
            attempts: 1,
            waited: Duration::from_secs(1),
            stranger,
        };
        let stranger = timeout(Some("10.0.0.2:161".parse().unwrap()));
        let told = explain(addr, &stranger, None, String::new()).await;
        assert_eq!(told.exit, Exit::NoAnswer);
        assert!(told.hint.unwrap().contains("--source learn"));
        let unasked = explain(addr, &timeout(None), None, String::new()).await;
        assert_eq!(unasked.hint, None);
        let mut hints: Vec<String> = [Probe::Alive, Probe::Closed, Probe::Silent]
            .map(|found| silence_hint(addr, found))
            .into();
        for reason in [
            UnreachableReason::Host,
            UnreachableReason::Network,
            UnreachableReason::Prohibited,
        ] {
            let told = explain(
                addr,
                &SnmpError::Unreachable { reason },
                None,
                String::new(),
            )
            .await;
            assert_eq!(told.exit, Exit::Failed);
            hints.push(told.hint.unwrap());
        }
        let distinct: std::collections::HashSet<_> = hints.iter().collect();
        assert_eq!(distinct.len(), hints.len());
    }
}
