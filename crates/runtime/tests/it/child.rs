//! What belongs to a whole process (its environment, its signals), tried in one of its own: this
//! test binary starts itself with one test and a variable that makes that test play the child.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use trunkline_engine::shutdown::{Phase, Plan};
use trunkline_runtime::clock::Clock;
use trunkline_runtime::log::{self, Format, Level};
use trunkline_runtime::notify;
use trunkline_runtime::shutdown::{ShutdownHandle, Signals};

use crate::temp::TempDir;

const ROLE: &str = "TRUNKLINE_TEST_ROLE";

fn plays_child() -> bool {
    std::env::var_os(ROLE).is_some()
}

fn child_of(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture"])
        .env(ROLE, "child");
    command
}

#[test]
fn the_service_manager_hears_every_state() {
    if plays_child() {
        assert_eq!(notify::watchdog_interval(), Some(Duration::from_secs(2)));
        notify::ready().unwrap();
        notify::reloading().unwrap();
        notify::status("serving\nMAINPID=1 \x1b[2J").unwrap();
        notify::watchdog().unwrap();
        notify::stopping().unwrap();
        return;
    }
    let temp = TempDir::new();
    let path = temp.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let mut command = child_of("child::the_service_manager_hears_every_state");
    command
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "4000000");
    assert!(command.stdout(Stdio::null()).status().unwrap().success());
    manager.set_nonblocking(true).unwrap();
    let mut heard = Vec::new();
    let mut bytes = [0; 512];
    while let Ok(len) = manager.recv(&mut bytes) {
        heard.push(String::from_utf8(bytes[..len].to_vec()).unwrap());
    }
    assert_eq!(heard.len(), 5, "{heard:?}");
    assert_eq!(heard[0], "READY=1\n");
    assert!(
        heard[1].starts_with("RELOADING=1\nMONOTONIC_USEC="),
        "{heard:?}"
    );
    assert_eq!(heard[2], "STATUS=serving\\nMAINPID=1 \\u{1b}[2J\n");
    assert_eq!(
        (heard[3].as_str(), heard[4].as_str()),
        ("WATCHDOG=1\n", "STOPPING=1\n")
    );
}

#[test]
fn without_a_service_manager_nothing_is_sent_and_nothing_is_wrong() {
    if plays_child() {
        notify::ready().unwrap();
        assert_eq!(notify::watchdog_interval(), None);
        return;
    }
    let mut command =
        child_of("child::without_a_service_manager_nothing_is_sent_and_nothing_is_wrong");
    command
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC");
    assert!(command.stdout(Stdio::null()).status().unwrap().success());
}

#[tokio::main(flavor = "current_thread")]
async fn serve() {
    log::init(Format::Json, Level::Info).unwrap();
    let mut signals = Signals::take().unwrap();
    let handle = ShutdownHandle::new(Clock::start(), Plan::default());
    let stuck = |_| async {
        std::future::pending::<()>().await;
        Ok(())
    };
    handle.add_hook("stuck", Phase::Draining, stuck).unwrap();
    tracing::info!("serving");
    let report = handle
        .run(&mut signals, || tracing::info!("reloaded"))
        .await;
    tracing::info!(forced = ?report.forced, "stopped");
}

fn wait_for(lines: &mut impl Iterator<Item = std::io::Result<String>>, message: &str) -> String {
    for line in lines {
        let line = line.unwrap();
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        if value["fields"]["message"] == message {
            return line;
        }
    }
    panic!("the child never said {message:?}");
}

fn kill(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn signals_reload_stop_and_force() {
    if plays_child() {
        serve();
        return;
    }
    for stop in [Signal::TERM, Signal::INT] {
        let mut command = child_of("child::signals_reload_stop_and_force");
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        wait_for(&mut lines, "serving");
        kill(&child, Signal::HUP);
        wait_for(&mut lines, "reloaded");
        kill(&child, stop);
        let line = wait_for(&mut lines, "shutting down");
        assert!(line.contains("draining"), "{line}");
        // The hook never ends, so only a second signal ends this before 30 s are over.
        kill(&child, stop);
        let line = wait_for(&mut lines, "stopped");
        assert!(line.contains("Some(Signal)"), "{line}");
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn a_panic_is_one_escaped_log_line() {
    if plays_child() {
        let handle = log::init(Format::Text, Level::Warn).unwrap();
        assert_eq!(
            log::init(Format::Text, Level::Warn).unwrap_err(),
            log::AlreadySet
        );
        assert_eq!(handle.level(), Level::Warn);
        let thread = std::thread::Builder::new().name("shard-3".into());
        let thread = thread.spawn(|| panic!("bad\nbytes \x1b[2J")).unwrap();
        assert!(thread.join().is_err());
        return;
    }
    let output = child_of("child::a_panic_is_one_escaped_log_line")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    let line = text.lines().find(|line| line.contains("panicked")).unwrap();
    assert!(
        line.contains(r"ERROR trunkline_runtime::log: panicked: bad\nbytes \u{1b}[2J"),
        "{line}"
    );
    assert!(
        line.contains("thread=shard-3") && line.contains("child.rs:"),
        "{line}"
    );
}
