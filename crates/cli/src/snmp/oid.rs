//! OIDs as people write them: with or without the leading dot, with `iso` for its first arc, and
//! for walks also roots of one arc or none.
//!
//! BER cannot encode an OID of fewer than two arcs, so the tree under `1` is walked as the whole
//! tree, of which rows under other first arcs are left out.

use trunkline_wire_snmp::{Oid, OidBuf};

/// An OID of at least two arcs; a single arc is completed by 0, as BER would read it.
pub(crate) fn parse_oid(text: &str) -> Result<OidBuf, String> {
    match Root::parse(text)? {
        Root { under: None, oid } if !oid.as_oid().is_empty() => Ok(oid),
        Root {
            under: Some(arc), ..
        } => OidBuf::from_arcs(&[arc, 0]).map_err(|error| error.to_string()),
        Root { .. } => Err("an OID needs at least one arc".to_owned()),
    }
}

/// Where a walk begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Root {
    /// The subtree; empty for the whole tree.
    pub(crate) oid: OidBuf,
    /// Only rows with this first arc belong to it.
    pub(crate) under: Option<u32>,
}

impl Root {
    /// Reads an OID, a single arc, or a dot for everything.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let whole = || OidBuf::from(Oid::from_static(&[]));
        let arcs = text.strip_prefix('.').unwrap_or(text);
        let arcs = match arcs.strip_prefix("iso") {
            Some("") => "1".to_owned(),
            Some(rest) if rest.starts_with('.') => format!("1{rest}"),
            _ => arcs.to_owned(),
        };
        match arcs.as_str() {
            "" if text == "." => Ok(Self {
                oid: whole(),
                under: None,
            }),
            "0" | "1" | "2" => Ok(Self {
                oid: whole(),
                under: arcs.parse().ok(),
            }),
            arcs => {
                if arcs.contains(|c: char| c.is_alphabetic()) {
                    return Err(
                        "names need MIBs, which are not loaded; write the OID in numbers, \
                         such as 1.3.6.1.2.1.1.1.0 for sysDescr.0"
                            .to_owned(),
                    );
                }
                let oid = arcs.parse().map_err(|error| format!("{error}"))?;
                Ok(Self { oid, under: None })
            }
        }
    }

    /// Whether a row belongs to the subtree.
    pub(crate) fn holds(&self, oid: Oid<'_>) -> bool {
        let first = oid.arcs().next();
        self.under.is_none_or(|arc| first == Some(arc.into()))
    }

    /// What to GET when the subtree itself is asked for.
    pub(crate) fn instance(&self) -> Option<OidBuf> {
        match self.under {
            Some(arc) => OidBuf::from_arcs(&[arc, 0]).ok(),
            None => (!self.oid.as_oid().is_empty()).then(|| self.oid.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oids_in_every_spelling() {
        for (text, expected) in [
            ("1.3.6.1", "1.3.6.1"),
            (".1.3.6.1", "1.3.6.1"),
            ("iso.3.6.1", "1.3.6.1"),
            (".iso.3.6.1", "1.3.6.1"),
            ("1", "1.0"),
            ("2", "2.0"),
        ] {
            assert_eq!(parse_oid(text).unwrap().to_string(), expected, "{text}");
        }
        for (text, expected) in [
            ("sysDescr.0", "names need MIBs"),
            ("isolated.1", "names need MIBs"),
            ("", "at least"),
            (".", "at least"),
            ("3.1", "first arc"),
            ("1.3..1", "arc 3"),
        ] {
            let error = parse_oid(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_root_of_one_arc_holds_what_is_under_it() {
        let root = Root::parse("1").unwrap();
        let (inside, outside): (OidBuf, OidBuf) =
            ("1.3.6".parse().unwrap(), "2.5".parse().unwrap());
        assert!(root.holds(inside.as_oid()) && !root.holds(outside.as_oid()));
        assert_eq!(root.instance().unwrap().to_string(), "1.0");
        let all = Root::parse(".").unwrap();
        assert!(all.holds(outside.as_oid()) && all.instance().is_none());
    }
}
