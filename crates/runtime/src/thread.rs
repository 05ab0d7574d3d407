//! Threads that are noticed when they die.
//!
//! A driver's thread holds work of people who wait. When it panics, or ends with an error, the
//! [`Supervisor`] tells its owner at once (who ends the work that was in flight with an outcome)
//! and runs the body again after a backoff, which starts anew when a run has lasted a minute. A
//! panic cannot take the supervisor with it: it catches the unwinding inside the thread, so there
//! is no second thread to watch the first. A body that hangs is not seen here; health watches its
//! turns.

use std::any::Any;
use std::error::Error;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use trunkline_engine::backoff::{Backoff, Curve};
use trunkline_engine::rng::Rng;

/// A run that lasted this long was healthy: the next death is answered as if it were the first.
const HEALTHY: Duration = Duration::from_secs(60);

/// How a supervised body ends when it fails.
pub type Failure = Box<dyn Error + Send + Sync>;

/// A death of a supervised thread, told before it is restarted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// The thread's name.
    pub thread: String,
    /// The panic's message or the error.
    pub reason: String,
    /// Deaths so far, this one included.
    pub deaths: u64,
    /// How long until it runs again; `None` when it was told to stop meanwhile.
    pub restart_after: Option<Duration>,
}

/// A thread whose body is run again when it dies.
#[derive(Debug)]
pub struct Supervisor {
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: Mutex<bool>,
    stopped: Condvar,
    deaths: AtomicU64,
}

impl Supervisor {
    /// 10 ms doubling to half a second, with jitter: a restart always comes within a second.
    pub const BACKOFF: Backoff = Backoff {
        curve: Curve::Exponential { factor: 2.0 },
        base: Duration::from_millis(10),
        cap: Duration::from_millis(500),
        jitter: 0.5,
    };

    /// Runs `body` on a thread called `name` (at most 15 bytes show in `top`). It is called again
    /// after each death, so it makes its own sockets and machines; it ends for good by returning
    /// `Ok`. `on_death` is called on that thread, before the wait.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn spawn(
        name: impl Into<String>,
        seed: u64,
        body: impl FnMut() -> Result<(), Failure> + Send + 'static,
        on_death: impl FnMut(&Death) + Send + 'static,
    ) -> io::Result<Self> {
        let name = name.into();
        let shared = Arc::<Shared>::default();
        let life = Life {
            name: name.clone(),
            shared: Arc::clone(&shared),
            rng: Rng::seeded(seed),
        };
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || life.run(body, on_death))?;
        Ok(Self {
            thread: Some(thread),
            shared,
        })
    }

    /// Deaths so far.
    pub fn deaths(&self) -> u64 {
        self.shared.deaths.load(Ordering::Relaxed)
    }

    /// Whether the body has ended for good.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// No more restarts, and no wait for one. It does not end a body that runs: its owner does,
    /// through the body's own commands.
    pub fn stop(&self) {
        *self
            .shared
            .stop
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.stopped.notify_all();
    }

    /// Waits until the body has ended for good.
    pub fn join(mut self) {
        if let Some(thread) = self.thread.take() {
            // The thread catches every panic of the body and of the callback.
            thread.join().ok();
        }
    }
}

impl Drop for Supervisor {
    /// Stops restarting; a body that runs goes on.
    fn drop(&mut self) {
        self.stop();
    }
}

struct Life {
    name: String,
    shared: Arc<Shared>,
    rng: Rng,
}

impl Life {
    fn run(
        mut self,
        mut body: impl FnMut() -> Result<(), Failure>,
        mut on_death: impl FnMut(&Death),
    ) {
        let mut backoff = Supervisor::BACKOFF.start();
        loop {
            let begun = Instant::now();
            // Unwind safety: the body makes what it needs anew on every call, and what it shares
            // with others is behind locks and atomics that are used after a panic on purpose.
            let reason = match catch_unwind(AssertUnwindSafe(&mut body)) {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(panic) => panic_message(panic.as_ref()),
            };
            if begun.elapsed() >= HEALTHY {
                backoff = Supervisor::BACKOFF.start();
            }
            let wait = backoff.next(&Supervisor::BACKOFF, &mut self.rng);
            let stopping = *self
                .shared
                .stop
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let death = Death {
                thread: self.name.clone(),
                reason,
                deaths: self.shared.deaths.fetch_add(1, Ordering::Relaxed) + 1,
                restart_after: (!stopping).then_some(wait),
            };
            // A callback that panics has had its say.
            catch_unwind(AssertUnwindSafe(|| on_death(&death))).ok();
            if self.stopped_within(wait) {
                return;
            }
        }
    }

    fn stopped_within(&self, wait: Duration) -> bool {
        let stop = self
            .shared
            .stop
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .shared
            .stopped
            .wait_timeout_while(stop, wait, |stop| !*stop);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "panicked without a message".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn panics_and_errors_are_told_and_the_body_runs_again() {
        let (tx, rx) = mpsc::channel();
        let mut runs = 0;
        let body = move || {
            runs += 1;
            match runs {
                1 => panic!("first {}", runs),
                2 => panic!("second"),
                3 => Err("third".into()),
                _ => Ok(()),
            }
        };
        let on_death = move |death: &Death| tx.send((death.clone(), Instant::now())).unwrap();
        let supervisor = Supervisor::spawn("shard-0", 7, body, on_death).unwrap();
        let deaths: Vec<(Death, Instant)> = rx.iter().collect();
        let reasons: Vec<&str> = deaths.iter().map(|(d, _)| d.reason.as_str()).collect();
        assert_eq!(reasons, ["first 1", "second", "third"]);
        assert_eq!(deaths[2].0.deaths, 3);
        for pair in deaths.windows(2) {
            let wait = pair[0].0.restart_after.unwrap();
            assert!(wait <= Duration::from_millis(500));
            assert!(pair[1].1 - pair[0].1 >= wait, "restarted too early");
        }
        supervisor.join();
    }

    #[test]
    fn stopping_ends_the_wait_for_a_restart() {
        let (tx, rx) = mpsc::channel();
        let supervisor = Supervisor::spawn(
            "dies",
            1,
            || Err("always".into()),
            move |death| {
                tx.send(()).ok();
                if death.deaths == 1 {
                    panic!("a callback's panic ends nothing");
                }
            },
        )
        .unwrap();
        rx.iter().take(3).for_each(drop);
        supervisor.stop();
        supervisor.join();
        let late = rx.try_iter().count();
        assert!(late <= 1, "{late} deaths after the stop");
    }
}
