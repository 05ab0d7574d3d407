//! The server: both doors, opened together and closed together.
//!
//! Nothing is served until everything is bound. On the way down the ready probe turns false first
//! ([`AdminServer::set_draining`]); later, within a grace that the caller sets, calls under way are
//! answered while streams end and nothing new is taken; what is left then is cut off.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use trunkline_config::{Secret, SecretFileError};
use trunkline_engine::fault::{Blame, Fault, Retry};
use trunkline_engine::health::Report;
use trunkline_engine::stats::Exposition;
use trunkline_runtime::clock::Clock;
use trunkline_runtime::metrics::{CollectorRegistration, MetricRegistry};
use trunkline_runtime::operation::{Registration, Registry};

use crate::config::{AdminConfig, MetricsAccess, fit_token};
use crate::counters::Counters;
use crate::dashboard::{self, Keys};
use crate::explain::codes;
use crate::http;
use crate::limits::Limits;
use crate::socket::{self, Place};

/// How the process is now; asked at every probe, so it must answer at once.
pub type HealthReport = Arc<dyn Fn() -> Report + Send + Sync>;

/// How long connections that were cut off may take to notice.
const CUT_OFF: Duration = Duration::from_secs(1);

/// Why the doors cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// Neither configured nor to be found from the environment.
    #[error(
        "there is no place for the control socket: set admin.socket, or RUNTIME_DIRECTORY or \
         XDG_RUNTIME_DIR in the environment"
    )]
    NoSocketPlace,
    /// Somebody serves there.
    #[error("{} is served by {owner}", path.display())]
    SocketInUse {
        /// The path of the socket.
        path: PathBuf,
        /// Who, as far as is known.
        owner: String,
    },
    /// The file system said no.
    #[error("cannot open the control socket at {}: {source}", path.display())]
    Socket {
        /// The path of the socket.
        path: PathBuf,
        /// What was said.
        source: io::Error,
    },
    /// The group does not exist, or the process may not give files to it.
    #[error("the group {group:?} {what}")]
    Group {
        /// The group as configured.
        group: String,
        /// What is wrong.
        what: String,
    },
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// An address that others reach, without a token.
    #[error("{address} is not loopback, and there is no token")]
    Exposed {
        /// The address.
        address: SocketAddr,
    },
    /// The token's file cannot be read any more.
    #[error("admin.token_file: {0}")]
    Token(#[from] SecretFileError),
    /// The token cannot serve.
    #[error("the token {0}")]
    UnfitToken(&'static str),
}

impl AdminError {
    /// The code that `trunkline explain` knows.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoSocketPlace => codes::NO_SOCKET_PLACE,
            Self::SocketInUse { .. } => codes::SOCKET_IN_USE,
            Self::Socket { .. } | Self::Listen { .. } => codes::CANNOT_BIND,
            Self::Group { .. } => codes::STRAY_GROUP,
            Self::Exposed { .. } => codes::OPEN_BIND,
            Self::Token(_) => trunkline_config::codes::SECRET_FILE,
            Self::UnfitToken(_) => codes::UNFIT_TOKEN,
        }
    }
}

impl Fault for AdminError {
    fn blame(&self) -> Blame {
        Blame::Local
    }

    fn retry(&self) -> Retry {
        Retry::NEVER
    }
}

/// What both doors share.
pub(crate) struct Shared {
    pub(crate) registry: Registry,
    pub(crate) metrics: MetricRegistry,
    pub(crate) health: HealthReport,
    pub(crate) limits: Limits,
    pub(crate) counters: Arc<Counters>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) token: Option<Secret>,
    pub(crate) metrics_access: MetricsAccess,
    /// Names of this host beside its addresses and localhost, in lower case.
    pub(crate) hosts: BTreeSet<String>,
    pub(crate) scrapes: Arc<Semaphore>,
    /// Room for connections over HTTP.
    pub(crate) http_room: Arc<Semaphore>,
    pub(crate) draining: AtomicBool,
    /// Cancelled when nothing new is taken any more.
    pub(crate) stop: CancellationToken,
    /// Cancelled when what is left is cut off.
    pub(crate) kill: CancellationToken,
}

/// The running server. Dropping it cuts everything off at once.
pub struct AdminServer {
    shared: Arc<Shared>,
    place: Place,
    bound: Vec<SocketAddr>,
    doors: JoinSet<()>,
    _metrics: CollectorRegistration,
    _link: Registration,
}

impl std::fmt::Debug for AdminServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminServer")
            .field("socket", &self.socket())
            .field("bound", &self.bound)
            .finish_non_exhaustive()
    }
}

