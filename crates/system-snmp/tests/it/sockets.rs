//! On real loopback sockets: threads, restarts, reloads, and the calls that wait.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use trunkline_engine::datagram::{RxBatch, TxBatch, TxMeta};
use trunkline_engine::router::Strategy;
use trunkline_engine::time::Time;
use trunkline_runtime::clock::Clock;
use trunkline_runtime::doorbell::Doorbell;
use trunkline_runtime::udp::{
    Driver, Machine, SendFailure, SocketSpec, Sockets, Turn, Unreachable,
};
use trunkline_sim::snmp::{Fleet, FleetSpec};
use trunkline_system_snmp::{
    Ask, Completion, Event, Exchange, Inbox, JobOptions, Method, Priority, Request, SnmpConfig,
    SnmpError, System, SystemPlan, TargetId, TargetSpec, WalkEnd, WalkItem, WalkSpec, Wire,
    WirePlan,
};
use trunkline_wire_snmp::Version;

use crate::rig::{fleet, get, oid, policy};

/// Simulated agents on a real socket, until dropped.
struct Agents {
    first: SocketAddr,
    stop: Arc<Mutex<bool>>,
    bell: Doorbell,
    thread: Option<JoinHandle<()>>,
}

struct Answering {
    fleet: Fleet,
    replies: TxBatch,
    waiting: VecDeque<(TxMeta, Vec<u8>)>,
    stop: Arc<Mutex<bool>>,
}

impl Machine for Answering {
    fn receive(&mut self, now: Time, rx: &RxBatch) {
        self.fleet.handle_batch(now, rx, &mut self.replies);
        let reply = |(meta, bytes): (&TxMeta, &[u8])| (meta.clone(), bytes.to_vec());
        self.waiting.extend(self.replies.iter().map(reply));
        self.replies.clear();
    }

    fn turn(&mut self, _now: Time) -> Turn {
        if *self.stop.lock().unwrap() {
            Turn::Stop
        } else {
            Turn::Continue
        }
    }

    fn fill(&mut self, now: Time, tx: &mut TxBatch) {
        while !tx.is_full()
            && let Some((meta, bytes)) = self.waiting.pop_front()
        {
            tx.push(meta.to, meta.from, meta.socket, &bytes);
        }
        if !tx.is_full() {
            self.fleet.flush(now, tx);
        }
    }

    fn next_wakeup(&self) -> Option<Time> {
        self.fleet.next_wakeup()
    }

    fn unsent(&mut self, _: Time, _: u64, _: SocketAddr, _: SendFailure) {}
    fn unreachable(&mut self, _: Time, _: SocketAddr, _: Unreachable) {}
    fn overflow(&mut self, _: u16, _: u32) {}
}

impl Agents {
    fn start(count: u32, change: impl FnOnce(&mut FleetSpec)) -> Self {
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let spec = SocketSpec {
            pktinfo: true,
            rcvbuf: 4 << 20,
            ..SocketSpec::new(any)
        };
        let sockets = Sockets::open(&[spec]).unwrap();
        let port = sockets.local_addr(0).unwrap().port();
        let fleet = fleet(count, |spec| {
            spec.port = port;
            change(spec);
        });
        let first = fleet.address(0);
        let stop = Arc::new(Mutex::new(false));
        let (replies, waiting) = (TxBatch::new(256), VecDeque::new());
        let machine = Answering {
            fleet,
            replies,
            waiting,
            stop: stop.clone(),
        };
        let bell = Doorbell::new().unwrap();
        let driver = Driver::new(Clock::start(), sockets, machine, bell.clone()).unwrap();
        let thread = std::thread::spawn(move || drop(driver.run().unwrap()));
        Self {
            first,
            stop,
            bell,
            thread: Some(thread),
        }
    }

