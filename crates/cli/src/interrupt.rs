//! SIGINT and SIGTERM for the verbs that run for a while.
//!
//! The first asks for an orderly end; the verb finishes its figures and says what it did. The
//! second means "now": the process ends with 130, as shells expect of an interrupt.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use trunkline_runtime::shutdown::{Signal, Signals};

/// Exit code of a process that was interrupted twice.
const INTERRUPTED_TWICE: i32 = 130;

/// Whether somebody asked this process to end.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt {
    told: Arc<(Mutex<bool>, Condvar)>,
}

impl Interrupt {
    /// Takes over the process's signals; a thread of its own waits for them.
    ///
    /// # Errors
    /// When the thread or the handlers cannot be had.
    pub(crate) fn watch() -> io::Result<Self> {
        let watch = Self {
            told: Arc::default(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        let signals = {
            let _inside = runtime.enter();
            Signals::take()?
        };
        let told = watch.clone();
        let thread = std::thread::Builder::new().name("signals".to_owned());
        thread.spawn(move || runtime.block_on(told.listen(signals)))?;
        Ok(watch)
    }

    /// Waits that long, or until somebody asks for the end; true when somebody has.
    pub(crate) fn wait(&self, patience: Duration) -> bool {
        let (told, changed) = &*self.told;
        let told = told.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = changed.wait_timeout_while(told, patience, |told| !*told);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Whether somebody has asked for the end.
    pub(crate) fn is_told(&self) -> bool {
        self.wait(Duration::ZERO)
    }

    async fn listen(&self, mut signals: Signals) {
        loop {
            if signals.next().await == Signal::Reload {
                continue;
            }
            if self.is_told() {
                std::process::exit(INTERRUPTED_TWICE);
            }
            let (told, changed) = &*self.told;
            *told.lock().unwrap_or_else(PoisonError::into_inner) = true;
            changed.notify_all();
        }
    }
}
