//! Problems on a terminal: the source line, a caret under what is wrong, help below it.

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};

use crate::diagnostic::{Diagnostic, Problems, Severity};

pub(crate) fn render(problems: &Problems, colours: bool) -> String {
    let renderer = if colours {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let mut out = String::new();
    for one in problems.diagnostics() {
        out.push_str(&renderer.render(&[group(problems, one)]));
        out.push_str("\n\n");
    }
    if !problems.is_empty() {
        out.push_str(&summary(problems));
        out.push('\n');
    }
    out
}

fn group<'a>(problems: &'a Problems, one: &'a Diagnostic) -> Group<'a> {
    let level = match one.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(plain(&one.message)).id(one.code);
    let source = one.source.and_then(|index| problems.sources.source(index));
    let mut group = match source {
        Some(source) => title.element(
            Snippet::source(source.shown.as_str())
                .path(plain(&one.file))
                .annotation(annotation(one)),
        ),
        None => Group::with_title(title),
    };
    if let Some(note) = &one.note {
        group = group.element(Level::NOTE.message(plain(note)));
    }
    if let Some(help) = &one.help {
        group = group.element(Level::HELP.message(plain(help)));
    }
    group
}

fn annotation(one: &Diagnostic) -> Annotation<'_> {
    let annotation = AnnotationKind::Primary.span(one.span.clone());
    match &one.label {
        Some(label) => annotation.label(plain(label)),
        None => annotation,
    }
}

/// Keys and values quoted from a file may hold anything; a terminal must not obey them.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' => '\n'.to_string(),
            c if c.is_control() => c.escape_default().to_string(),
            c => c.to_string(),
        })
        .collect()
}

fn summary(problems: &Problems) -> String {
    let count = |severity, one: &str| {
        let list = problems.diagnostics().iter();
        match list.filter(|d| d.severity == severity).count() {
            0 => None,
            1 => Some(format!("1 {one}")),
            n => Some(format!("{n} {one}s")),
        }
    };
    let counts = [
        count(Severity::Error, "error"),
        count(Severity::Warning, "warning"),
    ];
    let counts: Vec<String> = counts.into_iter().flatten().collect();
    let codes = problems.diagnostics().iter().map(|d| d.code);
    let code = codes.min().unwrap_or_default();
    format!(
        "{}; more about one: trunkline explain {code}",
        counts.join(", ")
    )
}
