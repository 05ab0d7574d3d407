//! The way down, by request; signals are in `child.rs`, in a process of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use trunkline_engine::shutdown::{AddError, Forced, HookOutcome, Phase, Plan, Report};
use trunkline_runtime::clock::Clock;
use trunkline_runtime::shutdown::{Part, ShutdownHandle, Signals};

#[derive(Default)]
struct Work {
    left: AtomicU64,
    overdue: AtomicU64,
}

impl Part for Work {
    fn in_flight(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    fn overdue(&self) {
        self.overdue.fetch_add(1, Ordering::Relaxed);
        self.left.store(0, Ordering::Relaxed);
    }
}

fn plan() -> Plan {
    let second = Duration::from_secs(5);
    Plan {
        drain: second,
        closing: second,
        cleanup: second,
        force: 3 * second,
    }
}

async fn run(handle: &ShutdownHandle) -> Report {
    handle.run(&mut Signals::take().unwrap(), || ()).await
}

#[tokio::test]
async fn an_idle_process_stops_at_once_and_in_order() {
    let handle = ShutdownHandle::new(Clock::start(), plan());
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    for phase in [Phase::Cleanup, Phase::Draining, Phase::Closing] {
        let (order, handle_then) = (order.clone(), handle.clone());
        let hook = move |_| async move {
            assert_eq!(handle_then.phase(), phase);
            order.lock().unwrap().push(phase);
            Ok(())
        };
        handle.add_hook(phase.as_str(), phase, hook).unwrap();
    }
    let mut watch = handle.watch();
    handle.request();
    let start = Instant::now();
    let report = run(&handle).await;
    assert!(report.is_clean(), "{report:?}");
    assert!(start.elapsed() < Duration::from_secs(2), "{report:?}");
    assert_eq!(
        *order.lock().unwrap(),
        [Phase::Draining, Phase::Closing, Phase::Cleanup]
    );
    assert_eq!(*watch.borrow_and_update(), Phase::Terminated);
    assert!(matches!(
        handle.add_hook("late", Phase::Closing, |_| async { Ok(()) }),
        Err(AddError::ShuttingDown)
    ));
}

#[tokio::test]
async fn the_process_waits_for_work_in_flight_and_no_longer() {
    let handle = ShutdownHandle::new(Clock::start(), plan());
    let work = Arc::new(Work::default());
    work.left.store(3, Ordering::Relaxed);
    let _part = handle.add_part("snmp.core", None, work.clone()).unwrap();
    let ended = tokio::spawn({
        let work = work.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            work.left.store(0, Ordering::Relaxed);
            Instant::now()
        }
    });
    handle.request();
    let report = run(&handle).await;
    let after = ended.await.unwrap().elapsed();
    assert!(
        report.is_clean() && report.total >= Duration::from_millis(90),
        "{report:?}"
    );
    assert!(
        after < Duration::from_secs(1),
        "{after:?} after the last unit of work"
    );
    assert_eq!(work.overdue.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_part_past_its_budget_is_told_and_reported() {
    let handle = ShutdownHandle::new(Clock::start(), plan());
    let [slow, longer, gone] = std::array::from_fn(|_| Arc::new(Work::default()));
    slow.left.store(7, Ordering::Relaxed);
    longer.left.store(8, Ordering::Relaxed);
    gone.left.store(9, Ordering::Relaxed);
    let budget = |ms| Some(Duration::from_millis(ms));
    let _slow = handle.add_part("slow", budget(30), slow.clone()).unwrap();
    // The longest budget ends with the phase itself.
    let _longer = handle
        .add_part("longer", budget(60), longer.clone())
        .unwrap();
    drop(handle.add_part("gone", None, gone.clone()).unwrap());
    handle.request();
    let report = run(&handle).await;
    let told = [&slow, &longer, &gone].map(|work| work.overdue.load(Ordering::Relaxed));
    assert_eq!(told, [1, 1, 0]);
    let left: Vec<_> = report
        .leftovers
        .iter()
        .map(|l| (&*l.part, l.left))
        .collect();
    assert_eq!(left, [("slow", 7), ("longer", 8)]);
    assert!(report.total < Duration::from_secs(2), "{report:?}");
}

#[tokio::test]
async fn hooks_that_fail_or_panic_or_hang_are_recorded_and_a_second_request_forces() {
    let handle = ShutdownHandle::new(Clock::start(), plan());
    handle
        .add_hook("fails", Phase::Draining, |_| async {
            Err("no disk".into())
        })
        .unwrap();
    handle
        .add_hook("panics", Phase::Draining, |_| async {
            panic!("as the test wants")
        })
        .unwrap();
    handle
        .add_hook("hangs", Phase::Draining, |_| async {
            std::future::pending::<()>().await;
            Ok(())
        })
        .unwrap();
    handle.request();
    let second = tokio::spawn({
        let handle = handle.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            handle.request();
        }
    });
    let report = run(&handle).await;
    second.await.unwrap();
    assert_eq!(report.forced, Some(Forced::Signal));
    let outcome = |name: &str| {
        let hook = report.hooks.iter().find(|hook| &*hook.name == name);
        hook.unwrap().outcome.clone()
    };
    assert_eq!(outcome("fails"), HookOutcome::Failed("no disk".into()));
    assert!(matches!(outcome("panics"), HookOutcome::Failed(why) if why.contains("panic")));
    assert_eq!(outcome("hangs"), HookOutcome::TimedOut);
}
