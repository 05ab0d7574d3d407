//! Changes on their way to the log.
//!
//! Whatever concerns a letter that is in the box is handed to the log under the box's lock, so the
//! log has it in the box's order. The end of a letter may come late: nothing follows it. When the
//! log is full, an event of a letter that is still here is written as the letter's present form,
//! which the log lets in beyond its bound because the older form becomes garbage.

use std::sync::atomic::Ordering;

use trunkline_engine::letters::{AuditEvent, AuditKind, Change, LetterError, LetterId};
use trunkline_engine::time::{Time, WallTime};

use super::desk::Desk;
use super::{Office, lock};
use crate::letters::{AppendError, Receipt};

/// Changes handed to the log at once; it takes a thousand.
const BATCH: usize = 128;
/// Letters written anew at once; they are larger.
const REWRITE_BATCH: usize = 16;

/// Why a letter could not be changed.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum ChangeError {
    #[error(transparent)]
    Letter(#[from] LetterError),
    #[error(transparent)]
    Log(#[from] AppendError),
}

impl Office {
    /// Changes a letter and waits until the disk has it.
    pub(super) fn change(
        &self,
        change: impl FnOnce(&mut Desk, Time, WallTime) -> Result<Change, LetterError>,
    ) -> Result<Change, ChangeError> {
        let (change, receipt) = {
            let mut desk = self.desk();
            let change = change(&mut desk, self.clock.now(), self.clock.wall())?;
            let receipt = self.log.append_event(change.id, &change.event);
            (change, receipt)
        };
        self.settle(&change, receipt)?;
        Ok(change)
    }

    /// Waits until the disk has a change; tries once more when the log is full.
    pub(super) fn settle(
        &self,
        change: &Change,
        receipt: Result<Receipt, AppendError>,
    ) -> Result<(), AppendError> {
        let mut written = receipt.and_then(Receipt::wait);
        if let Err(AppendError::Full { .. }) = written {
            self.compact();
            written = if change.gone.is_some() {
                let again = self.log.append_event(change.id, &change.event);
                again.and_then(Receipt::wait)
            } else {
                self.rewrite(change.id)
            };
        }
        written.inspect_err(|error| self.note_unwritten(1, error))
    }

    /// Writes that letters have left, and returns how many of these ends the disk refused.
    pub(super) fn write_gone(&self, changes: &[Change]) -> u64 {
        let mut unwritten = 0;
        for batch in changes.chunks(BATCH) {
            let receipts: Vec<_> = batch
                .iter()
                .map(|change| self.log.append_event(change.id, &change.event))
                .collect();
            let failed = receipts
                .into_iter()
                .filter_map(|receipt| receipt.and_then(Receipt::wait).err());
            let failed: Vec<_> = failed.collect();
            if let Some(error) = failed.first() {
                self.note_unwritten(failed.len() as u64, error);
            }
            unwritten += failed.len() as u64;
        }
        unwritten
    }

    /// Hands the present form of a letter to the log.
    pub(super) fn append_present(&self, desk: &Desk, id: LetterId) -> Result<Receipt, AppendError> {
        let letter = desk.letters.letter(id);
        // One that has left meanwhile needs no place in the log, and has none.
        let letter = letter.ok_or(AppendError::Closed)?;
        self.log.append_letter(letter)
    }

    /// Writes a letter as it is now.
    pub(super) fn rewrite(&self, id: LetterId) -> Result<(), AppendError> {
        let receipt = {
            let desk = self.desk();
            self.append_present(&desk, id)
        };
        receipt.and_then(Receipt::wait)
    }

    /// Frees old segments: the letters that keep them alive are written anew, until the log is less
    /// than half full or every segment has had its turn.
    pub(super) fn compact(&self) {
        let _one = lock(&self.compacting);
        for _ in 0..self.log.counts().segments {
            let Ok(pinned) = self.log.pinned().map(crate::letters::Pinned::wait) else {
                return;
            };
            if pinned.is_empty() || !self.free(&pinned) {
                return;
            }
        }
    }

    /// Writes these letters anew; false when that is no use now.
    fn free(&self, ids: &[LetterId]) -> bool {
        for batch in ids.chunks(REWRITE_BATCH) {
            let receipts: Vec<_> = {
                let desk = self.desk();
                let append = |id: &LetterId| self.free_one(&desk, *id);
                batch.iter().filter_map(append).collect()
            };
            let all = receipts.len() == batch.len();
            let mut written = receipts
                .into_iter()
                .map(|receipt| receipt.and_then(Receipt::wait).is_ok());
            if !written.all(|ok| ok) || !all {
                return false;
            }
        }
        true
    }

    fn free_one(&self, desk: &Desk, id: LetterId) -> Option<Result<Receipt, AppendError>> {
        if let Some(letter) = desk.letters.letter(id) {
            return Some(self.log.append_letter(letter));
        }
        if desk.is_unsettled(id) {
            return None;
        }
        // Its end was refused by the disk once.
        let event = AuditEvent {
            at: self.clock.wall(),
            kind: AuditKind::Discarded,
            actor: "log".to_owned(),
            note: "it had left the box before".to_owned(),
        };
        Some(self.log.append_event(id, &event))
    }

    fn note_unwritten(&self, changes: u64, error: &AppendError) {
        self.unwritten.fetch_add(changes, Ordering::Relaxed);
        tracing::warn!(changes, %error, "what happened to dead letters is not on disk");
    }
}
