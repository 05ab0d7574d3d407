//! `walk` and `bulkwalk`, as net-snmp's: a root without rows below it is fetched itself, the row
//! that says endOfMibView is printed, v1's noSuchName is `End of MIB`.
//!
//! Two departures, both where an agent misbehaves. A row that does not increase is named in the
//! error but not printed as data, and the rest of its bulk is not either; and with `-Cc` a walk
//! goes on only until an OID comes twice, where net-snmp would go on for ever.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use trunkline_system_snmp::{
    EndSign, Method, Order, Reply, TargetId, WalkEnd, WalkItem, WalkSpec, WalkStop, text,
};
use trunkline_wire_snmp::OidBuf;

use crate::exit::{CliError, Exit};

use super::agents::{self, Agent};
use super::args::{App, WalkArgs, parse_app};
use super::diagnose::Problem;
use super::exchange::{PLAIN, error_packet, needs_v2c, print_rows};
use super::oid::Root;
use super::session::{Tool, each, get_one};

/// net-snmp's default.
const REPETITIONS: u32 = 10;

/// `snmp walk`.
pub(crate) async fn walk(args: WalkArgs) -> Result<Exit, CliError> {
    let plan = Plan::new(&args, parse_app(&args.app, "ciIptTE", "")?, Method::Next);
    run(plan, args).await
}

/// `snmp bulkwalk`.
pub(crate) async fn bulkwalk(args: WalkArgs) -> Result<Exit, CliError> {
    needs_v2c(args.common.version)?;
    let app = parse_app(&args.app, "ciIptTE", "nr")?;
    let mut repetitions = REPETITIONS;
    for word in &app {
        match word {
            // With its only OID a non-repeater, a GETBULK is a GETNEXT.
            App::Number('n', n) if *n > 0 => repetitions = 0,
            App::Number('r', n) => repetitions = *n,
            _ => {}
        }
    }
    let method = if repetitions == 0 {
        Method::Next
    } else {
        Method::Bulk(repetitions)
    };
    run(Plan::new(&args, app, method), args).await
}

#[derive(Debug)]
struct Plan {
    spec: WalkSpec,
    root: Root,
    /// Rows from here on do not count.
    end: Option<OidBuf>,
    root_first: bool,
    root_never: bool,
    counts: bool,
    times_walk: bool,
    times_rows: bool,
}

impl Plan {
    fn new(args: &WalkArgs, app: Vec<App>, method: Method) -> Self {
        let has = |letter| app.contains(&App::Letter(letter));
        let mut spec = WalkSpec::new(args.root.oid.clone(), method);
        if has('c') {
            spec.order = Order::Relaxed;
        }
        Self {
            spec,
            root: args.root.clone(),
            root_first: has('i'),
            root_never: has('I'),
            counts: has('p'),
            times_walk: has('t'),
            times_rows: has('T'),
            end: app.into_iter().find_map(|word| match word {
                App::End(oid) => Some(oid),
                App::Letter(_) | App::Number(..) => None,
            }),
        }
    }
}

async fn run(plan: Plan, args: WalkArgs) -> Result<Exit, CliError> {
    let agents = agents::read(&[args.agent.agent])?;
    let tool = Tool::new(&args.common, PLAIN, agents.len())?;
    let plan = Arc::new(plan);
    each(&tool, agents, args.common.parallel, move |tool, agent| {
        one(tool, plan.clone(), agent)
    })
    .await
}

async fn one(tool: Arc<Tool>, plan: Arc<Plan>, agent: Agent) -> Result<Exit, CliError> {
    let (target, addr) = match tool.open(&agent).await? {
        Ok(open) => open,
        Err(exit) => return Ok(exit),
    };
    let begun = Instant::now();
    let mut stroll = Stroll {
        tool: &tool,
        plan: &plan,
        agent: &agent,
        target,
        addr,
        printed: 0,
        last: None,
        last_is_exception: false,
    };
    let exit = stroll.go().await?;
    let printed = stroll.printed;
    let mut printer = tool.printer();
    if plan.counts {
        printer.note(&agent.name, &format!("Variables found: {printed}"))?;
    }
    if plan.times_walk {
        let seconds = begun.elapsed().as_secs_f64();
        printer.talk(&format!("Total traversal time = {seconds:.6} seconds\n"))?;
    }
    printer.flush()?;
    Ok(exit)
}

/// One agent's walk.
struct Stroll<'a> {
    tool: &'a Tool,
    plan: &'a Plan,
    agent: &'a Agent,
    target: TargetId,
    addr: SocketAddr,
    printed: u64,
    last: Option<OidBuf>,
    last_is_exception: bool,
}

