//! Letters and audit events as bytes, for a log on disk.
//!
//! A record is a version, a kind, and fields in a fixed order: integers little-endian, texts and
//! bytes with a 32-bit length in front, options with a byte in front. The log frames and checks
//! records; even so a decoder meets whatever a disk returns: every length is checked against what
//! is left before anything is allocated, every code against its list, and nothing may follow.

use super::letter::{ATTEMPTS_MAX, AUDIT_MAX, TEXT_MAX};
use super::{Attempt, AuditEvent, AuditKind, Letter, LetterId, Payload, Reason};
use crate::time::{WallTime, nanos};
use std::time::Duration;

const VERSION: u8 = 1;
const LETTER: u8 = 1;
const EVENT: u8 = 2;

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A letter as it was then.
    Letter(Box<Letter>),
    /// What happened to a letter after that.
    Event {
        /// Which letter.
        id: LetterId,
        /// What.
        event: AuditEvent,
    },
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// It ends too early.
    #[error("the record ends at byte {0}, inside a field")]
    Short(usize),
    /// Another version wrote it.
    #[error("the record has version {0}; this program reads version {VERSION}")]
    Version(u8),
    /// A code is not in its list, or a number out of its range.
    #[error("byte {offset} has a value that means nothing")]
    Value {
        /// Where.
        offset: usize,
    },
    /// A text is not UTF-8.
    #[error("the text at byte {offset} is not UTF-8")]
    Text {
        /// Where.
        offset: usize,
    },
    /// A list or text is longer than any that is written.
    #[error("the field at byte {offset} is longer than allowed")]
    Long {
        /// Where.
        offset: usize,
    },
    /// Something follows.
    #[error("{0} bytes follow the record")]
    Trailing(usize),
}

/// Appends the record of `letter` to `out`.
pub fn encode_letter(letter: &Letter, out: &mut Vec<u8>) {
    out.extend([VERSION, LETTER]);
    out.extend(letter.id.bits().to_le_bytes());
    out.push(letter.parent.is_some().into());
    out.extend(letter.parent.iter().flat_map(|id| id.bits().to_le_bytes()));
    put_wall(out, letter.first_enqueued);
    put_wall(out, letter.dead_at);
    out.push(code(&Reason::ALL, letter.reason));
    for text in [
        &letter.system,
        &letter.target,
        &letter.first_error,
        &letter.last_error,
    ] {
        put_bytes(out, text.as_bytes());
    }
    out.extend(letter.attempts_total.to_le_bytes());
    put_length(out, letter.attempts.len());
    for attempt in &letter.attempts {
        put_wall(out, attempt.at);
        put_bytes(out, attempt.target.as_bytes());
        put_bytes(out, attempt.error.as_bytes());
        out.push(attempt.latency.is_some().into());
        out.extend(
            attempt
                .latency
                .iter()
                .flat_map(|span| nanos(*span).to_le_bytes()),
        );
    }
    let payload = &letter.payload;
    put_bytes(out, &payload.bytes);
    out.extend(payload.length.to_le_bytes());
    out.extend(payload.hash.to_le_bytes());
    out.push(payload.redacted.into());
    out.extend(letter.redrives.to_le_bytes());
    out.extend(letter.audit_total.to_le_bytes());
    put_length(out, letter.audit.len());
    letter.audit.iter().for_each(|event| put_event(out, event));
}

/// Appends the record of an event of letter `id` to `out`.
pub fn encode_event(id: LetterId, event: &AuditEvent, out: &mut Vec<u8>) {
    out.extend([VERSION, EVENT]);
    out.extend(id.bits().to_le_bytes());
    put_event(out, event);
}

/// Reads one record that fills `bytes`.
///
/// # Errors
/// Where and why the bytes are not a record of this version.
pub fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
    let mut reader = Reader { bytes, offset: 0 };
    let version = reader.byte()?;
    if version != VERSION {
        return Err(DecodeError::Version(version));
    }
    let record = match reader.byte()? {
        LETTER => Record::Letter(Box::new(reader.letter()?)),
        EVENT => Record::Event {
            id: reader.id()?,
            event: reader.event()?,
        },
        _ => return Err(DecodeError::Value { offset: 1 }),
    };
    match bytes.len() - reader.offset {
        0 => Ok(record),
        left => Err(DecodeError::Trailing(left)),
    }
}

fn put_event(out: &mut Vec<u8>, event: &AuditEvent) {
    put_wall(out, event.at);
    out.push(code(&AuditKind::ALL, event.kind));
    put_bytes(out, event.actor.as_bytes());
    put_bytes(out, event.note.as_bytes());
}

