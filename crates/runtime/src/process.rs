//! What the process and its machine say about themselves.
//!
//! CPU time comes from its clock, the rest from `/proc`; memory is held against the smallest limit
//! that applies, the machine's or the control group's. A reading that cannot be made is absent,
//! never zero.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};
use trunkline_engine::health::Resources;
use trunkline_engine::stats::{Exposition, Kind, Unit};
use trunkline_engine::time::Time;

use crate::clock::Clock;

/// Reads what share of CPU, memory and disk is in use, for health.
#[derive(Debug)]
pub struct ResourceReader {
    disk: PathBuf,
    last: (Time, Duration),
    cpu: Option<f64>,
}

impl ResourceReader {
    /// A reader that looks at the file system of `disk` (the state directory).
    pub fn new(now: Time, disk: impl Into<PathBuf>) -> Self {
        Self {
            disk: disk.into(),
            last: (now, cpu_time()),
            cpu: None,
        }
    }

    /// The shares now. The CPU's is an average since the reading before, at least 100 ms long: a
    /// reading sooner than that repeats the last.
    pub fn read(&mut self, now: Time) -> Resources {
        let (then, before) = self.last;
        let elapsed = now.saturating_since(then);
        if elapsed >= Duration::from_millis(100) {
            let used = cpu_time().saturating_sub(before);
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            self.cpu = Some(used.as_secs_f64() / elapsed.as_secs_f64() / cores as f64);
            self.last = (now, before + used);
        }
        Resources {
            cpu: self.cpu,
            memory: memory_share(),
            disk: disk_share(&self.disk),
        }
    }
}

/// CPU time that the process has used, user and system together.
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.cast_unsigned(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

pub(crate) fn export(all: &mut Exposition, clock: &Clock) {
    all.family(
        "trunkline_process_cpu_seconds",
        "CPU time used, user and system.",
        Kind::Counter,
        Unit::Seconds,
    )
    .sample(&[], cpu_time().as_secs_f64());
    let began = clock
        .wall()
        .as_unix_millis()
        .saturating_sub(clock.now().as_millis());
    all.family(
        "trunkline_process_start_time_seconds",
        "When the process began, since the Unix epoch.",
        Kind::Gauge,
        Unit::Seconds,
    )
    .sample(&[], Duration::from_millis(began).as_secs_f64());
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut gauge = |name, help, unit, value: Option<u64>| {
        if let Some(value) = value {
            all.family(name, help, Kind::Gauge, unit).sample(&[], value);
        }
    };
    gauge(
        "trunkline_process_resident_memory_bytes",
        "Memory that is in RAM.",
        Unit::Bytes,
        field(&status, "VmRSS:").map(|kib| kib * 1024),
    );
    gauge(
        "trunkline_process_threads",
        "Threads.",
        Unit::None,
        field(&status, "Threads:"),
    );
    gauge(
        "trunkline_process_open_fds",
        "Open file descriptors.",
        Unit::None,
        open_fds(),
    );
    gauge(
        "trunkline_process_max_fds",
        "File descriptors that may be open.",
        Unit::None,
        getrlimit(Resource::Nofile).current,
    );
}

fn open_fds() -> Option<u64> {
    let entries = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    // The directory itself is open while it is read.
    Some(entries.saturating_sub(1))
}

fn memory_share() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let used = field(&status, "VmRSS:")? * 1024;
    let machine = fs::read_to_string("/proc/meminfo").ok()?;
    let machine = field(&machine, "MemTotal:")? * 1024;
    let limit = group_limit().map_or(machine, |group| group.min(machine));
    Some(used as f64 / limit.max(1) as f64)
}

/// The memory limit of the process's own control group (version 2); its parents' are not read.
fn group_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let file = Path::new("/sys/fs/cgroup")
        .join(path.trim_start_matches('/'))
        .join("memory.max");
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn disk_share(path: &Path) -> Option<f64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    let (total, free) = (disk.f_blocks, disk.f_bavail);
    (total > 0).then(|| 1.0 - free.min(total) as f64 / total as f64)
}

/// The first number of the line that begins with `name`.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_fractions_and_cpu_needs_two_readings() {
        let mut reader = ResourceReader::new(Time::ZERO, "/");
        let first = reader.read(Time::from_millis(1));
        assert_eq!(first.cpu, None);
        let busy = cpu_time() + Duration::from_millis(20);
        while cpu_time() < busy {
            std::hint::black_box(0);
        }
        let second = reader.read(Time::from_millis(200));
        assert!(second.cpu.is_some_and(|share| share > 0.0), "{second:?}");
        for share in [second.memory, second.disk] {
            assert!(
                share.is_some_and(|share| share > 0.0 && share <= 1.0),
                "{second:?}"
            );
        }
        let missing = ResourceReader::new(Time::ZERO, "/no/such/place").read(Time::ZERO);
        assert_eq!(missing.disk, None);
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "VmRSS:\t  812 kB\nThreads:\t3\nx: y\n";
        assert_eq!(field(text, "VmRSS:"), Some(812));
        assert_eq!(field(text, "Threads:"), Some(3));
        assert_eq!((field(text, "x:"), field(text, "VmHWM:")), (None, None));
    }
}
