//! The letters that a process holds, and what may be done with them.
//!
//! - Bounded by count, bytes and age. A letter for which there is no room displaces the oldest
//!   ones, or is refused with its draft returned: either way the caller gets what is lost and can
//!   count it. Letters that are being sent again are not displaced.
//! - Age counts from death, not from when the work was first taken in, and on the monotonic clock:
//!   a wall clock that jumps while the process runs expires nothing. Only a restart looks at it.
//! - A letter is marked redriven after the receiver acknowledged it, never when it is sent. One
//!   that was sent again `max_redrives` times in vain is quarantined: it stays, can be read, and
//!   is not sent again until a person releases it.
//! - A redrive that nobody settles ends by a lease as failed.
//!
//! The books: `added + restored = present + redriven + discarded + expired + displaced`; refused
//! drafts never were in the box.

use super::filter::{Filter, LetterState, Listed, Page};
use super::letter::{AuditEvent, AuditKind, Draft, Letter};
use super::policy::{LetterPolicy, OnFull, PolicyError};
use super::redrive::{Redrive, RedriveError, RedrivePlan};
use super::{LetterId, Record};
use crate::rng::Rng;
use crate::time::{Time, WallTime};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Something that happened to a letter, to be appended to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which letter.
    pub id: LetterId,
    /// What.
    pub event: AuditEvent,
    /// The letter itself, when it has left the box with it.
    pub gone: Option<Box<Letter>>,
}

/// A letter was added; [`LetterBox::letter`] has it for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inserted {
    /// Its id.
    pub id: LetterId,
    /// The letters that made room for it.
    pub displaced: Vec<Change>,
}

/// Why a draft was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusedWhy {
    /// The box is full and nothing may give way.
    #[error("the box of dead letters is full")]
    Full,
    /// It alone is larger than the box.
    #[error("the letter is larger than the whole box")]
    TooLarge,
}

/// A draft that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What would have been the letter.
    pub letter: Box<Letter>,
    /// Why.
    pub why: RefusedWhy,
}

/// Why something cannot be done with a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LetterError {
    /// It is not in the box (any more).
    #[error("there is no letter {0}")]
    Unknown(LetterId),
    /// It is being sent again at this moment.
    #[error("the letter {0} is being sent again at this moment")]
    Busy(LetterId),
    /// It is not being sent again.
    #[error("the letter {0} is not being sent again")]
    Idle(LetterId),
    /// It was sent again too often in vain.
    #[error("the letter {0} is quarantined; release it first")]
    Quarantined(LetterId),
    /// Its payload was cut or redacted.
    #[error("the letter {0} does not hold its whole content and cannot be sent again")]
    NotWhole(LetterId),
}

/// The numbers of a box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LetterCounts {
    /// Letters in the box.
    pub present: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Letters added since the start.
    pub added: u64,
    /// Letters that the log held at the start.
    pub restored: u64,
    /// Drafts refused.
    pub refused: u64,
    /// Letters sent again and acknowledged.
    pub redriven: u64,
    /// Letters thrown away by a person.
    pub discarded: u64,
    /// Letters thrown away for their age.
    pub expired: u64,
    /// Letters thrown away to make room.
    pub displaced: u64,
    /// Redrives in vain, lapsed ones included.
    pub redrives_failed: u64,
}

#[derive(Debug)]
struct Entry {
    letter: Box<Letter>,
    expires_at: Time,
    /// Set while it is being sent again.
    lease_until: Option<Time>,
    cost: usize,
}

/// The box. Its owner alone uses it.
#[derive(Debug)]
pub struct LetterBox {
    policy: LetterPolicy,
    entries: BTreeMap<LetterId, Entry>,
    /// Every end of an age, and of a lease.
    timers: BTreeSet<(Time, LetterId)>,
    last_id: LetterId,
    counts: LetterCounts,
}

impl LetterBox {
    /// An empty box.
    ///
    /// # Errors
    /// A bound makes no sense.
    pub fn new(policy: LetterPolicy) -> Result<Self, PolicyError> {
        policy.validate()?;
        Ok(Self {
            policy,
            entries: BTreeMap::new(),
            timers: BTreeSet::new(),
            last_id: LetterId::from_bits(0),
            counts: LetterCounts::default(),
        })
    }

