//! What is started: our binary, the bare loop and gosnmp, each on its core.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// The core of whoever is measured.
const CLIENT_CORE: &str = "0";
/// The core of whoever answers.
const SERVER_CORE: &str = "1";

/// The programs.
pub(crate) struct Tools {
    trunkline: PathBuf,
    raw: PathBuf,
    gosnmp: Option<PathBuf>,
    pinned: bool,
    /// For files of this run; removed at the end.
    pub(crate) directory: PathBuf,
}

/// A program that ends with its handle.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Drop for Tools {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.directory).ok();
    }
}

impl Tools {
    /// Builds them. Without Go, gosnmp is left out.
    pub(crate) fn build() -> Result<Self, String> {
        let name = format!("trunkline-bench-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut tools = Self {
            trunkline: PathBuf::new(),
            raw: directory.join("raw"),
            gosnmp: None,
            pinned: cores > 1 && works(Command::new("taskset").args(["-c", "0", "true"])),
            directory,
        };
        tools.trunkline = match std::env::var_os("TRUNKLINE") {
            Some(path) => path.into(),
            None => build_trunkline()?,
        };
        let source = peers().join("raw/raw.c");
        let mut compile = Command::new("cc");
        compile.arg("-O2").arg("-o").arg(&tools.raw).arg(source);
        if !works(&mut compile) {
            return Err("the bare loop does not compile: a C compiler (cc) is needed".to_owned());
        }
        let gosnmp = tools.directory.join("gosnmp");
        let mut compile = Command::new("go");
        compile.envs([("GO111MODULE", "off"), ("GOPATH", "/usr/share/gocode")]);
        compile.env("GOCACHE", tools.directory.join("go-cache"));
        compile
            .args(["build", "-o"])
            .arg(&gosnmp)
            .arg(peers().join("gosnmp/load.go"));
        if works(&mut compile) {
            tools.gosnmp = Some(gosnmp);
        } else {
            eprintln!("gosnmp is left out: install golang-go and golang-github-gosnmp-gosnmp-dev");
        }
        Ok(tools)
    }

    /// Whether clients and servers keep to their cores.
    pub(crate) const fn pinned(&self) -> bool {
        self.pinned
    }

    pub(crate) const fn has_gosnmp(&self) -> bool {
        self.gosnmp.is_some()
    }

    /// Starts simulated agents and waits until they answer.
    pub(crate) fn simulate(&self, arguments: &[&str]) -> Result<Running, String> {
        let mut command = self.on(SERVER_CORE, &self.trunkline);
        command.args(["sim", "snmp"]).args(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut running = Running(command.spawn().map_err(|error| error.to_string())?);
        let mut line = String::new();
        if let Some(talk) = running.0.stderr.take() {
            BufReader::new(talk)
                .read_line(&mut line)
                .map_err(|error| error.to_string())?;
        }
        if line.contains(" agents on ") {
            Ok(running)
        } else {
            Err(line)
        }
    }

    /// Starts the bare echo.
    pub(crate) fn echo(&self, port: &str, reply_bytes: u64) -> Result<Running, String> {
        let mut command = self.on(SERVER_CORE, &self.raw);
        command.args(["serve", port, &reply_bytes.to_string()]);
        let running = Running(command.spawn().map_err(|error| error.to_string())?);
        std::thread::sleep(Duration::from_millis(200));
        Ok(running)
    }

    /// Runs `trunkline bench snmp` and reads its figures.
    pub(crate) fn bench(&self, arguments: &[&str]) -> Result<Value, String> {
        let mut command = self.on(CLIENT_CORE, &self.trunkline);
        command
            .args(["bench", "snmp", "-o", "json"])
            .args(arguments);
        figures(&mut command)
    }

    /// Runs the bare loop and reads its figures.
    pub(crate) fn raw(&self, arguments: &[&str]) -> Result<Value, String> {
        let mut command = self.on(CLIENT_CORE, &self.raw);
        figures(command.arg("ask").args(arguments))
    }

    /// Runs gosnmp and reads its figures.
    pub(crate) fn gosnmp(&self, arguments: &[&str]) -> Result<Value, String> {
        let gosnmp = self.gosnmp.as_deref().ok_or("gosnmp was not built")?;
        let mut command = self.on(CLIENT_CORE, gosnmp);
        figures(command.env("GOMAXPROCS", "1").args(arguments))
    }

    /// Starts the daemon.
    pub(crate) fn run(&self, config: &Path) -> Result<Running, String> {
        let mut command = Command::new(&self.trunkline);
        command.arg("run").arg("--config").arg(config);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
            .spawn()
            .map(Running)
            .map_err(|error| error.to_string())
    }

    fn on(&self, core: &str, program: &Path) -> Command {
        if !self.pinned {
            return Command::new(program);
        }
        let mut command = Command::new("taskset");
        command.args(["-c", core]).arg(program);
        command
    }
}

/// A number of a JSON object.
pub(crate) fn number(figures: &Value, key: &str) -> f64 {
    figures.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN)
}

fn figures(command: &mut Command) -> Result<Value, String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let talk = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).map_err(|error| format!("{command:?}: {error} {talk}"))
}

fn works(command: &mut Command) -> bool {
    command.status().is_ok_and(|status| status.success())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn peers() -> PathBuf {
    root().join("peers")
}

/// Builds the product in release and returns the path of its binary.
fn build_trunkline() -> Result<PathBuf, String> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args([
        "build",
        "--release",
        "-p",
        "trunkline",
        "--message-format=json",
    ]);
    command.current_dir(root()).stderr(Stdio::inherit());
    let output = command.output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let built =
        messages.filter_map(|message| Some(message.get("executable")?.as_str()?.to_owned()));
    built
        .last()
        .map(PathBuf::from)
        .ok_or_else(|| "trunkline does not build".to_owned())
}
