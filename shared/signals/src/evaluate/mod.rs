//! Evaluating an event by the rules that apply to it, and writing what follows.

pub mod dry_run;
pub(crate) mod plan;
pub(crate) mod ruleset;
pub(crate) mod state;

use crate::error::SignalsError;
use crate::evaluate::plan::{Capacity, distinct, plan_deliveries, queue_deliveries};
use crate::evaluate::ruleset::{ActiveRule, Ruleset, Rulesets};
use crate::evaluate::state::{DueState, StateKey, Stepped};
use crate::ids::{EventId, RuleId, TenantId};
use crate::ingest::event::EventRow;
use crate::ingest::{EVENT_KIND, EventJob};
use crate::manage::rules::row::RuleStatus;
use crate::manage::tenants::row::Tenant;
use crate::manage::tenants::row::TenantStatus;
use crate::notify::archive::archive_if_permanent;
use crate::notify::delivery::row::{DeliveryRow, Intent, Origin};
use crate::queues::RULES;
use crate::table::SignalsTable;
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::time::Duration;
use switchyard_core::Owner;
use switchyard_core::{Classify as _, Clock, Disposition, Env, EnvError, Envelope, EnvelopeError, error_chain, metric};
use switchyard_io::dynamo::{Item, Write};
use switchyard_io::{Aws, Queue, Table};
use switchyard_rules::{
    Batch, CooldownState, Cooled, Counted, DigestState, Digested, Event, Sample, Scope, ThresholdState,
};

/// Kind of the envelopes that ask for a digest to be closed.
pub(crate) const DIGEST_KIND: &str = "signals.digest";

/// Warnings of a rule that an event's row keeps, their length, and the bytes of all together: the row has its payload, too.
const WARNINGS: usize = 10;
const WARNING_LENGTH: usize = 200;
const WARNING_BYTES: usize = 50_000;

/// Deliveries that go into the event's own transaction; what is beyond them is written before.
const WITH_EVENT: usize = 90;

/// Bytes of deliveries that go into the event's own transaction, which takes 4 MB.
const BYTES_WITH_EVENT: usize = 2_500_000;

/// Bytes of payloads that a digest shows; it still counts the events beyond them.
const DIGEST_BYTES: usize = 1_000_000;

/// Events of a digest that are loaded at a time.
const LOAD_BATCH: usize = 10;

/// What evaluating needs.
#[derive(Clone)]
pub struct RulesDeps {
    pub(crate) store: SignalsTable,
    pub(crate) deliveries: Queue,
    pub(crate) clock: Clock,
    rulesets: Rulesets,
}

impl RulesDeps {
    /// Reads `SIGNALS_TABLE` and `NOTIFY_QUEUE_URL`.
    ///
    /// # Errors
    /// A setting is missing.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        Ok(Self {
            store: SignalsTable::new(Table::from_env(aws, env, "SIGNALS_TABLE")?),
            deliveries: Queue::from_env(aws, env, "NOTIFY_QUEUE_URL")?,
            clock: Clock::system(),
            rulesets: Rulesets::new(),
        })
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }
}

/// A digest that is due to be closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DigestJob {
    pub(crate) rule: RuleId,
    pub(crate) group: String,
}

/// Takes one message from the queue: an event to evaluate, or a digest to close. One that cannot succeed is kept as a dead
/// letter.
///
/// # Errors
/// Transient faults of DynamoDB or SQS: the message should come again.
pub async fn process(deps: &RulesDeps, message: &str, owner: &Owner) -> Result<(), SignalsError> {
    let outcome = take(deps, message).await;
    archive_if_permanent(&deps.store, &deps.clock, RULES, (message, owner), outcome).await
}

async fn take(deps: &RulesDeps, message: &str) -> Result<(), SignalsError> {
    #[derive(Deserialize)]
    struct Kind {
        kind: String,
    }
    let malformed = |error| SignalsError::Envelope(EnvelopeError::Malformed(error));
    let Kind { kind } = serde_json::from_str(message).map_err(malformed)?;
    if kind == DIGEST_KIND {
        let envelope = Envelope::<DigestJob>::parse(message, DIGEST_KIND).map_err(SignalsError::Envelope)?;
        return close_digest(deps, &TenantId::from(envelope.tenant), &envelope.body).await;
    }
    let envelope = Envelope::<EventJob>::parse(message, EVENT_KIND).map_err(SignalsError::Envelope)?;
    evaluate(deps, &TenantId::from(envelope.tenant), &envelope.body.event_id).await
}

