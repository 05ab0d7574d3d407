//! The dashboard's page: how the process is, and a table for every operation `status` or `targets`.
//!
//! It is made here, without scripts, and loads itself again. It knows no operation's meaning: what
//! an answer holds becomes tables by its shape. Everything in it may be foreign and is escaped; the
//! content security policy forbids everything but the one style, should an escape be missed.

use std::fmt::{self, Display, Write};
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Map, Value};
use trunkline_engine::health::{ComponentReport, Report};
use trunkline_runtime::log::Escaped;
use trunkline_runtime::operation::{
    Actor, Answer, Context, Description, Door, Effect, OperationError, Shape,
};

use crate::http::reply::{HTML, Turn, with};

/// Operations that have a table.
const SHOWN: [&str; 2] = ["status", "targets"];
/// Tables on the page.
const TABLES_MAX: usize = 32;
const ROWS_MAX: usize = 200;
const COLUMNS_MAX: usize = 16;
/// Characters of a cell.
const CELL_MAX: usize = 200;
/// How long one operation may take to answer for its table.
const DEADLINE: Duration = Duration::from_secs(1);

const STYLE: &str = "body{font:14px system-ui,sans-serif;margin:2em;max-width:100em}\
    table{border-collapse:collapse;margin:.5em 0 1.5em}\
    th,td{text-align:left;padding:.2em .8em .2em 0;border-bottom:1px solid #8884;\
    vertical-align:top;overflow-wrap:anywhere}\
    .good{color:#197a2f}.degraded{color:#9a6700}.unready,.dead{color:#c3172a}\
    @media(prefers-color-scheme:dark){body{background:#111;color:#ddd}}";

/// The page as it is now; `nonce` is used for this answer only.
pub(super) async fn show(turn: &Turn, nonce: &str) -> Response {
    let report = (turn.shared.health)();
    let is_shown = |one: &Description| {
        one.effect == Effect::Read
            && one.shape == Shape::One
            && SHOWN.contains(&one.operation.as_str())
    };
    let operations = turn.shared.registry.list().into_iter().filter(is_shown);
    let mut tables = Vec::new();
    for one in operations.take(TABLES_MAX) {
        let answer = ask(turn, &one).await;
        tables.push((one, answer));
    }
    let html = render(&report, &tables, nonce);
    let mut response = with(StatusCode::OK, HTML, turn.body(html.into_bytes(), None));
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    let no_referrer = HeaderValue::from_static("no-referrer");
    headers.insert(header::REFERRER_POLICY, no_referrer);
    response
}

async fn ask(turn: &Turn, one: &Description) -> Result<Value, OperationError> {
    let via = Door::Http;
    let context = Context::new(Actor { uid: None, via }).timeout(DEADLINE);
    let registry = &turn.shared.registry;
    let (kind, name, operation) = (&one.kind, &one.name, &one.operation);
    match registry
        .call(kind, name, operation, Value::Null, context)
        .await?
    {
        Answer::One(value) => Ok(value),
        // It was replaced between the look and the call.
        Answer::Stream(_) => Ok(Value::Null),
    }
}

type Table = (Description, Result<Value, OperationError>);

fn render(report: &Report, tables: &[Table], nonce: &str) -> String {
    let mut html = String::with_capacity(16 << 10);
    // Writing to a string cannot fail.
    write_page(&mut html, report, tables, nonce).ok();
    html
}

