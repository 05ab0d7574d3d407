//! The daemon as an operator meets it: started, asked, reloaded, stopped, and mistaken.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const TRUNKLINE: &str = env!("CARGO_BIN_EXE_trunkline");

/// A directory of its own, with the places that a daemon needs.
pub(crate) struct Place {
    dir: PathBuf,
}

impl Place {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("trunkline-{name}-{}", std::process::id()));
        fs::create_dir_all(dir.join("run")).unwrap();
        let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(dir.join("run"), owner_only).unwrap();
        Self { dir }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(TRUNKLINE);
        command
            .args(args)
            .env("XDG_RUNTIME_DIR", self.dir.join("run"))
            .env("XDG_STATE_HOME", self.dir.join("state"))
            .env_remove("RUNTIME_DIRECTORY")
            .env_remove("STATE_DIRECTORY")
            .env_remove("TRUNKLINE_CONFIG")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn ask(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn json(&self, args: &[&str]) -> serde_json::Value {
        let mut all = args.to_vec();
        all.extend(["-o", "json"]);
        let output = self.ask(&all);
        assert!(
            output.status.success(),
            "{args:?}: {}",
            text(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.dir).ok();
    }
}

/// A child that does not outlive its test.
struct Running(Child);

impl Running {
    fn start(command: &mut Command, log: &PathBuf) -> Self {
        let log = fs::File::create(log).unwrap();
        Self(
            command
                .stderr(log.try_clone().unwrap())
                .stdout(log)
                .spawn()
                .unwrap(),
        )
    }

    fn signal(&self, signal: &str) {
        let pid = self.0.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    fn ended(&mut self) -> Option<i32> {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(20) {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("still running after 20 s");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(20) {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("never: {what}");
}

fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A simulated fleet and a daemon that polls it.
pub(crate) struct Rig {
    pub(crate) place: Place,
    daemon: Running,
    _fleet: Running,
    http: String,
}

impl Rig {
    pub(crate) fn start(name: &str, agents: u32, more: &str) -> Self {
        let place = Place::new(name);
        let port = free_port();
        let fleet = Running::start(
            &mut place.command(&[
                "sim",
                "snmp",
                "--agents",
                &format!("127.1.0.1+{agents}"),
                "--port",
                &port.to_string(),
            ]),
            &place.dir.join("sim.log"),
        );
        let config = config(agents, port, more, &place);
        let path = place.write("t.toml", &config);
        let daemon = Running::start(
            &mut place.command(&["run", "--config", path.to_str().unwrap()]),
            &place.dir.join("run.log"),
        );
        let http = eventually("the daemon listens", || {
            let log = fs::read_to_string(place.dir.join("run.log")).unwrap();
            let line = log.lines().find(|line| line.contains("http://"))?;
            log.contains("control.sock")
                .then(|| line.rsplit('/').next().unwrap().to_owned())
        });
        Self {
            place,
            daemon,
            _fleet: fleet,
            http,
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.place.dir.join("run.log")).unwrap()
    }

    fn http(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(&self.http).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok();
        text(&answer)
    }

    fn get(&self, path: &str) -> String {
        let host = &self.http;
        self.http(&format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        ))
    }
}

fn config(agents: u32, port: u16, more: &str, place: &Place) -> String {
    format!(
        "[admin]\nlisten = [\"127.0.0.1:0\"]\n[snmp.core]\nshards = 1\n\
         [snmp.core.target.sim]\naddress = \"127.1.0.1+{agents}:{port}\"\n\
         [snmp.core.job.up]\ninterval = \"50ms\"\nget = [\"1.3.6.1.2.1.1.3.0\"]\n\
         [snmp.core.job.walk]\ninterval = \"500ms\"\nwalk = [\"1.3.6.1.2.1.2.2.1.10\"]\n\
         [snmp.core.sink.jsonl.out]\npath = \"{}\"\n[snmp.core.sink.metrics.last]\n{more}",
        place.dir.join("out.jsonl").display(),
    )
}

#[test]
fn a_term_under_load_ends_with_a_balanced_sheet_and_code_0() {
    let mut rig = Rig::start("term", 200, "");
    eventually("it polls", || {
        let status = rig.place.json(&["call", "snmp", "core", "status"]);
        (status["runs"]["complete"].as_u64()? > 500).then_some(())
    });
    rig.daemon.signal("-TERM");
    assert_eq!(rig.daemon.ended(), Some(0), "{}", rig.log());
    let log = rig.log();
    assert!(log.contains("snmp.core requests (balances)"), "{log}");
    assert!(log.contains("snmp.core results (balances)"), "{log}");
    let lines = fs::read_to_string(rig.place.dir.join("out.jsonl")).unwrap();
    for line in lines.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(record["schema_version"], 1);
    }
}

#[test]
fn everything_that_it_is_asked_is_answered_from_the_running_engine() {
    let rig = Rig::start("asked", 20, "");
    eventually("targets are up", || {
        let targets = rig.place.json(&["targets", "--state", "up"]);
        (targets["total"] == 20).then_some(())
    });
    let breakers = rig.place.json(&["breakers", "--all"]);
    assert_eq!(breakers["states"]["closed"], 20);
    rig.place
        .json(&["breakers", "--force", "sim-3", "--to", "open"]);
    let forced = eventually("the breaker is forced", || {
        let breakers = rig.place.json(&["breakers"]);
        breakers["breakers"]["sim-3"]["state"]
            .as_str()
            .map(str::to_owned)
    });
    assert_eq!(forced, "forced-open");
    rig.place.json(&["drain", "sim-4"]);
    eventually("the target is drained", || {
        let drained = rig.place.json(&["targets", "--state", "drained"]);
        drained["targets"].get("sim-4").map(|_| ())
    });
    let routers = rig.place.json(&["routers"]);
    assert_eq!(routers["engines"]["default"]["usable"], true);
    assert!(routers["requests_routed"].as_u64().unwrap() >= 20);
    rig.place.json(&["routers", "--strategy", "hash"]);
    assert_eq!(rig.place.json(&["routers"])["strategy"], "hash");
    let ledger = rig.place.json(&["ledger"]);
    assert_eq!(ledger["requests"]["imbalance"], 0);
    let stats = rig.place.json(&["inspect"]);
    assert!(stats["sockets_total"].as_u64().unwrap() >= 1);
    assert_eq!(rig.place.ask(&["check"]).status.code(), Some(0));
    let unknown = rig.place.ask(&["drain", "nobody"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        text(&unknown.stderr).contains("trunkline targets"),
        "{}",
        text(&unknown.stderr)
    );
}

#[test]
fn http_shows_probes_and_metrics_and_nothing_else_without_a_token() {
    let rig = Rig::start("http", 5, "");
    eventually("samples", || {
        rig.get("/metrics")
            .contains("trunkline_snmp_value{")
            .then_some(())
    });
    let metrics = rig.get("/metrics");
    let value = |name: &str, label: &str| {
        let mut lines = metrics
            .lines()
            .filter(|line| line.starts_with(name) && line.contains(label));
        let line = lines
            .next()
            .unwrap_or_else(|| panic!("no {name} with {label} in {metrics}"));
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    assert_eq!(
        value("trunkline_ledger_imbalance{", "book=\"requests\""),
        0.0
    );
    assert!(value("trunkline_snmp_runs_total{", "outcome=\"complete\"") > 0.0);
    assert!(metrics.ends_with("# EOF\n"));
    assert!(rig.get("/livez").starts_with("HTTP/1.1 200"));
    assert!(rig.get("/readyz?verbose").contains("snmp.core"));
    for path in ["/api/v1/operations", "/api/v1/snmp/core/targets"] {
        let answer = rig.get(path);
        assert!(
            answer.starts_with("HTTP/1.1 401") || answer.starts_with("HTTP/1.1 403"),
            "{answer}"
        );
    }
    let stranger = "GET /metrics HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert!(!rig.http(stranger).starts_with("HTTP/1.1 200"));
}

#[test]
fn a_hangup_takes_a_good_file_and_refuses_a_bad_one() {
    let mut rig = Rig::start("hup", 4, "");
    let path = rig.place.dir.join("t.toml");
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, good.replace("+4:", "+6:")).unwrap();
    rig.daemon.signal("-HUP");
    eventually("six targets", || {
        (rig.place.json(&["targets"])["total"] == 6).then_some(())
    });
    fs::write(&path, good.replace("interval", "intervall")).unwrap();
    rig.daemon.signal("-HUP");
    eventually("the refusal is logged", || {
        rig.log().contains("did you mean").then_some(())
    });
    assert_eq!(
        rig.place.json(&["targets"])["total"],
        6,
        "the old configuration stays"
    );
    let refused = rig.place.ask(&["reload"]);
    assert_eq!(refused.status.code(), Some(1));
    rig.daemon.signal("-INT");
    assert_eq!(rig.daemon.ended(), Some(0), "{}", rig.log());
}

#[test]
fn a_second_daemon_is_refused_and_names_the_first() {
    let rig = Rig::start("second", 1, "");
    let path = rig.place.dir.join("t.toml");
    let second = rig.place.ask(&["run", "--config", path.to_str().unwrap()]);
    assert_eq!(second.status.code(), Some(1));
    let error = text(&second.stderr);
    assert!(error.contains(&rig.daemon.0.id().to_string()), "{error}");
}

#[test]
fn stop_is_a_signal_by_another_door() {
    let mut rig = Rig::start("stop", 5, "");
    assert_eq!(rig.place.ask(&["stop"]).status.code(), Some(0));
    assert_eq!(rig.daemon.ended(), Some(0), "{}", rig.log());
    let gone = rig.place.ask(&["status"]);
    assert_eq!(gone.status.code(), Some(4));
    assert!(
        text(&gone.stderr).contains("trunkline run"),
        "{}",
        text(&gone.stderr)
    );
}

#[test]
fn operators_decisions_survive_a_restart_of_the_daemon() {
    let mut rig = Rig::start("sticky", 5, "");
    rig.place.json(&["drain", "sim-2"]);
    rig.place.json(&["stop"]);
    assert_eq!(rig.daemon.ended(), Some(0));
    let path = rig.place.dir.join("t.toml");
    rig.daemon = Running::start(
        &mut rig
            .place
            .command(&["run", "--config", path.to_str().unwrap()]),
        &rig.place.dir.join("run2.log"),
    );
    let drained = eventually("the daemon is back", || {
        let answer = rig
            .place
            .ask(&["targets", "--state", "drained", "-o", "json"]);
        let targets: serde_json::Value = serde_json::from_slice(&answer.stdout).ok()?;
        (targets["total"] == 1).then_some(targets)
    });
    assert!(drained["targets"].get("sim-2").is_some(), "{drained}");
}

#[test]
fn garbage_at_every_door_changes_nothing_but_counters() {
    let rig = Rig::start("garbage", 5, "");
    let stats = rig.place.json(&["inspect"]);
    let local = stats["shards"][0]["sockets"][0]["local"]
        .as_str()
        .unwrap()
        .to_owned();
    let port: u16 = local.rsplit(':').next().unwrap().parse().unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    for n in 0..2000u32 {
        let noise: Vec<u8> = (0..n % 200).map(|i| (i * 31 + n * 17) as u8).collect();
        udp.send_to(&noise, ("127.0.0.1", port)).unwrap();
    }
    rig.http("\u{0}\u{1}garbage\r\n\r\n");
    let socket = rig.place.dir.join("run/trunkline/control.sock");
    let mut unix = std::os::unix::net::UnixStream::connect(socket).unwrap();
    unix.write_all(b"\xff\xfe{{{{\nnot json\n").ok();
    eventually("the noise is counted", || {
        let bad = &rig.place.json(&["inspect"])["shards"][0]["bad"];
        (bad["malformed"].as_u64()? > 1000).then_some(())
    });
    let status = rig.place.json(&["call", "snmp", "core", "status"]);
    assert_eq!(
        (status["imbalance"].as_i64(), status["deaths"].as_u64()),
        (Some(0), Some(0))
    );
    let before = status["runs"]["complete"].as_u64().unwrap();
    eventually("it goes on polling", || {
        let status = rig.place.json(&["call", "snmp", "core", "status"]);
        (status["runs"]["complete"].as_u64()? > before + 20).then_some(())
    });
}

#[test]
fn mistakes_in_the_file_are_all_told_at_once_with_their_place() {
    let place = Place::new("mistakes");
    let path = place.write(
        "bad.toml",
        "[snmp.core]\ntimeout = 5\nretries = 3\n[snmp.core.target.a]\naddress = \"10.0.0.1:99999\"\n\
         jobs = [\"upp\"]\n[snmp.core.job.up]\nget = [\"sysUpTime.0\"]\n",
    );
    let output = place.ask(&["validate", "--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    for expected in ["bad.toml:2:", "bad.toml:3:", "retry.attempts", "^"] {
        assert!(error.contains(expected), "{expected} is not in:\n{error}");
    }
    let output = place.ask(&["run", "--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "nothing binds");
}

#[test]
fn every_example_is_valid() {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/snmp");
    let place = Place::new("examples");
    let mut seen = 0;
    for entry in fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|kind| kind == "toml") {
            let output = place.ask(&["validate", "--config", path.to_str().unwrap()]);
            assert!(
                output.status.success(),
                "{}: {}",
                path.display(),
                text(&output.stderr)
            );
            seen += 1;
        }
    }
    assert!(seen >= 2, "{seen} examples");
}

#[test]
fn what_a_full_disk_refuses_is_kept_and_sent_again() {
    let more = "[snmp.core.sink.jsonl.full]\npath = \"/dev/full\"\n";
    let mut rig = Rig::start("letters", 2, more);
    let letters = eventually("letters", || {
        let letters = rig.place.json(&["letters", "ls"]);
        (letters["letters"].as_object()?.len() >= 3).then_some(letters)
    });
    let id = letters["letters"]
        .as_object()
        .unwrap()
        .keys()
        .next()
        .unwrap()
        .clone();
    let letter = rig.place.json(&["letters", "show", &id]);
    assert!(letter.to_string().contains("/dev/full"), "{letter}");
    let dry = rig.place.json(&["letters", "redrive", "--dry-run"]);
    assert!(dry.to_string().contains("\"sent\":0"), "{dry}");
    rig.place.json(&["stop"]);
    assert_eq!(rig.daemon.ended(), Some(0), "{}", rig.log());
    let path = rig.place.dir.join("t.toml");
    let mended = rig.place.dir.join("mended.jsonl");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, config.replace("/dev/full", mended.to_str().unwrap())).unwrap();
    rig.daemon = Running::start(
        &mut rig
            .place
            .command(&["run", "--config", path.to_str().unwrap()]),
        &rig.place.dir.join("run2.log"),
    );
    eventually("the letters outlived the restart", || {
        let answer = rig.place.ask(&["letters", "show", &id]);
        answer.status.success().then_some(())
    });
    eventually("the letters are sent again", || {
        rig.place.ask(&["letters", "redrive", "--rate", "1000"]);
        (!rig.place.ask(&["letters", "show", &id]).status.success()).then_some(())
    });
    assert!(
        fs::read_to_string(mended)
            .unwrap()
            .contains("\"job\":\"up\"")
    );
}

#[test]
fn events_are_told_as_they_happen() {
    let rig = Rig::start("events", 3, "");
    let mut watcher = rig.place.command(&["events"]);
    let mut watcher = Running(watcher.stdout(Stdio::piped()).spawn().unwrap());
    let mut out = std::io::BufReader::new(watcher.0.stdout.take().unwrap());
    // The order may come before the watcher has connected, so it is given until it is seen.
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        tell.send(line).ok();
    });
    let line = eventually("an event", || {
        for state in ["open", "auto"] {
            rig.place
                .json(&["breakers", "--force", "sim-1", "--to", state]);
        }
        told.recv_timeout(Duration::from_millis(300)).ok()
    });
    let event: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&event["event"], &event["system"]),
        (&"breaker".into(), &"core".into())
    );
}

