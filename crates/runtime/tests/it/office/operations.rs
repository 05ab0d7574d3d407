//! What a person does with dead letters, through a registry.

use super::*;

#[test]
fn a_letter_under_way_does_not_give_way_and_a_restart_remembers_that() {
    let temp = TempDir::new();
    let policy = LetterPolicy {
        count_max: 2,
        ..LetterPolicy::default()
    };
    let office = open(temp.path(), policy);
    assert!(office.bury(draft("a", b"")) && office.bury(draft("b", b"")));
    let weak = Arc::downgrade(&office);
    receiver(&office, move |_| {
        let office = weak.upgrade().unwrap();
        assert!(office.bury(draft("c", b"")));
        Err("no".into())
    });
    let counter = Counter::new(&office);
    let input = json!({ "target": "a" });
    let report = counter.call("letters-redrive", input).unwrap();
    assert_eq!(report["errors"], json!({ "no": 1 }));
    let before = targets(&counter);
    assert_eq!(before, "ac");
    drop((counter, office));
    let office = open(temp.path(), policy);
    assert_eq!(targets(&Counter::new(&office)), before);
    let counts = check_books(&office);
    assert_eq!((counts.restored, counts.displaced), (2, 0));
}

#[test]
fn a_letter_leaves_when_its_receiver_acknowledged_it_and_stays_when_not() {
    let temp = TempDir::new();
    let office = open(temp.path(), LetterPolicy::default());
    receiver(&office, |letter| match &*letter.target {
        "bad" => Err("still no space".into()),
        _ => Ok(()),
    });
    for target in ["good", "bad"] {
        assert!(office.bury(draft(target, target.as_bytes())));
    }
    let counter = Counter::new(&office);
    let input = json!({ "per_second": 1000.0, "in_flight": 2 });
    let report = counter.call("letters-redrive", input).unwrap();
    assert_eq!(
        (
            &report["matched"],
            &report["sent"],
            &report["acked"],
            &report["failed"]
        ),
        (&json!(2), &json!(2), &json!(1), &json!(1)),
        "{report}"
    );
    assert_eq!(report["errors"], json!({ "still no space": 1 }));
    assert_eq!(check_books(&office).redriven, 1);
    let ids = counter.ids();
    assert_eq!(ids.len(), 1);
    let letter = counter.call("letter", json!({ "id": ids[0] })).unwrap();
    assert_eq!(letter["last_error"], "still no space");
    let trail: Vec<_> = letter["audit"].as_array().unwrap().iter().collect();
    let events: Vec<_> = trail
        .iter()
        .map(|line| line["event"].as_str().unwrap())
        .collect();
    assert_eq!(
        events,
        ["created", "redrive-started", "redrive-failed", "inspected"]
    );
    assert_eq!(trail[1]["actor"], "uid 1000 (socket)");
}

#[test]
fn what_was_sent_in_vain_three_times_waits_for_a_person() {
    let temp = TempDir::new();
    let office = open(temp.path(), LetterPolicy::default());
    let seen = receiver(&office, |_| Err("still no space".into()));
    assert!(office.bury(draft("bad", b"")));
    let counter = Counter::new(&office);
    let (ids, input) = (counter.ids(), json!({ "per_second": 1000.0 }));
    for failed in [1, 1, 1, 0] {
        let report = counter.call("letters-redrive", input.clone()).unwrap();
        assert_eq!(report["failed"], failed, "{report}");
        let left_out = if failed == 0 {
            json!({ "quarantined": 1 })
        } else {
            json!({})
        };
        assert_eq!(report["left_out"], left_out);
    }
    assert_eq!(seen.lock().unwrap().len(), 3);
    drop((counter, office));
    let office = open(temp.path(), LetterPolicy::default());
    let counter = Counter::new(&office);
    let list = counter
        .call("letters", json!({ "state": "quarantined" }))
        .unwrap();
    assert_eq!(list["total"], 1, "also after a restart");
    receiver(&office, |_| Ok(()));
    let released = counter
        .call("letters-release", json!({ "ids": ids }))
        .unwrap();
    assert_eq!(
        (&released["released"], &released["unwritten"]),
        (&json!(1), &json!(0))
    );
    let report = counter.call("letters-redrive", input).unwrap();
    assert_eq!(
        (&report["acked"], &report["left_out"]),
        (&json!(1), &json!({}))
    );
    assert_eq!(counter.ids().len(), 0);
    check_books(&office);
    drop((counter, office));
    let office = open(temp.path(), LetterPolicy::default());
    assert_eq!(office.counts().letters.present, 0);
}

