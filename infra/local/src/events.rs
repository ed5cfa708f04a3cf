//! EventBridge, as far as functions need it: accepts events and stores the newest for inspection.

use crate::functions::epoch_ms;
use crate::template::{ACCOUNT, REGION};
use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The most stored events; older ones are dropped.
const MAX_EVENTS: usize = 10_000;

/// Every bus in one list, oldest event first.
#[derive(Debug)]
pub(crate) struct Events {
    kept: Mutex<VecDeque<Value>>,
    file: Option<Mutex<File>>,
}

impl Events {
    /// Loads the events of an earlier run from `path`, one a line, and appends to it. A line that cannot be parsed, such as a
    /// torn last one, is ignored.
    pub(crate) fn open(path: Option<PathBuf>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self { kept: Mutex::default(), file: None }) };
        let text = if path.exists() { std::fs::read_to_string(&path)? } else { String::new() };
        let mut kept: VecDeque<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        kept.drain(..kept.len().saturating_sub(MAX_EVENTS));
        let file = rewrite(&path, &kept).with_context(|| format!("keeping events in {}", path.display()))?;
        Ok(Self { kept: Mutex::new(kept), file: Some(Mutex::new(file)) })
    }

    /// Returns one call of the JSON protocol: status and body.
    pub(crate) fn handle(&self, action: &str, request: &Value) -> (u16, Value) {
        let entries = request["Entries"].as_array().filter(|entries| (1..=10).contains(&entries.len()));
        match (action, entries) {
            ("PutEvents", Some(entries)) => {
                let results: Vec<_> = entries.iter().map(|entry| self.put(entry)).collect();
                let failed = results.iter().filter(|result| result.get("ErrorCode").is_some()).count();
                (200, json!({"FailedEntryCount": failed, "Entries": results}))
            }
            ("PutEvents", None) => (400, refusal("ValidationException", "Entries must have 1 to 10 members")),
            _ => (400, refusal("UnknownOperationException", "only PutEvents is served locally")),
        }
    }

    fn put(&self, entry: &Value) -> Value {
        let text = |name: &str| entry[name].as_str().filter(|text| !text.is_empty());
        let refused = |code: &str, message: &str| json!({"ErrorCode": code, "ErrorMessage": message});
        let (Some(source), Some(kind), Some(detail)) = (text("Source"), text("DetailType"), text("Detail")) else {
            return refused("InvalidArgument", "Source, DetailType and Detail are required");
        };
        let Ok(detail @ Value::Object(_)) = serde_json::from_str(detail) else {
            return refused("MalformedDetail", "Detail is malformed.");
        };
        let id = switchyard_core::random::uuid().to_string();
        let time =
            i64::try_from(epoch_ms()).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
        let event = json!({
            "version": "0",
            "id": id,
            "detail-type": kind,
            "source": source,
            "account": ACCOUNT,
            "time": time.to_string(),
            "region": REGION,
            "resources": entry.get("Resources").cloned().unwrap_or_else(|| json!([])),
            "detail": detail,
        });
        if let Some(file) = &self.file {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = writeln!(file, "{event}") {
                return refused("InternalFailure", &error.to_string());
            }
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back(event);
        if kept.len() > MAX_EVENTS {
            kept.pop_front();
        }
        json!({"EventId": id})
    }

    /// The stored events, oldest first.
    pub(crate) fn list(&self) -> Vec<Value> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

fn refusal(kind: &str, message: &str) -> Value {
    json!({"__type": kind, "message": message})
}

/// Writes a temporary file and renames it, so that a crash leaves the old file or the new one.
fn rewrite(path: &Path, kept: &VecDeque<Value>) -> std::io::Result<File> {
    let beside = path.with_extension("new");
    let lines: String = kept.iter().map(|event| format!("{event}\n")).collect();
    std::fs::write(&beside, lines)?;
    std::fs::rename(&beside, path)?;
    OpenOptions::new().append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_checked_one_by_one_and_survive_a_restart() {
        let path = std::env::temp_dir().join(format!("switchyard-events-{}", std::process::id()));
        let events = Events::open(Some(path.clone())).unwrap();
        let entry = |detail: &str| json!({"Source": "s", "DetailType": "t", "Detail": detail});
        let (status, answer) = events.handle("PutEvents", &json!({"Entries": [entry(r#"{"a":1}"#), entry("[]")]}));
        assert_eq!((status, &answer["FailedEntryCount"]), (200, &json!(1)));
        assert_eq!(answer["Entries"][1]["ErrorCode"], "MalformedDetail");
        assert_eq!(events.handle("PutEvents", &json!({"Entries": []})).0, 400);
        drop(events);
        let again = Events::open(Some(path.clone())).unwrap().list();
        std::fs::remove_file(&path).unwrap();
        assert_eq!((again.len(), &again[0]["detail"]["a"], &again[0]["detail-type"]), (1, &json!(1), &json!("t")));
    }
}
