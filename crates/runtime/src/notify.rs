//! Telling the service manager how the daemon is (sd_notify protocol).
//!
//! Nothing is sent, and nothing is wrong, when there is none. A status text may hold foreign words;
//! a line break in it would start another statement to the manager, so control characters are
//! escaped.

use std::io;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::log::Escaped;

/// The daemon serves.
///
/// # Errors
/// The manager's socket cannot be reached.
pub fn ready() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Ready])
}

/// The daemon reads its configuration again; [`ready`] must follow.
///
/// # Errors
/// The manager's socket cannot be reached.
pub fn reloading() -> io::Result<()> {
    // systemd 253 and later matches the answer by this time.
    sd_notify::notify(&[NotifyState::Reloading, NotifyState::monotonic_usec_now()?])
}

/// The daemon is on its way down.
///
/// # Errors
/// The manager's socket cannot be reached.
pub fn stopping() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Stopping])
}

/// One line for `systemctl status`.
///
/// # Errors
/// The manager's socket cannot be reached.
pub fn status(text: &str) -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Status(&Escaped(text).to_string())])
}

/// The daemon's loops turn. To be sent at least every [`watchdog_interval`].
///
/// # Errors
/// The manager's socket cannot be reached.
pub fn watchdog() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Watchdog])
}

/// How often to send [`watchdog`]: half of what the manager allows; `None` when it does not watch.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}
