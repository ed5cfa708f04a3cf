//! Trying a rule: nothing is sent and nothing is remembered.

use crate::error::SignalsError;
use crate::evaluate::{seen, view};
use crate::ids::RuleId;
use crate::ingest::event::EventRow;
use crate::ingest::occurred::parse_occurred_at;
use crate::manage::events::{EventDeps, EventFilter, find};
use crate::manage::rules::row::RuleStatus;
use crate::manage::tenants::hidden;
use crate::manage::tenants::row::Tenant;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;
pub use switchyard_rules::DryRun;
use switchyard_rules::{Event, Issue, Parsed, Past, Path, Rule, Status, dry_run, parse_text, redact};

/// Stored events that a sample looks at, at most.
pub const MAX_SAMPLE: usize = 1_000;

/// Ids that a sample's answer names at most.
const NAMED: usize = 20;

/// What a rule is candidate on.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TriedEvent {
    /// Its type.
    pub r#type: String,
    /// A JSON object.
    pub payload: Value,
    /// Who sends it.
    #[serde(default)]
    pub source: Option<String>,
    /// When it happened; when it is received if absent.
    #[serde(default)]
    pub occurred_at: Option<String>,
    /// When it is received; now if absent.
    #[serde(default)]
    pub received_at: Option<String>,
}

/// An earlier event of the rule.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PriorEvent {
    /// When it was received.
    pub received_at: String,
    /// Its payload.
    pub payload: Value,
}

/// What a dry run is to take for granted.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct State {
    /// Earlier events, of the same type as the one candidate.
    #[serde(default)]
    pub prior_events: Vec<PriorEvent>,
    /// When the group fired last.
    #[serde(default)]
    pub last_fired_at: Option<String>,
}

/// Which document is candidate.
#[derive(Clone, Copy, Debug)]
pub enum Candidate<'a> {
    /// This one, as JSON.
    Document(&'a str),
    /// A stored rule's, of this version or of the one in force.
    Rule(&'a RuleId, Option<u64>),
}

/// Outcome of a dry run.
#[derive(Debug)]
pub enum Run {
    /// What the rule would do with the event.
    Ran(DryRun),
    /// How many stored events match.
    Sampled(SampleOutcome),
    /// The document is wrong; this is everything that is.
    Invalid(Vec<Issue>),
    /// The rule or version does not exist.
    Unknown,
    /// A field of the request is none; its name, and why.
    BadField(String),
}

/// What a rule would do about an event. It knows only the state that is handed in.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn test(
    deps: &EventDeps,
    tenant: &Tenant,
    candidate: Candidate<'_>,
    event: &TriedEvent,
    state: &State,
) -> Result<Run, SignalsError> {
    let (rule, id, version) = match load(deps, tenant, candidate).await? {
        Ok(loaded) => loaded,
        Err(run) => return Ok(run),
    };
    let time = |name: &str, text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => parse_occurred_at(text).map(Some).ok_or_else(|| format!("{name} must be an RFC 3339 time")),
    };
    let run = || -> Result<DryRun, String> {
        if !event.payload.is_object() {
            return Err("event.payload must be an object".to_owned());
        }
        let received = time("event.receivedAt", &event.received_at)?.unwrap_or_else(|| deps.clock.now());
        let occurred = time("event.occurredAt", &event.occurred_at)?.unwrap_or(received);
        let last_fired_at = time("state.lastFiredAt", &state.last_fired_at)?;
        let candidate = |id, payload, occurred_at, received_at| Event {
            id,
            kind: &event.r#type,
            payload,
            source: event.source.as_deref(),
            occurred_at,
            received_at,
            tenant: seen(tenant),
        };
        let mut earlier = Vec::new();
        for (number, prior) in state.prior_events.iter().enumerate() {
            let name = format!("state.priorEvents[{number}].receivedAt");
            let at = time(&name, &Some(prior.received_at.clone()))?.unwrap_or(received);
            earlier.push((format!("prior-{number}"), &prior.payload, at));
        }
        let earlier: Vec<_> = earlier.iter().map(|(id, payload, at)| candidate(id, *payload, *at, *at)).collect();
        let past = Past { events: &earlier, last_fired_at };
        Ok(dry_run(&rule, (&id, version), &candidate("test", &event.payload, occurred, received), past))
    };
    Ok(run().map_or_else(Run::BadField, Run::Ran))
}