#[test]
fn a_sink_that_hangs_cannot_hold_the_end() {
    let more = "[trunkline.shutdown]\ndrain = \"300ms\"\nforce = \"1s\"\n";
    let place = Place::new("hang-pipe");
    let pipe = place.dir.join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let sink = format!(
        "[snmp.core.sink.jsonl.hang]\npath = \"{}\"\n",
        pipe.display()
    );
    let mut rig = Rig::start("hang", 3, &format!("{sink}{more}"));
    eventually("it polls", || {
        let status = rig.place.json(&["call", "snmp", "core", "status"]);
        (status["runs"]["complete"].as_u64()? > 10).then_some(())
    });
    let begin = Instant::now();
    rig.daemon.signal("-TERM");
    assert_eq!(rig.daemon.ended(), Some(1), "{}", rig.log());
    assert!(
        begin.elapsed() < Duration::from_secs(20),
        "{:?}",
        begin.elapsed()
    );
    assert!(
        rig.log().contains("snmp.core results"),
        "the sheet is told all the same"
    );
}

#[test]
fn a_daemon_that_reaches_nobody_says_so_when_it_is_checked() {
    let mut rig = Rig::start("nobody", 5, "");
    rig._fleet.0.kill().unwrap();
    rig._fleet.0.wait().unwrap();
    eventually("the check counts them all", || {
        let nagios = rig.place.ask(&["check", "--nagios"]);
        let all = text(&nagios.stdout).contains("5 of 5 targets do not answer");
        (all && nagios.status.code() == Some(1)).then_some(())
    });
    assert_eq!(rig.place.ask(&["check"]).status.code(), Some(3));
    rig.daemon.signal("-TERM");
    assert_eq!(rig.daemon.ended(), Some(0), "{}", rig.log());
}
