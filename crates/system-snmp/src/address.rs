//! How people write down agents: one, many in a row, or a network.
//!
//! Accepted: `HOST`, `HOST:PORT`, `ADDR+N` (N agents upwards), `ADDR-ADDR`, `NETWORK/BITS` (hosts
//! only), IPv6 in brackets when a port follows, and net-snmp's transport prefixes `udp:` and
//! `udp6:`. Names are resolved later, by whoever may wait.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

/// The most agents that one text can stand for.
pub const EXPAND_MAX: u64 = 1 << 20;

/// The port that agents listen on (RFC 3417 section 3.1).
pub const SNMP_PORT: u16 = 161;

/// An agent by address or by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An address.
    Ip(SocketAddr),
    /// A name to resolve.
    Name {
        /// The name.
        host: String,
        /// The port.
        port: u16,
    },
}

/// Why a text does not name agents.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Nothing there.
    #[error("the address is empty; write HOST or HOST:PORT")]
    Empty,
    /// Not a port.
    #[error("\"{0}\" is not a port; write a number from 1 to 65535")]
    Port(String),
    /// Not a count.
    #[error("\"{0}\" is not a number of agents; write ADDRESS+N with N from 1 to 1048576")]
    Count(String),
    /// A range needs addresses.
    #[error("\"{0}\" is not an IP address; ranges and networks need addresses, not names")]
    NotAnAddress(String),
    /// From high to low, or of two families.
    #[error("the range runs backwards or mixes IPv4 and IPv6")]
    Backwards,
    /// Not a prefix length.
    #[error("\"{0}\" is not a prefix length; write /0 to /32, or /128 for IPv6")]
    Bits(String),
    /// More than [`EXPAND_MAX`].
    #[error("that is {0} agents; at most 1048576 can be written at once")]
    TooMany(u128),
    /// A transport that is not spoken here.
    #[error("the transport \"{0}\" is not supported; use udp: or udp6:")]
    Transport(String),
    /// A name that has no address.
    #[error("the name \"{host}\" cannot be resolved: {why}; check its spelling and the DNS server")]
    Unresolved {
        /// The name.
        host: String,
        /// What the resolver said.
        why: String,
    },
}