impl AdminServer {
    /// Opens both doors on the tokio runtime of the caller.
    ///
    /// # Errors
    /// See [`AdminError`]; then nothing is left open.
    pub async fn start(
        config: &AdminConfig,
        registry: Registry,
        metrics: MetricRegistry,
        health: HealthReport,
        clock: Clock,
    ) -> Result<Self, AdminError> {
        let limits = Limits::default();
        Self::start_within(limits, config, registry, metrics, health, clock).await
    }

    /// The same with other bounds.
    ///
    /// # Errors
    /// See [`AdminError`]; then nothing is left open.
    pub async fn start_within(
        limits: Limits,
        config: &AdminConfig,
        registry: Registry,
        metrics: MetricRegistry,
        health: HealthReport,
        clock: Clock,
    ) -> Result<Self, AdminError> {
        let token = token(config)?;
        let path = socket::socket_path(config.socket.as_deref(), |name| std::env::var_os(name))?;
        let (place, unix) = Place::take(&path, config.socket_group.as_deref())?;
        let tcp = listen(config, token.is_some()).await?;
        let bound: Vec<SocketAddr> = tcp.iter().map(|(_, address)| *address).collect();
        let keys = Arc::new(Keys::new(clock));
        let counters = Arc::new(Counters::default());
        let link = registry.register(dashboard::link_operation(&keys, &bound));
        let exported = Arc::clone(&counters);
        let exported = metrics.register(Arc::new(move |all: &mut Exposition| exported.export(all)));
        let shared = Arc::new(Shared {
            registry,
            metrics,
            health,
            scrapes: Arc::new(Semaphore::new(limits.scrapes)),
            http_room: Arc::new(Semaphore::new(limits.http_connections)),
            limits,
            counters,
            keys,
            token,
            metrics_access: config.metrics,
            hosts: config
                .hosts
                .iter()
                .map(|host| host.to_ascii_lowercase())
                .collect(),
            draining: AtomicBool::new(false),
            stop: CancellationToken::new(),
            kill: CancellationToken::new(),
        });
        let mut doors = JoinSet::new();
        doors.spawn(socket::serve::run(unix, Arc::clone(&shared)));
        for (listener, local) in tcp {
            doors.spawn(http::run(listener, local, Arc::clone(&shared)));
        }
        Ok(Self {
            shared,
            place,
            bound,
            doors,
            _metrics: exported,
            _link: link,
        })
    }

    /// The addresses on which HTTP is served, with their real ports.
    pub fn bound(&self) -> &[SocketAddr] {
        &self.bound
    }

    /// The path of the control socket.
    pub fn socket(&self) -> &Path {
        self.place.path()
    }

    /// From now on the process is not ready, whatever its parts say.
    pub fn set_draining(&self) {
        self.shared.draining.store(true, Ordering::Release);
    }

    /// [`Self::set_draining`] for a hook that runs while the server is somebody else's.
    pub fn draining(&self) -> impl FnOnce() + Send + 'static {
        let shared = Arc::clone(&self.shared);
        move || shared.draining.store(true, Ordering::Release)
    }

    /// Closes both doors: nothing new is taken, streams end with an error that says so, and calls
    /// under way have `grace` to be answered. What is left is cut off.
    pub async fn shutdown(mut self, grace: Duration) {
        self.set_draining();
        self.shared.stop.cancel();
        let ended = timeout(grace, async {
            while self.doors.join_next().await.is_some() {}
        });
        if ended.await.is_err() {
            self.shared.kill.cancel();
            let ended = timeout(CUT_OFF, async {
                while self.doors.join_next().await.is_some() {}
            });
            if ended.await.is_err() {
                tracing::warn!("connections to the admin server did not end when cut off");
            }
        }
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        self.shared.kill.cancel();
    }
}

fn token(config: &AdminConfig) -> Result<Option<Secret>, AdminError> {
    let Some(file) = &config.token_file else {
        return Ok(None);
    };
    let secret = file.read()?.secret;
    fit_token(secret.expose()).map_err(AdminError::UnfitToken)?;
    Ok(Some(secret))
}

async fn listen(
    config: &AdminConfig,
    has_token: bool,
) -> Result<Vec<(TcpListener, SocketAddr)>, AdminError> {
    let mut bound = Vec::new();
    for &address in &config.listen {
        // The configuration's check says the same earlier and with its place; this is the wall.
        if !address.ip().to_canonical().is_loopback() && !has_token {
            return Err(AdminError::Exposed { address });
        }
        let failed = |source| AdminError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let local = listener.local_addr().map_err(failed)?;
        bound.push((listener, local));
    }
    Ok(bound)
}
