//! The box under every policy, every order of events, and through a restart.

use super::*;
use crate::letters::letter::tests::{draft, wall};
use crate::letters::{Payload, Reason, decode, encode_event, encode_letter};
use crate::rng::Rng;
use proptest::prelude::*;

fn at(seconds: u64) -> Time {
    Time::from_millis(seconds * 1000)
}

fn policy() -> LetterPolicy {
    LetterPolicy {
        count_max: 3,
        ..LetterPolicy::default()
    }
}

struct Desk {
    letters: LetterBox,
    rng: Rng,
}

impl Desk {
    fn new(policy: LetterPolicy) -> Self {
        Self {
            letters: LetterBox::new(policy).unwrap(),
            rng: Rng::seeded(3),
        }
    }

    fn insert(&mut self, draft: Draft, seconds: u64) -> Result<Inserted, Refused> {
        self.letters
            .insert(draft, at(seconds), wall(seconds * 1000), &mut self.rng)
    }

    fn add(&mut self, target: &str, seconds: u64) -> LetterId {
        self.insert(draft(target, b"content"), seconds).unwrap().id
    }

    fn targets(&self, filter: &Filter) -> Vec<&str> {
        let page = self.letters.list(filter, None, usize::MAX);
        page.letters
            .iter()
            .map(|listed| &*listed.letter.target)
            .collect()
    }
}

fn kinds(changes: &[Change]) -> Vec<(LetterId, AuditKind)> {
    changes
        .iter()
        .map(|change| (change.id, change.event.kind))
        .collect()
}

#[test]
fn the_oldest_give_way_and_come_back() {
    let mut desk = Desk::new(policy());
    let first = desk.add("a", 1);
    desk.add("b", 2);
    desk.add("c", 3);
    let inserted = desk.insert(draft("d", b""), 4).unwrap();
    assert_eq!(kinds(&inserted.displaced), [(first, AuditKind::Displaced)]);
    let gone = inserted.displaced[0].gone.as_deref().unwrap();
    assert_eq!((&*gone.target, gone.audit.len()), ("a", 2));
    assert_eq!(desk.targets(&Filter::default()), ["b", "c", "d"]);
}

#[test]
fn bytes_are_bounded_and_one_letter_too_large_displaces_nothing() {
    let large = LetterPolicy {
        bytes_max: 64 << 10,
        payload_max: 1 << 20,
        ..LetterPolicy::default()
    };
    let mut desk = Desk::new(large);
    let with = |size: usize| Draft {
        payload: Payload::new(&vec![1; size], usize::MAX),
        ..draft("t", b"")
    };
    for second in 0..10 {
        desk.insert(with(15_000), second).unwrap();
        assert!(desk.letters.counts().bytes <= 64 << 10);
    }
    assert_eq!(
        (
            desk.letters.counts().present,
            desk.letters.counts().displaced
        ),
        (4, 6)
    );
    let refused = desk.insert(with(70_000), 10).unwrap_err();
    assert_eq!(
        (refused.why, refused.letter.payload.length()),
        (RefusedWhy::TooLarge, 70_000)
    );
    assert_eq!(desk.letters.counts().present, 4);
}

#[test]
fn a_box_that_rejects_keeps_what_it_has() {
    let mut desk = Desk::new(LetterPolicy {
        on_full: OnFull::Reject,
        ..policy()
    });
    ["a", "b", "c"]
        .iter()
        .for_each(|target| drop(desk.add(target, 1).to_string()));
    let refused = desk.insert(draft("d", b""), 2).unwrap_err();
    assert_eq!(
        (refused.why, &*refused.letter.target),
        (RefusedWhy::Full, "d")
    );
    assert_eq!(
        (desk.letters.counts().refused, desk.letters.counts().present),
        (1, 3)
    );
}

#[test]
fn letters_under_way_do_not_give_way() {
    let mut desk = Desk::new(policy());
    let ids = ["a", "b", "c"].map(|target| desk.add(target, 1));
    desk.letters
        .start_redrive(ids[0], "me", at(1), wall(1))
        .unwrap();
    desk.insert(draft("d", b""), 2).unwrap();
    assert_eq!(desk.targets(&Filter::default()), ["a", "c", "d"]);
    for id in [ids[2], desk.letters.last_id] {
        desk.letters
            .start_redrive(id, "me", at(2), wall(2))
            .unwrap();
    }
    assert_eq!(
        desk.insert(draft("e", b""), 3).unwrap_err().why,
        RefusedWhy::Full
    );
}

