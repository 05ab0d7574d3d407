//! Letters as JSON: the answers of the office's operations.
//!
//! Field names are an interface. Times are milliseconds of Unix time; what is not known is left
//! out. A payload is text only where a terminal can bear it, and hex otherwise.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use trunkline_engine::letters::{Attempt, AuditEvent, Letter, LetterState, Listed, Page, Payload};

use super::redrive::RunReport;

/// Letters, the oldest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Letters {
    /// How many match, shown or not.
    total: usize,
    /// Each by its id; ids sort by the time of death.
    letters: BTreeMap<String, LetterLine>,
    /// Pass it as `after` to see what follows; left out at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A letter in a list.
#[derive(Debug, Serialize, JsonSchema)]
struct LetterLine {
    /// `waiting`, `redriving` or `quarantined`.
    state: &'static str,
    /// Kind and name of its system.
    system: String,
    /// Where it should have gone.
    target: String,
    /// Why it did not, in a word.
    reason: &'static str,
    /// When the work was taken in first.
    first_enqueued_ms: u64,
    /// When it died.
    dead_at_ms: u64,
    /// How often delivery was tried before.
    attempts_total: u32,
    /// How often it was sent again since it was created or released.
    redrives: u32,
    /// The last error.
    last_error: String,
    /// Bytes of the whole content.
    payload_bytes: u64,
}

/// One letter with everything.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct LetterSheet {
    /// Its id.
    id: String,
    /// The letter whose redrive it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    /// `waiting`, `redriving` or `quarantined`.
    state: &'static str,
    /// Kind and name of its system.
    system: String,
    /// Where it should have gone.
    target: String,
    /// Why it did not, in a word.
    reason: &'static str,
    /// When the work was taken in first.
    first_enqueued_ms: u64,
    /// When it died.
    dead_at_ms: u64,
    /// The first error.
    first_error: String,
    /// The last error.
    last_error: String,
    /// How often delivery was tried.
    attempts_total: u32,
    /// The first attempt and the last seven.
    attempts: Vec<AttemptLine>,
    /// How often it was sent again since it was created or released.
    redrives: u32,
    /// How many events its trail has had.
    audit_total: u32,
    /// The first event and the last fifteen.
    audit: Vec<AuditLine>,
    /// Its content.
    payload: PayloadSheet,
}

/// One try to deliver.
#[derive(Debug, Serialize, JsonSchema)]
struct AttemptLine {
    /// When it ended.
    at_ms: u64,
    /// Where to.
    target: String,
    /// What went wrong.
    error: String,
    /// How long it took, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_us: Option<u64>,
}

/// One line of a letter's audit trail.
#[derive(Debug, Serialize, JsonSchema)]
struct AuditLine {
    /// When.
    at_ms: u64,
    /// What, in a word.
    event: &'static str,
    /// Who.
    actor: String,
    /// More words.
    #[serde(skip_serializing_if = "String::is_empty")]
    note: String,
}

/// A letter's content.
#[derive(Debug, Serialize, JsonSchema)]
struct PayloadSheet {
    /// Bytes of the whole original.
    bytes: u64,
    /// Bytes that are kept.
    kept_bytes: usize,
    /// Bytes that are shown here.
    shown_bytes: usize,
    /// Whether the whole original is kept, as redriving needs it.
    whole: bool,
    /// Whether secrets were taken out.
    redacted: bool,
    /// FNV-1a (128 bits) of the whole original, in hex: equal for equal contents.
    hash: String,
    /// The content, when it is printable text.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// The content in hex, when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
}

/// What a redrive did. `matched = acked + failed + on_their_way + not_reached + would_send` and
/// all of `left_out`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RedriveSheet {
    /// Whether nothing was sent because only a list was wanted.
    dry_run: bool,
    /// Letters that match the filter.
    matched: u64,
    /// Letters handed to their receivers.
    sent: u64,
    /// Letters that their receivers acknowledged; they have left.
    acked: u64,
    /// Letters that were sent in vain; they stay.
    failed: u64,
    /// Letters sent of which nothing was heard before the deadline of this call.
    on_their_way: u64,
    /// Letters whose turn did not come before the deadline of this call.
    not_reached: u64,
    /// Letters that a redrive would send; 0 unless it is a dry run.
    would_send: u64,
    /// The first of these, at most 100.
    letters: Vec<String>,
    /// Letters that match and were not sent, by the reason: `quarantined`, `redriving`,
    /// `not-whole`, `no-way-back`, `being-written`, `gone`.
    left_out: BTreeMap<&'static str, u64>,
    /// Failures by their words, at most 16 different ones and `others`.
    errors: BTreeMap<String, u64>,
}

impl Letters {
    pub(super) fn new(page: &Page<'_>, total: usize) -> Self {
        let lines = page.letters.iter();
        Self {
            total,
            letters: lines.map(line).collect(),
            next: page.next.map(|id| id.to_string()),
        }
    }
}

