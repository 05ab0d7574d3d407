//! Parts of the product by themselves: the decoder, and handing in a request.

use std::hint::black_box;
use std::sync::Arc;

use benches::clock::cpu_nanos_of;
use benches::measure::{Case, Plan, Spread, rows_of};
use trunkline_engine::guard::{AttemptSheet, Guard};
use trunkline_engine::rng::Rng;
use trunkline_engine::router::{MemberSpec, Router, RouterPolicy};
use trunkline_engine::time::Time;
use trunkline_runtime::udp::Machine as _;
use trunkline_system_snmp::{
    Ask, Client, Completion, Egress, EngineSockets, Exchange, Inbox, JobOptions, Priority, Request,
    ShardMachine, ShardSetup, SourcePolicy, TargetId, TargetPolicy, TargetSpec,
};
use trunkline_wire_snmp::{Oid, OidBuf, PduKind, Value, Version, decode, encode, encode_varbinds};

use crate::{Held, Line, Target, amount};

/// Typed values per second that the decoder makes of the page of a bulk walk.
pub(crate) fn decoder(quick: bool) -> Line {
    let page = page();
    let (rounds, times) = if quick { (3, 20_000) } else { (15, 100_000) };
    let figures: Vec<f64> = (0..rounds)
        .map(|_| varbinds_per_second(&page, times))
        .collect();
    let spread = Spread::of(figures).unwrap_or_default();
    Line {
        group: "decoder",
        name: "typed varbinds of a bulk page of interface rows".to_owned(),
        figure: format!("{} varbinds/s", amount(spread.median)),
        held: Some(Held {
            spread,
            unit: "/s",
            target: Target::AtLeast(20e6),
        }),
    }
}

fn varbinds_per_second(page: &[u8], times: u32) -> f64 {
    let mut count = 0u64;
    let nanos = cpu_nanos_of(|| {
        for _ in 0..times {
            let Ok(message) = decode(black_box(page)) else {
                return;
            };
            for varbind in message.pdu.varbinds.flatten() {
                black_box(varbind);
                count += 1;
            }
        }
    });
    count as f64 * 1e9 / nanos.max(1) as f64
}

/// A GETBULK's answer: rows of ifTable as a switch has them.
fn page() -> Vec<u8> {
    let columns: [(u32, Value<'static>); 8] = [
        (1, Value::Integer(1007)),
        (2, Value::OctetString(b"GigabitEthernet1/0/7")),
        (3, Value::Integer(6)),
        (5, Value::Gauge32(1_000_000_000)),
        (8, Value::Integer(1)),
        (9, Value::TimeTicks(123_456_789)),
        (10, Value::Counter32(3_123_456_789)),
        (16, Value::Counter32(2_123_456_789)),
    ];
    let entry = Oid::from_static(&[0x2b, 6, 1, 2, 1, 2, 2, 1]);
    let name = |column: u32, index: u32| entry.child(column).child(index);
    let rows: Vec<(OidBuf, Value<'static>)> = columns
        .iter()
        .flat_map(|(column, value)| (1001..1007).map(|n| (name(*column, n), value.clone())))
        .collect();
    let varbinds = rows
        .iter()
        .map(|(oid, value)| (oid.as_oid(), value.clone()));
    let mut slot = [0; 1472];
    let kind = PduKind::Response;
    match encode(
        &mut slot,
        Version::V2c,
        b"public",
        kind,
        1_234_567,
        0,
        0,
        varbinds,
    ) {
        Ok(range) => slot[range].to_vec(),
        Err(_) => Vec::new(),
    }
}

/// Requests handed in at once.
const BATCH: u32 = 64;

/// What a caller pays for handing in one request of a batch, as a ratio to `fetch_add`.
pub(crate) fn submit(plan: Plan) -> Line {
    let bench = Submit::new();
    let run = |bench: &mut Submit| bench.run();
    let case = Case::of("submit", "one request of a batch of 64")
        .per(BATCH)
        .target(45.0);
    let case = case.blocks(1, bench, |bench| bench.settle(), run);
    let row = rows_of(vec![case], plan).remove(0);
    Line {
        group: "submit",
        name: row.name.to_owned(),
        figure: format!("{:.0} ns", row.nanos),
        held: Some(Held {
            spread: row.ratio,
            unit: "× fetch_add",
            target: Target::AtMost(45.0),
        }),
    }
}

struct Submit {
    client: Client,
    machine: ShardMachine,
    inbox: Arc<Inbox>,
    targets: Vec<TargetId>,
    ask: Ask,
    next: usize,
    read: Vec<Completion>,
}

impl Submit {
    fn new() -> Self {
        let router = Router::new(RouterPolicy::default(), &mut Rng::seeded(1));
        let router = router.unwrap_or_else(|_| unreachable!("the default policy is valid"));
        // The name is the only one, so it is free.
        router.add(Time::ZERO, MemberSpec::named("default")).ok();
        let guard = Guard::new(Arc::new(router), AttemptSheet::default());
        let client = Client::new(vec![Box::new(|| ())], vec![guard.clone()], 1 << 20);
        let sockets = EngineSockets {
            v4: vec![0],
            v6: Vec::new(),
        };
        let setup = ShardSetup {
            index: 0,
            jobs_max: 200_000,
            targets_max: 1 << 20,
            key: 1,
            seed: 1,
            egress: vec![Egress {
                guard,
                sockets: vec![sockets],
            }],
            budget: Default::default(),
            batch: Default::default(),
            stats: Arc::default(),
        };
        let machine = client.machine(setup, Time::ZERO);
        let policy = Arc::new(TargetPolicy {
            queue_max: 1000,
            ..TargetPolicy::default()
        });
        let target = |n: u32| TargetSpec {
            addr: (std::net::Ipv4Addr::from(0x7f01_0001 + n), 161).into(),
            version: Version::V2c,
            community: Arc::from(*b"public"),
            source: SourcePolicy::Strict,
            policy: Arc::clone(&policy),
            egress: 0,
        };
        let targets = (0..1000).filter_map(|n| client.add_target(target(n)).ok());
        let uptime = Oid::from_static(&[0x2b, 6, 1, 2, 1, 1, 3, 0]);
        let list = encode_varbinds(&[(uptime, Value::Null)]).unwrap_or_default();
        Self {
            targets: targets.collect(),
            machine,
            inbox: Inbox::new(),
            ask: Ask::Exchange(Exchange::get(list.into())),
            next: 0,
            read: Vec::new(),
            client,
        }
    }

    fn run(&mut self) {
        let options = JobOptions {
            deadline: Time::from_millis(1),
            priority: Priority::Normal,
        };
        let (targets, next, ask) = (&self.targets, &mut self.next, &self.ask);
        let requests = (0..BATCH).map(|token| {
            *next = (*next + 1) % targets.len();
            Request {
                target: targets[*next],
                ask: ask.clone(),
                options,
                token: token.into(),
            }
        });
        self.client.submit_batch(requests, &self.inbox);
    }

    /// Lets the shard end what was handed in: its deadline is over.
    fn settle(&mut self) {
        self.machine.turn(Time::from_millis(1_000));
        self.inbox.take_all(&mut self.read);
        self.read.clear();
    }
}