#[test]
fn age_counts_from_death_on_the_monotonic_clock() {
    let mut desk = Desk::new(LetterPolicy {
        age_max: Duration::from_secs(100),
        ..policy()
    });
    let first = desk.add("a", 10);
    desk.add("b", 50);
    assert_eq!(desk.letters.next_wakeup(), Some(at(110)));
    assert!(
        desk.letters.expire(at(109), wall(u64::MAX)).is_empty(),
        "whatever the wall says"
    );
    let changes = desk.letters.expire(at(110), wall(0));
    assert_eq!(kinds(&changes), [(first, AuditKind::Expired)]);
    assert_eq!(desk.letters.next_wakeup(), Some(at(150)));
}

#[test]
fn a_redriven_letter_leaves_only_with_its_acknowledgement() {
    let mut desk = Desk::new(policy());
    let id = desk.add("a", 1);
    assert_eq!(
        desk.letters.mark_redriven(id, "me", wall(1)),
        Err(LetterError::Idle(id))
    );
    desk.letters
        .start_redrive(id, "me", at(1), wall(1))
        .unwrap();
    assert_eq!(desk.letters.state(id), Some(LetterState::Redriving));
    let again = desk.letters.start_redrive(id, "me", at(1), wall(1));
    assert_eq!(again, Err(LetterError::Busy(id)));
    assert!(desk.letters.letter(id).is_some(), "sent is not delivered");
    let change = desk.letters.mark_redriven(id, "me", wall(2)).unwrap();
    assert_eq!(
        (change.event.kind, change.gone.is_some()),
        (AuditKind::Redriven, true)
    );
    assert_eq!(
        desk.letters.mark_redriven(id, "me", wall(2)),
        Err(LetterError::Unknown(id))
    );
    assert_eq!(desk.letters.next_wakeup(), None, "no timer is left behind");
}

#[test]
fn a_letter_that_fails_too_often_is_quarantined_until_released() {
    let mut desk = Desk::new(policy());
    let id = desk.add("a", 1);
    for n in 1..=3 {
        desk.letters
            .start_redrive(id, "me", at(n), wall(n))
            .unwrap();
        desk.letters
            .abort_redrive(id, "breaker open", "me", wall(n))
            .unwrap();
        desk.letters
            .start_redrive(id, "me", at(n), wall(n))
            .unwrap();
        desk.letters
            .mark_failed(id, &format!("try {n}"), "me", wall(n))
            .unwrap();
    }
    assert_eq!(desk.letters.state(id), Some(LetterState::Quarantined));
    assert_eq!(desk.letters.letter(id).unwrap().last_error, "try 3");
    let refused = desk.letters.start_redrive(id, "me", at(9), wall(9));
    assert_eq!(refused, Err(LetterError::Quarantined(id)));
    desk.letters.release(id, "me", wall(10)).unwrap();
    assert!(
        desk.letters
            .start_redrive(id, "me", at(10), wall(10))
            .is_ok()
    );
    assert_eq!(desk.letters.counts().redrives_failed, 3);
}

#[test]
fn a_lost_redrive_ends_by_its_lease_and_a_late_acknowledgement_still_counts() {
    let mut desk = Desk::new(policy());
    let id = desk.add("a", 1);
    desk.letters
        .start_redrive(id, "me", at(1), wall(1))
        .unwrap();
    assert_eq!(desk.letters.next_wakeup(), Some(at(61)));
    let changes = desk.letters.expire(at(61), wall(61));
    assert_eq!(kinds(&changes), [(id, AuditKind::RedriveFailed)]);
    assert_eq!(desk.letters.state(id), Some(LetterState::Waiting));
    let late = desk.letters.mark_failed(id, "late", "me", wall(62));
    assert_eq!(late, Err(LetterError::Idle(id)));
    assert!(desk.letters.mark_redriven(id, "me", wall(62)).is_ok());
}

#[test]
fn a_letter_that_grows_old_under_way_expires_when_it_is_back() {
    let mut desk = Desk::new(LetterPolicy {
        age_max: Duration::from_secs(10),
        ..policy()
    });
    let id = desk.add("a", 0);
    desk.letters
        .start_redrive(id, "me", at(5), wall(5))
        .unwrap();
    assert!(desk.letters.expire(at(20), wall(20)).is_empty());
    desk.letters.mark_failed(id, "no", "me", wall(21)).unwrap();
    assert_eq!(
        kinds(&desk.letters.expire(at(21), wall(21))),
        [(id, AuditKind::Expired)]
    );
    let id = desk.add("b", 30);
    desk.letters
        .start_redrive(id, "me", at(31), wall(31))
        .unwrap();
    let changes = kinds(&desk.letters.expire(at(91), wall(91)));
    assert_eq!(
        changes,
        [(id, AuditKind::RedriveFailed), (id, AuditKind::Expired)]
    );
    assert_eq!(desk.letters.next_wakeup(), None);
}