/// How many of the newest stored events, of the last 31 days, a rule's type and condition hold for.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn sample(
    deps: &EventDeps,
    tenant: &Tenant,
    candidate: Candidate<'_>,
    count: usize,
) -> Result<Run, SignalsError> {
    let (rule, ..) = match load(deps, tenant, candidate).await? {
        Ok(loaded) => loaded,
        Err(run) => return Ok(run),
    };
    let now = deps.clock.now();
    let days = std::time::Duration::from_secs(crate::events::MAX_DAYS.unsigned_abs() * 86_400);
    let filter = EventFilter {
        kind: Some(rule.event_type.clone()),
        from: Some(now - days),
        to: Some(now),
        ..EventFilter::default()
    };
    let (rows, _) = find(deps, &tenant.id, &filter, count.min(MAX_SAMPLE), MAX_SAMPLE * 10).await?;
    let (mut matched, hidden) = (Vec::new(), hidden(tenant)?);
    for row in &rows {
        tokio::task::yield_now().await;
        if holds(&rule, tenant, row, &hidden)? {
            matched.push(row.id.to_string());
        }
    }
    let count = matched.len();
    matched.truncate(NAMED);
    Ok(Run::Sampled(SampleOutcome { sampled: rows.len(), matched: count, matched_ids: matched }))
}

/// What readers do not see, they cannot find out by rules either.
fn holds(rule: &Rule, tenant: &Tenant, row: &EventRow, hidden: &[Path]) -> Result<bool, SignalsError> {
    let mut payload: Value = serde_json::from_str(&row.payload).map_err(SignalsError::Json)?;
    redact(&mut payload, hidden);
    Ok(rule.definition.when.holds(&view(row, &payload, tenant)))
}

async fn load(
    deps: &EventDeps,
    tenant: &Tenant,
    candidate: Candidate<'_>,
) -> Result<Result<(Rule, String, u64), Run>, SignalsError> {
    let (document, id, version, is_paused) = match candidate {
        Candidate::Document(document) => (document.to_owned(), "test".to_owned(), 1, None),
        Candidate::Rule(id, version) => {
            let head = deps.store.rule(&tenant.id, id).await?.filter(|row| row.status != RuleStatus::Archived);
            let Some(head) = head else { return Ok(Err(Run::Unknown)) };
            let is_paused = Some(head.status == RuleStatus::Paused);
            match version.filter(|version| *version != head.version) {
                None => (head.document, head.id.into(), head.version, is_paused),
                Some(version) => match deps.store.rule_version(&tenant.id, id, version).await? {
                    Some(row) => (row.document, head.id.into(), version, is_paused),
                    None => return Ok(Err(Run::Unknown)),
                },
            }
        }
    };
    Ok(match parse_text(&document) {
        Ok(Parsed { mut rule, .. }) => {
            if let Some(is_paused) = is_paused {
                // Of a stored rule the row says it; the document, of the time when it was written.
                rule.status = is_paused.then_some(Status::Paused);
            }
            Ok((rule, id, version))
        }
        Err(issues) => Err(Run::Invalid(issues)),
    })
}

/// For how many stored events a rule's type and condition hold.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SampleOutcome {
    /// Events that were evaluated.
    pub sampled: usize,
    /// Events that match.
    pub matched: usize,
    /// Ids of the first of them, at most 20.
    pub matched_ids: Vec<String>,
}