    /// Adds a letter that died at this moment.
    ///
    /// # Errors
    /// There is no room, and nothing may give way.
    pub fn insert(
        &mut self,
        draft: Draft,
        now: Time,
        wall: WallTime,
        rng: &mut Rng,
    ) -> Result<Inserted, Refused> {
        let id = LetterId::after(self.last_id, wall, rng);
        let letter = Box::new(Letter::new(id, draft, wall, self.policy.payload_max));
        let victims = match self.room_for(letter.cost_bytes()) {
            Ok(victims) => victims,
            Err(why) => {
                self.counts.refused += 1;
                return Err(Refused { letter, why });
            }
        };
        let room = victims.into_iter();
        let displaced: Vec<_> = room
            .filter_map(|victim| self.end(victim, AuditKind::Displaced, "bounds", wall))
            .collect();
        self.counts.added += 1;
        self.admit(letter, now + self.policy.age_max);
        Ok(Inserted { id, displaced })
    }

    /// Takes a record of the log, in the log's order, at start. Returns what has no room under a
    /// policy that became tighter.
    pub fn restore(&mut self, record: Record, now: Time, wall: WallTime) -> Vec<Change> {
        match record {
            Record::Letter(letter) => self.restore_letter(letter, now, wall),
            Record::Event { id, event } if event.kind.is_final() => {
                if self.entries.contains_key(&id) {
                    // It left before the start, so it was never here.
                    self.counts.restored -= 1;
                    self.take(id);
                }
                Vec::new()
            }
            Record::Event { id, event } => {
                self.update(id, |entry| entry.letter.note(event));
                Vec::new()
            }
        }
    }

    /// The letter, without a trace in its audit trail.
    pub fn letter(&self, id: LetterId) -> Option<&Letter> {
        self.entries.get(&id).map(|entry| &*entry.letter)
    }

    /// The letter's state.
    pub fn state(&self, id: LetterId) -> Option<LetterState> {
        self.entries.get(&id).map(|entry| self.state_of(entry))
    }

    /// Notes that somebody looked at the letter's content; then [`Self::letter`] shows it.
    ///
    /// # Errors
    /// It is not in the box.
    pub fn inspect(
        &mut self,
        id: LetterId,
        actor: &str,
        wall: WallTime,
    ) -> Result<Change, LetterError> {
        self.note(id, AuditEvent::new(wall, AuditKind::Inspected, actor, ""))
    }