/// Evaluates an event against all rules of its tenant, and writes what comes of it: outcomes and deliveries in one
/// transaction with the event. What rules remember is written before, by steps that know the event when it comes again.
async fn evaluate(deps: &RulesDeps, tenant: &TenantId, event_id: &EventId) -> Result<(), SignalsError> {
    let Some(row) = deps.store.event(tenant, event_id).await? else {
        return Err(SignalsError::UnknownEvent { id: event_id.to_string() });
    };
    if row.outcomes.is_some() {
        let mut known: Vec<DeliveryRow> = deps.store.deliveries(tenant, event_id).await?;
        known.retain(|delivery| delivery.is_open() && delivery.attempts == 0);
        return queue_deliveries(&deps.deliveries, &known).await;
    }
    let Some(ruleset) = deps.rulesets.of(&deps.store, tenant).await? else {
        return Err(SignalsError::UnknownTenant { id: tenant.to_string() });
    };
    if ruleset.tenant.status != TenantStatus::Active {
        let outcomes = json!({"skipped": "tenant_suspended"}).to_string();
        deps.store.finish_event(&row, &outcomes, Vec::new()).await?;
        tracing::info!(
            event_id = event_id.as_str(),
            tenant_id = tenant.as_str(),
            reason = "tenant_suspended",
            "event skipped"
        );
        return Ok(());
    }
    let payload = read_payload(&row)?;
    let event = view(&row, &payload, &ruleset.tenant);
    let now = deps.clock.now();
    let (mut outcomes, mut deliveries, mut matched) = (Map::new(), Vec::new(), 0_i64);
    let (mut room, mut warning_room) = (Capacity::ALL, WARNING_BYTES);
    for rule in ruleset.rules.iter().filter(|rule| rule.rule.is_for(event.kind)) {
        // A batch is worked on by one thread: others get their turn.
        tokio::task::yield_now().await;
        let outcome = match evaluate_rule(deps, &ruleset, rule, &row, &event, &mut room).await {
            // It will not go away, and concerns this rule alone.
            Err(error) if error.disposition() == Disposition::Permanent => {
                tracing::error!(
                    event_id = event_id.as_str(),
                    error = error_chain(&error),
                    "a rule could not be evaluated"
                );
                Evaluated::stopped("error", false)
            }
            outcome => outcome?,
        };
        matched += i64::from(outcome.has_matched);
        let mut about = json!({"version": rule.version, "outcome": outcome.name});
        let warnings: Vec<_> = outcome.warnings.iter().take(WARNINGS).map(|text| cut(text)).collect();
        let bytes = warnings.iter().map(|text| text.len()).sum::<usize>();
        if bytes > 0 && bytes <= warning_room {
            warning_room -= bytes;
            about["warnings"] = json!(warnings);
        }
        outcomes.insert(rule.id.to_string(), about);
        let of = Origin { tenant, event_id, rule_id: &rule.id, rule_version: rule.version };
        deliveries.extend(outcome.intents.into_iter().map(|intent| DeliveryRow::new(of, intent, now)));
    }
    finish(deps, &row, &Value::Object(outcomes), distinct(deliveries), matched).await
}

async fn finish(
    deps: &RulesDeps,
    row: &EventRow,
    outcomes: &Value,
    deliveries: Vec<DeliveryRow>,
    matched: i64,
) -> Result<(), SignalsError> {
    let writes = with_event(deps, &deliveries).await?;
    let is_first = deps.store.finish_event(row, &outcomes.to_string(), writes).await?;
    if is_first && matched > 0 {
        let counted = [("rules_matched", matched), ("notifications_failed", failed(&deliveries))];
        deps.store.count_apart(&row.tenant, row.received_at, &counted).await?;
    }
    metric::count("evaluated", u64::from(is_first));
    tracing::info!(
        event_id = row.id.as_str(),
        tenant_id = row.tenant.as_str(),
        event_type = row.kind,
        found = deliveries.len(),
        "event evaluated"
    );
    // The first one sends them; a second send is harmless.
    let open: Vec<_> = deliveries.into_iter().filter(DeliveryRow::is_open).collect();
    queue_deliveries(&deps.deliveries, &open).await
}

