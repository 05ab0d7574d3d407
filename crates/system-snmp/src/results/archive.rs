//! A record as bytes that outlive the process: the content of a dead letter.
//!
//! JSON, so that a person who opens the letter can read who, when and what went wrong; the agent's
//! bytes are in it as hex, page by page, so that the record comes back exactly as it was. The lines
//! that sinks write would not do: they say what values mean, not what was sent.
//!
//! A letter comes from a disk, so its content is checked like any foreign bytes: what is too long,
//! of another version, or not hex is refused, and nothing is allocated beyond a small multiple of
//! the input. Pages are not decoded here; whoever reads them meets bad ones as errors.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use trunkline_engine::time::{WallTime, nanos};

use crate::poller::{Record, RunOutcome};

const VERSION: u32 = 1;
/// The longest archive that is read, twice the longest that a letter can hold.
const BYTES_MAX: usize = 32 << 20;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Archive<'a> {
    archive_version: u32,
    #[serde(borrow)]
    system: Cow<'a, str>,
    #[serde(borrow)]
    target: Cow<'a, str>,
    #[serde(borrow)]
    address: Cow<'a, str>,
    #[serde(borrow)]
    job: Cow<'a, str>,
    time_ms: u64,
    took_ns: u64,
    #[serde(borrow)]
    outcome: Cow<'a, str>,
    errors: Vec<Cow<'a, str>>,
    pages: Vec<Cow<'a, str>>,
}

/// The record as bytes; times are kept to the nanosecond, and up to 584 years.
pub fn encode_record(record: &Record) -> Vec<u8> {
    let archive = Archive {
        archive_version: VERSION,
        system: (&*record.system).into(),
        target: (&*record.target).into(),
        address: (&*record.address).into(),
        job: (&*record.job).into(),
        time_ms: record.at.as_unix_millis(),
        took_ns: nanos(record.took),
        outcome: record.outcome.as_str().into(),
        errors: record.errors.iter().map(Cow::from).collect(),
        pages: record.pages.iter().map(|page| hex(page).into()).collect(),
    };
    // Only maps with odd keys and failing writers make errors, and here is neither.
    serde_json::to_vec(&archive).unwrap_or_default()
}

/// The record that [`encode_record`] made these bytes of.
///
/// # Errors
/// Why they are no record, in one sentence.
pub fn decode_record(bytes: &[u8]) -> Result<Record, String> {
    if bytes.len() > BYTES_MAX {
        return Err(format!("the record is longer than {BYTES_MAX} bytes"));
    }
    let archive: Archive<'_> =
        serde_json::from_slice(bytes).map_err(|error| format!("it is no record: {error}"))?;
    if archive.archive_version != VERSION {
        let version = archive.archive_version;
        return Err(format!(
            "the record has version {version}; this program reads version {VERSION}"
        ));
    }
    let outcome = [
        RunOutcome::Complete,
        RunOutcome::Partial,
        RunOutcome::Failed,
    ]
    .into_iter()
    .find(|outcome| outcome.as_str() == archive.outcome)
    .ok_or("the record has an outcome that means nothing")?;
    let pages = archive.pages.iter().map(|page| bytes_of(page));
    Ok(Record {
        system: archive.system.into(),
        target: archive.target.into(),
        address: archive.address.into(),
        job: archive.job.into(),
        at: WallTime::from_unix_millis(archive.time_ms),
        took: Duration::from_nanos(archive.took_ns),
        outcome,
        errors: archive.errors.into_iter().map(Cow::into_owned).collect(),
        pages: pages
            .collect::<Option<_>>()
            .ok_or("a page of the record is not hex")?,
    })
}

/// Bytes as hex digits, lower case.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |n: u8| char::from_digit(u32::from(n), 16).unwrap_or('0');
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.extend([digit(byte >> 4), digit(byte & 15)]);
    }
    text
}

fn bytes_of(hex: &str) -> Option<Box<[u8]>> {
    let digit = |c: u8| {
        let value = char::from(c).to_digit(16)?;
        u8::try_from(value).ok()
    };
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let byte = |[high, low]: &[u8; 2]| Some(digit(*high)? << 4 | digit(*low)?);
    pairs.iter().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::record;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn fields(record: &Record) -> String {
        format!("{record:?}")
    }

    prop_compose! {
        fn records()(
            (system, target, address, job) in any::<(String, String, String, String)>(),
            (at, took) in any::<(u64, u64)>(),
            outcome in prop_oneof![
                Just(RunOutcome::Complete), Just(RunOutcome::Partial), Just(RunOutcome::Failed)
            ],
            errors in vec(any::<String>(), 0..4),
            pages in vec(vec(any::<u8>(), 0..60), 0..5),
        ) -> Record {
            Record {
                system: system.into(),
                target: target.into(),
                address: address.into(),
                job: job.into(),
                at: WallTime::from_unix_millis(at),
                took: Duration::from_nanos(took),
                outcome,
                errors,
                pages: pages.into_iter().map(Vec::into_boxed_slice).collect(),
            }
        }
    }

    #[test]
    fn a_record_has_these_bytes() {
        let mut record = record("sw-1");
        record.errors.push("a \"quoted\" word".into());
        record.pages.push(Box::new([0x30, 0xff]));
        let expected = concat!(
            r#"{"archive_version":1,"system":"core","target":"sw-1","address":"127.0.0.1:161","#,
            r#""job":"system","time_ms":1,"took_ns":2000000,"outcome":"complete","#,
            r#""errors":["a \"quoted\" word"],"pages":["30ff"]}"#
        );
        let bytes = encode_record(&record);
        assert_eq!(String::from_utf8_lossy(&bytes), expected);
        assert_eq!(fields(&decode_record(&bytes).unwrap()), fields(&record));
    }

    #[test]
    fn what_is_no_record_is_refused_with_the_reason() {
        let text = String::from_utf8(encode_record(&record("t"))).unwrap();
        let cases = [
            (String::new(), "EOF"),
            ("[".repeat(100_000), "no record"),
            (
                text.replace("version\":1", "version\":2"),
                "reads version 1",
            ),
            (text.replace("complete", "done"), "outcome"),
            (text.replace("pages\":[", "pages\":[\"0\""), "not hex"),
            (text.replace("pages\":[", "pages\":[\"0g\""), "not hex"),
            (text.replace("pages\":[", "pages\":[\"+1\""), "not hex"),
            (text.replace('}', ",\"more\":1}"), "more"),
            (" ".repeat(BYTES_MAX + 1), "longer"),
        ];
        for (text, reason) in cases {
            let error = decode_record(text.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 128, failure_persistence: None, ..ProptestConfig::default()
        })]

        #[test]
        fn records_come_back_as_they_were(record in records()) {
            let back = decode_record(&encode_record(&record)).unwrap();
            prop_assert_eq!(fields(&back), fields(&record));
        }

        #[test]
        fn spoilt_records_and_noise_never_panic(
            record in records(),
            changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            noise in vec(any::<u8>(), 0..200),
        ) {
            let mut bytes = encode_record(&record);
            for (index, byte) in changes {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
            if let Ok(record) = decode_record(&bytes) {
                // Whatever it says, its pages can be read, and it can be archived again.
                prop_assert!(record.varbinds().count() <= bytes.len());
                let again = decode_record(&encode_record(&record)).unwrap();
                prop_assert_eq!(fields(&again), fields(&record));
            }
            prop_assert!(decode_record(&noise).is_err());
        }
    }
}