#[test]
fn a_dry_run_sends_nothing_and_changes_nothing() {
    let temp = TempDir::new();
    let office = open(temp.path(), LetterPolicy::default());
    let seen = receiver(&office, |_| Ok(()));
    assert!(office.bury(draft("a", b"1")) && office.bury(draft("b", b"2")));
    let strange = Draft {
        system: "tap.main".into(),
        ..draft("c", b"3")
    };
    let cut = Draft {
        payload: Payload::new(b"cut off", 3),
        ..draft("d", b"")
    };
    assert!(office.bury(strange) && office.bury(cut));
    let (before, counter) = (office.counts(), Counter::new(&office));
    let ids = counter.ids();
    let report = counter
        .call("letters-redrive", json!({ "dry_run": true }))
        .unwrap();
    assert_eq!(
        (&report["matched"], &report["would_send"]),
        (&json!(4), &json!(2))
    );
    assert_eq!(report["letters"], json!(ids[..2]));
    assert_eq!(
        report["left_out"],
        json!({ "no-way-back": 1, "not-whole": 1 })
    );
    assert_eq!((&report["sent"], office.counts()), (&json!(0), before));
    assert_eq!(seen.lock().unwrap().len(), 0);
    let report = counter
        .call("letters-redrive", json!({ "target": "c" }))
        .unwrap();
    assert_eq!(
        (&report["matched"], &report["sent"]),
        (&json!(1), &json!(0))
    );
}

