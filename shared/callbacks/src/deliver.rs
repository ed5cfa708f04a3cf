//! One delivery, attempted until it is settled.

mod health;
mod request;

use crate::decide::{next_wait, total_wait};
use crate::deps::{CallbacksDeps, DeliverDeps};
use crate::error::CallbacksError;
use crate::model::{DeliveryJob, DeliveryStatus};
use crate::process::message;
use crate::store::{AttemptRow, DeliveryRow, EndpointRow, EventRow, Resolution};
use health::{record_health, report_exhausted};
use jiff::Timestamp;
use request::{excerpt, post, reason, requested_wait};
use std::time::Duration;
use switchyard_core::{Classify as _, Disposition, Owner, error_chain, iso_millis, metric, random};
use switchyard_io::webhook::Answered;
use switchyard_work::attempt::{Claim, Claimant, Retry};
use tokio::time::Instant;

/// Deliveries that wait for a circuit are spread over this time, in milliseconds.
const CIRCUIT_JITTER_MS: u64 = 2_000;

/// The lease lasts this much longer than the request.
const LEASE_MARGIN: Duration = Duration::from_secs(15);

/// Attempts one delivery.
///
/// The row is leased, the request made, and delivery and attempt written in one transaction. If the process dies after the
/// request, the message's next receive posts again under the same `webhook-id`: delivery is at least once, and the receiver
/// can recognize a duplicate.
pub(crate) async fn deliver(deps: &DeliverDeps, job: &DeliveryJob, owner: &Owner) -> Result<(), CallbacksError> {
    let (callbacks, now) = (&deps.callbacks, deps.callbacks.clock.now());
    let now_ms = now.as_millisecond();
    // An endpoint's own timeout may be longer than the default: at most 30 seconds.
    let until_ms = (now + Duration::from_secs(30).max(deps.timeout) + LEASE_MARGIN).as_millisecond();
    let by = Claimant { owner, attempts: job.attempts, now_ms, until_ms };
    let row = match callbacks.table.claim(&job.event_id, &job.endpoint_id, by).await? {
        Claim::Mine(row) => row,
        Claim::Busy { until_ms } => {
            let wait = Duration::from_millis(u64::try_from(until_ms - now_ms).unwrap_or_default());
            return Err(CallbacksError::Busy { wait });
        }
        Claim::Settled(row) => {
            tracing::info!(event_id = job.event_id.as_str(), reason = row.status.name(), "callback_skipped");
            return Ok(());
        }
        Claim::Missing => {
            tracing::info!(event_id = job.event_id.as_str(), reason = "not_found", "callback_skipped");
            return Ok(());
        }
    };
    let (endpoint_key, table) = (row.endpoint_key(), &callbacks.table);
    let (endpoint, event) = tokio::join!(table.endpoint_at(&endpoint_key), table.event(&row.event_id));
    // The address may have been removed and registered anew, as another endpoint.
    let mut endpoint = endpoint?.filter(|endpoint| endpoint.id == row.endpoint_id);
    let (endpoint, event) = match (&mut endpoint, event?) {
        (Some(endpoint), Some(event)) if endpoint.is_active => (endpoint, event),
        (endpoint, event) => {
            let reason = match (endpoint, event) {
                (None, _) => "endpoint_removed",
                (_, None) => "event_expired",
                _ => "endpoint_disabled",
            };
            table.settle(&row, &Resolution::Settled(DeliveryStatus::Skipped), None, Some(reason)).await?;
            tracing::info!(event_id = row.event_id.as_str(), reason, "callback_skipped");
            return Ok(());
        }
    };
    match admit(deps, endpoint, &row, now).await? {
        Admission::Proceed => attempt(deps, endpoint, &event, &row).await,
        Admission::Postpone(retry) => reschedule(callbacks, &row, retry).await,
        Admission::GiveUp => give_up(deps, endpoint, &event, &row, "circuit_open").await,
    }
}

/// Settles a delivery as failed without a request.
async fn give_up(
    deps: &DeliverDeps,
    endpoint: &EndpointRow,
    event: &EventRow,
    row: &DeliveryRow,
    reason: &'static str,
) -> Result<(), CallbacksError> {
    let failed = Resolution::Settled(DeliveryStatus::Failed);
    if deps.callbacks.table.settle(row, &failed, None, Some(reason)).await? {
        metric::count("callback.given_up", 1);
        tracing::warn!(event_id = row.event_id.as_str(), reason, "callback_job_failed");
        report_exhausted(deps, event, endpoint, Some(reason)).await;
    }
    Ok(())
}

/// Whether a request may be made now.
enum Admission {
    Proceed,
    Postpone(Retry),
    /// The policy's time is over.
    GiveUp,
}

