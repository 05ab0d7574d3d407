//! The `OID TYPE VALUE` triples of `set`.

use std::net::Ipv4Addr;
use std::str::FromStr;

use trunkline_wire_snmp::{OidBuf, OwnedValue};

use crate::exit::CliError;

use super::oid::parse_oid;

/// The longest string that fits a request in one datagram.
const BYTES_MAX: usize = 1_400;

/// Reads the triples.
pub(crate) fn parse_triples(words: &[String]) -> Result<Vec<(OidBuf, OwnedValue)>, CliError> {
    words.chunks(3).map(triple).collect()
}

fn triple(words: &[String]) -> Result<(OidBuf, OwnedValue), CliError> {
    let [oid, kind, value] = words else {
        let missing = if words.len() == 1 {
            "TYPE and VALUE"
        } else {
            "VALUE"
        };
        return Err(CliError::Usage(format!(
            "{}: needs {missing}; write OID TYPE VALUE for each variable",
            words[0]
        )));
    };
    let usage = |why: String| CliError::Usage(format!("{oid} {kind} {value}: {why}"));
    let name = parse_oid(oid).map_err(usage)?;
    Ok((name, parse_value(kind, value).map_err(usage)?))
}

fn parse_value(kind: &str, text: &str) -> Result<OwnedValue, String> {
    Ok(match kind {
        "i" => OwnedValue::Integer(number(text, "a whole number of 32 bits with sign")?),
        "u" => OwnedValue::Gauge32(number(text, "a whole number from 0 to 4294967295")?),
        "c" => OwnedValue::Counter32(number(text, "a whole number from 0 to 4294967295")?),
        "t" => OwnedValue::TimeTicks(number(text, "hundredths of a second from 0 to 4294967295")?),
        "C" => OwnedValue::Counter64(number(text, "a whole number of 64 bits")?),
        "F" => OwnedValue::OpaqueFloat(number(text, "a number such as 1.5")?),
        "D" => OwnedValue::OpaqueDouble(number(text, "a number such as 1.5")?),
        "a" => OwnedValue::IpAddress(number::<Ipv4Addr>(text, "an IPv4 address")?),
        "o" => OwnedValue::ObjectId(parse_oid(text)?),
        "s" => OwnedValue::OctetString(bounded(text.as_bytes().to_vec())?),
        "x" => OwnedValue::OctetString(bounded(hex(text)?)?),
        "d" => OwnedValue::OctetString(bounded(decimal(text)?)?),
        "b" => OwnedValue::OctetString(bounded(bits(text)?)?),
        "n" => OwnedValue::Null,
        "=" => return Err("the type of an OID is in its MIB, and none are loaded".to_owned()),
        other => {
            return Err(format!(
                "\"{other}\" is not a type; use one of i u c t C F D a o s x d b n"
            ));
        }
    })
}

fn number<T: FromStr>(text: &str, what: &str) -> Result<T, String> {
    text.trim()
        .parse()
        .map_err(|_| format!("the value is not {what}"))
}

fn bounded(bytes: Vec<u8>) -> Result<Box<[u8]>, String> {
    if bytes.len() > BYTES_MAX {
        return Err(format!(
            "the value has {} bytes; at most {BYTES_MAX} fit",
            bytes.len()
        ));
    }
    Ok(bytes.into())
}

/// `00 1a 2B`, `001a2b`, `0x001A2B`, `00:1a:2b`.
fn hex(text: &str) -> Result<Vec<u8>, String> {
    let wrong = || "the value is not hexadecimal; write pairs of digits, such as 00 1A".to_owned();
    let mut bytes = Vec::new();
    for group in text
        .split([' ', ':', '-', '\n'])
        .filter(|group| !group.is_empty())
    {
        let digits = group.trim_start_matches("0x").trim_start_matches("0X");
        // A single digit stands for a byte when it stands alone.
        let padded = if digits.len() == 1 {
            format!("0{digits}")
        } else {
            digits.to_owned()
        };
        if padded.is_empty() || padded.len() % 2 == 1 || !padded.is_ascii() {
            return Err(wrong());
        }
        for at in (0..padded.len()).step_by(2) {
            let pair = u8::from_str_radix(&padded[at..at + 2], 16).map_err(|_| wrong())?;
            bytes.push(pair);
        }
    }
    Ok(bytes)
}

