//! Every field that the functions log is on the allow-list of `shared/lambda/src/logs.rs`: one that is not is dropped.

use std::collections::{BTreeMap, BTreeSet};
use switchyard_tests::{root, source_files};

const MACROS: [&str; 10] =
    ["trace", "debug", "info", "warn", "error", "event", "span", "info_span", "debug_span", "error_span"];

/// Fields that the runtime's own spans and every event's text bring.
const OF_THE_RUNTIME: [&str; 3] = ["message", "requestId", "xrayTraceId"];

#[test]
fn fields_that_are_logged_are_those_that_are_allowed() {
    let logs = std::fs::read_to_string(root().join("shared/lambda/src/logs.rs")).unwrap();
    let list = logs.split_once("const ALLOWED: &[&str] = &[").and_then(|(_, rest)| rest.split_once("];")).unwrap().0;
    let allowed: BTreeSet<_> = list.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    let mut used = BTreeMap::new();
    for folder in ["shared", "functions"] {
        for file in source_files(&root().join(folder)) {
            // Metrics travel as events of their own target, which the log layer takes apart before it filters fields.
            if file.ends_with("core/src/metric.rs") {
                continue;
            }
            for field in fields(&std::fs::read_to_string(&file).unwrap()) {
                used.entry(field).or_insert_with(|| file.clone());
            }
        }
    }
    for (field, file) in &used {
        assert!(allowed.contains(field), "{} logs {field}, which logs.rs drops", file.display());
    }
    let unused = allowed.iter().filter(|field| !used.contains_key(*field) && !OF_THE_RUNTIME.contains(&field.as_str()));
    assert_eq!(unused.collect::<Vec<_>>(), Vec::<&String>::new(), "allowed, but logged by nothing");
    assert!(used.len() > 20, "the macros were found: {used:?}");
}

/// Names of the fields of every tracing macro in a source text.
fn fields(source: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in source.match_indices("!(") {
        let before = &source[..at];
        let start = before.rfind(|char: char| !char.is_alphanumeric() && char != '_').map_or(0, |start| start + 1);
        if !MACROS.contains(&&before[start..]) {
            continue;
        }
        for argument in arguments(&source[at + 2..]) {
            let argument = argument.trim().trim_start_matches(['%', '?']);
            let end = argument.find(|char: char| !char.is_alphanumeric() && char != '_').unwrap_or(argument.len());
            let (name, rest) = argument.split_at(end);
            let is_assignment = rest.trim_start().starts_with('=') || rest.trim().is_empty();
            if is_assignment && name.starts_with(|char: char| char.is_ascii_lowercase()) {
                found.insert(name.to_owned());
            }
        }
    }
    found
}

/// The arguments of a macro call, from behind its opening parenthesis to its closing one.
fn arguments(text: &str) -> Vec<String> {
    let (mut all, mut one) = (Vec::new(), String::new());
    let (mut depth, mut is_quoted, mut is_escaped) = (0, false, false);
    for char in text.chars() {
        if is_quoted {
            is_quoted = char != '"' || is_escaped;
            is_escaped = char == '\\' && !is_escaped;
        } else {
            match char {
                '"' => is_quoted = true,
                '(' | '[' | '{' => depth += 1,
                ')' if depth == 0 => break,
                ')' | ']' | '}' => depth -= 1,
                ',' if depth == 0 => {
                    all.push(std::mem::take(&mut one));
                    continue;
                }
                _ => {}
            }
        }
        one.push(char);
    }
    all.push(one);
    all
}

#[test]
fn fields_are_found_in_every_form() {
    let source = r#"tracing::warn!(a = 1, %b, ?c, d, error = chain(&e, "x, y = 1"), "a (text), z = 2"); info_span!("s", f = %g(h)); println!(i)"#;
    assert_eq!(fields(source), ["a", "b", "c", "d", "error", "f"].map(str::to_owned).into());
}
