//! What a person or a program may do with dead letters.
//!
//! All operations have kind `engine` and name `process`: one box serves every system. Lists and
//! filters share their fields. Throwing away needs a filter or `all`, so that a filter that was
//! forgotten does not empty the box. Who did it stands in each letter's audit trail.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{sleep_until, timeout_at};
use trunkline_engine::letters::{Filter, LetterId, LetterState, Listed, Page, Reason, RedrivePlan};
use trunkline_engine::time::WallTime;

use super::Office;
use super::redrive::{IN_FLIGHT_MAX, Run};
use super::report::{LetterSheet, Letters, RedriveSheet};
use crate::letters::Receipt;
use crate::operation::{Actor, Context, Door, Effect, ErrorKind, Operation, OperationError};

/// No letter has the id.
const UNKNOWN: &str = "T0610";
/// A handler died with its thread.
const DIED: &str = "T0611";

/// The codes that the office's operations give, each with what it means and what to do.
pub const CODES: &[(&str, &str)] = &[
    (
        UNKNOWN,
        "No dead letter has this id now: it was sent again, thrown away, or grew too old. The list \
         of letters shows those that there are.",
    ),
    (
        DIED,
        "The operation on dead letters broke off in the middle. The letters are as the list shows \
         them; this is a defect worth a report, with the log lines around it.",
    ),
];

/// Letters in one answer, and unless a caller asks for less.
const LIMIT_MAX: usize = 1_000;
const LIMIT: usize = 100;
/// Bytes of a payload that are shown unless a caller asks for others.
const SHOWN_BYTES: usize = 64 << 10;
/// Letters on their way at once, unless a caller sets it.
const IN_FLIGHT: usize = 4;
/// How long a redrive may take unless its caller says so.
const REDRIVE_DEADLINE: Duration = Duration::from_secs(600);
/// How long the other changes may take: they wait for the disk only.
const CHANGE_DEADLINE: Duration = Duration::from_secs(30);

type Result<T, E = OperationError> = std::result::Result<T, E>;