/// `10 0 255`, `10.0.255`.
fn decimal(text: &str) -> Result<Vec<u8>, String> {
    text.split([' ', '.', ','])
        .filter(|part| !part.is_empty())
        .map(|part| number(part, "a list of bytes from 0 to 255"))
        .collect()
}

/// Bit numbers, bit 0 being the highest of the first byte.
fn bits(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for part in text.split([' ', ',']).filter(|part| !part.is_empty()) {
        let bit: usize = number(part, "a list of bit numbers")?;
        let at = bit / 8;
        if at >= BYTES_MAX {
            return Err(format!(
                "bit {bit} does not fit; the last is {}",
                BYTES_MAX * 8 - 1
            ));
        }
        if bytes.len() <= at {
            bytes.resize(at + 1, 0);
        }
        bytes[at] |= 0x80 >> (bit % 8);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(bytes: &[u8]) -> OwnedValue {
        OwnedValue::OctetString(bytes.into())
    }

    #[test]
    fn every_type_letter_makes_its_type() {
        for (kind, text, expected) in [
            ("i", "-5", OwnedValue::Integer(-5)),
            ("u", "4294967295", OwnedValue::Gauge32(u32::MAX)),
            ("c", "7", OwnedValue::Counter32(7)),
            ("t", "100", OwnedValue::TimeTicks(100)),
            ("C", "18446744073709551615", OwnedValue::Counter64(u64::MAX)),
            ("F", "1.5", OwnedValue::OpaqueFloat(1.5)),
            ("D", "-2.25", OwnedValue::OpaqueDouble(-2.25)),
            (
                "a",
                "10.0.0.1",
                OwnedValue::IpAddress(Ipv4Addr::new(10, 0, 0, 1)),
            ),
            (
                "o",
                ".1.3.6",
                OwnedValue::ObjectId("1.3.6".parse().unwrap()),
            ),
            ("s", "two words", octets(b"two words")),
            ("x", "00 1a 2B", octets(&[0, 0x1a, 0x2b])),
            ("x", "0x001A", octets(&[0, 0x1a])),
            ("x", "0:1:ff", octets(&[0, 1, 0xff])),
            ("x", "", octets(&[])),
            ("d", "10 0.255", octets(&[10, 0, 255])),
            ("b", "0 3 9", octets(&[0x90, 0x40])),
            ("n", "", OwnedValue::Null),
        ] {
            assert_eq!(parse_value(kind, text), Ok(expected), "{kind} {text}");
        }
    }

    #[test]
    fn wrong_values_are_usage_errors_that_quote_the_triple() {
        for (words, expected) in [
            (&["1.3.6", "i", "abc"][..], "whole number"),
            (&["1.3.6", "i", "4294967295"], "32 bits"),
            (&["1.3.6", "u", "-1"], "from 0"),
            (&["1.3.6", "x", "0g"], "hexadecimal"),
            (&["1.3.6", "x", "éé"], "hexadecimal"),
            (&["1.3.6", "x", "123"], "hexadecimal"),
            (&["1.3.6", "d", "256"], "0 to 255"),
            (&["1.3.6", "b", "99999999"], "does not fit"),
            (&["1.3.6", "q", "x"], "not a type"),
            (&["1.3.6", "=", "x"], "MIB"),
            (&["1.3.6", "i"], "needs VALUE"),
            (&["1.3.6"], "needs TYPE and VALUE"),
            (&["sysName.0", "s", "x"], "names need MIBs"),
        ] {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            let error = parse_triples(&words).unwrap_err();
            assert!(matches!(error, CliError::Usage(_)));
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