/// Asks the endpoint's circuit and pace whether a request may be made now. A request that probes an open circuit updates
/// `endpoint`.
async fn admit(
    deps: &DeliverDeps,
    endpoint: &mut EndpointRow,
    row: &DeliveryRow,
    now: Timestamp,
) -> Result<Admission, CallbacksError> {
    let (callbacks, now_ms) = (&deps.callbacks, now.as_millisecond());
    let end = row.round_began + millis(total_wait(&endpoint.retry_policy));
    let postpone_until = |until: i64| match now_ms >= end {
        true => Admission::GiveUp,
        false => Admission::Postpone(Retry::at(jittered(until).min(end), now_ms)),
    };
    if let Some(open_until) = endpoint.circuit.open_until(now_ms) {
        return Ok(postpone_until(open_until));
    }
    if let Some(rate) = endpoint.rate_per_second.filter(|_| row.slot_at.is_none_or(|slot| slot > now_ms)) {
        let horizon = total_wait(&endpoint.retry_policy);
        let Some(slot) = callbacks.table.reserve(&endpoint.id, rate, now_ms, horizon).await? else {
            // The slot would be too late, but others may give up theirs.
            return Ok(postpone_until(end));
        };
        if slot > now_ms {
            return Ok(Admission::Postpone(Retry::at(slot, now_ms).with_slot()));
        }
    }
    if let Some((until, probe)) = endpoint.circuit.probe(now_ms, deps.timeout_of(endpoint)) {
        match callbacks.table.change_endpoint(endpoint, probe).await? {
            Some(probed) => *endpoint = probed,
            None => return Ok(postpone_until(until)),
        }
    }
    Ok(Admission::Proceed)
}

/// Reschedules a delivery; this counts as no attempt.
async fn reschedule(deps: &CallbacksDeps, row: &DeliveryRow, retry: Retry) -> Result<(), CallbacksError> {
    if deps.table.settle(row, &Resolution::Rescheduled(retry), None, None).await? {
        send_later(deps, row, row.attempts, retry).await?;
    }
    Ok(())
}

/// Sends the delayed message of a rescheduled delivery, unless the wait is so long that the sweep sends it.
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

/// Adds jitter to a time in epoch milliseconds, so that deliveries that wait for a circuit do not all come at once.
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
        match deps.callbacks.vault.open(endpoint.id.as_str(), secret.sealed()).await {
            Ok(secret) => secrets.push(secret),
            // The other secrets still sign.
            Err(error) if error.disposition() == Disposition::Permanent => {
                tracing::error!(error = error_chain(&error), "a signing secret cannot be opened; rotate it");
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
    let mut attempt_row = AttemptRow::new(row, started);
    attempt_row.duration_ms = u64::try_from(timer.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (outcome, retry_after) = match &answer {
        Ok(answer) => {
            attempt_row.status_code = Some(answer.status);
            attempt_row.response = excerpt(&answer.body);
            (Answered::of(answer.status), requested_wait(answer, now))
        }
        Err(_) => (Answered::Refused, None),
    };
    if outcome != Answered::Taken {
        attempt_row.error = Some(reason(&answer));
    }
    let resolution = match outcome {
        Answered::Taken => Resolution::Settled(DeliveryStatus::Success),
        Answered::Gone => Resolution::Settled(DeliveryStatus::Failed),
        Answered::Refused => match next_wait(&endpoint.retry_policy, row.attempts + 1, retry_after, random::fraction())
        {
            Some(wait) => Resolution::Rescheduled(Retry::at(now.as_millisecond() + millis(wait), now.as_millisecond())),
            None => Resolution::Settled(DeliveryStatus::Failed),
        },
    };
    let is_written =
        deps.callbacks.table.settle(row, &resolution, Some(&attempt_row), attempt_row.error.as_deref()).await?;
    record_health(deps, endpoint, outcome, now).await?;
    log(event, row, &attempt_row, &resolution);
    if is_written && matches!(resolution, Resolution::Settled(DeliveryStatus::Failed)) {
        report_exhausted(deps, event, endpoint, attempt_row.error.as_deref()).await;
    }
    match resolution {
        Resolution::Rescheduled(retry) if is_written => send_later(&deps.callbacks, row, row.attempts + 1, retry).await,
        _ => Ok(()),
    }
}

fn log(event: &EventRow, row: &DeliveryRow, attempt_row: &AttemptRow, resolution: &Resolution) {
    let next_retry_at = match resolution {
        Resolution::Rescheduled(retry) => Timestamp::from_millisecond(retry.at_ms).ok().map(iso_millis),
        Resolution::Settled(_) => None,
    };
    let is_success = matches!(resolution, Resolution::Settled(DeliveryStatus::Success));
    tracing::info!(
        event_id = event.id.as_str(),
        tenant_id = event.organization_id.as_str(),
        store_id = event.subject.as_deref().unwrap_or_default(),
        event_type = event.event,
        attempt = row.attempts,
        status = attempt_row.status_code,
        success_count = u8::from(is_success),
        failed_count = u8::from(!is_success),
        next_retry_at,
        "callback_delivery"
    );
    metric::count(if is_success { "callback.delivered" } else { "callback.refused" }, 1);
    match resolution {
        Resolution::Settled(DeliveryStatus::Success) => {
            tracing::info!(event_id = event.id.as_str(), "callback_job_completed")
        }
        Resolution::Settled(_) => {
            metric::count("callback.exhausted", 1);
            tracing::warn!(event_id = event.id.as_str(), reason = attempt_row.error, "callback_job_failed");
        }
        Resolution::Rescheduled(_) => {}
    }
}

/// Milliseconds, capped at `i64::MAX`.
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
