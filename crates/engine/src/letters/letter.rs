//! What a dead letter says.
//!
//! Everything in it is bounded: a payload is cut at a cap and then carries the length and hash of
//! the whole; of the attempts the first and the last seven stay; of the audit trail the first
//! event and the last fifteen; texts are cut. A payload that was cut or redacted can be read, not
//! redriven.

use super::LetterId;
use crate::text::cut;
use crate::time::WallTime;
use std::time::Duration;

/// The longest text of a letter (a target, an error, a note), in bytes.
pub(super) const TEXT_MAX: usize = 512;
/// The most attempts that are kept.
pub(super) const ATTEMPTS_MAX: usize = 8;
/// The most audit events that are kept.
pub(super) const AUDIT_MAX: usize = 16;

/// Why the work could not be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// All attempts failed.
    Exhausted,
    /// The receiver refused it for good.
    Rejected,
    /// Its deadline passed.
    Deadline,
    /// A full queue gave it up.
    Displaced,
    /// Nothing is configured to take it.
    NoRoute,
    /// The receiver's breaker was open, or every member was down.
    Unavailable,
    /// It could not be decoded.
    Undecodable,
    /// It is larger than the receiver takes.
    TooLarge,
    /// An answer that nobody waits for any more.
    Orphaned,
    /// The process stopped before it was delivered.
    Shutdown,
    /// It broke whoever handled it.
    Poison,
}

impl Reason {
    /// All reasons; the position of one is its code.
    pub const ALL: [Self; 11] = [
        Self::Exhausted,
        Self::Rejected,
        Self::Deadline,
        Self::Displaced,
        Self::NoRoute,
        Self::Unavailable,
        Self::Undecodable,
        Self::TooLarge,
        Self::Orphaned,
        Self::Shutdown,
        Self::Poison,
    ];

    /// The word in listings, filters and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::Rejected => "rejected",
            Self::Deadline => "deadline",
            Self::Displaced => "displaced",
            Self::NoRoute => "no-route",
            Self::Unavailable => "unavailable",
            Self::Undecodable => "undecodable",
            Self::TooLarge => "too-large",
            Self::Orphaned => "orphaned",
            Self::Shutdown => "shutdown",
            Self::Poison => "poison",
        }
    }

    /// The reason that is written so.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }
}

/// One try to deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When it ended.
    pub at: WallTime,
    /// Where to.
    pub target: String,
    /// What went wrong.
    pub error: String,
    /// How long it took, when that is known.
    pub latency: Option<Duration>,
}

/// What happened to a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AuditKind {
    /// It was put into the box.
    Created,
    /// Somebody looked at its content.
    Inspected,
    /// It is about to be sent again.
    RedriveStarted,
    /// It was not sent after all; the redrive does not count.
    RedriveAborted,
    /// It was sent again in vain, or nothing was heard of it in time.
    RedriveFailed,
    /// It was sent again and acknowledged; it leaves the box.
    Redriven,
    /// Its redrives were set back to zero by a person.
    Released,
    /// It was thrown away by a person.
    Discarded,
    /// It was thrown away for its age.
    Expired,
    /// It was thrown away to make room.
    Displaced,
}

impl AuditKind {
    /// All kinds; the position of one is its code.
    pub const ALL: [Self; 10] = [
        Self::Created,
        Self::Inspected,
        Self::RedriveStarted,
        Self::RedriveAborted,
        Self::RedriveFailed,
        Self::Redriven,
        Self::Released,
        Self::Discarded,
        Self::Expired,
        Self::Displaced,
    ];

    /// The word in listings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Inspected => "inspected",
            Self::RedriveStarted => "redrive-started",
            Self::RedriveAborted => "redrive-aborted",
            Self::RedriveFailed => "redrive-failed",
            Self::Redriven => "redriven",
            Self::Released => "released",
            Self::Discarded => "discarded",
            Self::Expired => "expired",
            Self::Displaced => "displaced",
        }
    }

    /// Whether the letter has left the box with it.
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Redriven | Self::Discarded | Self::Expired | Self::Displaced
        )
    }
}

/// One line of a letter's audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEvent {
    /// When.
    pub at: WallTime,
    /// What.
    pub kind: AuditKind,
    /// Who, for example `uid 1000 (socket)` or `retention`.
    pub actor: String,
    /// More words, for example an error; may be empty.
    pub note: String,
}

impl AuditEvent {
    pub(super) fn new(at: WallTime, kind: AuditKind, actor: &str, note: &str) -> Self {
        Self {
            at,
            kind,
            actor: cut(actor, TEXT_MAX).to_owned(),
            note: cut(note, TEXT_MAX).to_owned(),
        }
    }
}

/// The content of a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    pub(super) bytes: Box<[u8]>,
    pub(super) length: u64,
    pub(super) hash: u128,
    pub(super) redacted: bool,
}

