//! Delivering: events fan out to endpoints, and each delivery is attempted until it is settled.

use crate::decide::{next_wait, span};
use crate::error::CallbacksError;
use crate::manage::recover_page;
use crate::model::{
    DELIVERY_KIND, DeliveryJob, DeliveryStatus, EVENT_KIND, EXCERPT_BYTES, Published, RECOVER_KIND, RecoverJob,
};
use crate::store::{AttemptRow, DeliveryRow, EndpointRow, EventRow, Next, Store};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use switchyard_core::signature::legacy;
use switchyard_core::{
    Classify as _, Clock, Disposition, Env, EnvError, Envelope, EnvelopeError, Owner, Secret, error_chain, iso_millis,
    metric, random,
};
use switchyard_io::dynamo::{Changes, IntoAttribute as _};
use switchyard_io::http::{Answer, Guard, Http, HttpError};
use switchyard_io::operator::{Notice, Operator};
use switchyard_io::vault::Vault;
use switchyard_io::webhook::{Answered, Webhook};
use switchyard_io::{Aws, Queue, Secrets, Table};
use switchyard_work::attempt::{Claim, Claimant, Retry};
use switchyard_work::circuit::Failed;
use tokio::time::Instant;

/// What receiving events and managing endpoints need.
#[derive(Clone)]
pub struct CallbacksDeps {
    pub(crate) store: Store,
    pub(crate) queue: Queue,
    pub(crate) clock: Clock,
    pub(crate) guard: Guard,
    pub(crate) vault: Vault,
}

impl CallbacksDeps {
    /// Reads `CALLBACKS_TABLE`, `CALLBACK_QUEUE_URL`, `DATA_KEY_SECRET` and what [`Guard`] does.
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        Ok(Self {
            store: Store::new(Table::from_env(aws, env, "CALLBACKS_TABLE")?),
            queue: Queue::from_env(aws, env, "CALLBACK_QUEUE_URL")?,
            clock: Clock::system(),
            guard: Guard::from_env(env)?,
            vault: Vault::from_env(&Secrets::new(aws), env)?,
        })
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }
}

/// What delivering needs.
#[derive(Clone)]
pub struct DeliverDeps {
    pub(crate) callbacks: CallbacksDeps,
    http: Http,
    operator: Operator,
    timeout: Duration,
    legacy_secret: Option<Secret<String>>,
}

impl DeliverDeps {
    /// How long a request to `endpoint` may take.
    fn timeout_of(&self, endpoint: &EndpointRow) -> Duration {
        endpoint.timeout_ms.map_or(self.timeout, Duration::from_millis)
    }

    /// Reads what [`CallbacksDeps`] does, `OPERATOR_BUS`, `WEBHOOK_TIMEOUT_MS` (default 5000) and `WEBHOOK_SECRET`, which
    /// adds the legacy signature.
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        let callbacks = CallbacksDeps::from_env(aws, env)?;
        let timeout = Duration::from_millis(env.parsed("WEBHOOK_TIMEOUT_MS", 5_000)?);
        Ok(Self {
            http: Http::guarded(timeout, callbacks.guard.clone())?,
            operator: Operator::from_env(aws, env)?,
            timeout,
            legacy_secret: env.optional("WEBHOOK_SECRET").map(Secret::new),
            callbacks,
        })
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { callbacks: self.callbacks.with_clock(clock), ..self }
    }
}

/// What waits for a circuit is spread over this time, in milliseconds.
const CIRCUIT_JITTER_MS: u64 = 2_000;

/// A lease outlives its request by this much.
const MARGIN: Duration = Duration::from_secs(15);

/// Takes one message from the queue: an event to fan out, a delivery to attempt, a window to recover.
///
/// # Errors
/// Transient faults of DynamoDB or SQS: the message should come again. A message that is none of ours is permanent.
pub async fn process(deps: &DeliverDeps, message: &str, owner: &Owner) -> Result<(), CallbacksError> {
    #[derive(Deserialize)]
    struct Kind {
        kind: String,
    }
    let malformed = |error| CallbacksError::Envelope(EnvelopeError::Malformed(error));
    let Kind { kind } = serde_json::from_str(message).map_err(malformed)?;
    match kind.as_str() {
        DELIVERY_KIND => deliver(deps, &parse::<DeliveryJob>(message, DELIVERY_KIND)?.body, owner).await,
        RECOVER_KIND => recover_page(&deps.callbacks, parse::<RecoverJob>(message, RECOVER_KIND)?.body).await.map(drop),
        _ => {
            let envelope = parse::<Published>(message, EVENT_KIND)?;
            fan_out(&deps.callbacks, &envelope.id, &envelope.tenant, &envelope.body).await
        }
    }
}