    fn address(&self, agent: u32) -> SocketAddr {
        let std::net::IpAddr::V4(ip) = self.first.ip() else {
            unreachable!()
        };
        SocketAddr::from((Ipv4Addr::from_bits(ip.to_bits() + agent), self.first.port()))
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        *self.stop.lock().unwrap() = true;
        self.bell.ring();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn wire(shards: u16) -> (Wire, Clock) {
    let clock = Clock::start();
    let plan = WirePlan {
        shards,
        ..WirePlan::default()
    };
    (
        Wire::start(&plan, clock, &(Arc::new(|_: &_| ()) as _)).unwrap(),
        clock,
    )
}

fn target(wire: &Wire, addr: SocketAddr) -> TargetId {
    let spec = TargetSpec {
        addr,
        version: Version::V2c,
        community: Arc::from(*b"public"),
        source: Default::default(),
        policy: Arc::new(policy()),
        egress: 0,
    };
    wire.client().add_target(spec).unwrap()
}

fn options(deadline: Time) -> JobOptions {
    JobOptions {
        deadline,
        priority: Priority::Normal,
    }
}

/// Waits until `done` says so; fails after 20 s, far beyond what anything here takes.
fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn collect(inbox: &Inbox, count: usize) -> Vec<Completion> {
    let mut all = Vec::new();
    eventually("all completions", || {
        inbox.wait_all(Duration::from_millis(50), &mut all);
        all.iter()
            .filter(|completion| completion.event.is_last())
            .count()
            >= count
    });
    all
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn one_value_and_one_walk_are_awaited() {
    let agents = Agents::start(2, |_| ());
    let (wire, _) = wire(1);
    let id = target(&wire, agents.address(1));
    let Ask::Exchange(exchange) = get("1.3.6.1.2.1.1.3.0") else {
        unreachable!()
    };
    runtime().block_on(async {
        let reply = wire
            .client()
            .ask(id, exchange, options(Time::MAX))
            .await
            .unwrap();
        assert_eq!(
            (reply.from, reply.status, reply.attempts),
            (agents.address(1), 0, 1)
        );
        assert_eq!(reply.varbinds().count(), 1);
        let spec = WalkSpec::new(oid("1.3.6.1.2.1.2.2.1.2"), Method::Bulk(20));
        let mut walk = wire.client().walk(id, spec, options(Time::MAX));
        let mut rows = 0;
        while let Some(item) = walk.next().await {
            match item {
                WalkItem::Page(reply) => rows += reply.varbinds().count(),
                WalkItem::End(end) => assert!(matches!(end, WalkEnd::Complete { rows: 48, .. })),
            }
        }
        assert_eq!(rows, 48);
    });
    wire.stop();
}

#[test]
fn a_batch_brings_every_members_answer() {
    let agents = Agents::start(200, |_| ());
    let (wire, _) = wire(2);
    let inbox = Inbox::new();
    let request = |token: u64| Request {
        target: target(&wire, agents.address(token as u32)),
        ask: get("1.3.6.1.2.1.1.3.0"),
        options: options(Time::MAX),
        token,
    };
    wire.client().submit_batch((0..200).map(request), &inbox);
    let mut tokens: Vec<u64> = collect(&inbox, 200)
        .iter()
        .inspect(|completion| assert!(matches!(completion.event, Event::Reply(_))))
        .map(|completion| completion.token)
        .collect();
    tokens.sort_unstable();
    assert_eq!(tokens, (0..200).collect::<Vec<_>>());
    let homes = (0..200)
        .filter(|n| wire.client().home(agents.address(*n)) == 0)
        .count();
    assert!(
        (60..140).contains(&homes),
        "{homes} of 200 targets live on shard 0"
    );
    eventually("the books close", || {
        let balance = wire.client().balance();
        balance.delivered == 200 && balance.imbalance() == 0
    });
    wire.stop();
}

#[test]
fn a_closed_port_fails_fast_and_charges_nobody_else() {
    let agents = Agents::start(100, |_| ());
    let (wire, _) = wire(1);
    let closed: SocketAddr = "127.99.0.1:1".parse().unwrap();
    let inbox = Inbox::new();
    let mut requests = Vec::new();
    for token in 0..101u64 {
        let addr = if token == 50 {
            closed
        } else {
            agents.address(token as u32 % 100)
        };
        requests.push(Request {
            target: target(&wire, addr),
            ask: get("1.3.6.1.2.1.1.3.0"),
            options: options(Time::MAX),
            token,
        });
    }
    wire.client().submit_batch(requests, &inbox);
    for completion in collect(&inbox, 101) {
        let fine = match completion.event {
            Event::Failed(SnmpError::Unreachable { .. }) => completion.token == 50,
            Event::Reply(_) => completion.token != 50,
            _ => false,
        };
        assert!(fine, "{completion:?}");
    }
    let figures = wire.client().stats()[0].read();
    assert_eq!((figures.timeouts, figures.retransmits), (0, 0));
    wire.stop();
}

#[test]
fn a_killed_shard_is_restarted_and_every_request_ends() {
    let agents = Agents::start(50, |spec| {
        let slow = trunkline_sim::snmp::DeviceFault::Slow(Duration::from_millis(300));
        spec.faults = trunkline_sim::snmp::FaultPlan::all(slow);
    });
    let (wire, _) = wire(1);
    let targets: Vec<_> = (0..50).map(|n| target(&wire, agents.address(n))).collect();
    let inbox = Inbox::new();
    let requests = |from: u64| {
        let one = move |(index, target): (usize, &TargetId)| Request {
            target: *target,
            ask: get("1.3.6.1.2.1.1.3.0"),
            options: options(Time::MAX),
            token: from + index as u64,
        };
        targets.iter().enumerate().map(one).collect::<Vec<_>>()
    };
    wire.client().submit_batch(requests(0), &inbox);
    eventually("requests are on the wire", || {
        wire.client().stats()[0].read().sent >= 50
    });
    let killed = Instant::now();
    wire.client().kill_shard(0);
    let ends = collect(&inbox, 50);
    assert!(
        ends.iter()
            .all(|c| matches!(c.event, Event::Failed(SnmpError::ShardDied)))
    );
    wire.client().submit_batch(requests(100), &inbox);
    let ends = collect(&inbox, 50);
    assert!(
        ends.iter().all(|c| matches!(c.event, Event::Reply(_))),
        "{ends:?}"
    );
    // A second for the restart, the slow agents' 300 ms, and a busy machine's slack.
    assert!(
        killed.elapsed() < Duration::from_secs(5),
        "{:?}",
        killed.elapsed()
    );
    assert_eq!(wire.deaths(), 1);
    eventually("the books carry over", || {
        let balance = wire.client().balance();
        balance.submitted == 100
            && balance.delivered == 50
            && balance.dropped.total() == 50
            && balance.imbalance() == 0
    });
    wire.stop();
}

fn config(agents: &Agents, count: u32, more: &str) -> SnmpConfig {
    let text = format!(
        "shards = 1\n{more}\n[target.sim]\naddress = \"{}+{count}\"\n\
         [job.up]\ninterval = \"100ms\"\nget = [\"1.3.6.1.2.1.1.3.0\"]\n",
        agents.first
    );
    toml::from_str(&text).unwrap()
}

fn system(config: &SnmpConfig) -> System {
    let plan = SystemPlan::new("core", config).unwrap();
    let nobody: trunkline_system_snmp::Undertaker = Arc::new(|_, _, _| false);
    System::start(plan, Clock::start(), &nobody, &(Arc::new(|_: &_| ()) as _)).unwrap()
}

#[test]
fn more_targets_than_a_door_holds_commands_are_taken_on_and_let_go() {
    let agents = Agents::start(1, |_| ());
    let many = config(&agents, 10_000, "");
    let system = system(&many);
    assert_eq!(system.client().targets().len(), 10_000);
    let few = config(&agents, 1, "");
    let report = system
        .reload(SystemPlan::new("core", &few).unwrap())
        .unwrap();
    assert_eq!(
        report.removed, 10_000,
        "a single target has a name without a number"
    );
    assert_eq!(system.client().targets().len(), 1);
    let (requests, _) = system.stop(Duration::MAX);
    assert_eq!(
        (requests.imbalance(), requests.in_flight, requests.leaked),
        (0, 0, 0)
    );
}

#[test]
fn a_system_polls_writes_lines_and_closes_with_balanced_books() {
    let agents = Agents::start(10, |_| ());
    let dir = std::env::temp_dir().join(format!("trunkline-lines-{}", std::process::id()));
    let sink = format!(
        "[sink.jsonl.out]\npath = \"{}\"\n[sink.metrics.m]\n",
        dir.display()
    );
    let system = system(&config(&agents, 10, &sink));
    eventually("fifty runs", || system.poller().complete >= 50);
    eventually("samples", || {
        let mut seen = 0;
        system.samples()[0].for_each(|_, _, _| seen += 1);
        seen == 10
    });
    system.drain();
    eventually("idle", || system.is_idle());
    let polled = system.poller().complete;
    let (requests, results) = system.stop(Duration::MAX);
    for balance in [requests, results] {
        assert_eq!(
            (balance.imbalance(), balance.in_flight, balance.leaked),
            (0, 0, 0)
        );
    }
    let lines = std::fs::read_to_string(&dir).unwrap();
    std::fs::remove_file(&dir).unwrap();
    assert_eq!(lines.lines().count() as u64, polled);
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(first["outcome"], "complete");
    assert_eq!(first["values"][0]["type"], "timeticks");
}

#[test]
fn a_reload_keeps_what_did_not_change() {
    let agents = Agents::start(10, |_| ());
    let system = system(&config(&agents, 5, ""));
    let kept = system.target("sim-0").unwrap().id.unwrap();
    system.client().drain_target(kept, true).unwrap();
    let report =
        system.reload(SystemPlan::new("core", &config(&agents, 8, "sockets = 2")).unwrap());
    let report = report.unwrap();
    assert_eq!((report.kept, report.added, report.removed), (5, 3, 0));
    assert_eq!(report.restart, ["sockets"]);
    assert!(
        system.client().target(kept).unwrap().drained,
        "an operator's decision stays"
    );
    eventually("the new ones are polled", || {
        let id = system.target("sim-7").unwrap().id.unwrap();
        system.client().target(id).unwrap().figures.replies > 0
    });
    let report = system
        .reload(SystemPlan::new("core", &config(&agents, 2, "")).unwrap())
        .unwrap();
    assert_eq!((report.kept, report.removed), (2, 6));
    assert!(system.target("sim-7").is_none());
    let (requests, results) = system.stop(Duration::MAX);
    assert_eq!((requests.imbalance(), results.imbalance()), (0, 0));
}

#[test]
fn a_killed_poller_goes_on_polling() {
    let agents = Agents::start(3, |_| ());
    let system = system(&config(&agents, 3, ""));
    eventually("runs", || system.poller().complete >= 3);
    system.kill_poller();
    eventually("the death is noticed", || system.deaths() == 1);
    let before = system.poller().complete;
    eventually("runs again", || system.poller().complete >= before + 9);
    let (requests, results) = system.stop(Duration::MAX);
    assert_eq!((requests.imbalance(), results.imbalance()), (0, 0));
}

#[test]
fn strategies_are_swapped_under_load_and_nothing_is_lost() {
    let agents = Agents::start(50, |_| ());
    let engines = "[engine.a]\nbind = \"127.0.0.21\"\n[engine.b]\nbind = \"127.0.0.22\"\n\
                   weight = 3\n[engine.c]\nbind = \"127.0.0.23\"\n";
    let mut config = config(&agents, 50, engines);
    config.job.values_mut().for_each(|job| {
        job.interval = trunkline_config::Duration::from_millis(20);
        // What is lost is looked for here, not what a busy machine delays.
        job.deadline = Some(trunkline_config::Duration::from_secs(5));
    });
    let system = system(&config);
    let router = system.client().guards()[0].router().clone();
    for round in 0..40 {
        router.set_strategy(Strategy::ALL[round % Strategy::ALL.len()]);
        std::thread::sleep(Duration::from_millis(10));
    }
    eventually("a thousand runs", || system.poller().complete >= 1000);
    let members = router.members(system.clock().now());
    assert!(
        members.iter().all(|member| member.started > 50),
        "{members:?}"
    );
    let figures = system.poller();
    assert_eq!((figures.failed, figures.partial), (0, 0));
    let (requests, _) = system.stop(Duration::MAX);
    assert_eq!(
        (requests.imbalance(), requests.failed, requests.rejected),
        (0, 0, 0)
    );
}

#[test]
fn operators_decisions_survive_a_restart() {
    let agents = Agents::start(3, |_| ());
    let config = config(&agents, 3, "[engine.a]\n[engine.b]\n");
    let first = system(&config);
    first
        .client()
        .drain_target(first.target("sim-1").unwrap().id.unwrap(), true)
        .unwrap();
    let forced = first.target("sim-2").unwrap().id.unwrap();
    first
        .client()
        .force_breaker(forced, trunkline_engine::breaker::Forced::Open)
        .unwrap();
    let router = first.client().guards()[0].router().clone();
    router.drain(router.find("b").unwrap()).unwrap();
    eventually("the breaker is forced", || {
        !first.operator_state().breakers.is_empty()
    });
    let state = first.operator_state();
    first.stop(Duration::MAX);
    let text = serde_json::to_string(&state).unwrap();
    let second = system(&config);
    second.restore_operator_state(&serde_json::from_str(&text).unwrap());
    eventually("the state is back", || second.operator_state() == state);
    second.stop(Duration::MAX);
}

#[test]
fn an_exchange_that_does_not_fit_a_datagram_is_refused_with_its_reason() {
    let (wire, _) = wire(1);
    let id = target(&wire, "127.0.0.1:9".parse().unwrap());
    let exchange = Exchange::get(vec![0x30; 3000].into());
    let error = runtime().block_on(wire.client().ask(id, exchange, options(Time::MAX)));
    assert_eq!(error.unwrap_err(), SnmpError::TooLarge);
    wire.stop();
}

#[test]
fn a_reload_that_cannot_be_taken_changes_nothing() {
    let agents = Agents::start(10, |_| ());
    let small = "max_targets = 8\n";
    let system = system(&config(&agents, 5, small));
    let first = system.target("sim-0").unwrap().id;
    for _ in 0..5 {
        let plan = SystemPlan::new("core", &config(&agents, 10, small)).unwrap();
        assert!(
            system
                .reload(plan)
                .unwrap_err()
                .to_string()
                .contains("max_targets")
        );
    }
    assert_eq!(
        (system.targets().len(), system.target("sim-0").unwrap().id),
        (5, first)
    );
    let plan = SystemPlan::new("core", &config(&agents, 7, small)).unwrap();
    assert_eq!(
        system.reload(plan).unwrap().added,
        2,
        "the refused ones left no trace"
    );
    system.stop(Duration::MAX);
}

#[test]
fn a_target_that_is_asked_in_another_way_keeps_what_an_operator_decided() {
    let agents = Agents::start(3, |_| ());
    let system = system(&config(&agents, 3, ""));
    let drained = system.target("sim-1").unwrap().id.unwrap();
    system.client().drain_target(drained, true).unwrap();
    let changed = config(&agents, 3, "timeout = \"2s\"\n");
    let report = system
        .reload(SystemPlan::new("core", &changed).unwrap())
        .unwrap();
    assert_eq!((report.kept, report.added, report.removed), (0, 3, 0));
    assert_eq!(system.operator_state().drained, ["sim-1"]);
    system.stop(Duration::MAX);
}
