//! The datagram driver on real loopback sockets.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use trunkline_engine::datagram::{RxBatch, TxBatch, TxMeta};
use trunkline_engine::time::Time;
use trunkline_runtime::clock::Clock;
use trunkline_runtime::doorbell::Doorbell;
use trunkline_runtime::thread::Supervisor;
use trunkline_runtime::udp::{
    Driver, DriverStats, Machine, SendFailure, SocketSpec, Sockets, Turn, Unreachable,
};

/// What a scripted machine wants to send.
#[derive(Clone, Debug)]
struct Mail {
    to: SocketAddr,
    from: Option<IpAddr>,
    socket: u16,
    bytes: Vec<u8>,
    token: u64,
}

impl Mail {
    fn new(to: SocketAddr, token: u64) -> Self {
        let bytes = token.to_be_bytes().to_vec();
        Self {
            to,
            from: None,
            socket: 0,
            bytes,
            token,
        }
    }
}

/// What it saw.
#[derive(Debug, Default)]
struct Log {
    received: Vec<(SocketAddr, Option<IpAddr>, u16, Vec<u8>)>,
    unsent: Vec<(u64, SendFailure)>,
    unreachable: Vec<(SocketAddr, Unreachable)>,
    overflow: Vec<(u16, u32)>,
    turns: Vec<Time>,
}

/// A machine that sends what it is told, keeps a window in flight and records what happens.
struct Script {
    outgoing: Arc<Mutex<VecDeque<Mail>>>,
    log: Arc<Mutex<Log>>,
    stop: Arc<AtomicBool>,
    wakeup: Option<Time>,
    window: usize,
    in_flight: usize,
    echo: bool,
    busy: Duration,
}

impl Machine for Script {
    fn receive(&mut self, _: Time, rx: &RxBatch) {
        let mut log = self.log.lock().unwrap();
        let mut outgoing = self.outgoing.lock().unwrap();
        self.in_flight = self.in_flight.saturating_sub(rx.len());
        for (meta, bytes) in rx.iter() {
            if self.echo {
                outgoing.push_back(Mail {
                    to: meta.from,
                    from: meta.to,
                    socket: meta.socket,
                    bytes: bytes.to_vec(),
                    token: 0,
                });
            } else {
                log.received
                    .push((meta.from, meta.to, meta.socket, bytes.to_vec()));
            }
        }
    }

    fn turn(&mut self, now: Time) -> Turn {
        self.log.lock().unwrap().turns.push(now);
        self.wakeup = self.wakeup.filter(|at| *at > now);
        std::thread::sleep(self.busy);
        if self.stop.load(Ordering::Relaxed) {
            Turn::Stop
        } else {
            Turn::Continue
        }
    }

    fn fill(&mut self, _: Time, tx: &mut TxBatch) {
        let mut outgoing = self.outgoing.lock().unwrap();
        while self.in_flight < self.window && !tx.is_full() {
            let Some(mail) = outgoing.pop_front() else {
                return;
            };
            let slot = tx.slot().unwrap();
            let start = slot.len() - mail.bytes.len();
            slot[start..].copy_from_slice(&mail.bytes);
            let range = start..slot.len();
            tx.commit(TxMeta {
                to: mail.to,
                from: mail.from,
                socket: mail.socket,
                range,
                token: mail.token,
            });
            self.in_flight += usize::from(!self.echo);
        }
    }

    fn next_wakeup(&self) -> Option<Time> {
        self.wakeup
    }

    fn unsent(&mut self, _: Time, token: u64, _: SocketAddr, error: SendFailure) {
        self.log.lock().unwrap().unsent.push((token, error));
    }

    fn unreachable(&mut self, _: Time, peer: SocketAddr, kind: Unreachable) {
        self.log.lock().unwrap().unreachable.push((peer, kind));
    }

    fn overflow(&mut self, socket: u16, dropped_total: u32) {
        self.log
            .lock()
            .unwrap()
            .overflow
            .push((socket, dropped_total));
    }
}

/// A driver on its own thread.
struct Running {
    addrs: Vec<SocketAddr>,
    outgoing: Arc<Mutex<VecDeque<Mail>>>,
    log: Arc<Mutex<Log>>,
    stop: Arc<AtomicBool>,
    bell: Doorbell,
    stats: Arc<DriverStats>,
    thread: Option<JoinHandle<std::io::Result<Script>>>,
}

/// How a test's driver differs from the usual one.
#[derive(Default)]
struct Plan {
    specs: Vec<SocketSpec>,
    mail: Vec<Mail>,
    window: usize,
    echo: bool,
    wakeup: Option<Duration>,
    busy: Duration,
}

