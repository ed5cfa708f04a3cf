//! What an organization does with its endpoints and events: register, change, rotate, test, list, resend, recover.

use crate::decide::{MAX_CUSTOM_WAIT_S, MAX_CUSTOM_WAITS, summarize};
use crate::deps::CallbacksDeps;
use crate::error::CallbacksError;
use crate::model::{
    DeliveryStatus, EndpointId, EventId, NewEndpoint, Published, RECOVER_KIND, RecoverJob, RetryPolicy, TEST_EVENT,
};
use crate::process::send_all;
use crate::store::{DeliveryRow, EndpointAdded, EndpointRow, EventRow, SigningSecret};
use crate::view::{DeliveryPage, EndpointDetails, EndpointSummary, WebhookDelivery, WebhookEvent};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;
use switchyard_core::signature::new_secret;
use switchyard_core::{Envelope, OrganizationId, Secret, iso_millis};
use switchyard_io::dynamo::{Changes, IntoAttribute as _};
use switchyard_io::http::Url;
use switchyard_io::vault::VaultError;
use switchyard_work::circuit;

/// The most endpoints of one organization for one event: one transaction writes all their deliveries.
pub const MAX_ENDPOINTS: i64 = 50;

/// The most rotated secrets that still sign.
const MAX_OLD_SECRETS: usize = 10;

/// The most attempts shown of one event: a response of Lambda holds 6 MB.
const MAX_SHOWN_ATTEMPTS: usize = 100;

/// A delivery with this many attempts, automatic and manual, is not restarted.
const MAX_ATTEMPTS: u32 = 200;

/// Deliveries on a page.
const PAGE_SIZE: i32 = 100;

/// Outcome of a registration.
#[derive(Debug)]
pub enum Registered {
    /// The endpoint, new or activated again.
    Endpoint(Box<Endpoint>),
    /// The organization has [`MAX_ENDPOINTS`] for the event already.
    TooMany,
}

/// An endpoint, for the organization that it belongs to.
#[derive(Clone, Debug)]
pub struct Endpoint(EndpointRow);

impl Endpoint {
    /// The organization it belongs to.
    pub fn organization_id(&self) -> &OrganizationId {
        &self.0.organization_id
    }

    /// The endpoint without its settings.
    pub fn summary(&self) -> EndpointSummary {
        EndpointSummary::of(&self.0)
    }

    /// The endpoint with its settings.
    pub fn details(&self) -> EndpointDetails {
        EndpointDetails::of(&self.0)
    }
}

/// An endpoint's current secret.
///
/// # Errors
/// The data key could not be read.
pub async fn secret(deps: &CallbacksDeps, endpoint: &Endpoint) -> Result<Secret<String>, CallbacksError> {
    let Endpoint(row) = endpoint;
    match row.secrets.first() {
        Some(secret) => Ok(deps.vault.open(row.id.as_str(), secret.sealed()).await?),
        None => Err(VaultError::Broken.into()),
    }
}

/// The reason to refuse an address; `None` when it may be registered.
pub fn refuse_target(deps: &CallbacksDeps, target_url: &str) -> Option<&'static str> {
    let Ok(url) = target_url.parse::<Url>() else { return Some("targetUrl must be a valid http or https URL") };
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Some("targetUrl must be a valid http or https URL");
    }
    (!deps.guard.admits(&url)).then_some("targetUrl may not lead to this address, port or scheme, nor name a user")
}

/// Registers an endpoint. Registering the same three values again returns the same endpoint, activated.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn register(deps: &CallbacksDeps, new: &NewEndpoint) -> Result<Registered, CallbacksError> {
    let now = deps.clock.now();
    let id = EndpointId::from(deps.clock.new_id().to_string());
    let secret = deps.vault.seal(id.as_str(), new_secret().expose()).await?;
    let row = EndpointRow::new(id, new, secret, now);
    loop {
        let known = match deps.table.add_endpoint(&row, MAX_ENDPOINTS).await? {
            EndpointAdded::Created => return Ok(Registered::Endpoint(Box::new(Endpoint(row)))),
            EndpointAdded::Exists(known) => known,
            EndpointAdded::LimitReached => return Ok(Registered::TooMany),
        };
        if let Some(known) = deps.table.change_endpoint(&known, activation(now)).await? {
            return Ok(Registered::Endpoint(Box::new(Endpoint(known))));
        }
        // The endpoint was removed between the two calls: register it anew.
    }
}

