//! Every type of value under every output flag, byte for byte as net-snmp prints it.

use std::net::Ipv4Addr;

use trunkline_wire_snmp::{OidBuf, OwnedValue};

use crate::agent::{FakeAgent, Manner, ROOT, rows};
use crate::support::{net_snmp, trunkline};

fn octets(bytes: &[u8]) -> OwnedValue {
    OwnedValue::OctetString(bytes.into())
}

fn opaque(bytes: &[u8]) -> OwnedValue {
    OwnedValue::Opaque(bytes.into())
}

fn oid(text: &str) -> OwnedValue {
    OwnedValue::ObjectId(text.parse::<OidBuf>().unwrap())
}

/// Values of every type, with the edge cases of each.
fn values() -> Vec<OwnedValue> {
    let all: Vec<u8> = (0..=255).collect();
    vec![
        octets(b""),
        octets(b"hello"),
        octets(br#"say "hi" \ back"#),
        octets(b"line\r\nnext\ttab\x0b\x0c"),
        octets("Zürich".as_bytes()),
        octets(b"nul\0"),
        octets(b"\x7f"),
        octets(b"\x1b[31mred"),
        octets(&all[..15]),
        octets(&all[..16]),
        octets(&all[..17]),
        octets(&all[..32]),
        octets(&all),
        octets(&[b'a'; 300]),
        OwnedValue::Integer(0),
        OwnedValue::Integer(i32::MIN),
        OwnedValue::Integer(i32::MAX),
        OwnedValue::Null,
        oid("1.3.6.1.4.1.8072.3.2.10"),
        oid("0.0"),
        oid("2.100.3"),
        oid("1.3.4294967295"),
        OwnedValue::IpAddress(Ipv4Addr::new(192, 0, 2, 255)),
        OwnedValue::Counter32(u32::MAX),
        OwnedValue::Gauge32(u32::MAX),
        OwnedValue::TimeTicks(0),
        OwnedValue::TimeTicks(123),
        OwnedValue::TimeTicks(8_640_000),
        OwnedValue::TimeTicks(17_403_456),
        OwnedValue::TimeTicks(u32::MAX),
        OwnedValue::OpaqueFloat(1.5),
        OwnedValue::OpaqueFloat(1e30),
        OwnedValue::OpaqueFloat(f32::NAN),
        OwnedValue::OpaqueFloat(f32::NEG_INFINITY),
        OwnedValue::OpaqueDouble(-2.25),
        OwnedValue::OpaqueDouble(1.0 / 3.0),
        OwnedValue::OpaqueDouble(f64::INFINITY),
        opaque(&[]),
        opaque(&[1, 2, 3]),
        opaque(&all[..40]),
        opaque(&[0x9f, 0x76, 1, 5]),
        opaque(&[0x9f, 0x7a, 1, 0x85]),
        opaque(&[0x9f, 0x7a, 2, 0x01, 0x85]),
        opaque(&[0x9f, 0x7b, 1, 0x85]),
        OwnedValue::NsapAddress(Box::new([1, 2, 3])),
        OwnedValue::Counter64(u64::MAX),
        OwnedValue::Counter64(5),
        OwnedValue::UInteger32(77),
        OwnedValue::BitString(Box::new([0])),
        OwnedValue::BitString(Box::new([0, 0xa0])),
        OwnedValue::BitString(all[..20].into()),
    ]
}

const FLAGS: [&str; 26] = [
    "-On", "-Onq", "-OnQ", "-Onv", "-Onqv", "-OnQv", "-One", "-Ont", "-Onqt", "-OnU", "-Onx",
    "-Ona", "-OnT", "-OnqT", "-OnxT", "-OnaT", "-Onxq", "-OnxqT", "-Os", "-OS", "-Of", "-Ou",
    "-Osq", "-Onb", "-OnE", "-OnX",
];

#[test]
fn every_value_under_every_flag_is_as_net_snmp_prints_it() {
    let agent = FakeAgent::start(Manner::Good, rows(values()));
    let name = agent.name();
    for flag in FLAGS {
        for (tool, verb) in [("snmpwalk", "walk"), ("snmpbulkwalk", "bulkwalk")] {
            let words = ["-v2c", "-c", "public", flag, &name, ROOT];
            let theirs = net_snmp(tool, &words);
            let ours = trunkline(&[&["snmp", verb], &words[..]].concat());
            assert_eq!(ours.stdout, theirs.stdout, "{tool} {flag}");
            assert_eq!(ours.stderr, theirs.stderr, "{tool} {flag}");
            assert_eq!(
                (theirs.code, ours.code),
                (Some(0), Some(0)),
                "{tool} {flag}"
            );
            assert!(
                theirs.stdout.lines().count() > values().len(),
                "{tool} {flag}"
            );
        }
    }
}

#[test]
fn exceptions_are_as_net_snmp_prints_them() {
    let exceptions = [
        OwnedValue::NoSuchObject,
        OwnedValue::NoSuchInstance,
        OwnedValue::EndOfMibView,
    ];
    let agent = FakeAgent::start(Manner::Good, rows(exceptions));
    let name = agent.name();
    for flag in ["-On", "-Onq", "-OnQ", "-Onv"] {
        let oids: Vec<String> = (1..=4).map(|n| format!("{ROOT}.{n}.0")).collect();
        let mut words = vec!["-v2c", "-c", "public", flag, &name];
        words.extend(oids.iter().map(String::as_str));
        let theirs = net_snmp("snmpget", &words);
        let ours = trunkline(&[&["snmp", "get"], &words[..]].concat());
        assert_eq!(ours.stdout, theirs.stdout, "{flag}");
        assert_eq!((theirs.code, ours.code), (Some(0), Some(0)), "{flag}");
    }
}

#[test]
fn every_error_status_has_net_snmps_words() {
    for status in 1..=19 {
        let agent = FakeAgent::start(Manner::Errs(status), Vec::new());
        let (name, oid) = (agent.name(), format!("{ROOT}.1.0"));
        for (tool, verb) in [("snmpget", "get"), ("snmpgetnext", "getnext")] {
            let words = ["-v2c", "-c", "public", "-On", &name, &oid];
            let theirs = net_snmp(tool, &words);
            let ours = trunkline(&[&["snmp", verb], &words[..]].concat());
            assert!(
                ours.stderr.starts_with(&theirs.stderr),
                "{tool} {status}: {} against {}",
                ours.stderr,
                theirs.stderr
            );
            let added = &ours.stderr[theirs.stderr.len()..];
            assert!(added.is_empty() || added.starts_with("hint: "), "{added}");
            assert_eq!(
                (ours.stdout.as_str(), ours.code),
                ("", Some(1)),
                "{tool} {status}"
            );
        }
    }
}