impl Running {
    fn start(plan: Plan) -> Self {
        let clock = Clock::start();
        let sockets = Sockets::open(&plan.specs).unwrap();
        let addrs = (0..plan.specs.len())
            .map(|i| sockets.local_addr(u16::try_from(i).unwrap()).unwrap())
            .collect();
        let (outgoing, log, stop) = (
            Arc::new(Mutex::new(VecDeque::from(plan.mail))),
            Arc::<Mutex<Log>>::default(),
            Arc::<AtomicBool>::default(),
        );
        let machine = Script {
            outgoing: outgoing.clone(),
            log: log.clone(),
            stop: stop.clone(),
            wakeup: plan.wakeup.map(|span| clock.now() + span),
            window: if plan.window == 0 {
                usize::MAX
            } else {
                plan.window
            },
            in_flight: 0,
            echo: plan.echo,
            busy: plan.busy,
        };
        let bell = Doorbell::new().unwrap();
        let driver = Driver::new(clock, sockets, machine, bell.clone()).unwrap();
        Self {
            addrs,
            outgoing,
            log,
            stop,
            bell,
            stats: driver.stats(),
            thread: Some(std::thread::spawn(move || driver.run())),
        }
    }

    fn echo(bind: &str) -> Self {
        Self::start(Plan {
            specs: vec![spec(bind)],
            echo: true,
            ..Plan::default()
        })
    }

    fn send(&self, mail: impl IntoIterator<Item = Mail>) {
        self.outgoing.lock().unwrap().extend(mail);
        self.bell.ring();
    }

    fn wait_for(&self, what: &str, done: impl Fn(&Log) -> bool) {
        let start = Instant::now();
        while !done(&self.log.lock().unwrap()) {
            let log = self.log.lock().unwrap();
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "no {what}: {} received, {:?}, {:?}",
                log.received.len(),
                log.unsent,
                log.unreachable
            );
            drop(log);
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.bell.ring();
        let result = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            result.unwrap().unwrap();
        }
    }
}

fn spec(bind: &str) -> SocketSpec {
    SocketSpec {
        rcvbuf: 4 << 20,
        ..SocketSpec::new(bind.parse().unwrap())
    }
}

fn client(bind: &str, mail: Vec<Mail>) -> Running {
    Running::start(Plan {
        specs: vec![spec(bind)],
        mail,
        window: 256,
        ..Plan::default()
    })
}

#[test]
fn ten_thousand_datagrams_are_echoed_on_both_families() {
    for bind in ["127.0.0.1:0", "[::1]:0"] {
        let echo = Running::echo(bind);
        let mail = (0..10_000).map(|n| Mail::new(echo.addrs[0], n)).collect();
        let client = client(bind, mail);
        client.wait_for("echo", |log| log.received.len() == 10_000);
        let log = client.log.lock().unwrap();
        for (n, (from, _, _, bytes)) in log.received.iter().enumerate() {
            assert_eq!(
                (from, bytes.as_slice()),
                (&echo.addrs[0], &n.to_be_bytes()[..])
            );
        }
        assert_eq!(
            (client.stats.sent(), client.stats.received()),
            (10_000, 10_000)
        );
        assert_eq!(client.stats.sent_bytes(), 80_000);
        assert!(client.stats.turns() < 5_000, "batched: {:?}", client.stats);
    }
}

#[test]
fn icmp_charges_only_the_closed_port() {
    for host in ["127.0.0.1", "[::1]"] {
        let bind = format!("{host}:0");
        let closed = UdpSocket::bind(&bind).unwrap().local_addr().unwrap();
        let echoes: Vec<Running> = (0..3).map(|_| Running::echo(&bind)).collect();
        let mail = (0..400).map(|n| match n % 4 {
            3 => Mail::new(closed, n),
            live => Mail::new(echoes[usize::try_from(live).unwrap()].addrs[0], n),
        });
        let client = Running::start(Plan {
            specs: vec![spec(&bind)],
            mail: mail.collect(),
            ..Plan::default()
        });
        client.wait_for("300 answers and 100 errors", |log| {
            log.received.len() == 300 && log.unreachable.len() == 100
        });
        let log = client.log.lock().unwrap();
        let port = (closed, Unreachable::Port);
        assert!(log.unreachable.iter().all(|seen| *seen == port), "{log:?}");
        assert_eq!(log.unsent, []);
        assert!(
            client.stats.short_sends() > 0,
            "no error came between sends"
        );
        assert_eq!(client.stats.errors(), 100);
    }
}