impl Address {
    /// The address, resolving a name. This waits for the resolver: never call it on a shard.
    ///
    /// # Errors
    /// [`AddressError::Unresolved`].
    pub fn resolve(&self) -> Result<SocketAddr, AddressError> {
        match self {
            Self::Ip(addr) => Ok(*addr),
            Self::Name { host, port } => {
                let unresolved = |why: String| AddressError::Unresolved {
                    host: host.clone(),
                    why,
                };
                let found = (host.as_str(), *port).to_socket_addrs();
                let addrs: Vec<_> = found
                    .map_err(|error| unresolved(error.to_string()))?
                    .collect();
                // Agents that listen on IPv6 only are rare, half-configured IPv6 is not.
                let first = addrs.iter().find(|addr| addr.is_ipv4()).or(addrs.first());
                first
                    .copied()
                    .ok_or_else(|| unresolved("no address".to_owned()))
            }
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(addr) => addr.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// The agents that `text` stands for; those without a port get `port`.
///
/// # Errors
/// What is wrong with the text.
pub fn expand(text: &str, port: u16) -> Result<Vec<Address>, AddressError> {
    let text = without_transport(text.trim())?;
    if text.is_empty() {
        return Err(AddressError::Empty);
    }
    if let Some((first, count)) = text.split_once('+') {
        // Both `ADDR+N:PORT` and `ADDR:PORT+N` are natural, so both are taken.
        let (count, tail) = count
            .split_once(':')
            .map_or((count, None), |(n, p)| (n, Some(p)));
        let tail = tail.map(parse_port).transpose()?;
        let n = count
            .parse()
            .map_err(|_| AddressError::Count(count.to_owned()))?;
        let (ip, own) = host_port(first, tail.unwrap_or(port))?;
        return run(ip_of(&ip)?, own, n, count);
    }
    let whole = parse_ip(text);
    if whole.is_none()
        && let Some((network, bits)) = text.split_once('/')
    {
        let (bits, own) = match bits.split_once(':') {
            Some((bits, own)) => (bits, parse_port(own)?),
            None => (bits, port),
        };
        return hosts(ip_of(network)?, bits, own);
    }
    if let Some((first, last)) = text.split_once('-')
        && let Some(first) = parse_ip(first)
    {
        let (last, own) = host_port(last, port)?;
        return between(first, ip_of(&last)?, own);
    }
    let (host, port) = host_port(text, port)?;
    Ok(vec![match parse_ip(&host) {
        Some(ip) => Address::Ip(SocketAddr::new(ip, port)),
        None => Address::Name { host, port },
    }])
}

fn without_transport(text: &str) -> Result<&str, AddressError> {
    for prefix in ["udp:", "udp6:", "udpv6:", "udpipv6:"] {
        if let Some(rest) = text.strip_prefix(prefix) {
            return Ok(rest);
        }
    }
    for prefix in [
        "tcp", "tcp6", "tls", "dtls", "dtlsudp", "tlstcp", "ssh", "unix", "ipx",
    ] {
        if text
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.starts_with(':'))
        {
            return Err(AddressError::Transport(prefix.to_owned()));
        }
    }
    Ok(text)
}

/// Splits `HOST`, `HOST:PORT`, `[V6]` and `[V6]:PORT`; a bare IPv6 address has no port.
fn host_port(text: &str, port: u16) -> Result<(String, u16), AddressError> {
    if let Some(rest) = text.strip_prefix('[')
        && let Some((host, tail)) = rest.split_once(']')
    {
        let port = match tail.strip_prefix(':') {
            Some(own) => parse_port(own)?,
            None => port,
        };
        return Ok((host.to_owned(), port));
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok((text.to_owned(), port));
    }
    match text.rsplit_once(':') {
        Some(("", _)) => Err(AddressError::Empty),
        Some((host, own)) => Ok((host.to_owned(), parse_port(own)?)),
        None => Ok((text.to_owned(), port)),
    }
}

fn parse_port(text: &str) -> Result<u16, AddressError> {
    let port = text.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| AddressError::Port(text.to_owned()))
}

fn parse_ip(text: &str) -> Option<IpAddr> {
    text.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok()
}

fn ip_of(text: &str) -> Result<IpAddr, AddressError> {
    parse_ip(text).ok_or_else(|| AddressError::NotAnAddress(text.to_owned()))
}

fn to_bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// The address of these bits in the family of `like`; `None` past its end.
fn from_bits(bits: u128, like: IpAddr) -> Option<IpAddr> {
    match like {
        IpAddr::V4(_) => Some(Ipv4Addr::from_bits(u32::try_from(bits).ok()?).into()),
        IpAddr::V6(_) => Some(Ipv6Addr::from_bits(bits).into()),
    }
}

fn run(first: IpAddr, port: u16, n: u64, text: &str) -> Result<Vec<Address>, AddressError> {
    if n == 0 || n > EXPAND_MAX {
        return Err(AddressError::Count(text.to_owned()));
    }
    let last = to_bits(first).checked_add(u128::from(n) - 1);
    let last = last
        .and_then(|bits| from_bits(bits, first))
        .ok_or(AddressError::Backwards)?;
    between(first, last, port)
}

fn between(first: IpAddr, last: IpAddr, port: u16) -> Result<Vec<Address>, AddressError> {
    let (low, high) = (to_bits(first), to_bits(last));
    if first.is_ipv4() != last.is_ipv4() || high < low {
        return Err(AddressError::Backwards);
    }
    let count = (high - low).saturating_add(1);
    if count > u128::from(EXPAND_MAX) {
        return Err(AddressError::TooMany(count));
    }
    let ips = (low..=high).filter_map(|bits| from_bits(bits, first));
    Ok(ips
        .map(|ip| Address::Ip(SocketAddr::new(ip, port)))
        .collect())
}

/// The hosts of a network: without its first and last address where IPv4 reserves them.
fn hosts(network: IpAddr, bits: &str, port: u16) -> Result<Vec<Address>, AddressError> {
    let width: u32 = if network.is_ipv4() { 32 } else { 128 };
    let length: u32 = bits
        .parse()
        .map_err(|_| AddressError::Bits(bits.to_owned()))?;
    let free = width
        .checked_sub(length)
        .ok_or_else(|| AddressError::Bits(bits.to_owned()))?;
    let span = 1u128.checked_shl(free).map_or(u128::MAX, |span| span - 1);
    let (low, high) = (to_bits(network) & !span, to_bits(network) | span);
    let edge = u128::from(network.is_ipv4() && length < 31);
    let end = |bits| from_bits(bits, network).ok_or(AddressError::Backwards);
    between(end(low + edge)?, end(high - edge)?, port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        expand(text, SNMP_PORT)
            .unwrap()
            .iter()
            .map(Address::to_string)
            .collect()
    }

    #[test]
    fn one_agent_in_every_spelling() {
        for (text, expected) in [
            ("10.0.0.1", "10.0.0.1:161"),
            ("10.0.0.1:1161", "10.0.0.1:1161"),
            ("udp:10.0.0.1:1161", "10.0.0.1:1161"),
            ("udp6:[::1]:16161", "[::1]:16161"),
            ("::1", "[::1]:161"),
            ("[fe80::2]", "[fe80::2]:161"),
            ("switch-3.example.net", "switch-3.example.net:161"),
            ("core-1:1161", "core-1:1161"),
        ] {
            assert_eq!(texts(text), [expected], "{text}");
        }
    }

    #[test]
    fn many_agents_in_every_spelling() {
        let three = ["127.1.0.255:161", "127.1.1.0:161", "127.1.1.1:161"];
        assert_eq!(texts("127.1.0.255+3"), three);
        assert_eq!(texts("127.1.0.255-127.1.1.1"), three);
        assert_eq!(texts("127.1.0.1+1:99"), ["127.1.0.1:99"]);
        assert_eq!(texts("127.1.0.1:99+1"), ["127.1.0.1:99"]);
        assert_eq!(texts("10.0.0.5/30"), ["10.0.0.5:161", "10.0.0.6:161"]);
        assert_eq!(texts("10.0.0.5/32:7"), ["10.0.0.5:7"]);
        assert_eq!(texts("fd00::/127").len(), 2);
        assert_eq!(texts("10.0.0.0/16").len(), 65_534);
    }

    #[test]
    fn every_mistake_is_named() {
        for (text, expected) in [
            ("", "empty"),
            ("10.0.0.1:70000", "not a port"),
            ("10.0.0.1+x", "number of agents"),
            ("10.0.0.1+0", "number of agents"),
            ("router+5", "not an IP address"),
            ("10.0.0.9-10.0.0.1", "backwards"),
            ("255.255.255.255+2", "backwards"),
            ("10.0.0.0/40", "prefix length"),
            ("10.0.0.0/8", "16777214 agents"),
            ("::/0", "agents"),
            ("tcp:10.0.0.1", "not supported"),
            (":161", "empty"),
        ] {
            let error = expand(text, SNMP_PORT).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_name_that_does_not_exist_says_so() {
        let name = Address::Name {
            host: "no-such-host.invalid".into(),
            port: 161,
        };
        let error = name.resolve().unwrap_err().to_string();
        assert!(error.contains("no-such-host.invalid"), "{error}");
        let local = Address::Name {
            host: "localhost".into(),
            port: 161,
        };
        assert!(local.resolve().unwrap().ip().is_loopback());
    }
}
