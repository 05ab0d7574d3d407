//! The verbs that speak to a running daemon, all through its control socket.
//!
//! Each verb is an operation's name and input; what comes back is JSON that one printer shows, so
//! that no operation is wired by hand a second time. `trunkline call` reaches every operation.

mod print;
mod verbs;

pub(crate) use verbs::{
    BreakersArgs, CallArgs, CheckArgs, DrainArgs, LettersArgs, RemoteArgs, RoutersArgs, SystemArgs,
    TargetsArgs,
};

use serde_json::Value as Json;
use trunkline_admin::{CallError, ControlClient, RemoteError, socket_path};
use trunkline_runtime::operation::ErrorKind;

use crate::exit::{CliError, Exit};
use crate::output::talk;

/// The registry's code for a kind, name or operation that is not there.
const NO_SUCH_OPERATION: &str = "T0602";

/// One call to the daemon.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) kind: &'static str,
    /// The instance; found by itself when there is only one.
    pub(crate) name: Option<String>,
    pub(crate) operation: String,
    pub(crate) input: Json,
}

impl Call {
    pub(crate) fn new(
        kind: &'static str,
        name: Option<&str>,
        operation: &str,
        input: Json,
    ) -> Self {
        let (name, operation) = (name.map(str::to_owned), operation.to_owned());
        Self {
            kind,
            name,
            operation,
            input,
        }
    }
}

/// Calls the daemon and prints its answer.
pub(crate) fn run(args: &RemoteArgs, call: Call) -> Result<Exit, CliError> {
    let runtime = runtime()?;
    let answer = runtime.block_on(async {
        let client = connect(args).await?;
        let name = match &call.name {
            Some(name) => name.clone(),
            None => only_instance(&client, call.kind, &call.operation).await?,
        };
        client
            .call(call.kind, &name, &call.operation, call.input, args.timeout)
            .await
            .map_err(Failure::Call)
    });
    match answer {
        Ok(answer) => {
            print::answer(&answer, args.format)?;
            Ok(Exit::Done)
        }
        Err(failure) => failure.tell(),
    }
}

/// Calls an operation of the process itself that takes nothing.
pub(crate) fn process(args: &RemoteArgs, operation: &str) -> Result<Exit, CliError> {
    run(
        args,
        Call::new("engine", Some("process"), operation, serde_json::json!({})),
    )
}

/// Prints the items of a stream of the process itself until it ends or the reader has had enough.
pub(crate) fn watch(args: &RemoteArgs, operation: &str) -> Result<Exit, CliError> {
    let ended = runtime()?.block_on(async {
        let client = connect(args).await?;
        let input = serde_json::json!({});
        let items = client
            .stream("engine", "process", operation, input, None)
            .await;
        print_items(items.map_err(Failure::Call)?).await
    });
    match ended {
        Ok(()) => Ok(Exit::Done),
        Err(failure) => failure.tell(),
    }
}

/// Calls any operation by its three names.
pub(crate) fn call(args: &RemoteArgs, call: &CallArgs) -> Result<Exit, CliError> {
    let input = match &call.input {
        Some(text) => serde_json::from_str(text)
            .map_err(|error| CliError::Usage(format!("the input is not JSON: {error}")))?,
        None => Json::Object(serde_json::Map::new()),
    };
    let runtime = runtime()?;
    let answer = runtime.block_on(async {
        let client = connect(args).await?;
        let list = client.list().await.map_err(Failure::Call)?;
        let is_it = |one: &&trunkline_runtime::operation::Description| {
            one.kind == call.kind && one.name == call.name && one.operation == call.operation
        };
        let deadline = args.timeout;
        let shape = list.iter().find(is_it).map(|one| one.shape);
        if shape != Some(trunkline_runtime::operation::Shape::Stream) {
            let answer = client.call(&call.kind, &call.name, &call.operation, input, deadline);
            return answer.await.map(Some).map_err(Failure::Call);
        }
        let items = client
            .stream(&call.kind, &call.name, &call.operation, input, None)
            .await;
        print_items(items.map_err(Failure::Call)?)
            .await
            .map(|()| None)
    });
    match answer {
        Ok(Some(answer)) => print::answer(&answer, args.format)?,
        Ok(None) => {}
        Err(failure) => return failure.tell(),
    }
    Ok(Exit::Done)
}

async fn print_items(mut items: trunkline_admin::Items) -> Result<(), Failure> {
    while let Some(item) = items.next().await {
        print::line(&item.map_err(Failure::Call)?).map_err(Failure::Output)?;
    }
    Ok(())
}