impl Payload {
    /// The content `bytes`, of which at most `cap` bytes are kept.
    pub fn new(bytes: &[u8], cap: usize) -> Self {
        Self {
            bytes: bytes[..bytes.len().min(cap)].into(),
            length: bytes.len() as u64,
            hash: fnv1a_128(bytes),
            redacted: false,
        }
    }

    /// The content `original`, of which only `shown` (secrets taken out) is kept.
    pub fn redacted(shown: &[u8], original: &[u8], cap: usize) -> Self {
        Self {
            bytes: shown[..shown.len().min(cap)].into(),
            redacted: true,
            ..Self::new(original, 0)
        }
    }

    /// What is kept.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The length of the whole original, in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// FNV-1a (128 bits) of the whole original: tells whether two letters carry the same content.
    /// It is no signature.
    pub fn hash(&self) -> u128 {
        self.hash
    }

    /// Whether secrets were taken out.
    pub fn is_redacted(&self) -> bool {
        self.redacted
    }

    /// Whether the whole original is kept, as redriving needs it.
    pub fn is_whole(&self) -> bool {
        !self.redacted && self.bytes.len() as u64 == self.length
    }

    fn cap(&mut self, cap: usize) {
        if self.bytes.len() > cap {
            self.bytes = self.bytes[..cap].into();
        }
    }
}

/// FNV-1a with 128 bits (Fowler, Noll, Vo; RFC 9923).
fn fnv1a_128(bytes: &[u8]) -> u128 {
    const PRIME: u128 = (1 << 88) + 0x13b;
    let step = |hash: u128, byte: &u8| (hash ^ u128::from(*byte)).wrapping_mul(PRIME);
    bytes
        .iter()
        .fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, step)
}

/// What is known about work that dies, before it becomes a [`Letter`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The letter whose redrive this is.
    pub parent: Option<LetterId>,
    /// When the work was taken in first; survives redriving.
    pub first_enqueued: WallTime,
    /// Kind and name of the system, for example `snmp.core`.
    pub system: String,
    /// Where it should have gone.
    pub target: String,
    /// Why it did not.
    pub reason: Reason,
    /// What was tried, in order; more than eight are thinned out.
    pub attempts: Vec<Attempt>,
    /// The last error in words. The first one is that of the first attempt, else this one too.
    pub error: String,
    /// The content.
    pub payload: Payload,
}

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Its name.
    pub id: LetterId,
    /// The letter whose redrive it was.
    pub parent: Option<LetterId>,
    /// When the work was taken in first.
    pub first_enqueued: WallTime,
    /// When it died; retention counts from here.
    pub dead_at: WallTime,
    /// Kind and name of the system.
    pub system: String,
    /// Where it should have gone.
    pub target: String,
    /// Why it did not.
    pub reason: Reason,
    /// The first attempt and the last seven.
    pub attempts: Vec<Attempt>,
    /// How many attempts there were.
    pub attempts_total: u32,
    /// The first error in words.
    pub first_error: String,
    /// The last error in words.
    pub last_error: String,
    /// The content.
    pub payload: Payload,
    /// How often it was sent again since it was created or released.
    pub redrives: u32,
    /// The first event and the last fifteen.
    pub audit: Vec<AuditEvent>,
    /// How many events there were.
    pub audit_total: u32,
}

impl Letter {
    /// Makes the letter of `draft`, everything in it cut to its bound.
    pub(super) fn new(id: LetterId, draft: Draft, wall: WallTime, payload_cap: usize) -> Self {
        let Draft {
            mut attempts,
            mut payload,
            ..
        } = draft;
        let attempts_total = u32::try_from(attempts.len()).unwrap_or(u32::MAX);
        if attempts.len() > ATTEMPTS_MAX {
            attempts.drain(1..attempts.len() - (ATTEMPTS_MAX - 1));
        }
        for attempt in &mut attempts {
            shorten(&mut attempt.target);
            shorten(&mut attempt.error);
        }
        payload.cap(payload_cap);
        let mut texts = [draft.system, draft.target, draft.error];
        texts.iter_mut().for_each(shorten);
        let [system, target, last_error] = texts;
        let first_error = attempts.first().map(|attempt| attempt.error.clone());
        Self {
            id,
            parent: draft.parent,
            first_enqueued: draft.first_enqueued,
            dead_at: wall,
            audit: vec![AuditEvent::new(wall, AuditKind::Created, &system, "")],
            audit_total: 1,
            system,
            target,
            reason: draft.reason,
            attempts,
            attempts_total,
            first_error: first_error.unwrap_or_else(|| last_error.clone()),
            last_error,
            payload,
            redrives: 0,
        }
    }

