//! `get`, `getnext`, `getbulk` and `set`: one question, and for an error that blames one variable
//! the question again without it, as net-snmp does.

use std::sync::Arc;

use trunkline_system_snmp::{Exchange, Reply, text};
use trunkline_wire_snmp::{OidBuf, OwnedValue, PduKind, Version};

use crate::exit::{CliError, Exit};

use super::agents::{self, Agent};
use super::args::{App, BulkArgs, Common, GetArgs, SetArgs, parse_app};
use super::assign::parse_triples;
use super::diagnose::Problem;
use super::session::{Tool, Wording, each, encode};

/// `snmp get`.
pub(crate) async fn get(args: GetArgs) -> Result<Exit, CliError> {
    let wording = Wording {
        stop_after_host: true,
        stop_after_packet: false,
    };
    gets(PduKind::Get, wording, args).await
}

/// `snmp getnext`.
pub(crate) async fn getnext(args: GetArgs) -> Result<Exit, CliError> {
    let wording = Wording {
        stop_after_host: true,
        stop_after_packet: true,
    };
    gets(PduKind::GetNext, wording, args).await
}

async fn gets(kind: PduKind, wording: Wording, args: GetArgs) -> Result<Exit, CliError> {
    let app = parse_app(&args.app, "f", "")?;
    let plan = Plan {
        kind,
        numbers: (0, 0),
        vars: nulls(args.oids),
        mends: !app.contains(&App::Letter('f')),
        quiet: false,
    };
    run(plan, wording, &args.common, args.agent.agent).await
}

/// `snmp getbulk`.
pub(crate) async fn getbulk(args: BulkArgs) -> Result<Exit, CliError> {
    needs_v2c(args.common.version)?;
    let mut numbers = (0, 10);
    for word in parse_app(&args.app, "", "nr")? {
        match word {
            App::Number('n', n) => numbers.0 = n.cast_signed(),
            App::Number(_, n) => numbers.1 = n.cast_signed(),
            App::Letter(_) | App::End(_) => {}
        }
    }
    let plan = Plan {
        kind: PduKind::GetBulk,
        numbers,
        vars: nulls(args.oids),
        mends: false,
        quiet: false,
    };
    run(plan, PLAIN, &args.common, args.agent.agent).await
}

/// `snmp set`.
pub(crate) async fn set(args: SetArgs) -> Result<Exit, CliError> {
    let app = parse_app(&args.app, "q", "")?;
    let plan = Plan {
        kind: PduKind::Set,
        numbers: (0, 0),
        vars: parse_triples(&args.triples)?,
        mends: false,
        quiet: app.contains(&App::Letter('q')),
    };
    run(plan, PLAIN, &args.common, args.agent.agent).await
}

/// How all tools but `snmpget` and `snmpgetnext` word things.
pub(crate) const PLAIN: Wording = Wording {
    stop_after_host: false,
    stop_after_packet: true,
};

/// GETBULK came with v2.
pub(crate) fn needs_v2c(version: Version) -> Result<(), CliError> {
    if version == Version::V1 {
        let text = "SNMPv1 has no GETBULK; use -v2c, or getnext and walk";
        return Err(CliError::Usage(text.to_owned()));
    }
    Ok(())
}

fn nulls(oids: Vec<OidBuf>) -> Vec<(OidBuf, OwnedValue)> {
    oids.into_iter()
        .map(|oid| (oid, OwnedValue::Null))
        .collect()
}

#[derive(Debug)]
struct Plan {
    kind: PduKind,
    numbers: (i32, i32),
    vars: Vec<(OidBuf, OwnedValue)>,
    /// Whether a variable that an error blames is left out of a second try.
    mends: bool,
    quiet: bool,
}

async fn run(
    plan: Plan,
    wording: Wording,
    common: &Common,
    agent: String,
) -> Result<Exit, CliError> {
    let agents = agents::read(&[agent])?;
    let tool = Tool::new(common, wording, agents.len())?;
    let plan = Arc::new(plan);
    each(&tool, agents, common.parallel, move |tool, agent| {
        one(tool, plan.clone(), agent)
    })
    .await
}

async fn one(tool: Arc<Tool>, plan: Arc<Plan>, agent: Agent) -> Result<Exit, CliError> {
    let (target, addr) = match tool.open(&agent).await? {
        Ok(open) => open,
        Err(exit) => return Ok(exit),
    };
    let mut vars = plan.vars.clone();
    let mut blamed = false;
    loop {
        let exchange = Exchange {
            kind: plan.kind,
            non_repeaters: plan.numbers.0,
            max_repetitions: plan.numbers.1,
            varbinds: encode(&vars)?,
        };
        let reply = match tool.session.ask(target, exchange).await {
            Ok(reply) => reply,
            Err(error) => return tool.no_answer(&agent, addr, &error, false).await,
        };
        if reply.status == 0 {
            if !plan.quiet {
                print_rows(&tool, &agent, &reply)?;
            }
            return Ok(if blamed { Exit::Partial } else { Exit::Done });
        }
        blamed = true;
        let at = usize::try_from(reply.index)
            .ok()
            .and_then(|index| index.checked_sub(1))
            .filter(|at| *at < vars.len());
        let failed = at.map(|at| vars[at].0.clone());
        error_packet(&tool, &agent, reply.status, failed.as_ref())?;
        match at {
            Some(at) if plan.mends && vars.len() > 1 => drop(vars.remove(at)),
            _ => return Ok(Exit::Failed),
        }
    }
}

/// Prints the variables of an answer; returns how many.
pub(crate) fn print_rows(tool: &Tool, agent: &Agent, reply: &Reply) -> Result<u64, CliError> {
    let mut printer = tool.printer();
    let mut rows = 0;
    for row in reply.varbinds().flatten() {
        printer.row(&agent.name, &row, None)?;
        rows += 1;
    }
    printer.flush()?;
    Ok(rows)
}

/// Tells an error status in net-snmp's words, and what to do.
pub(crate) fn error_packet(
    tool: &Tool,
    agent: &Agent,
    status: i32,
    failed: Option<&OidBuf>,
) -> Result<Exit, CliError> {
    let mut words = Vec::new();
    let style = *tool.printer().style();
    let stop = tool.wording.stop_after_packet;
    text::error_packet(&style, stop, status, failed.map(OidBuf::as_oid), &mut words);
    let at = failed.map(|oid| format!(" (at {oid})")).unwrap_or_default();
    let problem = Problem {
        exit: Exit::Failed,
        kind: "error_status",
        message: format!("the agent answered: {}{at}", text::reason(status)),
        words: Some(String::from_utf8_lossy(&words).into_owned()),
        hint: advice(status).map(str::to_owned),
    };
    tool.tell(agent, &problem)
}

/// What to do about an error status, where that is not plain from its words.
fn advice(status: i32) -> Option<&'static str> {
    Some(match status {
        1 => "ask for less at once: fewer OIDs, or smaller -Cr",
        4 | 6 | 16 => {
            "the community may not do this: use one with write access, or widen its view on the \
             agent"
        }
        5 => {
            "the agent failed inside; its own log may say why, and asking OIDs one by one shows \
              which it cannot answer"
        }
        7 | 8 => "give another TYPE letter or length; the object's MIB says which",
        17 => {
            "the object is read-only on this agent, perhaps because its own configuration file \
               sets it"
        }
        _ => return None,
    })
}
