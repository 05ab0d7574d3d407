//! The one list of metrics, and the process's own.
//!
//! Whoever has numbers registers a collector; a scrape calls them all into one
//! [`Exposition`]. A collector that panics costs its own numbers and is counted, not the scrape.
//! The process's readings come from `/proc` at the moment of the scrape: one that cannot be made is
//! left out.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trunkline_engine::stats::{Exposition, Kind, Unit};

use crate::clock::Clock;
use crate::process;

/// Adds its numbers to a scrape. It must not wait for anybody.
pub type Collector = Arc<dyn Fn(&mut Exposition) + Send + Sync>;

/// What was built, for `trunkline_build_info`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildInfo {
    /// The version.
    pub version: String,
    /// The commit it was built from, or `unknown`.
    pub commit: String,
}

/// The one list of metrics; a clone is the same list.
#[derive(Clone)]
pub struct MetricRegistry {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Clock,
    build: BuildInfo,
    collectors: Mutex<Vec<(u64, Collector)>>,
    next_id: AtomicU64,
    panics: AtomicU64,
}

impl std::fmt::Debug for MetricRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MetricRegistry({} collectors)", self.lock().len())
    }
}

impl MetricRegistry {
    /// A list with the process's own metrics; `clock` began when the process did.
    pub fn new(clock: Clock, build: BuildInfo) -> Self {
        Self {
            inner: Arc::new(Inner {
                clock,
                build,
                collectors: Mutex::default(),
                next_id: AtomicU64::new(0),
                panics: AtomicU64::new(0),
            }),
        }
    }

    /// Adds a collector for as long as the answer is held.
    #[must_use = "the metrics are gone when this is dropped"]
    pub fn register(&self, collector: Collector) -> CollectorRegistration {
        let id = self.inner.next_id.fetch_add(1, Ordering::Relaxed);
        self.lock().push((id, collector));
        CollectorRegistration {
            registry: self.clone(),
            id,
        }
    }

    /// All metrics now.
    pub fn collect(&self) -> Exposition {
        let mut all = Exposition::new();
        self.build_info(&mut all);
        process::export(&mut all, &self.inner.clock);
        // Called without the lock: a collector may take its time, or register another.
        let collectors = self.lock().clone();
        for (_, collector) in &collectors {
            // A half-written family is still a valid one: samples are added whole.
            if catch_unwind(AssertUnwindSafe(|| collector(&mut all))).is_err() {
                self.inner.panics.fetch_add(1, Ordering::Relaxed);
            }
        }
        let faults = all.faults_total();
        all.family(
            "trunkline_metrics_faults",
            "Samples of this scrape that were left out because they would have broken it.",
            Kind::Gauge,
            Unit::None,
        )
        .sample(&[], faults);
        all.family(
            "trunkline_metrics_collector_panics",
            "Collectors that panicked.",
            Kind::Counter,
            Unit::None,
        )
        .sample(&[], self.inner.panics.load(Ordering::Relaxed));
        all
    }

    /// All metrics now as OpenMetrics text
    /// (`application/openmetrics-text; version=1.0.0; charset=utf-8`).
    pub fn render(&self) -> String {
        self.collect().open_metrics()
    }

    fn build_info(&self, all: &mut Exposition) {
        let BuildInfo { version, commit } = &self.inner.build;
        all.family("trunkline_build", "What was built.", Kind::Info, Unit::None)
            .sample(&[("version", version), ("commit", commit)], 1u64);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(u64, Collector)>> {
        let collectors = self.inner.collectors.lock();
        collectors.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a collector in its registry; dropping it takes its metrics out.
#[derive(Debug)]
pub struct CollectorRegistration {
    registry: MetricRegistry,
    id: u64,
}

impl Drop for CollectorRegistration {
    fn drop(&mut self) {
        let mut collectors = self.registry.lock();
        let at = collectors.iter().position(|(id, _)| *id == self.id);
        let collector = at.map(|at| collectors.remove(at));
        drop(collectors);
        // What the collector holds is dropped without our lock.
        drop(collector);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry() -> MetricRegistry {
        let build = BuildInfo {
            version: "1.2.3".into(),
            commit: "abc".into(),
        };
        MetricRegistry::new(Clock::start(), build)
    }

    #[test]
    fn the_process_describes_itself_without_faults() {
        let text = registry().render();
        for line in [
            "trunkline_build_info{commit=\"abc\",version=\"1.2.3\"} 1",
            "trunkline_metrics_faults 0",
            "# TYPE trunkline_process_cpu_seconds counter",
        ] {
            assert!(text.lines().any(|l| l == line), "no {line}:\n{text}");
        }
        let value = |name: &str| -> f64 {
            let line = text.lines().find(|l| l.starts_with(&format!("{name} ")));
            let line = line.unwrap_or_else(|| panic!("no {name}:\n{text}"));
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        assert!(value("trunkline_process_resident_memory_bytes") > 100_000.0);
        assert!(value("trunkline_process_open_fds") >= 3.0);
        assert!(value("trunkline_process_max_fds") >= value("trunkline_process_open_fds"));
        assert!(value("trunkline_process_threads") >= 1.0);
        assert!(value("trunkline_process_start_time_seconds") > 1.5e9);
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_collector_shows_while_it_is_held() {
        let registry = registry();
        let collector: Collector = Arc::new(|all: &mut Exposition| {
            all.family("trunkline_test_things", "Things.", Kind::Gauge, Unit::None)
                .sample(&[("name", "a")], 4u64);
        });
        let held = registry.register(collector);
        assert!(
            registry
                .render()
                .contains("trunkline_test_things{name=\"a\"} 4")
        );
        drop(held);
        assert!(!registry.render().contains("trunkline_test_things"));
    }

    #[test]
    fn a_panicking_collector_costs_only_itself() {
        let registry = registry();
        let _bad = registry.register(Arc::new(|_: &mut Exposition| panic!("as the test wants")));
        let _good = registry.register(Arc::new(|all: &mut Exposition| {
            all.family("trunkline_test_good", "Good.", Kind::Gauge, Unit::None)
                .sample(&[], 1u64);
        }));
        let text = registry.render();
        assert!(text.contains("trunkline_test_good 1"));
        assert!(text.contains("trunkline_metrics_collector_panics_total 1"));
    }
}