/// Lists every operation with its effect.
pub(crate) fn operations(args: &RemoteArgs) -> Result<Exit, CliError> {
    let runtime = runtime()?;
    let list = runtime.block_on(async {
        let client = connect(args).await?;
        client.list().await.map_err(Failure::Call)
    });
    let list = match list {
        Ok(list) => list,
        Err(failure) => return failure.tell(),
    };
    let row = |one: trunkline_runtime::operation::Description| {
        let key = format!("{} {} {}", one.kind, one.name, one.operation);
        (
            key,
            serde_json::json!({ "effect": one.effect, "summary": one.summary }),
        )
    };
    let all: serde_json::Map<String, Json> = list.into_iter().map(row).collect();
    print::answer(&serde_json::json!({ "operations": all }), args.format)?;
    Ok(Exit::Done)
}

/// `trunkline check`: asks the daemon about its health; the exit code says it too.
pub(crate) fn check(args: &CheckArgs) -> Result<Exit, CliError> {
    let runtime = runtime()?;
    let answer = runtime.block_on(async {
        let client = connect(&args.remote).await?;
        let (input, deadline) = (serde_json::json!({}), args.remote.timeout);
        client
            .call("engine", "process", "check", input, deadline)
            .await
            .map_err(Failure::Call)
    });
    let answer = match answer {
        Ok(answer) => answer,
        Err(failure) if args.nagios => {
            print::text(&format!("TRUNKLINE UNKNOWN - {failure}\n"))?;
            return Ok(Exit::Partial);
        }
        Err(failure) => return failure.tell(),
    };
    let flag = |key: &str| answer.get(key).and_then(Json::as_bool).unwrap_or(false);
    let reasons = answer
        .get("reasons")
        .and_then(Json::as_array)
        .map_or(0, Vec::len);
    let (word, nagios, exit) = match (flag("live") && flag("ready"), reasons) {
        (true, 0) => ("OK", Exit::Done, Exit::Done),
        (true, _) => ("WARNING", Exit::Failed, Exit::Partial),
        (false, _) => ("CRITICAL", Exit::Usage, Exit::Failed),
    };
    if args.nagios {
        let reasons = print::sentences(&answer, "reasons");
        print::text(&format!("TRUNKLINE {word} - {reasons}\n"))?;
        return Ok(nagios);
    }
    print::answer(&answer, args.remote.format)?;
    Ok(exit)
}

/// Why a call could not be made or shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The daemon, or the way to it.
    #[error("{0}")]
    Call(CallError),
    /// Which instance is meant is not clear.
    #[error("{0}")]
    Which(String),
    /// Printing.
    #[error("{0}")]
    Output(std::io::Error),
}

impl Failure {
    fn tell(self) -> Result<Exit, CliError> {
        let error = match self {
            Self::Output(error) => return Err(error.into()),
            Self::Which(why) => return Err(CliError::Usage(why)),
            Self::Call(error) => error,
        };
        talk(&format!("trunkline: {error}\n"));
        if let CallError::Remote(remote) = &error {
            if let Some(help) = &remote.help {
                talk(&format!("hint: {help}\n"));
            }
        } else if error.is_no_daemon() {
            talk("hint: start one with `trunkline run`, or name its socket with --socket\n");
        }
        Ok(match &error {
            _ if error.is_no_daemon() => Exit::NoDaemon,
            _ if error.is_timeout() => Exit::NoAnswer,
            CallError::Remote(remote) if is_mistake(remote) => Exit::Usage,
            _ => Exit::Failed,
        })
    }
}

/// Whether the command line is wrong: its values, or the system or operation that it names. What an
/// operation itself does not find, such as a target, may have been there a moment ago.
fn is_mistake(error: &RemoteError) -> bool {
    error.kind == ErrorKind::BadInput || error.code == NO_SUCH_OPERATION
}

async fn connect(args: &RemoteArgs) -> Result<ControlClient, Failure> {
    let path = socket_path(args.socket.as_deref(), |name| std::env::var_os(name))
        .map_err(|error| Failure::Which(error.to_string()))?;
    ControlClient::connect(path).await.map_err(Failure::Call)
}

/// The one instance that has this operation.
async fn only_instance(
    client: &ControlClient,
    kind: &str,
    operation: &str,
) -> Result<String, Failure> {
    let list = client.list().await.map_err(Failure::Call)?;
    let mut names: Vec<String> = list
        .into_iter()
        .filter(|one| one.kind == kind && one.operation == operation && one.name != "process")
        .map(|one| one.name)
        .collect();
    names.dedup();
    match names.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Failure::Which(format!(
            "the daemon runs no system that knows \"{operation}\""
        ))),
        several => {
            let several = several.join(", ");
            Err(Failure::Which(format!(
                "there are several systems; add --system with one of {several}"
            )))
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    let built = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    built.map_err(|error| CliError::Failed(format!("starting: {error}")))
}