fn parse<T: serde::Serialize + serde::de::DeserializeOwned>(
    message: &str,
    kind: &'static str,
) -> Result<Envelope<T>, CallbacksError> {
    Envelope::parse(message, kind).map_err(CallbacksError::Envelope)
}

/// Writes an event with one delivery for each endpoint that wants it, in one transaction, then sends one message for
/// each. A repetition sends again what was not attempted yet, which is harmless.
async fn fan_out(
    deps: &CallbacksDeps,
    event_id: &str,
    organization_id: &str,
    published: &Published,
) -> Result<(), CallbacksError> {
    let now = deps.clock.now();
    let endpoints = deps.store.endpoints(organization_id, Some(&published.event)).await?;
    let event = EventRow::new(event_id, organization_id, published, now);
    let mut deliveries: Vec<_> = endpoints
        .iter()
        .filter(|endpoint| endpoint.is_active)
        .map(|endpoint| DeliveryRow::new(&event, endpoint, now))
        .collect();
    if !deps.store.record(&event, &deliveries).await? {
        deliveries = deps.store.deliveries(event_id).await?;
        deliveries.retain(|row| row.status == DeliveryStatus::Pending && row.attempts_ever == 0);
    } else if deliveries.is_empty() {
        tracing::info!(event_id, "callback_no_endpoints");
    }
    send_all(deps, &deliveries).await
}

/// One message for each delivery, at once.
pub(crate) async fn send_all(deps: &CallbacksDeps, deliveries: &[DeliveryRow]) -> Result<(), CallbacksError> {
    let messages = deliveries.iter().map(|row| message(row, row.attempts)).collect::<Result<Vec<_>, _>>()?;
    Ok(deps.queue.send_all(&messages).await?)
}

fn message(row: &DeliveryRow, attempts: u32) -> Result<String, CallbacksError> {
    let job = DeliveryJob { event_id: row.event_id.clone(), endpoint_id: row.endpoint_id.clone(), attempts };
    Envelope::new(DELIVERY_KIND, row.event_id.clone(), row.endpoint_id.clone(), None, job)
        .to_json()
        .map_err(CallbacksError::Json)
}

/// Attempts one delivery.
///
/// The row is leased, the request made, and delivery and attempt written in one transaction. Should the process die
/// after the request, the message's next receive posts again under the same `webhook-id`: at least once, and the
/// receiver can tell.
async fn deliver(deps: &DeliverDeps, job: &DeliveryJob, owner: &Owner) -> Result<(), CallbacksError> {
    let (callbacks, now) = (&deps.callbacks, deps.callbacks.clock.now());
    let now_ms = now.as_millisecond();
    // An endpoint's own timeout may be longer than the usual one, 30 seconds at most.
    let until_ms = (now + Duration::from_secs(30).max(deps.timeout) + MARGIN).as_millisecond();
    let by = Claimant { owner, attempts: job.attempts, now_ms, until_ms };
    let row = match callbacks.store.claim(&job.event_id, &job.endpoint_id, by).await? {
        Claim::Mine(row) => row,
        Claim::Busy { until_ms } => {
            let wait = Duration::from_millis(u64::try_from(until_ms - now_ms).unwrap_or_default());
            return Err(CallbacksError::Busy { wait });
        }
        Claim::Settled(row) => {
            tracing::info!(event_id = job.event_id, reason = row.status.name(), "callback_skipped");
            return Ok(());
        }
        Claim::Missing => {
            tracing::info!(event_id = job.event_id, reason = "not_found", "callback_skipped");
            return Ok(());
        }
    };
    let (endpoint_key, store) = (row.endpoint_key(), &callbacks.store);
    let (endpoint, event) = tokio::join!(store.endpoint_at(&endpoint_key), store.event(&row.event_id));
    // Another endpoint may have been registered at the address since.
    let mut endpoint = endpoint?.filter(|endpoint| endpoint.id == row.endpoint_id);
    let (endpoint, event) = match (&mut endpoint, event?) {
        (Some(endpoint), Some(event)) if endpoint.is_active => (endpoint, event),
        (endpoint, event) => {
            let reason = match (endpoint, event) {
                (None, _) => "endpoint_removed",
                (_, None) => "event_expired",
                _ => "endpoint_disabled",
            };
            store.settle(&row, &Next::Ended(DeliveryStatus::Skipped), None, Some(reason)).await?;
            tracing::info!(event_id = row.event_id, reason, "callback_skipped");
            return Ok(());
        }
    };
    match hold_back(deps, endpoint, &row, now).await? {
        Hold::Go => attempt(deps, endpoint, &event, &row).await,
        Hold::Until(retry) => reschedule(callbacks, &row, retry).await,
        Hold::GiveUp => give_up(deps, endpoint, &event, &row, "circuit_open").await,
    }
}