/// The changes that activate an endpoint and reset its circuit.
fn activation(now: Timestamp) -> Changes {
    circuit::clean(Changes::new())
        .set("is_active", true.into_attribute())
        .set("updated_at", now.to_string())
        .remove("disabled_reason")
}

/// An organization's endpoints, inactive ones too, sorted by event and address.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn list(deps: &CallbacksDeps, organization_id: &OrganizationId) -> Result<Vec<Endpoint>, CallbacksError> {
    let mut rows = deps.table.endpoints(organization_id, None).await?;
    rows.sort_by(|one, other| (&one.event, &one.target_url).cmp(&(&other.event, &other.target_url)));
    Ok(rows.into_iter().map(Endpoint).collect())
}

/// One endpoint.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn endpoint(deps: &CallbacksDeps, endpoint_id: &EndpointId) -> Result<Option<Endpoint>, CallbacksError> {
    Ok(deps.table.endpoint(endpoint_id).await?.map(Endpoint))
}

/// Changes to an endpoint's settings: `None` leaves a setting as it is, `Some(None)` resets it to its default.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Whether deliveries are attempted.
    pub is_active: Option<bool>,
    /// Milliseconds.
    pub timeout_ms: Option<Option<u64>>,
    /// Requests a second at most.
    pub rate_per_second: Option<Option<u32>>,
    /// When failed deliveries are retried.
    pub retry_policy: Option<RetryPolicy>,
}

/// Changes an endpoint's settings.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn change(
    deps: &CallbacksDeps,
    endpoint: &Endpoint,
    settings: &Settings,
) -> Result<Option<Endpoint>, CallbacksError> {
    let now = deps.clock.now();
    let mut changes = match settings.is_active {
        Some(true) => activation(now),
        Some(false) => Changes::new().set("is_active", false.into_attribute()).set("updated_at", now.to_string()),
        None => Changes::new().set("updated_at", now.to_string()),
    };
    if let Some(timeout) = settings.timeout_ms {
        changes = changes.set_or_remove("timeout_ms", timeout.and_then(|timeout| i64::try_from(timeout).ok()));
    }
    if let Some(rate) = settings.rate_per_second {
        changes = changes.set_or_remove("rate_per_second", rate.map(i64::from));
    }
    if let Some(policy) = &settings.retry_policy {
        changes = changes.set("retry_policy", deps.table.policy(policy)?);
    }
    Ok(deps.table.change_endpoint(&endpoint.0, changes).await?.map(Endpoint))
}

/// Parses a policy: `compat`, `standard`, or 1 to 20 waits in seconds.
pub fn parse_policy(value: &Value) -> Option<RetryPolicy> {
    let policy: RetryPolicy = serde_json::from_value(value.clone()).ok()?;
    match &policy {
        RetryPolicy::Custom(waits) => {
            let is_fine = (1..=MAX_CUSTOM_WAITS).contains(&waits.len())
                && waits.iter().all(|wait| (1..=MAX_CUSTOM_WAIT_S).contains(wait));
            is_fine.then_some(policy)
        }
        RetryPolicy::Compat | RetryPolicy::Standard => Some(policy),
    }
}

/// Removes an endpoint; its pending deliveries are skipped.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn remove(deps: &CallbacksDeps, endpoint: &Endpoint) -> Result<(), CallbacksError> {
    deps.table.remove_endpoint(&endpoint.0).await
}

/// Rotates an endpoint's secret: the old one signs as well for `grace`. Returns `None` when another request changed the
/// endpoint since it was read.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn rotate(
    deps: &CallbacksDeps,
    endpoint: &Endpoint,
    grace: Duration,
) -> Result<Option<Endpoint>, CallbacksError> {
    let now = deps.clock.now();
    let (row, until) = (&endpoint.0, (now + grace).as_millisecond());
    let old = row.secrets.iter().filter(|secret| secret.signs_at(now.as_millisecond())).map(|secret| {
        let until = secret.until.map_or(until, |known| known.min(until));
        secret.clone().ending(until)
    });
    let new = SigningSecret::new(deps.vault.seal(row.id.as_str(), new_secret().expose()).await?);
    let secrets: Vec<_> = [new].into_iter().chain(old.take(MAX_OLD_SECRETS)).collect();
    let changes = Changes::new()
        .set("secrets", deps.table.secrets(&secrets)?)
        .set("updated_at", now.to_string())
        // Of two concurrent rotations the second is refused, and its caller may retry.
        .only_if("#updated_at = ?", [row.updated_at.to_string().into_attribute()]);
    Ok(deps.table.change_endpoint(row, changes).await?.map(Endpoint))
}