/// The writes of as many deliveries as a transaction takes; the others are written here.
async fn with_event(deps: &RulesDeps, deliveries: &[DeliveryRow]) -> Result<Vec<Write>, SignalsError> {
    let mut bytes = 0;
    let fits = deliveries.iter().take(WITH_EVENT).take_while(|delivery| {
        bytes += serde_json::to_string(delivery).map_or(BYTES_WITH_EVENT, |text| text.len());
        bytes <= BYTES_WITH_EVENT
    });
    let (with, before) = deliveries.split_at(fits.count());
    deps.store.add_deliveries(before).await?;
    with.iter().map(|delivery| Ok(Write::Put(deps.store.table().to_item(delivery)?))).collect()
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(WARNING_LENGTH)]
}

fn failed(deliveries: &[DeliveryRow]) -> i64 {
    i64::try_from(deliveries.iter().filter(|delivery| !delivery.is_open()).count()).unwrap_or_default()
}

/// What one rule made of an event.
struct Evaluated {
    name: &'static str,
    has_matched: bool,
    intents: Vec<Intent>,
    warnings: Vec<String>,
}

impl Evaluated {
    fn stopped(name: &'static str, has_matched: bool) -> Self {
        Self { name, has_matched, intents: Vec::new(), warnings: Vec::new() }
    }
}

/// Condition, threshold, cooldown, digest, actions.
async fn evaluate_rule(
    deps: &RulesDeps,
    ruleset: &Ruleset,
    active: &ActiveRule,
    row: &EventRow,
    event: &Event<'_>,
    room: &mut Capacity,
) -> Result<Evaluated, SignalsError> {
    let definition = &active.rule.definition;
    if !definition.when.holds(event) {
        return Ok(Evaluated::stopped("no_match", false));
    }
    if row.replay.as_ref().is_some_and(|replay| !replay.notify) {
        return Ok(Evaluated::stopped("matched", false));
    }
    let mut count = 1.0;
    if let Some(threshold) = &definition.threshold {
        let Some(sample) = threshold.sample(event) else { return Ok(Evaluated::stopped("not_counted", true)) };
        let counted = count_sample(deps, row, active, event, &sample).await?;
        if !counted.fired {
            return Ok(Evaluated::stopped("counted", true));
        }
        count = counted.count;
    }
    let mut suppressed = 0;
    if let Some(cooldown) = &definition.cooldown {
        let group = cooldown.group(event);
        let key = StateKey { tenant: &row.tenant, rule: &active.id, part: "CD", group: &group };
        let at_ms = event.received_at.as_millisecond();
        let step = |state: Option<CooldownState>| {
            let (state, outcome) = cooldown.step(state, event.id, at_ms);
            Ok(Stepped::new(state, outcome))
        };
        match deps.store.step(key, twice(cooldown.for_ms()), deps.clock.now(), step).await? {
            Cooled::Suppressed => return Ok(Evaluated::stopped("cooled", true)),
            Cooled::Fires { suppressed: held_back } => suppressed = held_back,
        }
    }
    if let Some(digest) = &definition.digest {
        let outcome = gather(deps, &row.tenant, active, digest, event).await?;
        // Either may have closed a window. Should sending it fail, its own row is due later.
        if matches!(outcome, Digested::Opened | Digested::Filled)
            && let Err(error) = send_batches(deps, ruleset, active, &digest.group(event)).await
        {
            tracing::warn!(event_id = row.id.as_str(), error = error_chain(&error), "a digest waits for the sweeper");
        }
        if outcome != Digested::Lead {
            return Ok(Evaluated::stopped("digested", true));
        }
    }
    let scope = Scope {
        event,
        rule_id: active.id.as_str(),
        rule_name: &active.rule.name,
        rule_version: active.version,
        count,
        suppressed,
        events: &[],
    };
    let Some(worked_out) = plan_deliveries(ruleset, &active.rule, &scope, room) else {
        // What is beyond that is not sent, and the outcome says so.
        return Ok(Evaluated::stopped("too_many", true));
    };
    Ok(Evaluated { name: "fired", has_matched: true, intents: worked_out.intents, warnings: worked_out.warnings })
}

