//! Counts and measures, as tracing events that the runtime glue turns into CloudWatch's embedded metric format.
//!
//! Domains call these and know nothing of CloudWatch; outside Lambda the events go where the subscriber sends them.

/// `target` of every metric event.
pub const TARGET: &str = "switchyard::metric";

/// Adds `value` to the counter `name`; names are dotted lower case, such as `accepted` or `batch.partial`.
pub fn count(name: &'static str, value: u64) {
    tracing::info!(target: TARGET, metric = name, unit = "Count", value);
}

/// Records a duration in milliseconds.
pub fn millis(name: &'static str, value: u64) {
    tracing::info!(target: TARGET, metric = name, unit = "Milliseconds", value);
}
