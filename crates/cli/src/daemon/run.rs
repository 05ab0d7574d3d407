//! The order of things: read, check, lock, start, serve, drain, close, account.

use std::sync::Arc;
use std::time::Duration;

use trunkline_admin::{AdminError, AdminServer};
use trunkline_config::{FileChoice, LoadOptions, Loaded, Problems, diff, load, show};
use trunkline_engine::health::{Health, ResourceLimits};
use trunkline_engine::letters::LetterPolicy;
use trunkline_engine::shutdown::{Phase, Plan, Report};
use trunkline_runtime::clock::Clock;
use trunkline_runtime::log::{self, Format, Level, LogHandle};
use trunkline_runtime::metrics::{BuildInfo, MetricRegistry};
use trunkline_runtime::notify;
use trunkline_runtime::office::Office;
use trunkline_runtime::operation::{Operation, Registration, Registry};
use trunkline_runtime::shutdown::{ShutdownHandle, Signals};
use trunkline_runtime::state::{StateDir, StateError};

use super::process::{Process, Reloader, reporter};
use super::root::{FormatChoice, LevelChoice, RootConfig};
use super::sheet::Book;
use super::systems::Systems;

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// The configuration.
    #[error("{0}")]
    Config(Box<Problems>),
    /// The state directory.
    #[error("{0}")]
    State(#[from] StateError),
    /// The dead letters.
    #[error("the dead letters: {0}")]
    Letters(String),
    /// A system.
    #[error("{system}: {why}")]
    System {
        /// Which.
        system: String,
        /// Why.
        why: String,
    },
    /// Socket and HTTP.
    #[error("{0}")]
    Admin(#[from] AdminError),
    /// Threads, signals, descriptors.
    #[error("{0}")]
    Os(#[from] std::io::Error),
}

/// How the daemon ended.
pub(crate) struct Ended {
    /// The phases.
    pub(crate) report: Report,
    /// The closing books.
    pub(crate) books: Vec<Book>,
}

/// Runs the daemon until it is told to stop. `ready` is called once with what was bound.
pub(crate) fn run(
    file: FileChoice,
    ready: impl FnOnce(&Loaded<RootConfig>, &[String]),
) -> Result<Ended, RunError> {
    let loaded =
        load::<RootConfig>(&LoadOptions::from_process(file.clone())).map_err(RunError::Config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("edge")
        .enable_all()
        .build()?;
    let log = start_log(&loaded.value);
    runtime.block_on(serve(&loaded, file, log, ready))
}

/// The process has one log; a test that runs the daemon twice keeps the first.
fn start_log(config: &RootConfig) -> Option<LogHandle> {
    let format = match config.trunkline.log.format {
        FormatChoice::Text => Format::Text,
        FormatChoice::Json => Format::Json,
    };
    let level = match config.trunkline.log.level {
        LevelChoice::Error => Level::Error,
        LevelChoice::Warn => Level::Warn,
        LevelChoice::Info => Level::Info,
        LevelChoice::Debug => Level::Debug,
    };
    log::init(format, level).ok()
}

async fn serve(
    loaded: &Loaded<RootConfig>,
    file: FileChoice,
    log: Option<LogHandle>,
    ready: impl FnOnce(&Loaded<RootConfig>, &[String]),
) -> Result<Ended, RunError> {
    let config = &loaded.value;
    let clock = Clock::start();
    let state = Arc::new(open_state(config)?);
    let mut signals = Signals::take()?;
    let registry = Registry::new();
    let metrics = MetricRegistry::new(clock, build());
    let health = Health::new(ResourceLimits::default());
    let office = open_office(&state, clock)?;
    let _letters = register_all(office.operations(), &registry);
    let counted = office.clone();
    let _counts = metrics.register(Arc::new(move |out| counted.export(out)));
    let systems = Systems::start(config, clock, &registry, &metrics, &health, &office, &state)?;
    let systems = Arc::new(systems);
    let shutdown = ShutdownHandle::new(clock, plan(config));
    let mut parts = Vec::new();
    for (name, part) in systems.parts() {
        parts.push(
            shutdown
                .add_part(&name, None, part)
                .map_err(std::io::Error::other)?,
        );
    }
    let report = reporter(health, clock, state.path().to_owned());
    let reload = reloader(systems.clone(), file, config.clone());
    let process = Process {
        clock,
        started: clock.now(),
        log,
        shutdown: shutdown.clone(),
        report: report.clone(),
        reload: reload.clone(),
        config_text: show(loaded),
        systems: Arc::downgrade(&systems),
    };
    let _process = process.register(&registry);
    let admin = AdminServer::start(&config.admin, registry, metrics, report, clock).await?;
    let draining = admin.draining();
    add_hooks(&shutdown, draining, &systems)?;
    let janitor = tokio::spawn(tidy(systems.clone(), state.clone(), office.clone()));
    ready(loaded, &bound(&admin));
    // Without a service manager there is nobody to tell, which is no error.
    notify::ready().ok();
    let report = shutdown.run(&mut signals, || reload_later(&reload)).await;
    janitor.abort();
    // The task holds the systems until it has really ended.
    janitor.await.ok();
    systems.save_decisions(&state);
    drop((parts, reload, _process));
    admin.shutdown(Duration::from_secs(1)).await;
    let patience = config
        .trunkline
        .shutdown
        .force
        .get()
        .saturating_sub(report.total);
    let books = tokio::task::spawn_blocking(move || systems.stop(patience)).await;
    Ok(Ended {
        report,
        books: books.map_err(std::io::Error::other)?,
    })
}

fn register_all(operations: Vec<Operation>, registry: &Registry) -> Vec<Registration> {
    operations
        .into_iter()
        .map(|operation| registry.register(operation))
        .collect()
}

fn open_state(config: &RootConfig) -> Result<StateDir, StateError> {
    let configured = config.trunkline.state_dir.as_deref();
    StateDir::open(&StateDir::resolve(configured, |name| {
        std::env::var_os(name)
    })?)
}

fn open_office(state: &StateDir, clock: Clock) -> Result<Arc<Office>, RunError> {
    let dir = state.subdir("letters")?;
    // A record is kept as text, twice its size; one that is cut could not be sent again.
    let policy = LetterPolicy {
        payload_max: 1 << 20,
        ..LetterPolicy::default()
    };
    let opened = Office::open(&dir, policy, clock);
    let (office, recovery) = opened.map_err(|error| RunError::Letters(error.to_string()))?;
    if recovery.bytes_cut() > 0 {
        let bytes = recovery.bytes_cut();
        tracing::warn!(
            bytes,
            "the dead letter log ended in a torn record, which was cut off"
        );
    }
    Ok(office)
}

fn build() -> BuildInfo {
    BuildInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: option_env!("TRUNKLINE_COMMIT")
            .unwrap_or("unknown")
            .to_owned(),
    }
}

/// The drain lasts as long as the longest deadline that the configuration allows, if that is less
/// than the configured time.
fn plan(config: &RootConfig) -> Plan {
    let deadlines = config.snmp.values().flat_map(|system| system.job.values());
    let deadlines = deadlines.map(|job| job.deadline.unwrap_or(job.interval).get());
    let longest = deadlines.max().unwrap_or(Duration::from_secs(1));
    let shutdown = &config.trunkline.shutdown;
    let drain = shutdown.drain.get().min(longest);
    Plan {
        drain,
        force: shutdown.force.get(),
        ..Plan::default()
    }
}

fn add_hooks(
    shutdown: &ShutdownHandle,
    unready: impl FnOnce() + Send + 'static,
    systems: &Arc<Systems>,
) -> Result<(), RunError> {
    let draining = Arc::downgrade(systems);
    let drain = move |_deadline| async move {
        unready();
        notify::stopping().ok();
        if let Some(systems) = draining.upgrade() {
            systems.all().for_each(|system| system.drain());
        }
        Ok(())
    };
    shutdown
        .add_hook("drain", Phase::Draining, drain)
        .map_err(std::io::Error::other)?;
    Ok(())
}

/// Reads the file again and takes it over: all of it, or nothing. Keys that need a restart are
/// said.
fn reloader(systems: Arc<Systems>, file: FileChoice, running: RootConfig) -> Reloader {
    Arc::new(move || {
        let loaded = load::<RootConfig>(&LoadOptions::from_process(file.clone()))
            .map_err(|problems| problems.to_string())?;
        let mut said = systems.reload(&loaded.value)?;
        let changes = diff(&running, &loaded.value);
        let frozen = changes.into_iter().filter(|change| change.restart);
        said.extend(frozen.map(|change| format!("{}: changes with the next restart", change.key)));
        for line in &said {
            tracing::info!("reload: {line}");
        }
        Ok(said)
    })
}

fn reload_later(reload: &Reloader) {
    let reload = reload.clone();
    notify::reloading().ok();
    tokio::task::spawn_blocking(move || {
        if let Err(why) = reload() {
            tracing::error!("the reload was refused, the old configuration stays: {why}");
        }
        notify::ready().ok();
    });
}

/// The chores of every second.
async fn tidy(systems: Arc<Systems>, state: Arc<StateDir>, office: Arc<Office>) {
    let mut second = 0u64;
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        systems.tell_events();
        second += 1;
        let chores = (systems.clone(), state.clone(), office.clone());
        let resolve = second.is_multiple_of(120);
        let done = tokio::task::spawn_blocking(move || {
            let (systems, state, office) = chores;
            systems.save_decisions(&state);
            office.expire();
            if resolve {
                systems.all().for_each(|system| system.resolve_again());
            }
        });
        done.await.ok();
        notify::watchdog().ok();
    }
}

fn bound(admin: &AdminServer) -> Vec<String> {
    let mut bound: Vec<String> = admin
        .bound()
        .iter()
        .map(|addr| format!("http://{addr}"))
        .collect();
    bound.push(admin.socket().display().to_string());
    bound
}
