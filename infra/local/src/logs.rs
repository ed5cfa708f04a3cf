//! Log lines of the functions and of the host.

use serde_json::Value;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

/// How lines are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogForm {
    /// One readable line an event, metrics left out.
    Short,
    /// One readable line an event, with metrics and every invocation.
    Verbose,
    /// The functions' own JSON lines.
    Json,
}

/// Where lines go.
#[derive(Clone, Debug)]
pub enum LogSink {
    /// Standard output.
    Print(LogForm),
    /// Memory, for tests: `(function, line)`.
    Keep(Arc<Mutex<Vec<(String, String)>>>),
}

impl LogSink {
    /// A sink in memory.
    pub fn keep() -> Self {
        Self::Keep(Arc::default())
    }

    /// The lines so far.
    pub fn kept(&self) -> Vec<(String, String)> {
        match self {
            Self::Keep(lines) => lines.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            Self::Print(_) => Vec::new(),
        }
    }

    /// A line that `function` wrote.
    pub(crate) fn line(&self, function: &str, line: &str) {
        match self {
            Self::Keep(lines) => {
                lines.lock().unwrap_or_else(PoisonError::into_inner).push((function.to_owned(), line.to_owned()));
            }
            Self::Print(LogForm::Json) => print_line(line),
            Self::Print(form) => {
                if let Some(text) = readable(line, *form == LogForm::Verbose) {
                    print_line(&format!("{function:>16} | {text}"));
                }
            }
        }
    }

    /// A message of the host about `function`.
    pub(crate) fn host(&self, function: &str, text: &str) {
        match self {
            Self::Keep(_) => self.line(function, text),
            Self::Print(LogForm::Json) => {
                print_line(&serde_json::json!({"level": "WARN", "function": function, "host": text}).to_string());
            }
            Self::Print(_) => print_line(&format!("{function:>16} ! {text}")),
        }
    }

    /// A detail of the host's work, printed with `--verbose` only.
    pub(crate) fn detail(&self, function: &str, text: impl FnOnce() -> String) {
        if let Self::Print(LogForm::Verbose) = self {
            print_line(&format!("{function:>16} . {}", text()));
        }
    }
}

/// A function's JSON line as text; other lines as they are. `None` for metrics unless wanted.
fn readable(line: &str, metrics: bool) -> Option<String> {
    let Ok(Value::Object(mut fields)) = serde_json::from_str(line) else { return Some(line.to_owned()) };
    if fields.remove("_aws").is_some() {
        fields.remove("function");
        return metrics.then(|| format!("metrics {}", Value::Object(fields)));
    }
    let mut text = |name: &str| fields.remove(name).map(|value| super::template::text_of(&value)).unwrap_or_default();
    let (level, message) = (text("level"), text("message"));
    for hidden in ["timestamp", "function", "requestId", "xrayTraceId", "trace_id"] {
        text(hidden);
    }
    let details: Vec<_> =
        fields.iter().map(|(name, value)| format!("{name}={}", super::template::text_of(value))).collect();
    Some(format!("{level:5} {message} {}", details.join(" ")).trim_end().to_owned())
}

fn print_line(line: &str) {
    // The host goes on when standard output is closed.
    drop(writeln!(std::io::stdout().lock(), "{line}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_lines_become_readable_and_metrics_stay_out() {
        let line = r#"{"timestamp":"t","level":"INFO","function":"f","message":"event queued","event_type":"x"}"#;
        assert_eq!(readable(line, false).unwrap(), "INFO  event queued event_type=x");
        assert_eq!(readable(r#"{"_aws":{},"accepted":1}"#, false), None);
        assert_eq!(readable("plain", false).unwrap(), "plain");
    }
}
