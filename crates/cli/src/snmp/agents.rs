//! Who is asked: one agent as net-snmp writes it, or many in one word.
//!
//! A word is a list with commas of agents, ranges, networks and `@FILE`; a file has one such list a
//! line, `#` begins a comment. An agent named twice is asked once. A single agent keeps the name
//! that it was given, because net-snmp's messages quote it.

use std::collections::HashSet;
use std::net::{SocketAddr, ToSocketAddrs as _};

use trunkline_system_snmp::{Address, AddressError, EXPAND_MAX, SNMP_PORT, expand};

use crate::exit::CliError;

/// The most bytes of an agents file that are read.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// One agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Agent {
    /// What it is called in output.
    pub(crate) name: String,
    /// Where it is, perhaps still as a name.
    pub(crate) address: Address,
    /// Whether a name stands for an IPv6 address.
    pub(crate) prefers_v6: bool,
}

/// The agents that the words stand for, each once, in their order.
pub(crate) fn read(words: &[String]) -> Result<Vec<Agent>, CliError> {
    let mut list = List::default();
    for word in words {
        for part in word.split(',').map(str::trim) {
            match part.strip_prefix('@') {
                Some(path) => list.file(path)?,
                None => list.part(part)?,
            }
        }
    }
    if list.agents.is_empty() {
        return Err(CliError::Usage("no agent is given".to_owned()));
    }
    if let ([only], [word]) = (&mut list.agents[..], words)
        && !word.starts_with('@')
    {
        only.name.clone_from(word);
    }
    Ok(list.agents)
}

#[derive(Debug, Default)]
struct List {
    agents: Vec<Agent>,
    known: HashSet<String>,
}

impl List {
    fn file(&mut self, path: &str) -> Result<(), CliError> {
        let failed = |why: String| CliError::Usage(format!("agents file {path}: {why}"));
        let size = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?;
        if size.len() > FILE_BYTES_MAX {
            return Err(failed(format!(
                "is larger than {} MiB",
                FILE_BYTES_MAX >> 20
            )));
        }
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            for part in line.split([',', ' ', '\t']).filter(|part| !part.is_empty()) {
                self.part(part)
                    .map_err(|error| failed(format!("line {}: {error}", number + 1)))?;
            }
        }
        Ok(())
    }

    fn part(&mut self, part: &str) -> Result<(), CliError> {
        let usage = |error: AddressError| CliError::Usage(format!("agent \"{part}\": {error}"));
        let prefers_v6 = ["udp6:", "udpv6:", "udpipv6:"]
            .iter()
            .any(|prefix| part.starts_with(prefix));
        for address in expand(part, SNMP_PORT).map_err(usage)? {
            let name = address.to_string();
            if self.known.insert(name.clone()) {
                self.agents.push(Agent {
                    name,
                    address,
                    prefers_v6,
                });
            }
        }
        if self.agents.len() as u64 > EXPAND_MAX {
            return Err(usage(AddressError::TooMany(self.agents.len() as u128)));
        }
        Ok(())
    }
}

impl Agent {
    /// Its address, off the event loop, since a resolver may take seconds.
    pub(crate) async fn resolve(&self) -> Result<SocketAddr, AddressError> {
        let (host, port) = match &self.address {
            Address::Ip(addr) => return Ok(*addr),
            Address::Name { host, port } => (host.clone(), *port),
        };
        let agent = self.clone();
        let resolved = tokio::task::spawn_blocking(move || {
            if agent.prefers_v6 {
                let found = (host.as_str(), port).to_socket_addrs().ok();
                let v6 = found.and_then(|mut addrs| addrs.find(SocketAddr::is_ipv6));
                if let Some(addr) = v6 {
                    return Ok(addr);
                }
            }
            agent.address.resolve()
        });
        resolved.await.unwrap_or_else(|error| {
            Err(AddressError::Unresolved {
                host: self.name.clone(),
                why: error.to_string(),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(words: &[&str]) -> Vec<String> {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        read(&words)
            .unwrap()
            .into_iter()
            .map(|agent| agent.name)
            .collect()
    }

    #[test]
    fn one_agent_keeps_its_name_and_many_get_addresses() {
        assert_eq!(names(&["udp:10.0.0.1"]), ["udp:10.0.0.1"]);
        assert_eq!(
            names(&["10.0.0.1,10.0.0.2:99"]),
            ["10.0.0.1:161", "10.0.0.2:99"]
        );
        assert_eq!(
            names(&["10.0.0.1+2", "10.0.0.2"]),
            ["10.0.0.1:161", "10.0.0.2:161"]
        );
        assert_eq!(names(&["10.0.0.0/30"]), ["10.0.0.1:161", "10.0.0.2:161"]);
    }

    #[test]
    fn a_file_has_lists_and_comments_and_its_errors_have_lines() {
        let dir = std::env::temp_dir().join(format!("trunkline-agents-{}", std::process::id()));
        let path = dir.to_str().unwrap();
        std::fs::write(
            path,
            "10.0.0.1 # core\n\n# none\n10.0.0.2,10.0.0.3:5\n10.0.0.1\n",
        )
        .unwrap();
        let word = format!("@{path}");
        let expected = ["10.0.0.1:161", "10.0.0.2:161", "10.0.0.3:5"];
        assert_eq!(names(&[&word]), expected);
        std::fs::write(path, "10.0.0.1\n10.0.0.9-10.0.0.1\n").unwrap();
        let error = read(std::slice::from_ref(&word)).unwrap_err().to_string();
        assert!(
            error.contains("line 2") && error.contains("backwards"),
            "{error}"
        );
        std::fs::remove_file(path).unwrap();
        let error = read(&[word]).unwrap_err().to_string();
        assert!(error.contains("agents file"), "{error}");
    }

    #[test]
    fn nobody_is_a_mistake() {
        assert!(read(&[String::new()]).is_err());
    }
}
