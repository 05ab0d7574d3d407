//! The box and what is not settled with the disk yet.
//!
//! Between the moment when a letter enters the box and the moment when the disk has it, others use
//! the box: they may even displace the newcomer. So the letters that made room for a newcomer are
//! kept here until the disk has answered; when it refused, the newcomer goes and they come back,
//! and the counts say what happened in the end, not what was tried.

use std::collections::{BTreeMap, BTreeSet};

use trunkline_engine::letters::{
    Change, Draft, Filter, Inserted, Letter, LetterBox, LetterCounts, LetterId, Record, RefusedWhy,
};
use trunkline_engine::rng::Rng;
use trunkline_engine::time::{Time, WallTime};

/// What the office's lock protects.
pub(super) struct Desk {
    pub(super) letters: LetterBox,
    rng: Rng,
    /// In the box, but not known to be on disk yet.
    newborn: BTreeSet<LetterId>,
    /// Made room for a newborn, and may come back.
    displaced: BTreeMap<LetterId, Box<Letter>>,
    undone: Undone,
}

/// What the box counted and then did not happen.
#[derive(Clone, Copy, Debug, Default)]
struct Undone {
    added: u64,
    restored: u64,
    discarded: u64,
    displaced: u64,
}

impl Desk {
    pub(super) fn new(letters: LetterBox, seed: u64) -> Self {
        Self {
            letters,
            rng: Rng::seeded(seed),
            newborn: BTreeSet::new(),
            displaced: BTreeMap::new(),
            undone: Undone::default(),
        }
    }

    /// Whether the disk has not answered yet for this letter.
    pub(super) fn is_unsettled(&self, id: LetterId) -> bool {
        self.newborn.contains(&id) || self.displaced.contains_key(&id)
    }

    /// Puts a letter into the box; [`Self::conclude`] must follow. Returns it and what made room.
    pub(super) fn insert(
        &mut self,
        draft: Draft,
        now: Time,
        wall: WallTime,
    ) -> Result<(LetterId, Vec<Change>), RefusedWhy> {
        let inserted = self.letters.insert(draft, now, wall, &mut self.rng);
        let Inserted { id, mut displaced } = inserted.map_err(|refused| refused.why)?;
        self.newborn.insert(id);
        for change in &mut displaced {
            let letter = change.gone.take();
            self.displaced
                .extend(letter.map(|letter| (change.id, letter)));
        }
        Ok((id, displaced))
    }

    /// The disk has answered for the newborn `id`, for which `victims` made room. Returns what is
    /// pushed out where letters come back and their place is taken.
    pub(super) fn conclude(
        &mut self,
        id: LetterId,
        is_safe: bool,
        victims: &[LetterId],
        now: Time,
        wall: WallTime,
    ) -> Vec<Change> {
        self.newborn.remove(&id);
        if !is_safe {
            self.take_back(id, wall);
        }
        let letters = victims.iter().filter_map(|id| self.displaced.remove(id));
        let letters: Vec<_> = letters.filter(|_| !is_safe).collect();
        let back = letters.into_iter().flat_map(|mut letter| {
            // It was never displaced, so its trail does not say so.
            if letter.audit.pop().is_some() {
                letter.audit_total = letter.audit_total.saturating_sub(1);
            }
            self.undone.restored += 1;
            self.undone.displaced += 1;
            self.letters.restore(Record::Letter(letter), now, wall)
        });
        back.collect()
    }

    /// The numbers, as if what was undone had never been tried.
    pub(super) fn counts(&self) -> LetterCounts {
        let (counts, undone) = (self.letters.counts(), self.undone);
        LetterCounts {
            added: counts.added - undone.added,
            restored: counts.restored - undone.restored,
            refused: counts.refused + undone.added,
            discarded: counts.discarded - undone.discarded,
            displaced: counts.displaced - undone.displaced,
            ..counts
        }
    }