async fn count_sample(
    deps: &RulesDeps,
    row: &EventRow,
    active: &ActiveRule,
    event: &Event<'_>,
    sample: &Sample,
) -> Result<Counted, SignalsError> {
    let Some(threshold) = &active.rule.definition.threshold else { return Ok(Counted { count: 0.0, fired: true }) };
    let key = StateKey { tenant: &row.tenant, rule: &active.id, part: "TH", group: &sample.group };
    let (now, keep_for) = (deps.clock.now(), twice(threshold.window_ms()));
    if threshold.needs_claim()
        && let Some(known) = deps.store.counted(&key, &row.id).await?
    {
        return Ok(known);
    }
    let step = |state: Option<ThresholdState>| {
        let (state, counted) = threshold.step(state.unwrap_or_default(), event.id, sample);
        let mut stepped = Stepped::new(state, counted);
        if threshold.needs_claim() {
            stepped.with.push(deps.store.counted_item(&key, &row.id, &counted, now + keep_for)?);
        }
        Ok(stepped)
    };
    deps.store.step(key, keep_for, now, step).await
}

/// Adds an event to its digest. Windows that it closes become rows of their own, with the state or not at all.
async fn gather(
    deps: &RulesDeps,
    tenant: &TenantId,
    active: &ActiveRule,
    digest: &switchyard_rules::Digest,
    event: &Event<'_>,
) -> Result<Digested, SignalsError> {
    let group = digest.group(event);
    let key = StateKey { tenant, rule: &active.id, part: "DG", group: &group };
    let step = |state: Option<DigestState>| {
        let step = digest.step(state.unwrap_or_default(), event.id, event.received_at.as_millisecond());
        let due_at = step.state.closes_ms(digest);
        let with = step.closed.iter().map(|batch| deps.store.batch_item(&key, batch, deps.clock.now()));
        let with = with.collect::<Result<Vec<Item>, _>>()?;
        Ok(Stepped { state: step.state, outcome: step.outcome, due_at, with })
    };
    deps.store.step(key, twice(digest.window_ms()) + UNSENT_KEPT, deps.clock.now(), step).await
}

/// Closes a digest that is due, and plans the notifications of its group.
async fn close_digest(deps: &RulesDeps, tenant: &TenantId, job: &DigestJob) -> Result<(), SignalsError> {
    let Some(ruleset) = deps.rulesets.of(&deps.store, tenant).await? else {
        return Err(SignalsError::UnknownTenant { id: tenant.to_string() });
    };
    let is_active = ruleset.tenant.status == TenantStatus::Active;
    let known = ruleset.rule(&job.rule).filter(|_| is_active);
    let Some((active, digest)) = known.and_then(|active| Some((active, active.rule.definition.digest.as_ref()?)))
    else {
        // Of a suspended tenant, a rule that is no longer active, or one that gathers no more, nothing is sent. What is in
        // force and not known here yet will be.
        let row = deps.store.rule(tenant, &job.rule).await?;
        let is_in_force = row.is_some_and(|row| row.status == RuleStatus::Active);
        return match is_active && is_in_force && known.is_none() {
            true => Ok(()),
            false => deps.store.forget_digest(tenant, &job.rule, &job.group).await,
        };
    };
    let key = StateKey { tenant, rule: &job.rule, part: "DG", group: &job.group };
    let now = deps.clock.now();
    let step = |state: Option<DigestState>| {
        let mut state = state.unwrap_or_default();
        let closed = digest.close_due(&mut state, now.as_millisecond());
        let with = closed.iter().map(|batch| deps.store.batch_item(&key, batch, now)).collect::<Result<Vec<_>, _>>()?;
        let due_at = state.closes_ms(digest);
        Ok(Stepped { state, outcome: (), due_at, with })
    };
    deps.store.step(key, twice(digest.window_ms()) + UNSENT_KEPT, now, step).await?;
    send_batches(deps, &ruleset, active, &job.group).await
}