    /// The letters that match, the oldest first, at most `limit`, those after `after` only.
    pub fn list(&self, filter: &Filter, after: Option<LetterId>, limit: usize) -> Page<'_> {
        let mut found = self.matching(filter, after);
        let letters: Vec<_> = found.by_ref().take(limit).collect();
        let more = found.next().is_some();
        let next = letters
            .last()
            .filter(|_| more)
            .map(|listed| listed.letter.id);
        Page { letters, next }
    }

    /// Throws the letters that match away; those that are being sent again stay.
    pub fn purge(&mut self, filter: &Filter, actor: &str, wall: WallTime) -> Vec<Change> {
        let idle = |listed: &Listed<'_>| listed.state != LetterState::Redriving;
        let ids: Vec<_> = self
            .matching(filter, None)
            .filter(idle)
            .map(|listed| listed.letter.id)
            .collect();
        let discard = |id| self.end(id, AuditKind::Discarded, actor, wall);
        ids.into_iter().filter_map(discard).collect()
    }

    /// Sets the letter's redrives back to zero, which ends its quarantine.
    ///
    /// # Errors
    /// It is not in the box.
    pub fn release(
        &mut self,
        id: LetterId,
        actor: &str,
        wall: WallTime,
    ) -> Result<Change, LetterError> {
        self.note(id, AuditEvent::new(wall, AuditKind::Released, actor, ""))
    }

    /// A machine that sends the letters that match again.
    ///
    /// # Errors
    /// The plan makes no sense.
    pub fn plan_redrive(&self, plan: RedrivePlan, now: Time) -> Result<Redrive, RedriveError> {
        let may = |listed: &Listed<'_>| {
            listed.state == LetterState::Waiting && listed.letter.payload.is_whole()
        };
        let (ids, others): (Vec<_>, Vec<_>) = self.matching(&plan.filter, None).partition(may);
        let ids = ids.into_iter().map(|listed| listed.letter.id).collect();
        let unfit = others.len() as u64;
        Redrive::new(plan, ids, unfit, self.policy.lease, now)
    }

    /// The letter is about to be sent again. Append the change to the log *before* sending: a
    /// letter that kills the process must not do so for ever.
    ///
    /// # Errors
    /// It is unknown, being sent already, quarantined, or not whole.
    pub fn start_redrive(
        &mut self,
        id: LetterId,
        actor: &str,
        now: Time,
        wall: WallTime,
    ) -> Result<Change, LetterError> {
        match (self.state(id), self.letter(id)) {
            (Some(LetterState::Redriving), _) => return Err(LetterError::Busy(id)),
            (Some(LetterState::Quarantined), _) => return Err(LetterError::Quarantined(id)),
            (_, Some(letter)) if letter.payload.is_whole() => {}
            (_, Some(_)) => return Err(LetterError::NotWhole(id)),
            (_, None) => return Err(LetterError::Unknown(id)),
        }
        let until = now + self.policy.lease;
        self.update(id, |entry| entry.lease_until = Some(until));
        self.timers.insert((until, id));
        self.note(
            id,
            AuditEvent::new(wall, AuditKind::RedriveStarted, actor, ""),
        )
    }

    /// The letter was not sent after all (no room, an open breaker); the redrive does not count.
    ///
    /// # Errors
    /// It is unknown or not being sent again.
    pub fn abort_redrive(
        &mut self,
        id: LetterId,
        why: &str,
        actor: &str,
        wall: WallTime,
    ) -> Result<Change, LetterError> {
        self.settle(
            id,
            AuditEvent::new(wall, AuditKind::RedriveAborted, actor, why),
        )
    }

    /// The letter was sent again in vain.
    ///
    /// # Errors
    /// It is unknown or not being sent again.
    pub fn mark_failed(
        &mut self,
        id: LetterId,
        error: &str,
        actor: &str,
        wall: WallTime,
    ) -> Result<Change, LetterError> {
        let change = self.settle(
            id,
            AuditEvent::new(wall, AuditKind::RedriveFailed, actor, error),
        );
        self.counts.redrives_failed += u64::from(change.is_ok());
        change
    }

    /// The receiver has acknowledged the letter: it leaves the box. Late ones count too.
    ///
    /// # Errors
    /// It is unknown, or was never sent again.
    pub fn mark_redriven(
        &mut self,
        id: LetterId,
        actor: &str,
        wall: WallTime,
    ) -> Result<Change, LetterError> {
        let letter = self.letter(id).ok_or(LetterError::Unknown(id))?;
        if letter.redrives == 0 {
            return Err(LetterError::Idle(id));
        }
        self.end(id, AuditKind::Redriven, actor, wall)
            .ok_or(LetterError::Unknown(id))
    }

    /// Throws away what is too old and ends the redrives of which nothing was heard.
    pub fn expire(&mut self, now: Time, wall: WallTime) -> Vec<Change> {
        let mut changes = Vec::new();
        while let Some((at, id)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, id));
            let Some(entry) = self.entries.get(&id) else {
                continue;
            };
            if entry.lease_until.is_some_and(|until| until <= now) {
                changes.extend(self.mark_failed(id, "no news in time", "lease", wall));
            } else if entry.lease_until.is_some() {
                // Too old, but under way: it is looked at again when its lease ends.
                continue;
            }
            if self
                .entries
                .get(&id)
                .is_some_and(|entry| entry.expires_at <= now)
            {
                changes.extend(self.end(id, AuditKind::Expired, "retention", wall));
            }
        }
        changes
    }

    /// When [`Self::expire`] has something to do next.
    pub fn next_wakeup(&self) -> Option<Time> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The numbers.
    pub fn counts(&self) -> LetterCounts {
        LetterCounts {
            present: self.entries.len() as u64,
            ..self.counts
        }
    }

    fn restore_letter(&mut self, letter: Box<Letter>, now: Time, wall: WallTime) -> Vec<Change> {
        let age = wall
            .as_unix_millis()
            .saturating_sub(letter.dead_at.as_unix_millis());
        let left = self
            .policy
            .age_max
            .saturating_sub(Duration::from_millis(age));
        // Never two of one id, whatever the log says.
        if self.take(letter.id).is_none() {
            self.counts.restored += 1;
        }
        let id = letter.id;
        self.admit(letter, now + left);
        let mut displaced = Vec::new();
        while self.entries.len() > self.policy.count_max
            || self.counts.bytes > self.policy.bytes_max as u64
        {
            let oldest = self.entries.keys().next().copied().unwrap_or(id);
            displaced.extend(self.end(oldest, AuditKind::Displaced, "bounds", wall));
        }
        displaced
    }

    /// Which letters must give way for one of `cost` bytes.
    fn room_for(&self, cost: usize) -> Result<Vec<LetterId>, RefusedWhy> {
        let limit = self.policy.bytes_max as u64;
        if cost as u64 > limit {
            return Err(RefusedWhy::TooLarge);
        }
        let (mut count, mut bytes) = (self.entries.len() + 1, self.counts.bytes + cost as u64);
        let mut victims = Vec::new();
        let mut idle = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.lease_until.is_none());
        while count > self.policy.count_max || bytes > limit {
            let oldest = idle
                .next()
                .filter(|_| self.policy.on_full == OnFull::DropOldest);
            let (id, entry) = oldest.ok_or(RefusedWhy::Full)?;
            count -= 1;
            bytes -= entry.cost as u64;
            victims.push(*id);
        }
        Ok(victims)
    }

    fn admit(&mut self, letter: Box<Letter>, expires_at: Time) {
        let (id, cost) = (letter.id, letter.cost_bytes());
        self.last_id = self.last_id.max(id);
        self.counts.bytes += cost as u64;
        self.timers.insert((expires_at, id));
        let entry = Entry {
            letter,
            expires_at,
            lease_until: None,
            cost,
        };
        self.entries.insert(id, entry);
    }

    /// Takes a letter out of every table.
    fn take(&mut self, id: LetterId) -> Option<Box<Letter>> {
        let entry = self.entries.remove(&id)?;
        self.counts.bytes -= entry.cost as u64;
        self.timers.remove(&(entry.expires_at, id));
        if let Some(until) = entry.lease_until {
            self.timers.remove(&(until, id));
        }
        Some(entry.letter)
    }

    /// Ends a letter's stay.
    fn end(
        &mut self,
        id: LetterId,
        kind: AuditKind,
        actor: &str,
        wall: WallTime,
    ) -> Option<Change> {
        let mut letter = self.take(id)?;
        let counted = match kind {
            AuditKind::Redriven => &mut self.counts.redriven,
            AuditKind::Expired => &mut self.counts.expired,
            AuditKind::Displaced => &mut self.counts.displaced,
            _ => &mut self.counts.discarded,
        };
        *counted += 1;
        let event = AuditEvent::new(wall, kind, actor, "");
        letter.note(event.clone());
        let gone = Some(letter);
        Some(Change { id, event, gone })
    }

    /// Changes a letter and keeps the books on its size.
    fn update(&mut self, id: LetterId, change: impl FnOnce(&mut Entry)) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else {
            return false;
        };
        change(entry);
        let cost = entry.letter.cost_bytes();
        self.counts.bytes = self.counts.bytes - entry.cost as u64 + cost as u64;
        entry.cost = cost;
        true
    }

    fn note(&mut self, id: LetterId, event: AuditEvent) -> Result<Change, LetterError> {
        if !self.update(id, |entry| entry.letter.note(event.clone())) {
            return Err(LetterError::Unknown(id));
        }
        let gone = None;
        Ok(Change { id, event, gone })
    }

    /// Ends a redrive that leaves the letter here.
    fn settle(&mut self, id: LetterId, event: AuditEvent) -> Result<Change, LetterError> {
        let entry = self.entries.get_mut(&id).ok_or(LetterError::Unknown(id))?;
        let until = entry.lease_until.take().ok_or(LetterError::Idle(id))?;
        self.timers.remove(&(until, id));
        // Its age may have ended meanwhile, and that timer may be spent.
        self.timers.insert((entry.expires_at, id));
        self.note(id, event)
    }

    fn state_of(&self, entry: &Entry) -> LetterState {
        match entry.lease_until {
            Some(_) => LetterState::Redriving,
            None if entry.letter.redrives >= self.policy.redrives_max => LetterState::Quarantined,
            None => LetterState::Waiting,
        }
    }

    fn matching<'a>(
        &'a self,
        filter: &Filter,
        after: Option<LetterId>,
    ) -> impl Iterator<Item = Listed<'a>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let range = self
            .entries
            .range((after.map_or(Unbounded, Excluded), Unbounded));
        let listed = range.map(|(_, entry)| Listed {
            letter: &entry.letter,
            state: self.state_of(entry),
        });
        listed.filter(move |listed| filter.matches(listed.letter, listed.state))
    }
}

#[cfg(test)]
mod tests;