#[test]
fn the_rate_and_the_letters_under_way_are_limited() {
    let temp = TempDir::new();
    let office = open(temp.path(), LetterPolicy::default());
    let (busy, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, most) = (busy.clone(), peak.clone());
    receiver(&office, move |_| {
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        now.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    });
    for _ in 0..12 {
        assert!(office.bury(draft("a", b"")));
    }
    let counter = Counter::new(&office);
    let input = json!({ "per_second": 1e6, "in_flight": 3 });
    let report = counter.call("letters-redrive", input).unwrap();
    assert_eq!(
        (&report["acked"], peak.load(Ordering::SeqCst)),
        (&json!(12), 3)
    );
    for _ in 0..5 {
        assert!(office.bury(draft("a", b"")));
    }
    let start = Instant::now();
    let report = counter
        .call("letters-redrive", json!({ "per_second": 20.0 }))
        .unwrap();
    assert_eq!(report["acked"], 5);
    // The first goes at once, and up to 50 ms may be caught up.
    assert!(
        start.elapsed() >= Duration::from_millis(150),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_stuck_receiver_costs_the_deadline_and_no_more() {
    let temp = TempDir::new();
    let office = open(temp.path(), LetterPolicy::default());
    let (open_gate, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    receiver(&office, move |_| {
        gate.lock().unwrap().recv().ok();
        Ok(())
    });
    for _ in 0..3 {
        assert!(office.bury(draft("a", b"")));
    }
    let counter = Counter::new(&office);
    let input = json!({ "per_second": 1000.0, "in_flight": 1 });
    let timeout = Some(Duration::from_millis(400));
    let report = counter
        .call_within("letters-redrive", input, timeout)
        .unwrap();
    assert_eq!(
        (
            &report["on_their_way"],
            &report["not_reached"],
            &report["acked"]
        ),
        (&json!(1), &json!(2), &json!(0)),
        "{report}"
    );
    let purged = counter
        .call("letters-purge", json!({ "all": true }))
        .unwrap();
    assert_eq!((&purged["purged"], &purged["busy"]), (&json!(2), &json!(1)));
    drop(open_gate);
    let patience = Instant::now() + Duration::from_secs(10);
    while office.counts().letters.redriven == 0 {
        assert!(
            Instant::now() < patience,
            "its late end is noted: {office:?}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(check_books(&office).present, 0);
}

#[test]
fn a_receiver_that_panics_fails_its_letter_only() {
    let temp = TempDir::new();
    let office = open(temp.path(), LetterPolicy::default());
    receiver(&office, |letter| match &*letter.target {
        "poison" => panic!("poisoned"),
        _ => Ok(()),
    });
    assert!(office.bury(draft("poison", b"")) && office.bury(draft("fine", b"")));
    let counter = Counter::new(&office);
    let report = counter
        .call("letters-redrive", json!({ "per_second": 1e3 }))
        .unwrap();
    assert_eq!(
        (&report["acked"], &report["failed"]),
        (&json!(1), &json!(1))
    );
    check_books(&office);
}

#[test]
fn lists_are_filtered_and_come_in_pages() {
    let temp = TempDir::new();
    let office = open(temp.path(), LetterPolicy::default());
    for n in 0..5 {
        let mut draft = draft(&format!("t{n}"), b"");
        if n % 2 == 1 {
            (draft.reason, draft.system) = (Reason::Rejected, "i3.gateway".into());
        }
        assert!(office.bury(draft));
    }
    let counter = Counter::new(&office);
    let (mut after, mut ids) = (Value::Null, Vec::new());
    loop {
        let input = json!({ "limit": 2, "after": after });
        let page = counter.call("letters", input).unwrap();
        assert_eq!(page["total"], 5);
        let letters = page["letters"].as_object().unwrap();
        assert!(letters.len() <= 2);
        ids.extend(letters.keys().cloned());
        match &page["next"] {
            Value::Null => break,
            next => after = next.clone(),
        }
    }
    assert_eq!(ids, counter.ids());
    let cases = [
        (json!({ "system": "snmp" }), 3),
        (json!({ "system": "snmp.core", "target": "t2" }), 1),
        (json!({ "reason": "rejected" }), 2),
        (json!({ "state": "waiting" }), 5),
        (json!({ "state": "quarantined" }), 0),
        (json!({ "error": "no space" }), 5),
        (json!({ "since_ms": u64::MAX }), 0),
        (json!({ "before_ms": 5 }), 0),
        (json!({ "ids": [ids[3]] }), 1),
    ];
    for (input, total) in cases {
        let page = counter.call("letters", input.clone()).unwrap();
        assert_eq!(page["total"], total, "{input}");
    }
    let bad = [
        json!({ "reason": "tired" }),
        json!({ "state": "dead" }),
        json!({ "ids": ["x"] }),
        json!({ "systm": "snmp" }),
    ];
    for input in bad {
        let error = counter.call("letters", input.clone()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::BadInput, "{input}");
    }
}

#[test]
fn throwing_away_needs_a_condition_and_is_for_good() {
    let temp = TempDir::new();
    let office = open(temp.path(), LetterPolicy::default());
    for target in ["a", "b", "b"] {
        assert!(office.bury(draft(target, b"")));
    }
    let counter = Counter::new(&office);
    for input in [
        json!({}),
        json!({ "ids": [] }),
        json!({ "all": true, "target": "b" }),
    ] {
        let error = counter.call("letters-purge", input).unwrap_err();
        assert_eq!(error.kind, ErrorKind::BadInput);
    }
    let purged = counter
        .call("letters-purge", json!({ "target": "b" }))
        .unwrap();
    assert_eq!(purged, json!({ "purged": 2, "busy": 0, "unwritten": 0 }));
    let purged = counter
        .call("letters-purge", json!({ "target": "b" }))
        .unwrap();
    assert_eq!(
        purged["purged"], 0,
        "a condition that nothing fits means nothing, not all"
    );
    let left = crash_image(temp.path());
    let after = open(left.path(), LetterPolicy::default());
    assert_eq!(Counter::new(&after).ids(), counter.ids());
    assert_eq!(check_books(&office).discarded, 2);
}

#[test]
fn a_letter_shows_everything_and_an_unknown_one_is_not_found() {
    let temp = TempDir::new();
    let office = open(temp.path(), LetterPolicy::default());
    assert!(office.bury(draft("a", b"{\"line\": 1}")));
    let counter = Counter::new(&office);
    let id = counter.ids().remove(0);
    let letter = counter
        .call("letter", json!({ "id": id, "payload_bytes": 7 }))
        .unwrap();
    assert_eq!(
        (&letter["payload"]["text"], &letter["payload"]["bytes"]),
        (&json!("{\"line\""), &json!(11))
    );
    assert_eq!(
        letter["attempts"],
        json!([{ "at_ms": 2000, "target": "a", "error": "no space left", "latency_us": 3000 }])
    );
    assert_eq!(letter["first_enqueued_ms"], 1_000);
    let unknown = json!({ "id": "00000000000000000000000001" });
    let error = counter.call("letter", unknown).unwrap_err();
    assert_eq!((error.kind, error.code), (ErrorKind::NotFound, "T0610"));
}

#[test]
fn bounds_that_make_no_sense_are_refused() {
    let temp = TempDir::new();
    let policy = LetterPolicy {
        count_max: 0,
        ..LetterPolicy::default()
    };
    let refused = Office::open(temp.path(), policy, Clock::start());
    assert!(matches!(refused, Err(OfficeError::Policy(_))));
    let file = temp.path().join("file");
    fs::write(&file, b"").unwrap();
    let refused = Office::open(&file.join("dir"), LetterPolicy::default(), Clock::start());
    assert!(matches!(refused, Err(OfficeError::Directory { .. })));
    let office = open(&temp.path().join("good"), LetterPolicy::default());
    let counter = Counter::new(&office);
    for input in [
        json!({ "per_second": 0.0 }),
        json!({ "in_flight": 0 }),
        json!({ "in_flight": 65 }),
    ] {
        let error = counter.call("letters-redrive", input).unwrap_err();
        assert_eq!(error.kind, ErrorKind::BadInput);
    }
}