fn write_page(html: &mut String, report: &Report, tables: &[Table], nonce: &str) -> fmt::Result {
    write!(
        html,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"refresh\" content=\"5\"><title>Trunkline</title>\
         <style nonce=\"{nonce}\">{STYLE}</style></head><body><h1>Trunkline</h1>"
    )?;
    let status = report.status.as_str();
    write!(
        html,
        "<h2>Health: <span class=\"{status}\">{status}</span></h2>"
    )?;
    write_components(html, &report.components)?;
    for (one, answer) in tables {
        let title = format!("{}/{} {}", one.kind, one.name, one.operation);
        write!(
            html,
            "<h2>{}</h2><p>{}</p>",
            Html(&title),
            Html(&one.summary)
        )?;
        match answer {
            Ok(value) => write_value(html, value)?,
            Err(error) => {
                let message = format!("{} {}", error.code, error.message);
                write!(html, "<p class=\"dead\">{}</p>", Html(&message))?;
            }
        }
    }
    html.write_str("</body></html>")
}

fn write_components(html: &mut String, components: &[ComponentReport]) -> fmt::Result {
    if components.is_empty() {
        return Ok(());
    }
    html.write_str("<table><tr><th>part</th><th>state</th><th>reasons</th></tr>")?;
    for component in components.iter().take(ROWS_MAX) {
        let status = component.status().as_str();
        let (name, reasons) = (&component.name, component.reasons.join("; "));
        write!(
            html,
            "<tr><td>{}</td><td class=\"{status}\">{status}</td><td>{}</td></tr>",
            Html(name),
            Html(&reasons)
        )?;
    }
    html.write_str("</table>")?;
    write_rest(html, components.len())
}

/// A table by the shape of the value: rows by name, a list of rows, or names and values.
fn write_value(html: &mut String, value: &Value) -> fmt::Result {
    match value {
        Value::Object(all) if is_of_rows(all.values()) => {
            let rows = all.iter().map(|(name, row)| (Some(name.as_str()), row));
            write_rows(html, rows.collect())
        }
        Value::Array(all) if is_of_rows(all.iter()) => {
            write_rows(html, all.iter().map(|row| (None, row)).collect())
        }
        Value::Object(all) => write_pairs(html, all),
        other => write!(html, "<p>{}</p>", Cell(other)),
    }
}

fn is_of_rows<'a>(mut values: impl ExactSizeIterator<Item = &'a Value>) -> bool {
    values.len() > 0 && values.all(Value::is_object)
}

fn write_pairs(html: &mut String, all: &Map<String, Value>) -> fmt::Result {
    html.write_str("<table>")?;
    let is_table = |value: &Value| match value {
        Value::Object(all) => is_of_rows(all.values()),
        Value::Array(all) => is_of_rows(all.iter()),
        _ => false,
    };
    let (tables, cells): (Vec<_>, Vec<_>) = all.iter().partition(|(_, value)| is_table(value));
    for (name, value) in cells.iter().take(ROWS_MAX) {
        write!(
            html,
            "<tr><th>{}</th><td>{}</td></tr>",
            Html(name),
            Cell(value)
        )?;
    }
    html.write_str("</table>")?;
    write_rest(html, cells.len())?;
    // One level down and no further: what is in there are rows, whose cells are JSON.
    for (name, value) in tables.iter().take(TABLES_MAX) {
        write!(html, "<h3>{}</h3>", Html(name))?;
        write_value(html, value)?;
    }
    Ok(())
}

fn write_rows(html: &mut String, rows: Vec<(Option<&str>, &Value)>) -> fmt::Result {
    let mut columns: Vec<&str> = Vec::new();
    for row in rows
        .iter()
        .take(ROWS_MAX)
        .filter_map(|(_, row)| row.as_object())
    {
        for key in row.keys() {
            if columns.len() < COLUMNS_MAX && !columns.contains(&key.as_str()) {
                columns.push(key);
            }
        }
    }
    html.write_str("<table><tr>")?;
    let named = rows.iter().any(|(name, _)| name.is_some());
    for column in named
        .then_some("")
        .into_iter()
        .chain(columns.iter().copied())
    {
        write!(html, "<th>{}</th>", Html(column))?;
    }
    html.write_str("</tr>")?;
    for (name, row) in rows.iter().take(ROWS_MAX) {
        html.write_str("<tr>")?;
        if let Some(name) = name {
            write!(html, "<th>{}</th>", Html(name))?;
        }
        for column in &columns {
            write!(html, "<td>{}</td>", Cell(&row[*column]))?;
        }
        html.write_str("</tr>")?;
    }
    html.write_str("</table>")?;
    write_rest(html, rows.len())
}