#[test]
fn a_datagram_that_cannot_go_comes_back_and_the_rest_goes() {
    let echo = Running::echo("127.0.0.1:0");
    let good = |n| Mail::new(echo.addrs[0], n);
    let bad = |n, to: &str| Mail::new(to.parse().unwrap(), n);
    let from = |n, from: &str| Mail {
        from: Some(from.parse().unwrap()),
        ..good(n)
    };
    let no_socket = Mail {
        socket: 7,
        ..good(16)
    };
    let client = client(
        "127.0.0.1:0",
        vec![
            good(1),
            bad(10, "255.255.255.255:161"),
            bad(11, "127.0.0.1:0"),
            good(2),
            bad(12, "[::1]:161"),
            from(13, "192.0.2.77"),
            from(14, "::1"),
            no_socket,
            good(3),
        ],
    );
    client.wait_for("3 echoes, 6 failures", |log| {
        log.received.len() == 3 && log.unsent.len() == 6
    });
    let mut unsent = client.log.lock().unwrap().unsent.clone();
    unsent.sort_unstable_by_key(|(token, _)| *token);
    assert_eq!(unsent[0], (10, SendFailure::Forbidden));
    assert_eq!(unsent[1], (11, SendFailure::Address));
    // IPv6 through an IPv4 socket.
    assert_eq!(unsent[2], (12, SendFailure::Address));
    assert_eq!(unsent[3], (13, SendFailure::NoRoute));
    assert_eq!(unsent[4], (14, SendFailure::Address));
    assert_eq!(unsent[5], (16, SendFailure::Address));
    assert_eq!(client.stats.unsent(), 6);
}

#[test]
fn one_socket_answers_from_the_address_it_was_asked_at() {
    let fleet = SocketSpec {
        pktinfo: true,
        ..spec("0.0.0.0:0")
    };
    let echo = Running::start(Plan {
        specs: vec![fleet],
        echo: true,
        ..Plan::default()
    });
    let port = echo.addrs[0].port();
    let agents: Vec<SocketAddr> = (1..=9)
        .map(|n| format!("127.0.3.{n}:{port}").parse().unwrap())
        .collect();
    let mail = (0..90)
        .map(|n| Mail::new(agents[n % 9], n as u64))
        .collect();
    let client = client("127.0.0.1:0", mail);
    client.wait_for("answers", |log| log.received.len() == 90);
    for (from, _, _, bytes) in &client.log.lock().unwrap().received {
        let n = u64::from_be_bytes(bytes[..].try_into().unwrap());
        assert_eq!(*from, agents[usize::try_from(n).unwrap() % 9]);
    }
}

#[test]
fn ipv6_reports_the_local_address_too() {
    let fleet = SocketSpec {
        pktinfo: true,
        ..spec("[::]:0")
    };
    let server = Running::start(Plan {
        specs: vec![fleet],
        ..Plan::default()
    });
    let peer = UdpSocket::bind("[::1]:0").unwrap();
    peer.send_to(b"x", ("::1", server.addrs[0].port())).unwrap();
    server.wait_for("datagram", |log| log.received.len() == 1);
    let log = server.log.lock().unwrap();
    assert_eq!(log.received[0].1, Some("::1".parse().unwrap()));
}

#[test]
fn a_batch_over_several_sockets_leaves_by_each_its_own() {
    let echo = Running::echo("127.0.0.1:0");
    let mail = (0..300u64).map(|n| Mail {
        socket: u16::try_from(n % 3).unwrap(),
        ..Mail::new(echo.addrs[0], n)
    });
    let client = Running::start(Plan {
        specs: vec![
            spec("127.0.0.1:0"),
            spec("127.0.0.1:0"),
            spec("127.0.0.1:0"),
        ],
        mail: mail.collect(),
        window: 128,
        ..Plan::default()
    });
    client.wait_for("answers", |log| log.received.len() == 300);
    for (_, _, socket, bytes) in &client.log.lock().unwrap().received {
        let n = u64::from_be_bytes(bytes[..].try_into().unwrap());
        assert_eq!(u64::from(*socket), n % 3);
    }
}

