//! Operations, called through their registry with paused time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;
use trunkline_runtime::operation::{
    Actor, Answer, Context, Door, Effect, ErrorKind, Operation, OperationError, Registry, Shape,
};

#[derive(Deserialize, JsonSchema)]
struct Pair {
    a: u32,
    b: u32,
}

#[derive(Serialize, JsonSchema)]
struct Sum {
    sum: u32,
}

#[derive(Deserialize, JsonSchema)]
struct Nothing {}

fn context() -> Context {
    Context::new(Actor {
        uid: Some(0),
        via: Door::Cli,
    })
}

fn add() -> Operation {
    Operation::one(
        "engine",
        "math",
        "add",
        "Adds.",
        Effect::Read,
        |_, pair: Pair| async move {
            let sum = pair.a.checked_add(pair.b);
            let sum = sum.ok_or_else(|| OperationError::bad_input("a + b is too large"))?;
            Ok(Sum { sum })
        },
    )
}

fn sleepy(verb: &str, span: Duration) -> Operation {
    Operation::one(
        "engine",
        "math",
        verb,
        "Sleeps.",
        Effect::Run,
        move |_, _: Nothing| async move {
            tokio::time::sleep(span).await;
            Ok(())
        },
    )
}

async fn one(registry: &Registry, verb: &str, input: Value) -> Result<Value, OperationError> {
    match registry
        .call("engine", "math", verb, input, context())
        .await?
    {
        Answer::One(value) => Ok(value),
        Answer::Stream(_) => panic!("a stream"),
    }
}

