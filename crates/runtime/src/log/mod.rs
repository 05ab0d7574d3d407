//! The log: text or JSON on stderr, its level changeable while the process runs.
//!
//! Foreign words reach it through fields and messages, so control characters are escaped on the way
//! out: a peer cannot move an operator's cursor or forge a line. Text is for people, one line per
//! event; JSON is one object per line. Panics are logged like everything else, with their place.

mod fold;
mod text;

use std::fmt;
use std::io;
use std::str::FromStr;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::{Layer, Registry};

pub use self::fold::Fold;
pub use self::text::Escaped;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Which events are logged: these and more severe ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something is lost or cannot go on.
    Error,
    /// Something is wrong, and the process copes.
    Warn,
    /// What an operator wants to know of a normal day.
    #[default]
    Info,
    /// What a developer wants to know.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    /// All levels, the most severe first.
    pub const ALL: [Self; 5] = [
        Self::Error,
        Self::Warn,
        Self::Info,
        Self::Debug,
        Self::Trace,
    ];

    /// Its name in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    const fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is not the name of a level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a log level; it is error, warn, info, debug or trace")]
pub struct NotALevel(String);

impl FromStr for Level {
    type Err = NotALevel;

    fn from_str(text: &str) -> Result<Self, NotALevel> {
        let found = Self::ALL.into_iter().find(|level| level.as_str() == text);
        found.ok_or_else(|| NotALevel(text.to_owned()))
    }
}

/// The process already has a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log is set up already")]
pub struct AlreadySet;

/// The running log; a clone is the same log.
#[derive(Clone)]
pub struct LogHandle {
    filter: reload::Handle<LevelFilter, Registry>,
}

impl fmt::Debug for LogHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogHandle({})", self.level())
    }
}

impl LogHandle {
    /// The level now.
    pub fn level(&self) -> Level {
        let now = self.filter.with_current(|filter| *filter).ok();
        let same = |level: &Level| now == Some(level.filter());
        Level::ALL.into_iter().find(same).unwrap_or_default()
    }

    /// Sets the level, for all events from now on.
    pub fn set_level(&self, level: Level) {
        // It only fails when the subscriber is gone, which the process's own never is.
        self.filter.reload(level.filter()).ok();
    }
}

/// Sets up the process's log on stderr, panics included.
///
/// # Errors
/// The process has a log already.
pub fn init(format: Format, level: Level) -> Result<LogHandle, AlreadySet> {
    let (subscriber, handle) = subscriber(format, level, io::stderr);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| AlreadySet)?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let message = crate::thread::panic_message(panic.payload());
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        tracing::error!(place, thread, "panicked: {message}");
    }));
    Ok(handle)
}

/// A subscriber that writes to what `writer` makes; [`init`] installs one on stderr.
fn subscriber<W: io::Write>(
    format: Format,
    level: Level,
    writer: impl Fn() -> W + Send + Sync + 'static,
) -> (impl tracing::Subscriber + Send + Sync, LogHandle) {
    let (filter, handle) = reload::Layer::new(level.filter());
    let layer = tracing_subscriber::fmt::layer().with_ansi(false);
    let layer: Box<dyn Layer<_> + Send + Sync> = match format {
        Format::Text => Box::new(layer.with_writer(writer).event_format(text::Lines)),
        Format::Json => {
            let writer = move || text::JsonLines(writer());
            // Fields stay in an object of their own: an event's `target` is a device, the line's
            // is the module that wrote it.
            Box::new(layer.with_writer(writer).json())
        }
    };
    let subscriber = tracing_subscriber::registry().with(filter).with(layer);
    (subscriber, LogHandle { filter: handle })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, work: impl FnOnce(&LogHandle)) -> String {
        let memory = Memory::default();
        let writer = memory.clone();
        let (subscriber, handle) = subscriber(format, Level::Info, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || work(&handle));
        let bytes = memory.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_level_changes_at_run_time() {
        let text = logged(Format::Text, |handle| {
            tracing::debug!("one");
            handle.set_level(Level::Debug);
            tracing::debug!("two");
            handle.set_level(Level::Error);
            tracing::warn!("three");
            assert_eq!(handle.level(), Level::Error);
        });
        assert!(!text.contains("one") && text.contains("two") && !text.contains("three"));
    }

    #[test]
    fn text_lines_cannot_be_forged() {
        let foreign = "a\n2026 ERROR forged \x1b[2J \u{9b}31m \u{202e}abc";
        let text = logged(Format::Text, |_| {
            tracing::info!(name = foreign, count = 3, plain = "x", "said {foreign}");
            tracing::warn!(error = %foreign, "also");
        });
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(
            text.lines().all(|line| !line.contains(char::is_control)),
            "{text:?}"
        );
        assert!(!text.contains('\u{202e}'), "{text:?}");
        let first = text.lines().next().unwrap();
        assert!(
            first.contains(r#"name="a\n2026 ERROR forged \u{1b}[2J"#),
            "{first}"
        );
        assert!(first.contains(" count=3 plain=x"), "{first}");
        assert!(
            first.contains(" INFO trunkline_runtime::log::tests: said a\\n2026"),
            "{first}"
        );
    }

    #[test]
    fn json_lines_are_objects() {
        let foreign = "10.0.0.1\n\x1b\u{9b}31m\u{202e}";
        let text = logged(Format::Json, |_| tracing::info!(target = foreign, "gone"));
        assert!(
            text.trim_end()
                .chars()
                .all(|c| c.is_ascii_graphic() || c == ' '),
            "{text:?}"
        );
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        let fields = &line["fields"];
        assert_eq!(
            (fields["message"].as_str(), fields["target"].as_str()),
            (Some("gone"), Some(foreign))
        );
        assert_eq!(
            (&line["level"], &line["target"]),
            (&"INFO".into(), &module_path!().into())
        );
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn levels_are_read_by_their_names_only() {
        for level in Level::ALL {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        let error = "verbose".parse::<Level>().unwrap_err();
        assert!(
            error
                .to_string()
                .contains("error, warn, info, debug or trace")
        );
    }
}