impl LetterSheet {
    /// The letter with up to `payload_max` bytes of its content.
    pub(super) fn new(letter: &Letter, state: LetterState, payload_max: usize) -> Self {
        Self {
            id: letter.id.to_string(),
            parent: letter.parent.map(|id| id.to_string()),
            state: state.as_str(),
            system: letter.system.clone(),
            target: letter.target.clone(),
            reason: letter.reason.as_str(),
            first_enqueued_ms: letter.first_enqueued.as_unix_millis(),
            dead_at_ms: letter.dead_at.as_unix_millis(),
            first_error: letter.first_error.clone(),
            last_error: letter.last_error.clone(),
            attempts_total: letter.attempts_total,
            attempts: letter.attempts.iter().map(attempt_line).collect(),
            redrives: letter.redrives,
            audit_total: letter.audit_total,
            audit: letter.audit.iter().map(audit_line).collect(),
            payload: payload_sheet(&letter.payload, payload_max),
        }
    }
}

impl RedriveSheet {
    pub(super) fn new(report: RunReport, dry_run: bool) -> Self {
        let (progress, mut left_out) = (report.progress, report.left_out);
        let matched = progress.matched + left_out.values().sum::<u64>();
        if progress.gone > 0 {
            left_out.insert("gone", progress.gone);
        }
        let (would_send, not_reached) = match dry_run {
            true => (progress.waiting, 0),
            false => (0, progress.waiting + progress.cancelled),
        };
        let names = report.waiting.iter().filter(|_| dry_run);
        Self {
            dry_run,
            matched,
            sent: report.sent,
            acked: progress.acked,
            failed: progress.failed,
            on_their_way: progress.in_flight,
            not_reached,
            would_send,
            letters: names.map(ToString::to_string).collect(),
            left_out,
            errors: report.errors,
        }
    }
}

fn line(listed: &Listed<'_>) -> (String, LetterLine) {
    let letter = listed.letter;
    let line = LetterLine {
        state: listed.state.as_str(),
        system: letter.system.clone(),
        target: letter.target.clone(),
        reason: letter.reason.as_str(),
        first_enqueued_ms: letter.first_enqueued.as_unix_millis(),
        dead_at_ms: letter.dead_at.as_unix_millis(),
        attempts_total: letter.attempts_total,
        redrives: letter.redrives,
        last_error: letter.last_error.clone(),
        payload_bytes: letter.payload.length(),
    };
    (letter.id.to_string(), line)
}

fn attempt_line(attempt: &Attempt) -> AttemptLine {
    let micros = |span: std::time::Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    AttemptLine {
        at_ms: attempt.at.as_unix_millis(),
        target: attempt.target.clone(),
        error: attempt.error.clone(),
        latency_us: attempt.latency.map(micros),
    }
}

fn audit_line(event: &AuditEvent) -> AuditLine {
    AuditLine {
        at_ms: event.at.as_unix_millis(),
        event: event.kind.as_str(),
        actor: event.actor.clone(),
        note: event.note.clone(),
    }
}

fn payload_sheet(payload: &Payload, max: usize) -> PayloadSheet {
    let kept = payload.bytes();
    let shown = &kept[..kept.len().min(max)];
    let (text, hex) = match printable(shown) {
        Some(text) => (Some(text.to_owned()), None),
        None => (None, Some(hex(shown))),
    };
    PayloadSheet {
        bytes: payload.length(),
        kept_bytes: kept.len(),
        shown_bytes: shown.len(),
        whole: payload.is_whole(),
        redacted: payload.is_redacted(),
        hash: format!("{:032x}", payload.hash()),
        text,
        hex,
    }
}

fn printable(bytes: &[u8]) -> Option<&str> {
    let bad = |c: char| c.is_control() && !matches!(c, '\n' | '\t' | '\r');
    std::str::from_utf8(bytes)
        .ok()
        .filter(|text| !text.contains(bad))
}

fn hex(bytes: &[u8]) -> String {
    let digit = |n: u8| char::from_digit(u32::from(n), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_text_where_a_terminal_can_bear_it_and_never_longer_than_asked() {
        let cases: [(&str, usize, _, _); 5] = [
            ("plain\n", 100, Some("plain\n"), None),
            ("caf\u{e9}", 100, Some("café"), None),
            // Cut inside a character it is no text any more.
            ("caf\u{e9}", 4, None, Some("636166c3")),
            ("\x1b[2J", 100, None, Some("1b5b324a")),
            ("0123456789", 4, Some("0123"), None),
        ];
        for (bytes, max, text, hex) in cases {
            let sheet = payload_sheet(&Payload::new(bytes.as_bytes(), 100), max);
            assert_eq!((sheet.text.as_deref(), sheet.hex.as_deref()), (text, hex));
            assert_eq!(sheet.shown_bytes, bytes.len().min(max));
            assert!(sheet.whole && sheet.hash.len() == 32);
        }
    }
}