/// Ends a delivery without a request.
async fn give_up(
    deps: &DeliverDeps,
    endpoint: &EndpointRow,
    event: &EventRow,
    row: &DeliveryRow,
    reason: &'static str,
) -> Result<(), CallbacksError> {
    let next = Next::Ended(DeliveryStatus::Failed);
    if deps.callbacks.store.settle(row, &next, None, Some(reason)).await? {
        metric::count("callback.given_up", 1);
        tracing::warn!(event_id = row.event_id, reason, "callback_job_failed");
        tell_of_failure(deps, event, endpoint, Some(reason)).await;
    }
    Ok(())
}

enum Hold {
    Go,
    Until(Retry),
    GiveUp,
}

/// Whether the endpoint's circuit and pace let a request through now. `endpoint` is then as this request found it.
async fn hold_back(
    deps: &DeliverDeps,
    endpoint: &mut EndpointRow,
    row: &DeliveryRow,
    now: Timestamp,
) -> Result<Hold, CallbacksError> {
    let (callbacks, now_ms) = (&deps.callbacks, now.as_millisecond());
    let end = row.round_began + millis(span(&endpoint.retry_policy));
    let hold_until = |until: i64| match now_ms >= end {
        true => Hold::GiveUp,
        false => Hold::Until(Retry::at(jittered(until).min(end), now_ms)),
    };
    if let Some(open_until) = endpoint.circuit.open_until(now_ms) {
        return Ok(hold_until(open_until));
    }
    if let Some(rate) = endpoint.rate_per_second.filter(|_| row.slot_at.is_none_or(|slot| slot > now_ms)) {
        let horizon = span(&endpoint.retry_policy);
        let Some(slot) = callbacks.store.reserve(&endpoint.id, rate, now_ms, horizon).await? else {
            // Its place would come too late; others may give up theirs.
            return Ok(hold_until(end));
        };
        if slot > now_ms {
            return Ok(Hold::Until(Retry::at(slot, now_ms).with_slot()));
        }
    }
    if let Some((until, probe)) = endpoint.circuit.probe(now_ms, deps.timeout_of(endpoint)) {
        match callbacks.store.change_endpoint(endpoint, probe).await? {
            Some(probed) => *endpoint = probed,
            None => return Ok(hold_until(until)),
        }
    }
    Ok(Hold::Go)
}

/// Reschedules a delivery without using up an attempt.
async fn reschedule(deps: &CallbacksDeps, row: &DeliveryRow, retry: Retry) -> Result<(), CallbacksError> {
    if deps.store.settle(row, &Next::Again(retry), None, None).await? {
        send_later(deps, row, row.attempts, retry).await?;
    }
    Ok(())
}

/// Sends the message that brings a rescheduled delivery, unless the sweep does.
async fn send_later(
    deps: &CallbacksDeps,
    row: &DeliveryRow,
    attempts: u32,
    retry: Retry,
) -> Result<(), CallbacksError> {
    match retry.delay(deps.clock.now().as_millisecond()) {
        Some(delay) => Ok(deps.queue.send(&message(row, attempts)?, delay).await?),
        None => Ok(()),
    }
}

/// A time, epoch milliseconds, moved on a little, so that not all deliveries that wait for a circuit come at once.
fn jittered(time_ms: i64) -> i64 {
    time_ms.saturating_add(i64::try_from(random::below(CIRCUIT_JITTER_MS)).unwrap_or_default())
}