/// Sends a `webhook.test` event to one endpoint through the queue; returns the event's id.
///
/// # Errors
/// DynamoDB or SQS could not be reached.
pub async fn test(deps: &CallbacksDeps, endpoint: &Endpoint) -> Result<EventId, CallbacksError> {
    let (id, now) = (EventId::from(deps.clock.new_id().to_string()), deps.clock.now());
    let row = &endpoint.0;
    let payload = json!({
        "eventId": id,
        "event": TEST_EVENT,
        "timestamp": iso_millis(now),
        "organizationId": row.organization_id,
        "data": {"webhookId": row.id},
    });
    let published = Published { event: TEST_EVENT.to_owned(), subject: None, payload: payload.to_string() };
    let event = EventRow::new(id.clone(), row.organization_id.clone(), &published, now);
    let delivery = DeliveryRow::new(&event, row, now);
    deps.table.record(&event, std::slice::from_ref(&delivery)).await?;
    send_all(deps, &[delivery]).await?;
    Ok(id)
}

/// One page of an endpoint's deliveries, newest first.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn deliveries(
    deps: &CallbacksDeps,
    endpoint: &Endpoint,
    status: Option<DeliveryStatus>,
    cursor: Option<&EventId>,
) -> Result<DeliveryPage, CallbacksError> {
    let (first, last) = (EventId::from("0"), EventId::from("~"));
    let events = &first..=cursor.unwrap_or(&last);
    let (rows, next) = deps.table.deliveries_to(&endpoint.0.id, events, PAGE_SIZE).await?;
    let is_wanted = |row: &&DeliveryRow| status.is_none_or(|wanted| row.status == wanted);
    let deliveries = rows.iter().filter(is_wanted).map(WebhookDelivery::of).collect();
    Ok(DeliveryPage { deliveries, cursor: next.map(String::from) })
}

/// The organization that an event belongs to.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn owner(deps: &CallbacksDeps, event_id: &EventId) -> Result<Option<OrganizationId>, CallbacksError> {
    Ok(deps.table.event(event_id).await?.map(|event| event.organization_id))
}

/// An event with its deliveries and newest attempts.
///
/// # Errors
/// DynamoDB could not be reached, or the stored payload is not JSON.
pub async fn event(deps: &CallbacksDeps, event_id: &EventId) -> Result<Option<WebhookEvent>, CallbacksError> {
    let Some(mut history) = deps.table.history(event_id).await? else { return Ok(None) };
    history.attempts.sort_by_key(|attempt| attempt.started_at);
    let hidden = history.attempts.len().saturating_sub(MAX_SHOWN_ATTEMPTS);
    let summaries: Vec<_> = history.deliveries.iter().map(DeliveryRow::summary).collect();
    let shown = history.attempts.get(hidden..).unwrap_or_default();
    let event = WebhookEvent::of(history.event, summarize(&summaries), &history.deliveries, shown);
    event.map(Some).map_err(CallbacksError::Json)
}

/// Restarts an event's deliveries, all or the one to `endpoint_id`. Returns how many were restarted.
///
/// # Errors
/// DynamoDB or SQS could not be reached; the sweep sends deliveries that were restarted.
pub async fn resend(
    deps: &CallbacksDeps,
    event_id: &EventId,
    endpoint_id: Option<&EndpointId>,
) -> Result<usize, CallbacksError> {
    let mut rows = deps.table.deliveries(event_id).await?;
    rows.retain(|row| endpoint_id.is_none_or(|wanted| row.endpoint_id == *wanted));
    reopen(deps, rows).await
}

