//! Which hosts and origins are ours.
//!
//! A web page can make a browser send requests to any address, and can make its own name resolve
//! to one (DNS rebinding); what it cannot do is choose the `Host` and `Origin` that the browser
//! sends. So a `Host` is accepted when it is the very address that the connection came to,
//! `localhost`, or a listed name. Ports are not compared: a tunnel has another one, and a page
//! gains nothing by it.

use std::collections::BTreeSet;
use std::net::IpAddr;

/// Whether `text` is a name, or an address, without scheme, port or path.
pub(crate) fn is_host_name(text: &str) -> bool {
    let is_name_byte = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let name = !text.is_empty() && text.len() <= 253 && text.bytes().all(is_name_byte);
    name || text.parse::<IpAddr>().is_ok()
}

/// The host of `host[:port]`, brackets of an IPv6 address taken off; `None` when it is malformed.
pub(crate) fn host_of(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => {
            let at = authority.find(':').unwrap_or(authority.len());
            authority.split_at(at)
        }
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok() && !port.starts_with('+');
    let port_fits = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
    (is_host_name(host) && port_fits).then_some(host)
}

/// Whether `host` is `local`, localhost or `listed` (in lower case).
pub(crate) fn is_ours(host: &str, local: IpAddr, listed: &BTreeSet<String>) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let is_local = |address: IpAddr| address.to_canonical() == local.to_canonical();
    name == "localhost" || listed.contains(&name) || host.parse().is_ok_and(is_local)
}

/// Whether a page of `origin` is of the host that the request names itself.
pub(crate) fn is_same_origin(origin: &str, host: &str) -> bool {
    let authority = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

/// Whether two secrets are the same, in a time that depends on the length of `given` alone.
pub(crate) fn is_same_secret(given: &[u8], ours: &[u8]) -> bool {
    let mut difference = u8::from(given.len() != ours.len());
    let mut ours = ours.iter().cycle();
    for byte in given {
        difference |= byte ^ ours.next().copied().unwrap_or(!byte);
        // The compiler must not notice that one difference decides.
        difference = std::hint::black_box(difference);
    }
    difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_split_from_their_ports() {
        for (authority, host) in [
            ("a.example", Some("a.example")),
            ("a.example:80", Some("a.example")),
            ("127.0.0.1:9464", Some("127.0.0.1")),
            ("[::1]", Some("::1")),
            ("[::1]:9464", Some("::1")),
            ("::1", None),
            ("[::1", None),
            ("[::1]x", None),
            ("a:", None),
            ("a:+1", None),
            ("a:99999", None),
            ("user@a", None),
            ("", None),
            (":80", None),
            ("a b", None),
            ("a,b", None),
        ] {
            assert_eq!(host_of(authority), host, "{authority}");
        }
    }

    #[test]
    fn ours_are_the_address_localhost_and_the_list() {
        let listed: BTreeSet<String> = ["metrics.example".to_owned()].into();
        let v4 = IpAddr::from([10, 0, 0, 5]);
        let mapped: IpAddr = "::ffff:10.0.0.5".parse().unwrap();
        for (host, local, ours) in [
            ("10.0.0.5", v4, true),
            ("10.0.0.5", mapped, true),
            ("::ffff:10.0.0.5", v4, true),
            ("10.0.0.6", v4, false),
            ("127.0.0.1", v4, false),
            ("LOCALHOST", v4, true),
            ("localhost.", v4, true),
            ("Metrics.Example", v4, true),
            ("evil.example", v4, false),
            ("localhost.evil.example", v4, false),
        ] {
            assert_eq!(is_ours(host, local, &listed), ours, "{host}");
        }
    }

    #[test]
    fn only_the_same_host_and_port_is_the_same_origin() {
        for (origin, same) in [
            ("http://localhost:9464", true),
            ("https://LOCALHOST:9464", true),
            ("http://localhost", false),
            ("http://localhost:9464/", false),
            ("http://evil.example", false),
            ("null", false),
            ("localhost:9464", false),
            ("", false),
        ] {
            assert_eq!(is_same_origin(origin, "localhost:9464"), same, "{origin}");
        }
    }

    #[test]
    fn secrets_are_the_same_as_a_whole_only() {
        for (given, same) in [
            ("secret", true),
            ("secreT", false),
            ("Secret", false),
            ("secre", false),
            ("secretsecret", false),
            ("", false),
        ] {
            assert_eq!(is_same_secret(given.as_bytes(), b"secret"), same, "{given}");
        }
        assert!(!is_same_secret(b"x", b""));
    }
}
