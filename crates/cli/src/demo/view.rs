//! What the demo shows: a table that redraws itself, or a line every now and then.
//!
//! A terminal gets at most 22 lines of 79 columns, drawn over the last ones, so it works on the
//! smallest screen and leaves the final picture standing. Rates are differences between two
//! readings. With `NO_COLOR` set there are no colours; the redrawing stays.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use trunkline_engine::breaker::StateKind;
use trunkline_engine::time::Time;
use trunkline_sim::snmp::FleetCounters;
use trunkline_system_snmp::{PollerFigures, System};

/// Devices that the table shows.
const DEVICES: usize = 8;

/// One reading of the system.
pub(super) struct View {
    pub(super) at: Time,
    poller: PollerFigures,
    answers: u64,
    sent: u64,
    retransmits: u64,
    timeouts: u64,
    not_believed: BTreeMap<&'static str, u64>,
    rows: u64,
    on_wire: i64,
    rtt_us: Option<[u64; 3]>,
    breakers: BTreeMap<&'static str, usize>,
    delivered: u64,
    waiting: u64,
    devices: Vec<Device>,
}

struct Device {
    name: Arc<str>,
    address: std::net::IpAddr,
    state: StateKind,
    srtt_us: u32,
    replies: u32,
    timeouts: u32,
    errors: u32,
}

impl View {
    /// Reads the system's figures.
    pub(super) fn of(system: &System) -> Self {
        let results = system.results().balance();
        let mut view = Self {
            at: system.clock().now(),
            poller: system.poller(),
            answers: 0,
            sent: 0,
            retransmits: 0,
            timeouts: 0,
            not_believed: BTreeMap::new(),
            rows: 0,
            on_wire: 0,
            rtt_us: None,
            breakers: BTreeMap::new(),
            delivered: results.delivered,
            waiting: results.in_flight,
            devices: Vec::new(),
        };
        for stats in system.client().stats() {
            let figures = stats.read();
            for (why, n) in figures.bad.iter().filter(|(_, n)| *n > 0) {
                *view.not_believed.entry(why.as_str()).or_default() += n;
            }
            let bad: u64 = figures.bad.iter().map(|(_, n)| n).sum();
            view.answers += figures.received - bad;
            view.sent += figures.sent;
            view.retransmits += figures.retransmits;
            view.timeouts += figures.timeouts;
            view.rows += figures.rows;
            view.on_wire += figures.on_wire;
            let quantile = |q| figures.rtt_ns.quantile(q).map(|ns| ns / 1000);
            let rtt = quantile(0.5).zip(quantile(0.99)).zip(quantile(0.999));
            view.rtt_us = view.rtt_us.max(rtt.map(|((a, b), c)| [a, b, c]));
        }
        view.look_at_devices(system);
        view
    }

    /// Breakers of all, and a few devices: those that time out most, and some that do well.
    fn look_at_devices(&mut self, system: &System) {
        let now = self.at;
        let mut devices = Vec::new();
        for target in system.targets() {
            let known = target.id.and_then(|id| system.client().target(id));
            let Some(view) = known else { continue };
            let state = view.gate.state(now).kind();
            *self.breakers.entry(state.as_str()).or_default() += 1;
            devices.push(Device {
                name: target.plan.name.clone(),
                address: view.spec.addr.ip(),
                state,
                srtt_us: view.figures.srtt_us,
                replies: view.figures.replies,
                timeouts: view.figures.timeouts,
                errors: view.figures.errors,
            });
        }
        self.devices = sample(devices);
    }

    /// One line for a log.
    pub(super) fn line(&self, before: &Self, elapsed: Duration) -> String {
        let rate = |now: u64, then: u64| self.rate(before, now, then);
        format!(
            "{:>5.1}s  polls {} complete, {} partial, {} failed  answers {}/s  rows {}/s  \
             timeouts {}  breakers {} open",
            elapsed.as_secs_f64(),
            self.poller.complete,
            self.poller.partial,
            self.poller.failed,
            rate(self.answers, before.answers),
            rate(self.rows, before.rows),
            self.timeouts,
            self.open_breakers(),
        )
    }