impl Stroll<'_> {
    async fn go(&mut self) -> Result<Exit, CliError> {
        if self.plan.root_first {
            let exit = self.fetch_root().await?;
            if exit != Exit::Done {
                return Ok(exit);
            }
        }
        let mut stream = self.tool.session.walk(self.target, self.plan.spec.clone());
        while let Some(item) = stream.next().await {
            match item {
                WalkItem::Page(reply) => {
                    if !self.print_page(&reply)? {
                        break;
                    }
                }
                WalkItem::End(end) => return self.ended(end).await,
            }
        }
        self.fetch_root_when_empty().await
    }

    /// Whether the walk goes on.
    fn print_page(&mut self, reply: &Reply) -> Result<bool, CliError> {
        let mut printer = self.tool.printer();
        let took = self.plan.times_rows.then_some(reply.rtt);
        let mut last = None;
        let mut goes_on = true;
        for row in reply.varbinds().flatten() {
            let ends = |end: &OidBuf| row.oid >= end.as_oid();
            if self.plan.end.as_ref().is_some_and(ends) {
                goes_on = false;
                break;
            }
            if !self.plan.root.holds(row.oid) {
                continue;
            }
            printer.row(&self.agent.name, &row, took)?;
            self.printed += 1;
            last = Some((row.oid, row.value.is_exception()));
        }
        if let Some((oid, is_exception)) = last {
            self.last = Some(oid.to_owned());
            self.last_is_exception = is_exception;
        }
        printer.flush()?;
        Ok(goes_on)
    }

    async fn ended(&mut self, end: WalkEnd) -> Result<Exit, CliError> {
        let reason = match end {
            WalkEnd::Complete { by, .. } => {
                let name = &self.agent.name;
                if by == EndSign::EndOfMib && !self.last_is_exception {
                    self.tool.printer().note(name, "End of MIB")?;
                }
                return self.fetch_root_when_empty().await;
            }
            WalkEnd::Partial { reason, .. } | WalkEnd::Failed(reason) => reason,
        };
        let rows = self.printed > 0;
        let partial = if rows { Exit::Partial } else { Exit::Failed };
        match reason {
            WalkStop::Error(error) => {
                let Self {
                    tool, agent, addr, ..
                } = *self;
                tool.no_answer(agent, addr, &error, rows).await
            }
            WalkStop::Status { status, index } => {
                let failed = self.last.clone().or_else(|| self.plan.root.instance());
                let failed = failed.filter(|_| index > 0);
                error_packet(self.tool, self.agent, status.as_i32(), failed.as_ref())?;
                self.fetch_root_when_empty().await?;
                Ok(partial)
            }
            WalkStop::NotIncreasing {
                previous,
                offending,
            } => {
                let style = *self.tool.printer().style();
                let mut words = Vec::new();
                text::not_increasing(&style, previous.as_oid(), offending.as_oid(), &mut words);
                let hint = "the agent goes backwards, which would loop for ever; -Cc goes on past \
                            it until an OID comes twice. Report it to the agent's vendor";
                self.tell(
                    "not_increasing",
                    Exit::Failed,
                    &reason_text(&words),
                    hint,
                    Some(words),
                )
            }
            WalkStop::Loop(_) => {
                let hint = "the rows so far stand; walk the subtrees beyond it one by one, and \
                            report it to the agent's vendor";
                self.tell("loop", Exit::Failed, &reason.to_string(), hint, None)
            }
            other => self.tell(
                "walk",
                partial,
                &other.to_string(),
                "the rows so far stand",
                None,
            ),
        }
    }

    fn tell(
        &self,
        kind: &'static str,
        exit: Exit,
        message: &str,
        hint: &str,
        words: Option<Vec<u8>>,
    ) -> Result<Exit, CliError> {
        let problem = Problem {
            exit,
            kind,
            message: message.to_owned(),
            words: words.map(|words| String::from_utf8_lossy(&words).into_owned()),
            hint: Some(hint.to_owned()),
        };
        self.tool.tell(self.agent, &problem)
    }

    async fn fetch_root_when_empty(&mut self) -> Result<Exit, CliError> {
        if self.printed > 0 || self.plan.root_never {
            return Ok(Exit::Done);
        }
        self.fetch_root().await
    }

    /// Prints the root itself. An error status says only that there is no such variable.
    async fn fetch_root(&mut self) -> Result<Exit, CliError> {
        let Some(oid) = self.plan.root.instance() else {
            return Ok(Exit::Done);
        };
        match self.tool.session.ask(self.target, get_one(&oid)?).await {
            Ok(reply) if reply.status == 0 => {
                self.printed += print_rows(self.tool, self.agent, &reply)?;
                Ok(Exit::Done)
            }
            Ok(_) => Ok(Exit::Done),
            Err(error) => {
                let Self {
                    tool, agent, addr, ..
                } = *self;
                tool.no_answer(agent, addr, &error, false).await
            }
        }
    }
}

/// net-snmp's two lines as one.
fn reason_text(words: &[u8]) -> String {
    let text = String::from_utf8_lossy(words);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.trim_start_matches("Error: ").to_owned()
}