fn put_wall(out: &mut Vec<u8>, wall: WallTime) {
    out.extend(wall.as_unix_millis().to_le_bytes());
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    // Every list and text is capped far below; a payload's cap is at most `u32::MAX` by policy.
    out.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_length(out, bytes.len());
    out.extend(bytes);
}

/// The position of `value` in the list of all, which names all and has fewer than 256.
fn code<T: PartialEq>(all: &[T], value: T) -> u8 {
    let position = all.iter().position(|one| *one == value);
    position
        .and_then(|index| u8::try_from(index).ok())
        .unwrap_or(u8::MAX)
}

struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let rest = &self.bytes[self.offset..];
        let taken = rest
            .get(..length)
            .ok_or(DecodeError::Short(self.bytes.len()))?;
        self.offset += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    fn flag(&mut self) -> Result<bool, DecodeError> {
        let offset = self.offset;
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Value { offset }),
        }
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn id(&mut self) -> Result<LetterId, DecodeError> {
        Ok(LetterId::from_bits(u128::from_le_bytes(self.array()?)))
    }

    fn wall(&mut self) -> Result<WallTime, DecodeError> {
        Ok(WallTime::from_unix_millis(self.u64()?))
    }

    fn code<T: Copy>(&mut self, all: &[T]) -> Result<T, DecodeError> {
        let offset = self.offset;
        let code = usize::from(self.byte()?);
        all.get(code).copied().ok_or(DecodeError::Value { offset })
    }

    fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.u32()?;
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn text(&mut self) -> Result<String, DecodeError> {
        let offset = self.offset;
        let bytes = self.bytes()?;
        if bytes.len() > TEXT_MAX {
            return Err(DecodeError::Long { offset });
        }
        let text = std::str::from_utf8(bytes).map_err(|_| DecodeError::Text { offset })?;
        Ok(text.to_owned())
    }

    fn list<T>(
        &mut self,
        max: usize,
        mut one: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let offset = self.offset;
        let length = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        if length > max {
            return Err(DecodeError::Long { offset });
        }
        (0..length).map(|_| one(self)).collect()
    }

    fn event(&mut self) -> Result<AuditEvent, DecodeError> {
        Ok(AuditEvent {
            at: self.wall()?,
            kind: self.code(&AuditKind::ALL)?,
            actor: self.text()?,
            note: self.text()?,
        })
    }

    fn attempt(&mut self) -> Result<Attempt, DecodeError> {
        Ok(Attempt {
            at: self.wall()?,
            target: self.text()?,
            error: self.text()?,
            latency: match self.flag()? {
                true => Some(Duration::from_nanos(self.u64()?)),
                false => None,
            },
        })
    }

    fn payload(&mut self) -> Result<Payload, DecodeError> {
        let bytes = self.bytes()?;
        let offset = self.offset;
        let payload = Payload {
            bytes: bytes.into(),
            length: self.u64()?,
            hash: u128::from_le_bytes(self.array()?),
            redacted: self.flag()?,
        };
        // A redacted text may be longer than its original; a cut one may not.
        if !payload.redacted && (bytes.len() as u64) > payload.length {
            return Err(DecodeError::Value { offset });
        }
        Ok(payload)
    }

    fn letter(&mut self) -> Result<Letter, DecodeError> {
        // Struct fields are read in the order in which they are written here.
        Ok(Letter {
            id: self.id()?,
            parent: match self.flag()? {
                true => Some(self.id()?),
                false => None,
            },
            first_enqueued: self.wall()?,
            dead_at: self.wall()?,
            reason: self.code(&Reason::ALL)?,
            system: self.text()?,
            target: self.text()?,
            first_error: self.text()?,
            last_error: self.text()?,
            attempts_total: self.u32()?,
            attempts: self.list(ATTEMPTS_MAX, Self::attempt)?,
            payload: self.payload()?,
            redrives: self.u32()?,
            audit_total: self.u32()?,
            audit: self.list(AUDIT_MAX, Self::event)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn text() -> impl Strategy<Value = String> {
        ".{0,40}"
    }

    fn walls() -> impl Strategy<Value = WallTime> {
        any::<u64>().prop_map(WallTime::from_unix_millis)
    }

    fn events() -> impl Strategy<Value = AuditEvent> {
        let kind = proptest::sample::select(AuditKind::ALL.to_vec());
        (walls(), kind, text(), text()).prop_map(|(at, kind, actor, note)| AuditEvent {
            at,
            kind,
            actor,
            note,
        })
    }

    fn attempts() -> impl Strategy<Value = Attempt> {
        let latency = proptest::option::of(any::<u64>().prop_map(Duration::from_nanos));
        (walls(), text(), text(), latency).prop_map(|(at, target, error, latency)| Attempt {
            at,
            target,
            error,
            latency,
        })
    }

    fn payloads() -> impl Strategy<Value = Payload> {
        (vec(any::<u8>(), 0..80), 0usize..80, any::<bool>()).prop_map(|(bytes, cap, redact)| {
            match redact {
                true => Payload::redacted(b"hidden", &bytes, cap),
                false => Payload::new(&bytes, cap),
            }
        })
    }

    prop_compose! {
        fn letters()(
            (id, parent) in (any::<u128>(), proptest::option::of(any::<u128>())),
            (first_enqueued, dead_at) in (walls(), walls()),
            reason in proptest::sample::select(Reason::ALL.to_vec()),
            (system, target, first_error, last_error) in (text(), text(), text(), text()),
            attempts in vec(attempts(), 0..ATTEMPTS_MAX),
            payload in payloads(),
            (attempts_total, redrives, audit_total) in any::<(u32, u32, u32)>(),
            audit in vec(events(), 0..AUDIT_MAX),
        ) -> Letter {
            Letter {
                id: LetterId::from_bits(id),
                parent: parent.map(LetterId::from_bits),
                first_enqueued, dead_at, reason, system, target, first_error, last_error,
                attempts, attempts_total, payload, redrives, audit_total, audit,
            }
        }
    }

    fn encoded(letter: &Letter) -> Vec<u8> {
        let mut out = Vec::new();
        encode_letter(letter, &mut out);
        out
    }

    #[test]
    fn an_event_has_these_bytes() {
        let event = AuditEvent::new(
            WallTime::from_unix_millis(258),
            AuditKind::Released,
            "me",
            "",
        );
        let mut out = Vec::new();
        encode_event(LetterId::from_bits(3), &event, &mut out);
        let mut expected = vec![1, 2, 3];
        expected.extend([0; 15]);
        expected.extend([
            2, 1, 0, 0, 0, 0, 0, 0, 6, 2, 0, 0, 0, b'm', b'e', 0, 0, 0, 0,
        ]);
        assert_eq!(out, expected);
    }

    #[test]
    fn broken_records_are_named() {
        let event = AuditEvent::new(WallTime::from_unix_millis(1), AuditKind::Created, "me", "");
        let mut good = Vec::new();
        encode_event(LetterId::from_bits(3), &event, &mut good);
        let with = |index: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[index] = byte;
            bytes
        };
        let cases = [
            (vec![], DecodeError::Short(0)),
            (vec![9, 1], DecodeError::Version(9)),
            (with(1, 7), DecodeError::Value { offset: 1 }),
            (with(26, 99), DecodeError::Value { offset: 26 }),
            (with(31, 0xff), DecodeError::Text { offset: 27 }),
            (with(30, 0xff), DecodeError::Short(good.len())),
            ([&good[..], &[0]].concat(), DecodeError::Trailing(1)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(decode(&bytes), Err(expected), "{bytes:?}");
        }
        let long = AuditEvent {
            note: "n".repeat(TEXT_MAX + 1),
            ..event
        };
        let mut bytes = Vec::new();
        encode_event(LetterId::from_bits(3), &long, &mut bytes);
        assert_eq!(decode(&bytes), Err(DecodeError::Long { offset: 33 }));
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 128, failure_persistence: None, ..ProptestConfig::default()
        })]

        #[test]
        fn letters_round_trip(letter in letters()) {
            let bytes = encoded(&letter);
            prop_assert_eq!(decode(&bytes), Ok(Record::Letter(Box::new(letter))));
        }

        #[test]
        fn events_round_trip(id: u128, event in events()) {
            let (id, mut bytes) = (LetterId::from_bits(id), Vec::new());
            encode_event(id, &event, &mut bytes);
            prop_assert_eq!(decode(&bytes), Ok(Record::Event { id, event }));
        }

        #[test]
        fn a_cut_record_is_short(letter in letters(), at: proptest::sample::Index) {
            let bytes = encoded(&letter);
            let cut = &bytes[..at.index(bytes.len())];
            prop_assert_eq!(decode(cut), Err(DecodeError::Short(cut.len())));
        }

        #[test]
        fn garbage_never_panics_and_what_decodes_is_canonical(
            letter in letters(),
            changes in vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6),
        ) {
            let mut bytes = encoded(&letter);
            for (index, byte) in changes {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
            if let Ok(Record::Letter(letter)) = decode(&bytes) {
                prop_assert_eq!(encoded(&letter), bytes);
            }
        }

        #[test]
        fn noise_never_panics(bytes in vec(any::<u8>(), 0..300), kind in 0u8..4) {
            let framed = [&[VERSION, kind], &bytes[..]].concat();
            if decode(&framed).is_ok() {
                prop_assert!(framed.len() >= 2 + 16 + 8 + 1 + 4 + 4);
            }
            prop_assert!(decode(&bytes).is_err() || bytes[0] == VERSION);
        }
    }
}
