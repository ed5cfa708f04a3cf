//! JSON log lines and embedded metrics on standard output.
//!
//! Private by default: a field is written only when its name is on [`ALLOWED`]. Of third-party crates only the fact of a
//! failure is logged, since their messages can quote addresses and data.

use crate::deadline::{epoch_ms, timestamp};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};
use switchyard_core::{Env, iso_millis, metric};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

/// Fields that may appear in a log line: ids, types, states, counts, durations. Never a body, a name or an address.
/// `tests/suite/logs.rs` compares them with the fields that the code logs.
const ALLOWED: &[&str] = &[
    "attempt",
    "caller",
    "code",
    "counted_events",
    "disposition",
    "duration_ms",
    "enqueued_jobs",
    "error",
    "event_count",
    "event_id",
    "event_ids",
    "event_type",
    "failed",
    "failed_count",
    "found",
    "iterations",
    "kept_events",
    "message",
    "message_id",
    "method",
    "next_retry_at",
    "outcome",
    "place",
    "places_left",
    "processed_count",
    "rate_limited_count",
    "reason",
    "records",
    "removed",
    "reopened",
    "requestId",
    "route",
    "scanned_stores",
    "sent",
    "service",
    "stage",
    "status",
    "store_id",
    "success_count",
    "tenant_id",
    "trace_id",
    "wait_ms",
    "xrayTraceId",
];

/// Counts and measurements since the last flush: one metrics line per invocation keeps the log small.
static METRICS: LazyLock<Mutex<Metrics>> = LazyLock::new(Mutex::default);

/// The function's deployed name, which differs by stage.
static FUNCTION: OnceLock<String> = OnceLock::new();

/// Unit and values by name.
type Metrics = BTreeMap<String, (String, Vec<u64>)>;

/// Installs the process's subscriber. `LOG_LEVEL` (trace … error) applies to this workspace's crates, default `info`.
/// `own` is the function's crate.
pub(crate) fn install(env: &Env, own: &'static str) {
    let level = env.optional("LOG_LEVEL").and_then(|text| text.parse().ok()).unwrap_or(LevelFilter::INFO);
    let function = env.optional("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default();
    let subscriber = tracing_subscriber::registry().with(JsonLines { level, function: function.clone(), own });
    // In tests there can be a second installation: the first one stays.
    drop(FUNCTION.set(function));
    drop(tracing::subscriber::set_global_default(subscriber));
}

/// Writes what was counted since the last flush as one line of CloudWatch's embedded metric format.
pub(crate) fn flush_metrics() {
    let taken = std::mem::take(&mut *METRICS.lock().unwrap_or_else(PoisonError::into_inner));
    if !taken.is_empty() {
        let function = FUNCTION.get().map_or("", String::as_str);
        write_line(&metrics_line(function, epoch_ms(), &taken));
    }
}

fn metrics_line(function: &str, at_ms: u64, taken: &Metrics) -> Value {
    let names: Vec<_> = taken.iter().map(|(name, (unit, _))| json!({"Name": name, "Unit": unit})).collect();
    let mut line = json!({
        "_aws": {
            "Timestamp": at_ms,
            "CloudWatchMetrics": [{"Namespace": "Switchyard", "Dimensions": [["function"]], "Metrics": names}],
        },
        "function": function,
    });
    for (name, (unit, values)) in taken {
        line[name] = if unit == "Count" { json!(values.iter().sum::<u64>()) } else { json!(values) };
    }
    line
}

struct JsonLines {
    level: LevelFilter,
    function: String,
    own: &'static str,
}

impl JsonLines {
    fn is_ours(&self, target: &str) -> bool {
        target.starts_with("switchyard") || target.starts_with(self.own)
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for JsonLines {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let target = metadata.target();
        if target == metric::TARGET {
            return true;
        }
        let level = if self.is_ours(target) || (metadata.is_span() && target.starts_with("lambda_runtime")) {
            self.level
        } else {
            LevelFilter::ERROR
        };
        *metadata.level() <= level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level.max(LevelFilter::INFO))
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if event.metadata().target() == metric::TARGET {
            let mut measure = Measure::default();
            event.record(&mut measure);
            measure.keep();
            return;
        }
        let mut line = Map::new();
        line.insert("timestamp".into(), iso_millis(timestamp(epoch_ms())).into());
        line.insert("level".into(), event.metadata().level().as_str().into());
        line.insert("function".into(), self.function.as_str().into());
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(fields) = span.extensions().get::<Fields>() {
                line.extend(fields.0.clone());
            }
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        if self.is_ours(event.metadata().target()) {
            line.extend(fields.0);
        } else {
            line.insert("message".into(), format!("{} reports a failure", event.metadata().target()).into());
        }
        write_line(&Value::Object(line));
    }
}

fn write_line(line: &Value) {
    let mut text = line.to_string();
    text.push('\n');
    // Without standard output there is no other place to report to.
    drop(std::io::stdout().lock().write_all(text.as_bytes()));
}

/// The allowed fields of a span or event.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn keep(&mut self, field: &Field, value: Value) {
        if ALLOWED.contains(&field.name()) {
            self.0.insert(field.name().to_owned(), value);
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.keep(field, value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.keep(field, value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.keep(field, value.into());
    }
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.keep(field, format!("{value:?}").into());
    }
}

/// One `metric::count` or `metric::millis`.
#[derive(Default)]
struct Measure {
    name: String,
    unit: String,
    value: u64,
}

impl Measure {
    fn keep(self) {
        let mut metrics = METRICS.lock().unwrap_or_else(PoisonError::into_inner);
        metrics.entry(self.name).or_insert_with(|| (self.unit, Vec::new())).1.push(self.value);
    }
}

impl Visit for Measure {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "metric" => value.clone_into(&mut self.name),
            "unit" => value.clone_into(&mut self.unit),
            _ => {}
        }
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "value" {
            self.value = value;
        }
    }
    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_and_durations_stay_apart() {
        let taken = Metrics::from([
            ("accepted".to_owned(), ("Count".to_owned(), vec![1, 1])),
            ("age".to_owned(), ("Milliseconds".to_owned(), vec![5, 9])),
        ]);
        let line = metrics_line("adt-webhook", 7, &taken);
        assert_eq!(line["accepted"], 2);
        assert_eq!(line["age"], json!([5, 9]));
        assert_eq!(line["_aws"]["CloudWatchMetrics"][0]["Metrics"][1], json!({"Name": "age", "Unit": "Milliseconds"}));
    }
}