/// Drops set the flag: how a test sees that a handler is gone.
struct Gone(Arc<AtomicUsize>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_is_typed_on_both_sides() {
    let registry = Registry::new();
    let _held = registry.register(add());
    let answer = one(&registry, "add", json!({"a": 1, "b": 2})).await;
    assert_eq!(answer.unwrap(), json!({"sum": 3}));
    let error = one(&registry, "add", json!({"a": 1, "b": "2"}))
        .await
        .unwrap_err();
    assert!(error.message.contains("\"b\""), "{error}");
    let error = one(&registry, "add", json!({"a": 1, "b": u32::MAX}))
        .await
        .unwrap_err();
    assert_eq!(error.message, "a + b is too large");
}

#[tokio::test(start_paused = true)]
async fn the_list_describes_what_is_registered_and_nothing_else() {
    let registry = Registry::new();
    assert!(registry.list().is_empty());
    let held = registry.register(add().deadline(Duration::from_secs(2)));
    let list = registry.list();
    assert_eq!(
        (list[0].operation.as_str(), list[0].deadline_ms),
        ("add", 2_000)
    );
    assert_eq!((list[0].shape, list[0].idempotent), (Shape::One, true));
    assert_eq!(list[0].input["required"], json!(["a", "b"]));
    assert_eq!(list[0].output["properties"]["sum"]["type"], "integer");

    let newer = registry.register(add().idempotent(false));
    drop(held);
    assert!(!registry.list()[0].idempotent, "the newer one stays");
    drop(newer);
    let error = one(&registry, "add", json!({})).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_holds_and_the_callers_own_wins() {
    let registry = Registry::new();
    let _held = registry.register(sleepy("sleep", Duration::from_secs(60)));
    let start = Instant::now();
    let error = one(&registry, "sleep", Value::Null).await.unwrap_err();
    assert_eq!(
        (error.kind, start.elapsed()),
        (ErrorKind::Timeout, Operation::DEADLINE)
    );

    let patient = context().timeout(Duration::from_secs(61));
    let answer = registry
        .call("engine", "math", "sleep", Value::Null, patient)
        .await;
    assert!(matches!(answer, Ok(Answer::One(Value::Null))));
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_the_error_of_its_call() {
    let registry = Registry::new();
    let operation = Operation::one(
        "engine",
        "math",
        "bad",
        "",
        Effect::Run,
        |_, _: Nothing| async {
            if Instant::now().elapsed() == Duration::ZERO {
                panic!("as the test wants");
            }
            Ok(())
        },
    );
    let _held = (registry.register(operation), registry.register(add()));
    let error = one(&registry, "bad", Value::Null).await.unwrap_err();
    assert_eq!((error.kind, error.code), (ErrorKind::Failed, "T0605"));
    assert!(one(&registry, "add", json!({"a": 1, "b": 1})).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn calls_at_once_are_bounded_per_operation_and_in_all() {
    let registry = Registry::with_calls_max(3);
    let span = Duration::from_secs(1);
    let _held = (
        registry.register(sleepy("two", span).concurrency(2)),
        registry.register(sleepy("any", span)),
    );
    let calls = [
        one(&registry, "two", Value::Null),
        one(&registry, "two", Value::Null),
        one(&registry, "two", Value::Null),
        one(&registry, "any", Value::Null),
        one(&registry, "any", Value::Null),
    ];
    let [a, b, c, d, e] = calls;
    let (a, b, c, d, e) = tokio::join!(a, b, c, d, e);
    assert!(a.is_ok() && b.is_ok() && d.is_ok());
    assert_eq!(
        c.unwrap_err().message,
        "too many calls of this operation run at once"
    );
    assert_eq!(
        e.unwrap_err().message,
        "too many calls of all operations run at once"
    );
    assert!(
        one(&registry, "two", Value::Null).await.is_ok(),
        "permits come back"
    );
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_leaves_takes_the_call_with_him() {
    let registry = Registry::new();
    let gone = Arc::new(AtomicUsize::new(0));
    let (flag, (tx, cancelled)) = (gone.clone(), tokio::sync::oneshot::channel());
    let tx = std::sync::Mutex::new(Some(tx));
    let operation = Operation::one(
        "engine",
        "math",
        "hang",
        "",
        Effect::Run,
        move |ctx: Context, _: Nothing| {
            let (gone, tx) = (Gone(flag.clone()), tx.lock().unwrap().take());
            async move {
                tokio::spawn(async move {
                    ctx.cancel.cancelled().await;
                    tx.unwrap().send(()).unwrap();
                });
                std::future::pending::<()>().await;
                drop(gone);
                Ok(())
            }
        },
    );
    let _held = registry.register(operation);
    let call = tokio::time::timeout(Duration::from_secs(1), one(&registry, "hang", Value::Null));
    assert!(call.await.is_err(), "the caller gave up");
    cancelled.await.unwrap();
    assert_eq!(gone.load(Ordering::SeqCst), 1);
}

fn count(gone: &Arc<AtomicUsize>) -> Operation {
    let gone = gone.clone();
    Operation::stream(
        "engine",
        "math",
        "count",
        "Counts.",
        Effect::Read,
        move |_, pair: Pair, tx| {
            let gone = Gone(gone.clone());
            async move {
                for n in pair.a..pair.b {
                    tx.send(&Sum { sum: n }).await?;
                }
                drop(gone);
                match pair.b {
                    1_000 => Err(OperationError::new(ErrorKind::Failed, "T0000", "enough")),
                    _ => Ok(()),
                }
            }
        },
    )
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_items_or_an_error_and_waits_for_its_reader() {
    let registry = Registry::new();
    let gone = Arc::new(AtomicUsize::new(0));
    let _held = registry.register(count(&gone));
    for (end, items) in [(500, 500), (1_000, 1_001)] {
        let input = json!({"a": 0, "b": end});
        let answer = registry
            .call("engine", "math", "count", input, context())
            .await;
        let Ok(Answer::Stream(mut rx)) = answer else {
            panic!("{answer:?}");
        };
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(rx.len() <= 64, "bounded: {}", rx.len());
        let mut seen = Vec::new();
        while let Some(item) = rx.recv().await {
            seen.push(item);
        }
        assert_eq!(seen.len(), items);
        assert_eq!(seen[7], Ok(json!({"sum": 7})));
        assert_eq!(seen[items - 1].is_err(), end == 1_000);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_who_leaves_ends_the_stream_and_frees_its_place() {
    let registry = Registry::new();
    let gone = Arc::new(AtomicUsize::new(0));
    let _held = registry.register(count(&gone).concurrency(1));
    let input = json!({"a": 0, "b": 1_000_000});
    let call = || registry.call("engine", "math", "count", input.clone(), context());
    let Ok(Answer::Stream(mut rx)) = call().await else {
        panic!("no stream");
    };
    assert!(rx.recv().await.is_some());
    assert!(call().await.is_err(), "one at a time");
    drop(rx);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(gone.load(Ordering::SeqCst), 1);
    assert!(call().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_stream_past_its_deadline_says_so() {
    let registry = Registry::new();
    let hang = |_: Context, _: Nothing, tx| async move {
        std::future::pending::<()>().await;
        drop::<trunkline_runtime::operation::ItemSender<Sum>>(tx);
        Ok(())
    };
    let operation = Operation::stream("engine", "math", "hang", "", Effect::Read, hang);
    let _held = registry.register(operation.deadline(Duration::from_secs(3)));
    let answer = registry
        .call("engine", "math", "hang", Value::Null, context())
        .await;
    let Ok(Answer::Stream(mut rx)) = answer else {
        panic!("no stream");
    };
    let error = rx.recv().await.unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Timeout);
    assert!(rx.recv().await.is_none());
}
