//! The clocks that figures are taken with.
//!
//! Thread CPU time stands still while somebody else runs on the core, so other work on the machine
//! costs a figure its caches and not its time. Wall time is only for what waits for a disk.

use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of CPU time that this thread has used.
pub fn thread_cpu_nanos() -> u64 {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    spent.tv_sec.unsigned_abs() * 1_000_000_000 + spent.tv_nsec.unsigned_abs()
}

/// CPU nanoseconds that `work` takes on this thread.
pub fn cpu_nanos_of(work: impl FnOnce()) -> u64 {
    let start = thread_cpu_nanos();
    work();
    thread_cpu_nanos() - start
}

/// Wall nanoseconds that `work` takes.
pub fn wall_nanos_of(work: impl FnOnce()) -> u64 {
    let start = Instant::now();
    work();
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// What reading [`thread_cpu_nanos`] twice costs: to be taken off short spans.
pub fn reading_cost_nanos() -> u64 {
    (0..64)
        .map(|_| cpu_nanos_of(|| {}))
        .min()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_grows_with_work_and_not_with_sleep() {
        let asleep = cpu_nanos_of(|| std::thread::sleep(std::time::Duration::from_millis(30)));
        assert!(asleep < 15_000_000, "{asleep}");
        let busy = cpu_nanos_of(|| {
            for n in 0..5_000_000_u64 {
                std::hint::black_box(n);
            }
        });
        assert!(busy > asleep, "{busy} {asleep}");
        assert!(reading_cost_nanos() < 100_000);
    }
}