/// Restarts deliveries and sends them. Returns how many were restarted: those that changed since they were read, that a
/// worker holds, or that had [`MAX_ATTEMPTS`] attempts are left as they are.
async fn reopen(deps: &CallbacksDeps, rows: Vec<DeliveryRow>) -> Result<usize, CallbacksError> {
    let now_ms = deps.clock.now().as_millisecond();
    let mut opened = Vec::new();
    for mut row in rows.into_iter().filter(|row| row.attempts_ever < MAX_ATTEMPTS) {
        if deps.table.reopen(&row, now_ms).await? {
            row.attempts = 0;
            opened.push(row);
        }
    }
    send_all(deps, &opened).await?;
    Ok(opened.len())
}

/// How many deliveries to an endpoint failed between two times.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn count_failed(
    deps: &CallbacksDeps,
    endpoint: &Endpoint,
    since: Timestamp,
    until: Timestamp,
) -> Result<usize, CallbacksError> {
    let (from, mut to) = (first_event_id(since), first_event_id(until));
    let mut count = 0;
    loop {
        let (rows, next) = deps.table.deliveries_to(&endpoint.0.id, &from..=&to, PAGE_SIZE).await?;
        count += rows.iter().filter(|row| row.status == DeliveryStatus::Failed).count();
        match next {
            Some(next) => to = next,
            None => return Ok(count),
        }
    }
}

/// Queues the recovery of every delivery to an endpoint that failed between two times. Returns the task's id.
///
/// # Errors
/// SQS could not be reached.
pub async fn recover(
    deps: &CallbacksDeps,
    endpoint: &Endpoint,
    since: Timestamp,
    until: Timestamp,
) -> Result<String, CallbacksError> {
    let job = RecoverJob { endpoint_id: endpoint.0.id.clone(), from: first_event_id(since), to: first_event_id(until) };
    let id = deps.clock.new_id().to_string();
    queue_recovery(deps, &id, job).await?;
    Ok(id)
}

async fn queue_recovery(deps: &CallbacksDeps, id: &str, job: RecoverJob) -> Result<(), CallbacksError> {
    let tenant = job.endpoint_id.to_string();
    let envelope = Envelope::new(RECOVER_KIND, id.to_owned(), tenant, None, job);
    let text = envelope.to_json().map_err(CallbacksError::Json)?;
    Ok(deps.queue.send(&text, Duration::ZERO).await?)
}

/// Recovers one page of a window and queues the rest. A duplicate restarts nothing twice: a restarted delivery is not
/// failed any more.
pub(crate) async fn recover_page(deps: &CallbacksDeps, job: RecoverJob) -> Result<usize, CallbacksError> {
    let (mut rows, next) = deps.table.deliveries_to(&job.endpoint_id, &job.from..=&job.to, PAGE_SIZE).await?;
    rows.retain(|row| row.status == DeliveryStatus::Failed);
    let opened = reopen(deps, rows).await?;
    if let Some(next) = next {
        let id = deps.clock.new_id().to_string();
        queue_recovery(deps, &id, RecoverJob { to: next, ..job }).await?;
    }
    Ok(opened)
}

/// The smallest event id of a time: a UUID v7 begins with its milliseconds.
fn first_event_id(at: Timestamp) -> EventId {
    let ms = u64::try_from(at.as_millisecond()).unwrap_or_default();
    let digits = format!("{ms:012x}");
    format!("{}-{}", &digits[..8], &digits[8..12]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_checked() {
        for (text, is_fine) in [
            (r#""compat""#, true),
            (r#""standard""#, true),
            ("[5,60]", true),
            ("[]", false),
            ("[0]", false),
            ("[300000]", false),
            (r#""other""#, false),
            ("7", false),
        ] {
            assert_eq!(parse_policy(&serde_json::from_str(text).unwrap()).is_some(), is_fine, "{text}");
        }
    }

    #[test]
    fn ids_of_a_time_sort_between_those_before_and_after() {
        let at: Timestamp = "2026-01-05T10:00:00Z".parse().unwrap();
        let bound = first_event_id(at);
        let ms = u64::try_from(at.as_millisecond()).unwrap();
        let id = |ms: u64| {
            let digits = format!("{ms:012x}");
            EventId::from(format!("{}-{}-7a11-8b22-0c0ffee00001", &digits[..8], &digits[8..]))
        };
        assert!(id(ms - 1) < bound && bound < id(ms));
    }
}