#[test]
fn what_is_not_whole_is_never_sent() {
    let mut desk = Desk::new(policy());
    let secret = Draft {
        payload: Payload::redacted(b"***", b"key", 10),
        ..draft("a", b"")
    };
    let id = desk.insert(secret, 1).unwrap().id;
    let refused = desk.letters.start_redrive(id, "me", at(1), wall(1));
    assert_eq!(refused, Err(LetterError::NotWhole(id)));
    let redrive = desk
        .letters
        .plan_redrive(RedrivePlan::default(), at(1))
        .unwrap();
    assert_eq!(
        (redrive.progress().matched, redrive.progress().unfit),
        (0, 1)
    );
}

#[test]
fn filters_choose() {
    let mut desk = Desk::new(LetterPolicy::default());
    for second in 0..5 {
        let system = if second < 2 {
            "snmp.core"
        } else {
            "snmpx.core"
        };
        let reason = if second == 4 {
            Reason::NoRoute
        } else {
            Reason::Exhausted
        };
        let made = Draft {
            system: system.into(),
            reason,
            error: format!("error {second}"),
            ..draft(&second.to_string(), b"")
        };
        desk.insert(made, second).unwrap();
    }
    let some = |text: &str| Some(text.to_owned());
    let second = desk.letters.entries.keys().nth(1).copied().unwrap();
    type Restrict<'a> = &'a dyn Fn(&mut Filter);
    let cases: [(Restrict<'_>, Vec<&str>); 9] = [
        (&|_| {}, vec!["0", "1", "2", "3", "4"]),
        (&|f| f.system = some("snmp"), vec!["0", "1"]),
        (&|f| f.system = some("snmpx.core"), vec!["2", "3", "4"]),
        (&|f| f.target = some("3"), vec!["3"]),
        (&|f| f.reason = Some(Reason::NoRoute), vec!["4"]),
        (&|f| f.error = some("ror 2"), vec!["2"]),
        (&|f| f.ids = [second].into(), vec!["1"]),
        (&|f| f.state = Some(LetterState::Quarantined), vec![]),
        (
            &|f| (f.dead_since, f.dead_before) = (Some(wall(1000)), Some(wall(3000))),
            vec!["1", "2"],
        ),
    ];
    for (restrict, expected) in cases {
        let mut filter = Filter::default();
        restrict(&mut filter);
        assert_eq!(desk.targets(&filter), expected, "{filter:?}");
    }
}

#[test]
fn pages_follow_each_other() {
    let mut desk = Desk::new(LetterPolicy::default());
    for second in 0..5 {
        desk.add("t", second);
    }
    let (filter, mut after, mut seen) = (Filter::default(), None, Vec::new());
    loop {
        let page = desk.letters.list(&filter, after, 2);
        seen.push(page.letters.len());
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, [2, 2, 1]);
}

#[test]
fn purging_leaves_what_is_under_way_and_says_what_went() {
    let mut desk = Desk::new(policy());
    let ids = ["a", "b", "c"].map(|target| desk.add(target, 1));
    desk.letters
        .start_redrive(ids[1], "me", at(1), wall(1))
        .unwrap();
    let changes = desk.letters.purge(&Filter::default(), "uid 0", wall(2));
    let discarded = [ids[0], ids[2]].map(|id| (id, AuditKind::Discarded));
    assert_eq!(kinds(&changes), discarded);
    assert_eq!(changes[0].event.actor, "uid 0");
    assert_eq!(desk.targets(&Filter::default()), ["b"]);
    let change = desk.letters.inspect(ids[1], "uid 0", wall(3)).unwrap();
    assert_eq!(
        (change.event.kind, change.gone),
        (AuditKind::Inspected, None)
    );
    assert!(desk.letters.inspect(ids[0], "uid 0", wall(3)).is_err());
}

#[test]
fn policies_that_make_no_sense_are_refused() {
    let base = LetterPolicy::default;
    let cases = [
        (
            LetterPolicy {
                count_max: 0,
                ..base()
            },
            PolicyError::Count,
        ),
        (
            LetterPolicy {
                bytes_max: 1,
                ..base()
            },
            PolicyError::Bytes,
        ),
        (
            LetterPolicy {
                payload_max: usize::MAX,
                ..base()
            },
            PolicyError::Payload,
        ),
        (
            LetterPolicy {
                age_max: Duration::ZERO,
                ..base()
            },
            PolicyError::Span,
        ),
        (
            LetterPolicy {
                lease: Duration::ZERO,
                ..base()
            },
            PolicyError::Span,
        ),
    ];
    for (policy, expected) in cases {
        assert_eq!(LetterBox::new(policy).err(), Some(expected));
    }
}

/// A log in memory: what the box said, record by record.
#[derive(Default)]
struct Log(Vec<Vec<u8>>);

impl Log {
    fn letter(&mut self, letter: &Letter) {
        let mut record = Vec::new();
        encode_letter(letter, &mut record);
        self.0.push(record);
    }

    fn changes<'a>(&mut self, changes: impl IntoIterator<Item = &'a Change>) {
        for change in changes {
            let mut record = Vec::new();
            encode_event(change.id, &change.event, &mut record);
            self.0.push(record);
        }
    }

    fn replay(&self, policy: LetterPolicy, seconds: u64) -> LetterBox {
        let mut letters = LetterBox::new(policy).unwrap();
        for record in &self.0 {
            letters.restore(decode(record).unwrap(), at(0), wall(seconds * 1000));
        }
        letters
    }
}