    fn take_back(&mut self, id: LetterId, wall: WallTime) {
        let only = Filter {
            ids: BTreeSet::from([id]),
            ..Filter::default()
        };
        let undone = &mut self.undone;
        if !self.letters.purge(&only, "disk", wall).is_empty() {
            undone.added += 1;
            undone.discarded += 1;
        } else if self.displaced.remove(&id).is_some() {
            // It made room for another newborn, and must not come back when that one fails too.
            undone.added += 1;
            undone.displaced += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trunkline_engine::letters::{LetterPolicy, LetterState, Payload, Reason};

    const WALL: WallTime = WallTime::from_unix_millis(1_000);

    fn desk() -> Desk {
        let policy = LetterPolicy {
            count_max: 2,
            ..LetterPolicy::default()
        };
        Desk::new(LetterBox::new(policy).unwrap(), 1)
    }

    fn insert(desk: &mut Desk, target: &str) -> (LetterId, Vec<LetterId>) {
        let draft = Draft {
            parent: None,
            first_enqueued: WALL,
            system: "snmp.core".into(),
            target: target.into(),
            reason: Reason::Exhausted,
            attempts: Vec::new(),
            error: "full".into(),
            payload: Payload::new(b"x", 10),
        };
        let (id, victims) = desk.insert(draft, Time::ZERO, WALL).unwrap();
        (id, victims.iter().map(|change| change.id).collect())
    }

    fn safe(desk: &mut Desk, target: &str) -> LetterId {
        let (id, victims) = insert(desk, target);
        assert!(
            desk.conclude(id, true, &victims, Time::ZERO, WALL)
                .is_empty()
        );
        id
    }

    fn targets(desk: &Desk) -> Vec<String> {
        let page = desk.letters.list(&Filter::default(), None, 10);
        let targets = page.letters.iter();
        targets.map(|listed| listed.letter.target.clone()).collect()
    }

    fn check_books(desk: &Desk) {
        let c = desk.counts();
        let gone = c.redriven + c.discarded + c.expired + c.displaced;
        assert_eq!(c.added + c.restored, c.present + gone, "{c:?}");
    }

    #[test]
    fn what_made_room_for_a_failed_newcomer_comes_back_as_it_was() {
        let mut desk = desk();
        let first = safe(&mut desk, "a");
        safe(&mut desk, "b");
        let (id, victims) = insert(&mut desk, "c");
        assert_eq!(victims, [first]);
        assert!(desk.is_unsettled(id) && desk.is_unsettled(first));
        let pushed_out = desk.conclude(id, false, &victims, Time::ZERO, WALL);
        assert_eq!(
            (pushed_out, targets(&desk)),
            (vec![], vec!["a".into(), "b".into()])
        );
        assert_eq!(desk.letters.letter(first).unwrap().audit.len(), 1);
        assert_eq!(desk.letters.state(first), Some(LetterState::Waiting));
        let counts = desk.counts();
        assert_eq!((counts.added, counts.refused, counts.displaced), (2, 1, 0));
        assert!(!desk.is_unsettled(id) && !desk.is_unsettled(first));
        check_books(&desk);
    }

    #[test]
    fn newcomers_that_displace_each_other_end_right_whatever_the_disk_says() {
        for (first_safe, second_safe) in
            [(true, true), (true, false), (false, true), (false, false)]
        {
            for second_first in [true, false] {
                let mut desk = desk();
                safe(&mut desk, "old");
                let a = insert(&mut desk, "a");
                let b = insert(&mut desk, "b");
                let c = insert(&mut desk, "c");
                assert_eq!(c.1, [a.0], "c displaced a, of which nothing is known yet");
                let ends = [(&a, first_safe), (&c, second_safe)];
                for index in if second_first { [1, 0] } else { [0, 1] } {
                    let ((id, victims), is_safe) = ends[index];
                    desk.conclude(*id, is_safe, victims, Time::ZERO, WALL);
                    check_books(&desk);
                }
                desk.conclude(b.0, true, &b.1, Time::ZERO, WALL);
                check_books(&desk);
                let left = targets(&desk);
                assert_eq!(left.contains(&"c".to_owned()), second_safe, "{left:?}");
                let a_stays = first_safe && !second_safe;
                assert_eq!(left.contains(&"a".to_owned()), a_stays, "{left:?}");
                assert!(desk.displaced.is_empty() && desk.newborn.is_empty());
            }
        }
    }
}