#[test]
fn a_full_queue_is_counted_and_told() {
    let small = SocketSpec {
        rcvbuf: 4096,
        ..SocketSpec::new("127.0.0.1:0".parse().unwrap())
    };
    let server = Running::start(Plan {
        specs: vec![small],
        busy: Duration::from_millis(50),
        ..Plan::default()
    });
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut sent = 0u32;
    // A drop is told with the next datagram that finds room.
    while server.log.lock().unwrap().overflow.is_empty() {
        assert!(sent < 200_000, "{:?}", server.stats);
        for _ in 0..50 {
            peer.send_to(&[0; 100], server.addrs[0]).unwrap();
            sent += 1;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let (socket, dropped) = server.log.lock().unwrap().overflow[0];
    assert_eq!(socket, 0);
    assert!((1..sent).contains(&dropped), "{dropped} of {sent}");
    assert!(server.stats.sockets()[0].overflow() >= dropped);
    assert!(server.stats.sockets()[0].rcvbuf_granted() < 10_000);
}

#[test]
fn the_bell_wakes_and_idling_costs_no_turns() {
    let (quiet, echo) = (Running::echo("127.0.0.1:0"), Running::echo("127.0.0.1:0"));
    quiet.wait_for("a first turn", |log| !log.turns.is_empty());
    std::thread::sleep(Duration::from_millis(20));
    let before = quiet.stats.turns();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(quiet.stats.turns(), before, "an idle driver turned");
    assert_eq!(quiet.stats.busy_for(Time::MAX), Duration::ZERO);

    let client = client("127.0.0.1:0", Vec::new());
    for n in 0..50 {
        client.send([Mail::new(echo.addrs[0], n)]);
        client.wait_for("echo", |log| log.received.len() as u64 == n + 1);
    }
}

#[test]
fn the_wakeup_is_kept_and_never_early() {
    let span = Duration::from_micros(30_300);
    let clock = Clock::start();
    let before = clock.now();
    let server = Running::start(Plan {
        specs: vec![spec("127.0.0.1:0")],
        wakeup: Some(span),
        ..Plan::default()
    });
    server.wait_for("second turn", |log| log.turns.len() >= 2);
    let after = clock.now();
    let turns = server.log.lock().unwrap().turns.clone();
    // Its clock started after ours, so its wakeup lies at least `span` after our first reading.
    assert!(after.saturating_since(before) >= span);
    assert!(turns[1].saturating_since(turns[0]) + Duration::from_millis(5) >= span);
    assert_eq!(turns.len(), 2, "one wait, one turn");
}

#[test]
fn a_machine_that_panics_is_noticed_and_its_successor_serves() {
    let port = Arc::new(Mutex::new(None));
    let deaths = Arc::new(Mutex::new(Vec::new()));
    let stop = Arc::<AtomicBool>::default();
    let bell = Doorbell::new().unwrap();
    let body = {
        let (port, stop, bell) = (port.clone(), stop.clone(), bell.clone());
        move || {
            let sockets = Sockets::open(&[spec("127.0.0.1:0")])?;
            let first = port.lock().unwrap().replace(sockets.local_addr(0).unwrap());
            let machine = Fragile {
                panics: first.is_none(),
                stop: stop.clone(),
                answers: Vec::new(),
            };
            Driver::new(Clock::start(), sockets, machine, bell.clone())?.run()?;
            Ok(())
        }
    };
    let told = deaths.clone();
    let supervisor = Supervisor::spawn("shard-0", 1, body, move |death| {
        told.lock().unwrap().push(death.reason.clone());
    });
    let supervisor = supervisor.unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let start = Instant::now();
    while peer.recv(&mut [0; 8]).is_err() {
        assert!(start.elapsed() < Duration::from_secs(10), "{deaths:?}");
        let to = *port.lock().unwrap();
        if let Some(to) = to {
            peer.send_to(b"x", to).unwrap();
        }
    }
    assert_eq!(*deaths.lock().unwrap(), ["as the test wants"]);
    assert_eq!(supervisor.deaths(), 1);
    stop.store(true, Ordering::Relaxed);
    bell.ring();
    supervisor.join();
}

/// Panics on its first datagram, or answers.
struct Fragile {
    panics: bool,
    stop: Arc<AtomicBool>,
    answers: Vec<SocketAddr>,
}

impl Machine for Fragile {
    fn receive(&mut self, _: Time, rx: &RxBatch) {
        assert!(!self.panics, "as the test wants");
        self.answers.extend(rx.iter().map(|(meta, _)| meta.from));
    }

    fn turn(&mut self, _: Time) -> Turn {
        if self.stop.load(Ordering::Relaxed) {
            Turn::Stop
        } else {
            Turn::Continue
        }
    }

    fn fill(&mut self, _: Time, tx: &mut TxBatch) {
        for to in self.answers.drain(..) {
            assert!(tx.push(to, None, 0, b"y"));
        }
    }

    fn next_wakeup(&self) -> Option<Time> {
        None
    }

    fn unsent(&mut self, _: Time, _: u64, _: SocketAddr, _: SendFailure) {}

    fn unreachable(&mut self, _: Time, _: SocketAddr, _: Unreachable) {}

    fn overflow(&mut self, _: u16, _: u32) {}
}
