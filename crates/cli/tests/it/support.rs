//! Running programs, and a real snmpd that ends with its test.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use trunkline_wire_snmp::{OidBuf, PduKind, Value, Version, decode, encode};

/// What a program did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: Option<i32>,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code(),
        }
    }
}

/// The command under test.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline"));
    command.stdin(Stdio::null());
    command
}

/// Runs `trunkline` with these words.
pub(crate) fn trunkline(words: &[&str]) -> Ran {
    command().args(words).output().unwrap().into()
}

/// Runs one of net-snmp's tools, without MIBs and without anybody's configuration.
pub(crate) fn net_snmp(tool: &str, words: &[&str]) -> Ran {
    let nowhere = TempDir::new("net-snmp");
    // The tools say so on stderr when they have to make it themselves.
    std::fs::create_dir(nowhere.0.join("cert_indexes")).unwrap();
    let mut command = Command::new(tool);
    command.args(words).stdin(Stdio::null());
    command.env("MIBS", "").env("HOME", &nowhere.0);
    command.env("SNMPCONFPATH", &nowhere.0);
    command.env("SNMP_PERSISTENT_DIR", &nowhere.0);
    match command.output() {
        Ok(output) => output.into(),
        Err(error) => panic!("{tool}: {error}; {INSTALL}"),
    }
}

const INSTALL: &str = "install it: apt-get install -y --no-install-recommends snmp snmpd";

/// A directory that goes with its owner.
#[derive(Debug)]
pub(crate) struct TempDir(pub(crate) PathBuf);

impl TempDir {
    pub(crate) fn new(what: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("trunkline-{what}-{}-{next}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// A running snmpd on 127.0.0.1 and `[::1]`; it is killed when dropped.
#[derive(Debug)]
pub(crate) struct Snmpd {
    child: Child,
    port: u16,
    _dir: TempDir,
}

/// What every snmpd of the tests says: communities `public` and `private`, and a few values.
const CONFIG: &str = r#"rocommunity public
rocommunity6 public
rwcommunity private
rwcommunity6 private
sysDescr a switch "of" \ tests
sysContact nobody@example.net
sysName box
sysLocation here
override 1.3.6.1.4.1.9999.1.0 octet_str "fixed"
override -rw 1.3.6.1.4.1.9999.2.0 integer 5
override -rw 1.3.6.1.4.1.9999.3.0 octet_str "words"
"#;

impl Snmpd {
    /// Starts one.
    ///
    /// # Panics
    /// When it is not installed, or does not answer within ten seconds.
    pub(crate) fn start() -> Self {
        for _ in 0..5 {
            if let Some(started) = Self::try_start() {
                return started;
            }
        }
        panic!("snmpd does not start: its ports were taken five times, or its options are refused");
    }

    fn try_start() -> Option<Self> {
        let dir = TempDir::new("snmpd");
        let port = free_port();
        let listen = format!("agentAddress udp:127.0.0.1:{port},udp6:[::1]:{port}\n");
        std::fs::write(dir.0.join("snmpd.conf"), listen + CONFIG).unwrap();
        let child = spawn_snmpd(&dir.0);
        let mut snmpd = Self {
            child,
            port,
            _dir: dir,
        };
        let patience = Instant::now() + Duration::from_secs(10);
        while Instant::now() < patience {
            if snmpd.child.try_wait().unwrap().is_some() {
                return None;
            }
            if answers(port) {
                return Some(snmpd);
            }
        }
        None
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn v4(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `udp6:[::1]:PORT`.
    pub(crate) fn v6(&self) -> String {
        format!("udp6:[::1]:{}", self.port)
    }
}

impl Drop for Snmpd {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn spawn_snmpd(dir: &Path) -> Child {
    // Debian keeps it where a user's PATH does not look.
    let places = ["snmpd", "/usr/sbin/snmpd"];
    for place in places {
        let mut command = Command::new(place);
        command.current_dir(dir).env("SNMP_PERSISTENT_DIR", dir);
        command.args([
            "-f",
            "-Lf",
            "snmpd.log",
            "-C",
            "-c",
            "snmpd.conf",
            "-p",
            "snmpd.pid",
        ]);
        command.args(["-I", "-smux", "-m", ""]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        match command.spawn() {
            Ok(child) => return child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => panic!("snmpd: {error}"),
        }
    }
    panic!("snmpd is missing; {INSTALL}");
}

/// A UDP port that is free on both loopback addresses.
pub(crate) fn free_port() -> u16 {
    for _ in 0..100 {
        let v4 = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = v4.local_addr().unwrap().port();
        if UdpSocket::bind(("::1", port)).is_ok() {
            return port;
        }
    }
    panic!("no UDP port is free on both 127.0.0.1 and ::1");
}

/// Whether an agent answers for sysUpTime.0 within 100 ms.
fn answers(port: u16) -> bool {
    let up_time: OidBuf = "1.3.6.1.2.1.1.3.0".parse().unwrap();
    let row = [(up_time.as_oid(), Value::Null)];
    let mut slot = [0; 1472];
    let at = encode(
        &mut slot,
        Version::V2c,
        b"public",
        PduKind::Get,
        7,
        0,
        0,
        row,
    )
    .unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    socket.send_to(&slot[at], ("127.0.0.1", port)).unwrap();
    let mut reply = [0; 1472];
    match socket.recv(&mut reply) {
        Ok(len) => decode(&reply[..len]).is_ok(),
        Err(_) => {
            // A refusal comes at once; do not spin on it.
            std::thread::sleep(Duration::from_millis(10));
            false
        }
    }
}