    /// Notes an event in the trail, and what it means for the letter.
    pub(super) fn note(&mut self, event: AuditEvent) {
        match event.kind {
            AuditKind::RedriveStarted => self.redrives = self.redrives.saturating_add(1),
            AuditKind::RedriveAborted => self.redrives = self.redrives.saturating_sub(1),
            AuditKind::Released => self.redrives = 0,
            AuditKind::RedriveFailed => self.last_error.clone_from(&event.note),
            _ => {}
        }
        self.audit_total = self.audit_total.saturating_add(1);
        if self.audit.len() >= AUDIT_MAX {
            self.audit.remove(1);
        }
        self.audit.push(event);
    }

    /// About how many bytes of memory it takes.
    pub fn cost_bytes(&self) -> usize {
        let attempts = self.attempts.iter().map(|a| a.target.len() + a.error.len());
        let audit = self.audit.iter().map(|e| e.actor.len() + e.note.len());
        size_of::<Self>()
            + self.attempts.len() * size_of::<Attempt>()
            + self.audit.len() * size_of::<AuditEvent>()
            + attempts.chain(audit).sum::<usize>()
            + self.system.len()
            + self.target.len()
            + self.first_error.len()
            + self.last_error.len()
            + self.payload.bytes.len()
    }
}

/// Cuts a text to its bound and gives its spare memory back.
fn shorten(text: &mut String) {
    text.truncate(cut(text, TEXT_MAX).len());
    text.shrink_to_fit();
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn wall(millis: u64) -> WallTime {
        WallTime::from_unix_millis(millis)
    }

    pub(crate) fn draft(target: &str, payload: &[u8]) -> Draft {
        Draft {
            parent: None,
            first_enqueued: wall(1),
            system: "snmp.core".into(),
            target: target.into(),
            reason: Reason::Exhausted,
            attempts: Vec::new(),
            error: "no reply".into(),
            payload: Payload::new(payload, 1024),
        }
    }

    #[test]
    fn the_hash_is_fnv_1a() {
        // Test vectors of the FNV authors.
        let cases: [(&[u8], u128); 3] = [
            (b"", 0x6c62272e07bb014262b821756295c58d),
            (b"a", 0xd228cb696f1a8caf78912b704e4a8964),
            (b"foobar", 0x343e1662793c64bf6f0d3597ba446f18),
        ];
        for (bytes, expected) in cases {
            assert_eq!(fnv1a_128(bytes), expected);
        }
    }

    #[test]
    fn a_cut_or_redacted_payload_is_not_whole() {
        let whole = Payload::new(b"secret", 6);
        assert!(whole.is_whole());
        let cut = Payload::new(b"secret", 5);
        assert_eq!(
            (cut.bytes(), cut.length(), cut.is_whole()),
            (&b"secre"[..], 6, false)
        );
        assert_eq!(cut.hash(), whole.hash());
        let redacted = Payload::redacted(b"******", b"secret", 100);
        assert_eq!(
            (redacted.bytes(), redacted.is_whole()),
            (&b"******"[..], false)
        );
        assert!(redacted.is_redacted() && redacted.hash() == whole.hash());
    }

    #[test]
    fn everything_in_a_letter_is_bounded() {
        let long = "é".repeat(1000);
        let attempt = |n: u64| Attempt {
            at: wall(n),
            target: long.clone(),
            error: format!("{n} {long}"),
            latency: None,
        };
        let mut draft = draft(&long, &[7; 2000]);
        draft.attempts = (0..20).map(attempt).collect();
        draft.payload = Payload::new(&[7; 2000], usize::MAX);
        let mut letter = Letter::new(LetterId::from_bits(1), draft, wall(9), 100);
        let kept: Vec<_> = letter
            .attempts
            .iter()
            .map(|a| a.at.as_unix_millis())
            .collect();
        assert_eq!(kept, [0, 13, 14, 15, 16, 17, 18, 19]);
        assert_eq!(
            (letter.attempts_total, letter.payload.bytes().len()),
            (20, 100)
        );
        assert_eq!(
            (letter.target.len(), letter.payload.length()),
            (TEXT_MAX, 2000)
        );
        assert!(letter.first_error.starts_with("0 é"));
        for n in 0..100 {
            letter.note(AuditEvent::new(wall(n), AuditKind::Inspected, &long, ""));
        }
        assert_eq!((letter.audit.len(), letter.audit_total), (AUDIT_MAX, 101));
        assert_eq!(letter.audit[0].kind, AuditKind::Created);
        assert_eq!(letter.audit[15].at, wall(99));
        assert!(letter.cost_bytes() < 32 * 1024);
    }

    #[test]
    fn words_are_unique_and_lead_back() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_word(reason.as_str()), Some(reason));
        }
        let words: std::collections::BTreeSet<_> = AuditKind::ALL.map(AuditKind::as_str).into();
        assert_eq!(words.len(), AuditKind::ALL.len());
        assert_eq!(Reason::from_word("nonsense"), None);
    }
}