/// Makes one request and records its outcome.
async fn attempt(
    deps: &DeliverDeps,
    endpoint: &EndpointRow,
    event: &EventRow,
    row: &DeliveryRow,
) -> Result<(), CallbacksError> {
    let clock = &deps.callbacks.clock;
    let started = clock.now();
    let mut secrets = Vec::new();
    for secret in endpoint.secrets.iter().filter(|secret| secret.signs_at(started.as_millisecond())) {
        match deps.callbacks.vault.open(&endpoint.id, secret.sealed()).await {
            Ok(secret) => secrets.push(secret),
            // One that is lost must not keep the others from signing.
            Err(error) if error.disposition() == Disposition::Permanent => {
                tracing::error!(error = error_chain(&error), "a signing secret does not open; rotate it");
            }
            Err(error) => return Err(error.into()),
        }
    }
    if secrets.is_empty() {
        return give_up(deps, endpoint, event, row, "secret_unreadable").await;
    }
    let timer = Instant::now();
    let answer = post(deps, endpoint, &secrets, event, started).await;
    let now = clock.now();
    let mut made = AttemptRow::new(row, started);
    made.duration_ms = u64::try_from(timer.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (outcome, wish) = match &answer {
        Ok(answer) => {
            made.status_code = Some(answer.status);
            made.response = excerpt(&answer.body);
            (Answered::of(answer.status), wished_wait(answer, now))
        }
        Err(_) => (Answered::Refused, None),
    };
    if outcome != Answered::Taken {
        made.error = Some(reason(&answer));
    }
    let next = match outcome {
        Answered::Taken => Next::Ended(DeliveryStatus::Success),
        Answered::Gone => Next::Ended(DeliveryStatus::Failed),
        Answered::Refused => match next_wait(&endpoint.retry_policy, row.attempts + 1, wish, random::fraction()) {
            Some(wait) => Next::Again(Retry::at(now.as_millisecond() + millis(wait), now.as_millisecond())),
            None => Next::Ended(DeliveryStatus::Failed),
        },
    };
    let is_written = deps.callbacks.store.settle(row, &next, Some(&made), made.error.as_deref()).await?;
    record_health(deps, endpoint, outcome, now).await?;
    log(event, row, &made, &next);
    if is_written && matches!(next, Next::Ended(DeliveryStatus::Failed)) {
        tell_of_failure(deps, event, endpoint, made.error.as_deref()).await;
    }
    match next {
        Next::Again(retry) if is_written => send_later(&deps.callbacks, row, row.attempts + 1, retry).await,
        _ => Ok(()),
    }
}

async fn post(
    deps: &DeliverDeps,
    endpoint: &EndpointRow,
    secrets: &[Secret<String>],
    event: &EventRow,
    now: Timestamp,
) -> Result<Answer, HttpError> {
    const SERVICE: &str = "the receiver";
    let (url, timeout) = (endpoint.target_url.as_str(), deps.timeout_of(endpoint));
    let request = Webhook { id: &event.id, url, body: &event.payload, timeout };
    let secrets = secrets.iter().map(|secret| secret.expose().as_str());
    let headers = request.headers(secrets, now).map_err(|_| HttpError::Refused { service: SERVICE })?;
    let mut headers: Vec<_> = headers.into();
    headers.push(("x-event-id", event.id.clone()));
    if let Some(secret) = &deps.legacy_secret {
        headers.push(("x-webhook-signature", legacy(secret.expose(), &event.payload)));
        headers.push(("x-webhook-timestamp", iso_millis(now)));
    }
    request.post(&deps.http, SERVICE, headers, EXCERPT_BYTES).await
}

/// The beginning of an answer as text: what is no UTF-8 grows when it is replaced.
fn excerpt(body: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(body).into_owned();
    text.truncate(text.floor_char_boundary(EXCERPT_BYTES));
    text
}

/// `500 Internal Server Error`, or a word for what kept an answer from coming.
fn reason(answer: &Result<Answer, HttpError>) -> String {
    match answer {
        Ok(answer) => format!("{} {}", answer.status, answer.reason()),
        Err(error) => error.word().to_owned(),
    }
}

/// `Retry-After` of an answer that asks for patience.
fn wished_wait(answer: &Answer, now: Timestamp) -> Option<Duration> {
    matches!(answer.status, 429 | 502..=504).then(|| answer.retry_after(now)).flatten()
}

/// Keeps the endpoint's record: a success closes its circuit, failures open it, and at last switch the endpoint off. An
/// endpoint in good health costs no write.
async fn record_health(
    deps: &DeliverDeps,
    endpoint: &EndpointRow,
    outcome: Answered,
    now: Timestamp,
) -> Result<(), CallbacksError> {
    let (store, now_ms) = (&deps.callbacks.store, now.as_millisecond());
    match outcome {
        Answered::Taken => {
            if let Some(healed) = endpoint.circuit.succeeded() {
                store.change_endpoint(endpoint, healed).await?;
            }
        }
        Answered::Gone => disable(deps, endpoint, "gone").await?,
        Answered::Refused => {
            let failed = endpoint.circuit.failed(now_ms);
            let Some(after) = store.change_endpoint(endpoint, failed).await? else { return Ok(()) };
            let next = after.circuit.after_failure(now_ms);
            if matches!(next, Failed::Dead) {
                return disable(deps, endpoint, "only_failures").await;
            }
            warn(deps, &after, now_ms).await?;
            if let Failed::Opens(opened) = next
                && store.change_endpoint(endpoint, opened).await?.is_some()
            {
                metric::count("callback.circuit_opened", 1);
                tracing::warn!(reason = "circuit_open", "an endpoint is left alone for a while");
            }
        }
    }
    Ok(())
}

async fn disable(deps: &DeliverDeps, endpoint: &EndpointRow, reason: &str) -> Result<(), CallbacksError> {
    let disabled = Changes::new()
        .set("is_active", false.into_attribute())
        .set("disabled_reason", reason)
        .set("updated_at", deps.callbacks.clock.now().to_string())
        .only_if("#is_active = ?", [true.into_attribute()]);
    if deps.callbacks.store.change_endpoint(endpoint, disabled).await?.is_some() {
        metric::count("endpoint.disabled", 1);
        tracing::warn!(reason, "endpoint disabled");
        deps.operator.tell(Notice::EndpointDisabled, &about(endpoint, "reason", &reason.into())).await;
    }
    Ok(())
}

/// Tells the operator, once for each mark, that an endpoint nears the end of the time in which it may do nothing but fail.
async fn warn(deps: &DeliverDeps, endpoint: &EndpointRow, now_ms: i64) -> Result<(), CallbacksError> {
    let Some((percent, warned)) = endpoint.circuit.warning(now_ms) else { return Ok(()) };
    if deps.callbacks.store.change_endpoint(endpoint, warned).await?.is_some() {
        deps.operator.tell(Notice::EndpointFailing, &about(endpoint, "percent", &percent.into())).await;
    }
    Ok(())
}

async fn tell_of_failure(deps: &DeliverDeps, event: &EventRow, endpoint: &EndpointRow, reason: Option<&str>) {
    let mut detail = about(endpoint, "reason", &json!(reason));
    detail["eventId"] = event.id.as_str().into();
    deps.operator.tell(Notice::DeliveryExhausted, &detail).await;
}

/// What an operator is told of an endpoint; its address stays out, since it may hold a token.
fn about(endpoint: &EndpointRow, name: &str, value: &Value) -> Value {
    json!({
        "webhookId": endpoint.id,
        "organizationId": endpoint.organization_id,
        "event": endpoint.event,
        name: value,
    })
}

fn log(event: &EventRow, row: &DeliveryRow, made: &AttemptRow, next: &Next) {
    let next_retry_at = match next {
        Next::Again(retry) => Timestamp::from_millisecond(retry.at_ms).ok().map(iso_millis),
        Next::Ended(_) => None,
    };
    let is_success = matches!(next, Next::Ended(DeliveryStatus::Success));
    tracing::info!(
        event_id = event.id,
        tenant_id = event.organization_id,
        store_id = event.subject.as_deref().unwrap_or_default(),
        event_type = event.event,
        attempt = row.attempts,
        status = made.status_code,
        success_count = u8::from(is_success),
        failed_count = u8::from(!is_success),
        next_retry_at,
        "callback_delivery"
    );
    metric::count(if is_success { "callback.delivered" } else { "callback.refused" }, 1);
    match next {
        Next::Ended(DeliveryStatus::Success) => tracing::info!(event_id = event.id, "callback_job_completed"),
        Next::Ended(_) => {
            metric::count("callback.exhausted", 1);
            tracing::warn!(event_id = event.id, reason = made.error, "callback_job_failed");
        }
        Next::Again(_) => {}
    }
}

pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_stays_short_whatever_it_holds() {
        assert_eq!(excerpt("ä".as_bytes()), "ä");
        assert!((EXCERPT_BYTES - 3..=EXCERPT_BYTES).contains(&excerpt(&[0xff; EXCERPT_BYTES]).len()));
    }

    #[test]
    fn a_wish_counts_only_where_it_asks_for_patience() {
        let now: Timestamp = "2026-01-05T10:00:00Z".parse().unwrap();
        let wish = |status: u16, text: &str| {
            let mut answer = Answer { status, headers: Default::default(), body: Default::default() };
            answer.headers.insert("retry-after", text.parse().unwrap());
            wished_wait(&answer, now).map(|wait| wait.as_secs())
        };
        assert_eq!(wish(429, "7"), Some(7));
        assert_eq!(wish(503, "Mon, 05 Jan 2026 10:02:00 GMT"), Some(120));
        assert_eq!(wish(503, "Mon, 05 Jan 2026 09:02:00 GMT"), None);
        assert_eq!(wish(500, "7"), None);
        assert_eq!(wish(429, "soon"), None);
    }
}