    /// What the whole run came to.
    pub(super) fn summary(&self, served: &FleetCounters) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        writeln!(
            text,
            "\npolls: {} complete, {} partial, {} failed, {} missed\n\
             datagrams: {} sent ({} of them repetitions), {} answers believed, {} not; \
             the devices received {} and answered {}",
            self.poller.complete,
            self.poller.partial,
            self.poller.failed,
            self.poller.missed,
            self.sent,
            self.retransmits,
            self.answers,
            self.not_believed.values().sum::<u64>(),
            served.received,
            served.replied,
        )
        .ok();
        text
    }

    fn rate(&self, before: &Self, now: u64, then: u64) -> String {
        let seconds = self.at.saturating_since(before.at).as_secs_f64().max(1e-3);
        format!("{:.0}", now.saturating_sub(then) as f64 / seconds)
    }

    fn open_breakers(&self) -> usize {
        let open = |kind: StateKind| self.breakers.get(kind.as_str()).copied().unwrap_or(0);
        open(StateKind::Open) + open(StateKind::HalfOpen)
    }

    fn rows_of_table(&self, before: &Self) -> Vec<(&'static str, String)> {
        let rate = |now: u64, then: u64| self.rate(before, now, then);
        let poller = &self.poller;
        let ms = |us: u64| format!("{:.2} ms", us as f64 / 1e3);
        let rtt = match self.rtt_us {
            Some([p50, p99, p999]) => {
                format!("median {}, p99 {}, p99.9 {}", ms(p50), ms(p99), ms(p999))
            }
            None => "none yet".to_owned(),
        };
        let listed = |counts: &mut dyn Iterator<Item = (&&'static str, String)>| {
            let items: Vec<_> = counts.map(|(name, n)| format!("{n} {name}")).collect();
            if items.is_empty() {
                "none".to_owned()
            } else {
                items.join(", ")
            }
        };
        let bad = &self.not_believed;
        vec![
            (
                "polls",
                format!(
                    "{} complete, {} partial, {} failed, {} missed, {} running",
                    poller.complete, poller.partial, poller.failed, poller.missed, poller.running
                ),
            ),
            (
                "answers",
                format!(
                    "{}/s, walked rows {}/s, on the wire {}",
                    rate(self.answers, before.answers),
                    rate(self.rows, before.rows),
                    self.on_wire
                ),
            ),
            ("round trip", rtt),
            (
                "silence",
                format!(
                    "{} timeouts, {} retransmits",
                    self.timeouts, self.retransmits
                ),
            ),
            (
                "not believed",
                listed(&mut bad.iter().map(|(why, n)| (why, n.to_string()))),
            ),
            (
                "breakers",
                listed(
                    &mut self
                        .breakers
                        .iter()
                        .map(|(state, n)| (state, n.to_string())),
                ),
            ),
            (
                "results",
                format!("{} delivered, {} waiting", self.delivered, self.waiting),
            ),
        ]
    }
}

/// Half of them those that are silent most, the others spread over the rest.
fn sample(mut devices: Vec<Device>) -> Vec<Device> {
    devices.sort_by_key(|device| std::cmp::Reverse(device.timeouts + device.errors));
    let rest = devices.split_off(devices.len().min(DEVICES / 2));
    let step = (rest.len() / (DEVICES / 2)).max(1);
    devices.extend(rest.into_iter().step_by(step).take(DEVICES / 2));
    devices.sort_by_key(|device| device.address);
    devices
}

/// Columns that a line may use.
const WIDTH: usize = 79;

/// A terminal that is drawn over and over.
pub(super) struct Screen {
    colours: bool,
    lines: usize,
}

impl Screen {
    pub(super) const fn new(colours: bool) -> Self {
        Self { colours, lines: 0 }
    }