/// Which letters; conditions that are not given do not restrict.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Which {
    /// These ids only.
    ids: Vec<String>,
    /// Of this system (`snmp.core`), or of all of this kind (`snmp`).
    system: Option<String>,
    /// For this target; for results, the sink's name.
    target: Option<String>,
    /// That died for this reason, for example `exhausted` or `rejected`.
    reason: Option<String>,
    /// In this state: `waiting`, `redriving` or `quarantined`.
    state: Option<String>,
    /// That died then or later, in milliseconds of Unix time.
    since_ms: Option<u64>,
    /// That died before then, in milliseconds of Unix time.
    before_ms: Option<u64>,
    /// Whose last error contains these words.
    error: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct ListInput {
    #[serde(flatten)]
    which: Which,
    /// How many at most, up to 1000; 100 when not given.
    limit: Option<usize>,
    /// Only those after this id: the `next` of the page before.
    after: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct ShowInput {
    /// The letter's id.
    id: String,
    /// How many bytes of its content to show; 65536 when not given.
    payload_bytes: Option<usize>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct RedriveInput {
    #[serde(flatten)]
    which: Which,
    /// At most so many per second, above 0; 10 when not given.
    per_second: Option<f64>,
    /// At most so many on their way at once, 1 to 64; 4 when not given.
    in_flight: Option<usize>,
    /// Send nothing, only say what would be sent.
    dry_run: bool,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct ChangeInput {
    #[serde(flatten)]
    which: Which,
    /// All letters are meant; without it at least one condition must be given.
    all: bool,
}

/// What a purge did.
#[derive(Debug, Serialize, JsonSchema)]
struct Purged {
    /// Letters thrown away.
    purged: u64,
    /// Letters that match and stay, because they are being sent again or written at this moment.
    busy: u64,
    /// Of those thrown away, letters that are back after a restart because the disk refused.
    unwritten: u64,
}

/// What a release did.
#[derive(Debug, Serialize, JsonSchema)]
struct Released {
    /// Letters whose redrives count from zero again; those in quarantine have left it.
    released: u64,
    /// Letters that match and stay as they are, because they are being sent again.
    busy: u64,
    /// Of those released, letters that are not after a restart because the disk refused.
    unwritten: u64,
}

impl Office {
    /// The operations on dead letters, for a registry: `letters`, `letter`, `letters-redrive`,
    /// `letters-purge` and `letters-release` of `engine/process`.
    pub fn operations(self: &Arc<Self>) -> Vec<Operation> {
        let office = self.clone();
        let list = Operation::one(
            "engine",
            "process",
            "letters",
            "Dead letters: what could not be delivered, and why",
            Effect::Read,
            move |_, input: ListInput| std::future::ready(office.list(&input)),
        );
        let office = self.clone();
        let show = Operation::one(
            "engine",
            "process",
            "letter",
            "One dead letter with its attempts, audit trail and content",
            Effect::Read,
            move |context, input: ShowInput| std::future::ready(office.show(&context, &input)),
        );
        let office = self.clone();
        let redrive = Operation::one(
            "engine",
            "process",
            "letters-redrive",
            "Send dead letters again, slowly; those that are acknowledged leave",
            Effect::Change,
            move |context, input: RedriveInput| redrive(office.clone(), context, input),
        );
        let office = self.clone();
        let purge = Operation::one(
            "engine",
            "process",
            "letters-purge",
            "Throw dead letters away for good",
            Effect::Change,
            move |context: Context, input: ChangeInput| {
                let (office, actor) = (office.clone(), name(context.actor));
                blocking(move || Ok(office.purge(&input.filter()?, &actor)))
            },
        );
        let office = self.clone();
        let release = Operation::one(
            "engine",
            "process",
            "letters-release",
            "Let quarantined dead letters be sent again",
            Effect::Change,
            move |context: Context, input: ChangeInput| {
                let (office, actor) = (office.clone(), name(context.actor));
                blocking(move || Ok(office.release(&input.filter()?, &actor)))
            },
        );
        vec![
            list,
            show,
            redrive.deadline(REDRIVE_DEADLINE).concurrency(4),
            purge.deadline(CHANGE_DEADLINE).idempotent(true),
            release.deadline(CHANGE_DEADLINE).idempotent(true),
        ]
    }

    fn list(&self, input: &ListInput) -> Result<Letters> {
        let filter = input.which.filter()?;
        let after = input.after.as_deref().map(|text| id(text, "after"));
        let after = after.transpose()?;
        let limit = input.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
        let desk = self.desk();
        let total = desk.letters.list(&filter, None, usize::MAX).letters.len();
        let page: Page<'_> = desk.letters.list(&filter, after, limit);
        Ok(Letters::new(&page, total))
    }

    fn show(&self, context: &Context, input: &ShowInput) -> Result<LetterSheet> {
        let id = id(&input.id, "id")?;
        let mut desk = self.desk();
        let wall = self.clock.wall();
        let inspected = desk.letters.inspect(id, &name(context.actor), wall);
        let change = inspected.map_err(|error| {
            OperationError::new(ErrorKind::NotFound, UNKNOWN, error.to_string())
                .help("`trunkline letters ls` shows those that there are")
        })?;
        // Looking waits for nobody, and is not refused because the disk is full.
        let written: Option<Receipt> = self.log.append_event(id, &change.event).ok();
        drop(written);
        let state = desk.letters.state(id).unwrap_or(LetterState::Waiting);
        let shown = input.payload_bytes.unwrap_or(SHOWN_BYTES);
        let sheet = desk
            .letters
            .letter(id)
            .map(|l| LetterSheet::new(l, state, shown));
        sheet.ok_or_else(|| OperationError::new(ErrorKind::NotFound, UNKNOWN, "it has left"))
    }

    fn purge(&self, filter: &Filter, actor: &str) -> Purged {
        let (changes, busy) = {
            let mut desk = self.desk();
            let (ids, busy) = self.idle(&desk, filter);
            let only = Filter {
                ids,
                ..Filter::default()
            };
            // An empty set would not restrict at all.
            let changes = match only.ids.is_empty() {
                true => Vec::new(),
                false => desk.letters.purge(&only, actor, self.clock.wall()),
            };
            (changes, busy)
        };
        Purged {
            purged: changes.len() as u64,
            busy,
            unwritten: self.write_gone(&changes),
        }
    }

    fn release(&self, filter: &Filter, actor: &str) -> Released {
        let (ids, busy) = {
            let desk = self.desk();
            self.idle(&desk, filter)
        };
        let (mut released, mut unwritten) = (0, 0);
        let ids: Vec<_> = ids.into_iter().collect();
        for batch in ids.chunks(BATCH) {
            let receipts: Vec<_> = {
                let mut desk = self.desk();
                let wall = self.clock.wall();
                let one = |id: &LetterId| {
                    // One that is being sent again since then must keep its count.
                    if desk.letters.state(*id) == Some(LetterState::Redriving) {
                        return None;
                    }
                    let change = desk.letters.release(*id, actor, wall).ok()?;
                    let receipt = self.log.append_event(change.id, &change.event);
                    Some((change, receipt))
                };
                batch.iter().filter_map(one).collect()
            };
            for (change, receipt) in receipts {
                released += 1;
                unwritten += u64::from(self.settle(&change, receipt).is_err());
            }
        }
        Released {
            released,
            busy,
            unwritten,
        }
    }

    /// The letters that match and may be changed, and how many match and may not.
    fn idle(&self, desk: &super::Desk, filter: &Filter) -> (BTreeSet<LetterId>, u64) {
        let page = desk.letters.list(filter, None, usize::MAX);
        let is_idle = |listed: &Listed<'_>| {
            listed.state != LetterState::Redriving && !desk.is_unsettled(listed.letter.id)
        };
        let (idle, busy): (Vec<_>, Vec<_>) = page.letters.into_iter().partition(is_idle);
        let ids = idle.iter().map(|listed| listed.letter.id).collect();
        (ids, busy.len() as u64)
    }
}

/// Letters released between two waits for the disk.
const BATCH: usize = 128;

async fn redrive(
    office: Arc<Office>,
    context: Context,
    input: RedriveInput,
) -> Result<RedriveSheet> {
    let in_flight = input.in_flight.unwrap_or(IN_FLIGHT);
    if !(1..=IN_FLIGHT_MAX).contains(&in_flight) {
        let message = format!("in_flight must be 1 to {IN_FLIGHT_MAX}, not {in_flight}");
        return Err(OperationError::bad_input(message));
    }
    let plan = RedrivePlan {
        filter: input.which.filter()?,
        per_second: input.per_second.unwrap_or(10.0),
        in_flight_max: in_flight,
        dry_run: input.dry_run,
    };
    let planned = office.plan(plan, name(context.actor), context.cancel.clone());
    let run = planned.map_err(|error| OperationError::bad_input(format!("per_second: {error}")))?;
    let run = Arc::new(run);
    if !input.dry_run {
        drive(&office, &run, in_flight, &context).await?;
    }
    Ok(RedriveSheet::new(run.report(), input.dry_run))
}

/// Runs it; returns in time for the answer, whatever is still on its way then.
async fn drive(
    office: &Arc<Office>,
    run: &Arc<Run>,
    threads: usize,
    context: &Context,
) -> Result<()> {
    let margin = (context.remaining() / 10).min(Duration::from_secs(1));
    let (stop_at, answer_at) = (context.deadline - margin, context.deadline - margin / 2);
    let (driver, driven) = (office.clone(), run.clone());
    let mut task = tokio::task::spawn_blocking(move || driver.drive(&driven, threads));
    let ended = tokio::select! {
        ended = &mut task => ended,
        () = sleep_until(stop_at) => {
            run.stop();
            match timeout_at(answer_at, task).await {
                Ok(ended) => ended,
                // What is on its way ends by itself; the report says how many.
                Err(_) => return Ok(()),
            }
        }
    };
    ended.map_err(|error| died(&error))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(died(&error)))
}

fn died(error: &tokio::task::JoinError) -> OperationError {
    OperationError::new(
        ErrorKind::Failed,
        DIED,
        format!("the work broke off: {error}"),
    )
}

impl Which {
    fn filter(&self) -> Result<Filter> {
        let ids = self.ids.iter().map(|text| id(text, "ids"));
        let reason = self.reason.as_deref().map(reason).transpose()?;
        let state = self.state.as_deref().map(state).transpose()?;
        Ok(Filter {
            ids: ids.collect::<Result<_>>()?,
            system: self.system.clone(),
            target: self.target.clone(),
            reason,
            state,
            dead_since: self.since_ms.map(WallTime::from_unix_millis),
            dead_before: self.before_ms.map(WallTime::from_unix_millis),
            error: self.error.clone(),
        })
    }
}

impl ChangeInput {
    fn filter(&self) -> Result<Filter> {
        let filter = self.which.filter()?;
        match (filter == Filter::default(), self.all) {
            (true, false) => Err(OperationError::bad_input("no condition says which letters")
                .help("give a condition, or all = true for every letter")),
            (false, true) => Err(OperationError::bad_input(
                "all = true and a condition contradict each other",
            )
            .help("leave one of them out")),
            _ => Ok(filter),
        }
    }
}

fn id(text: &str, field: &str) -> Result<LetterId> {
    text.parse()
        .map_err(|error| OperationError::bad_input(format!("{field}: {text:?}: {error}")))
}

fn reason(word: &str) -> Result<Reason> {
    Reason::from_word(word).ok_or_else(|| {
        let words = Reason::ALL.map(Reason::as_str).join(", ");
        OperationError::bad_input(format!("reason: there is no reason {word:?}"))
            .help(format!("reasons are: {words}"))
    })
}

fn state(word: &str) -> Result<LetterState> {
    let all = [
        LetterState::Waiting,
        LetterState::Redriving,
        LetterState::Quarantined,
    ];
    all.into_iter()
        .find(|state| state.as_str() == word)
        .ok_or_else(|| {
            let words = all.map(LetterState::as_str).join(", ");
            OperationError::bad_input(format!("state: there is no state {word:?}"))
                .help(format!("states are: {words}"))
        })
}

/// Who it was, for the audit trail.
fn name(actor: Actor) -> String {
    let door = match actor.via {
        Door::Socket => "socket",
        Door::Http => "http",
        Door::Cli => "cli",
    };
    match actor.uid {
        Some(uid) => format!("uid {uid} ({door})"),
        None => door.to_owned(),
    }
}