/// Makes deliveries of every closed window of a group, and removes its row in the same transaction.
async fn send_batches(
    deps: &RulesDeps,
    ruleset: &Ruleset,
    active: &ActiveRule,
    group: &str,
) -> Result<(), SignalsError> {
    let tenant = &ruleset.tenant.id;
    let key = StateKey { tenant, rule: &active.id, part: "DB", group };
    for (batch_key, batch) in deps.store.batches(&key).await? {
        let rows = events_of(deps, tenant, &batch).await?;
        let payloads = rows.iter().map(read_payload).collect::<Result<Vec<_>, _>>()?;
        let events: Vec<_> =
            rows.iter().zip(&payloads).map(|(row, payload)| view(row, payload, &ruleset.tenant)).collect();
        let Some((row, newest)) = rows.last().zip(events.last()) else {
            deps.store.remove_batch(&batch_key, Vec::new()).await?;
            continue;
        };
        #[expect(clippy::cast_precision_loss, reason = "a digest holds at most 500 events")]
        let count = batch.entries.len() as f64;
        let scope = Scope {
            event: newest,
            rule_id: active.id.as_str(),
            rule_name: &active.rule.name,
            rule_version: active.version,
            count,
            suppressed: 0,
            events: &events,
        };
        let Some(worked_out) = plan_deliveries(ruleset, &active.rule, &scope, &mut Capacity::ALL.clone()) else {
            tracing::error!(event_id = newest.id, reason = "too_many", "a digest's messages are too large to keep");
            deps.store.remove_batch(&batch_key, Vec::new()).await?;
            continue;
        };
        let of = Origin { tenant, event_id: &row.id, rule_id: &active.id, rule_version: active.version };
        let now = deps.clock.now();
        // The newest event may have had a notification of its own; the digest is another delivery.
        let digest_of = |intent: Intent| Intent { action: format!("digest.{}", intent.action), ..intent };
        let deliveries = worked_out.intents.into_iter().map(|intent| DeliveryRow::new(of, digest_of(intent), now));
        let deliveries = distinct(deliveries.collect());
        let mut writes = with_event(deps, &deliveries).await?;
        writes.push(SignalsTable::count_with(tenant, now, &[("notifications_failed", failed(&deliveries))]));
        if deps.store.remove_batch(&batch_key, writes).await? {
            let open: Vec<_> = deliveries.into_iter().filter(DeliveryRow::is_open).collect();
            queue_deliveries(&deps.deliveries, &open).await?;
        }
    }
    Ok(())
}

/// The events of a batch that are still kept, oldest first, as many as a digest shows.
async fn events_of(deps: &RulesDeps, tenant: &TenantId, batch: &Batch) -> Result<Vec<EventRow>, SignalsError> {
    let (mut found, mut bytes) = (Vec::new(), 0);
    for entries in batch.entries.chunks(LOAD_BATCH) {
        let loads =
            entries.iter().map(async |entry| deps.store.event(tenant, &EventId::from(entry.event_id.as_str())).await);
        for row in try_join_all(loads).await?.into_iter().flatten() {
            bytes += row.payload.len();
            found.push(row);
        }
        if bytes > DIGEST_BYTES {
            break;
        }
    }
    Ok(found)
}

fn read_payload(row: &EventRow) -> Result<Value, SignalsError> {
    serde_json::from_str(&row.payload).map_err(SignalsError::Json)
}

/// An event as rules see it.
pub(crate) fn view<'a>(row: &'a EventRow, payload: &'a Value, tenant: &'a Tenant) -> Event<'a> {
    Event {
        id: row.id.as_str(),
        kind: &row.kind,
        payload,
        source: row.source.as_deref(),
        occurred_at: row.occurred_at,
        received_at: row.received_at,
        tenant: seen(tenant),
    }
}

/// What rules may know of a tenant.
pub(crate) fn seen(tenant: &Tenant) -> switchyard_rules::Tenant<'_> {
    switchyard_rules::Tenant { slug: &tenant.slug, plan: tenant.plan.name(), name: &tenant.name }
}

/// What a digest has gathered outlives any outage of ours that goes unnoticed.
const UNSENT_KEPT: Duration = Duration::from_secs(14 * 86_400);

fn twice(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or_default().saturating_mul(2)) + Duration::from_secs(3_600)
}

/// The message that asks for a due digest.
pub(crate) fn digest_message(due: &DueState) -> Result<String, SignalsError> {
    let job = DigestJob { rule: due.rule.clone(), group: due.group.clone() };
    let envelope = Envelope::new(DIGEST_KIND, due.rule.to_string(), due.tenant.to_string(), None, job);
    envelope.to_json().map_err(SignalsError::Json)
}