fn content(letters: &LetterBox) -> Vec<Letter> {
    letters
        .entries
        .values()
        .map(|entry| (*entry.letter).clone())
        .collect()
}

#[test]
fn a_restart_counts_the_age_that_passed_and_respects_tighter_bounds() {
    let mut desk = Desk::new(LetterPolicy::default());
    let mut log = Log::default();
    for second in 1..=3 {
        let id = desk.add("a", second);
        log.letter(desk.letters.letter(id).unwrap());
    }
    let tight = LetterPolicy {
        count_max: 2,
        age_max: Duration::from_secs(100),
        ..policy()
    };
    let letters = log.replay(tight, 62);
    let counts = letters.counts();
    assert_eq!(
        (counts.restored, counts.displaced, counts.present),
        (3, 1, 2)
    );
    assert_eq!(
        letters.next_wakeup(),
        Some(at(40)),
        "60 s of its 100 s passed before the start"
    );
    assert_eq!(
        log.replay(tight, 0).next_wakeup(),
        Some(at(100)),
        "a wall clock in the past"
    );
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn the_books_balance_and_the_log_rebuilds_the_box(
        steps in proptest::collection::vec((0u8..10, 0usize..6, 0u64..30), 1..80),
        reject: bool,
    ) {
        let policy = LetterPolicy {
            age_max: Duration::from_secs(200),
            on_full: if reject { OnFull::Reject } else { OnFull::DropOldest },
            redrives_max: 2,
            lease: Duration::from_secs(40),
            ..policy()
        };
        let mut desk = Desk::new(policy);
        let (mut log, mut seconds) = (Log::default(), 0);
        for (step, pick, wait) in steps {
            seconds += wait;
            let (now, date) = (at(seconds), wall(seconds * 1000));
            let id = desk.letters.entries.keys().nth(pick).copied();
            let id = id.unwrap_or(LetterId::from_bits(7));
            let letters = &mut desk.letters;
            let change = match step {
                0..=2 => {
                    if let Ok(inserted) = desk.insert(draft("t", &[0; 9]), seconds) {
                        log.changes(&inserted.displaced);
                        log.letter(desk.letters.letter(inserted.id).unwrap());
                    }
                    continue;
                }
                3 => letters.start_redrive(id, "me", now, date),
                4 => letters.mark_failed(id, "no", "me", date),
                5 => letters.mark_redriven(id, "me", date),
                6 => letters.abort_redrive(id, "full", "me", date),
                7 => letters.inspect(id, "me", date),
                8 => letters.release(id, "me", date),
                _ => {
                    log.changes(&letters.expire(now, date));
                    continue;
                }
            };
            log.changes(&change);
            let counts = desk.letters.counts();
            let gone = counts.redriven + counts.discarded + counts.expired + counts.displaced;
            prop_assert_eq!(counts.added + counts.restored, counts.present + gone);
            prop_assert!(counts.present <= 3);
            let bytes: usize = desk.letters.entries.values().map(|e| e.letter.cost_bytes()).sum();
            prop_assert_eq!(counts.bytes, bytes as u64);
            let timers = desk.letters.timers.len() as u64;
            prop_assert!(timers <= 2 * counts.present, "timers never pile up");
        }
        let rebuilt = log.replay(policy, seconds);
        prop_assert_eq!(content(&rebuilt), content(&desk.letters));
        prop_assert_eq!(rebuilt.counts().restored, desk.letters.counts().present);
    }
}