fn write_rest(html: &mut String, count: usize) -> fmt::Result {
    match count.saturating_sub(ROWS_MAX) {
        0 => Ok(()),
        rest => write!(html, "<p>and {rest} more</p>"),
    }
}

/// A value in a cell: text as it is, the rest as JSON, cut.
struct Cell<'a>(&'a Value);

impl Display for Cell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Null => Ok(()),
            Value::String(text) => Html(text).fmt(f),
            other => Html(&other.to_string()).fmt(f),
        }
    }
}

/// Text for a page, cut: markup and control characters are escaped.
struct Html<'a>(&'a str);

impl Display for Html<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.char_indices().nth(CELL_MAX).map(|(at, _)| at);
        let text = &self.0[..end.unwrap_or(self.0.len())];
        for c in Escaped(text).to_string().chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                other => f.write_char(other)?,
            }
        }
        if end.is_some() {
            f.write_str("…")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use trunkline_engine::health::{Need, Status};

    use super::*;

    fn table(value: &Value) -> String {
        let mut html = String::new();
        write_value(&mut html, value).unwrap();
        html
    }

    #[test]
    fn shapes_become_tables() {
        for (value, wanted) in [
            (
                json!({"up": 3, "name": "a"}),
                "<table><tr><th>name</th><td>a</td></tr><tr><th>up</th><td>3</td></tr></table>",
            ),
            (
                json!({"r1": {"up": true}, "r2": {"rtt": null}}),
                "<table><tr><th></th><th>up</th><th>rtt</th></tr>\
                 <tr><th>r1</th><td>true</td><td></td></tr>\
                 <tr><th>r2</th><td></td><td></td></tr></table>",
            ),
            (
                json!([{"a": 1}, {"a": [2]}]),
                "<table><tr><th>a</th></tr><tr><td>1</td></tr><tr><td>[2]</td></tr></table>",
            ),
            (
                json!({"n": 1, "rows": [{"a": 1}]}),
                "<table><tr><th>n</th><td>1</td></tr></table><h3>rows</h3>\
                 <table><tr><th>a</th></tr><tr><td>1</td></tr></table>",
            ),
            (json!([]), "<p>[]</p>"),
            (json!({}), "<table></table>"),
        ] {
            assert_eq!(table(&value), wanted);
        }
    }

    #[test]
    fn nothing_foreign_is_markup() {
        let evil = "<script>alert('1')</script>\"&\u{1b}[2J\u{202e}";
        let value = json!({evil: {evil: evil, "b": {"c": evil}}});
        let report = Report {
            status: Status::Unready,
            components: vec![ComponentReport {
                name: evil.into(),
                live: true,
                ready: false,
                need: Need::Required,
                reasons: vec![evil.into()],
                last_turn: None,
            }],
        };
        let html = table(&value) + &render(&report, &[], "00");
        assert!(!html.contains("<script") && !html.contains("'1'"), "{html}");
        assert!(!html.contains(['\u{1b}', '\u{202e}']), "{html:?}");
        assert!(html.contains("&lt;script&gt;alert(&#39;1&#39;)"), "{html}");
    }

    #[test]
    fn much_is_cut() {
        let rows: Vec<Value> = (0..1000)
            .map(|n| json!({"n": n, "t": "x".repeat(5000)}))
            .collect();
        let html = table(&Value::Array(rows));
        assert!(html.contains("and 800 more"), "{}", html.len());
        assert!(html.len() < 100_000, "{}", html.len());
        assert_eq!(Html(&"é".repeat(201)).to_string().chars().count(), 201);
    }
}