    /// Draws over what was drawn before.
    ///
    /// # Errors
    /// When the terminal has gone.
    pub(super) fn draw(
        &mut self,
        out: &mut impl Write,
        now: &View,
        before: &View,
        elapsed: Duration,
        lasting: Duration,
    ) -> io::Result<()> {
        let lines = self.lines(now, before, elapsed, lasting);
        let mut text = String::new();
        if self.lines > 0 {
            // Up to the first line of the last picture.
            write!(text, "\x1b[{}A", self.lines).ok();
        }
        for line in &lines {
            text.push_str(line);
            text.push_str("\x1b[K\n");
        }
        self.lines = lines.len();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    fn lines(
        &self,
        now: &View,
        before: &View,
        elapsed: Duration,
        lasting: Duration,
    ) -> Vec<String> {
        let mut lines = vec![String::new(), self.bar(elapsed, lasting), String::new()];
        for (name, value) in now.rows_of_table(before) {
            let value = cut(&value, WIDTH - 14);
            lines.push(format!(
                "{} {value}",
                self.paint("1", &format!("{name:<13}"))
            ));
        }
        lines.push(String::new());
        let head = format!(
            "{:<14}{:<16}{:<13}{:>10}{:>9}{:>9}{:>8}",
            "device", "address", "breaker", "rtt", "answers", "timeouts", "errors"
        );
        lines.push(self.paint("1", &head));
        lines.extend(now.devices.iter().map(|device| self.device(device)));
        lines
    }

    fn bar(&self, elapsed: Duration, lasting: Duration) -> String {
        const CELLS: usize = 50;
        let share = elapsed.as_secs_f64() / lasting.as_secs_f64().max(1e-3);
        let done = (share.clamp(0.0, 1.0) * CELLS as f64) as usize;
        let bar = format!("{}{}", "#".repeat(done), "-".repeat(CELLS - done));
        format!(
            "[{}] {:.0} of {:.0} s",
            self.paint("36", &bar),
            elapsed.as_secs_f64(),
            lasting.as_secs_f64()
        )
    }

    fn device(&self, device: &Device) -> String {
        let (colour, rtt) = match device.state {
            StateKind::Closed if device.replies == 0 => ("33", "-".to_owned()),
            StateKind::Closed => ("32", format!("{:.2} ms", f64::from(device.srtt_us) / 1e3)),
            _ => ("31", "-".to_owned()),
        };
        let state = self.paint(colour, &format!("{:<13}", device.state.as_str()));
        let Device {
            name,
            address,
            replies,
            timeouts,
            errors,
            ..
        } = device;
        let name = cut(name, 13);
        format!(
            "{name:<14}{:<16}{state}{rtt:>10}{replies:>9}{timeouts:>9}{errors:>8}",
            address.to_string()
        )
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colours {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// At most so many characters.
fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(at: Time, answers: u64) -> View {
        let device = |n: usize| Device {
            name: format!("device-{}", 100_000 + n).into(),
            address: "127.100.100.100".parse().unwrap(),
            state: [
                StateKind::Closed,
                StateKind::HalfOpen,
                StateKind::ForcedClosed,
            ][n % 3],
            srtt_us: 4_294_967,
            replies: 10_000_000,
            timeouts: 10_000_000,
            errors: 1_000_000,
        };
        let reasons = [
            "malformed",
            "late",
            "source",
            "unknown_id",
            "community",
            "version",
        ];
        View {
            at,
            poller: PollerFigures {
                complete: 9_999_999,
                ..PollerFigures::default()
            },
            answers,
            sent: 0,
            retransmits: 9_999_999,
            timeouts: 9_999_999,
            not_believed: reasons.into_iter().map(|why| (why, 9_999_999)).collect(),
            rows: 0,
            on_wire: 0,
            rtt_us: Some([1, 999_999, 9_999_999]),
            breakers: BTreeMap::from([("closed", 880), ("open", 120)]),
            delivered: 0,
            waiting: 0,
            devices: (0..DEVICES).map(device).collect(),
        }
    }

    /// The text as a terminal shows it: without control sequences.
    fn visible(line: &str) -> String {
        let mut parts = line.split('\x1b');
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end = part.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(0);
            text.push_str(&part[end + 1..]);
        }
        text
    }

    #[test]
    fn the_picture_fits_80_by_24_with_the_two_lines_above_it() {
        let (before, now) = (view(Time::ZERO, 0), view(Time::from_millis(500), 1_000));
        let screen = Screen::new(true);
        let lines = screen.lines(
            &now,
            &before,
            Duration::from_secs(7),
            Duration::from_secs(20),
        );
        assert!(lines.len() <= 22, "{}", lines.len());
        for line in &lines {
            let shown = visible(line);
            assert!(shown.chars().count() < 80, "{shown}");
        }
        assert!(
            lines.iter().any(|line| visible(line).contains("2000/s")),
            "a rate per second"
        );
    }

    #[test]
    fn a_second_picture_covers_the_first_and_no_color_is_plain() {
        let (before, now) = (view(Time::ZERO, 0), view(Time::from_millis(500), 1));
        let (mut screen, mut out) = (Screen::new(false), Vec::new());
        for _ in 0..2 {
            let seconds = Duration::from_secs(1);
            screen
                .draw(&mut out, &now, &before, seconds, 2 * seconds)
                .unwrap();
        }
        let text = String::from_utf8(out).unwrap();
        let up = format!("\x1b[{}A", text.matches("\x1b[K\n").count() / 2);
        assert_eq!(text.matches(&up).count(), 1);
        assert!(
            !text.contains("\x1b[3") && !text.contains("\x1b[1m"),
            "no colours"
        );
    }
}
