//! One delivery, attempted until it is settled.

mod health;
mod request;

use crate::decide::{next_wait, span};
use crate::deps::{CallbacksDeps, DeliverDeps};
use crate::error::CallbacksError;
use crate::model::{DeliveryJob, DeliveryStatus};
use crate::process::message;
use crate::store::{AttemptRow, DeliveryRow, EndpointRow, EventRow, Next};
use health::{record_health, tell_of_failure};
use jiff::Timestamp;
use request::{excerpt, post, reason, wished_wait};
use std::time::Duration;
use switchyard_core::{Classify as _, Disposition, Owner, error_chain, iso_millis, metric, random};
use switchyard_io::webhook::Answered;
use switchyard_work::attempt::{Claim, Claimant, Retry};
use tokio::time::Instant;

/// What waits for a circuit is spread over this time, in milliseconds.
const CIRCUIT_JITTER_MS: u64 = 2_000;

/// A lease outlives its request by this much.
const MARGIN: Duration = Duration::from_secs(15);

/// Attempts one delivery.
///
/// The row is leased, the request made, and delivery and attempt written in one transaction. Should the process die
/// after the request, the message's next receive posts again under the same `webhook-id`: at least once, and the
/// receiver can tell.
pub(crate) async fn deliver(deps: &DeliverDeps, job: &DeliveryJob, owner: &Owner) -> Result<(), CallbacksError> {
    let (callbacks, now) = (&deps.callbacks, deps.callbacks.clock.now());
    let now_ms = now.as_millisecond();
    // An endpoint's own timeout may be longer than the usual one, 30 seconds at most.
    let until_ms = (now + Duration::from_secs(30).max(deps.timeout) + MARGIN).as_millisecond();
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
            table.settle(&row, &Next::Ended(DeliveryStatus::Skipped), None, Some(reason)).await?;
            tracing::info!(event_id = row.event_id.as_str(), reason, "callback_skipped");
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
    if deps.callbacks.table.settle(row, &next, None, Some(reason)).await? {
        metric::count("callback.given_up", 1);
        tracing::warn!(event_id = row.event_id.as_str(), reason, "callback_job_failed");
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
        let Some(slot) = callbacks.table.reserve(&endpoint.id, rate, now_ms, horizon).await? else {
            // Its place would come too late; others may give up theirs.
            return Ok(hold_until(end));
        };
        if slot > now_ms {
            return Ok(Hold::Until(Retry::at(slot, now_ms).with_slot()));
        }
    }
    if let Some((until, probe)) = endpoint.circuit.probe(now_ms, deps.timeout_of(endpoint)) {
        match callbacks.table.change_endpoint(endpoint, probe).await? {
            Some(probed) => *endpoint = probed,
            None => return Ok(hold_until(until)),
        }
    }
    Ok(Hold::Go)
}

/// Reschedules a delivery without using up an attempt.
async fn reschedule(deps: &CallbacksDeps, row: &DeliveryRow, retry: Retry) -> Result<(), CallbacksError> {
    if deps.table.settle(row, &Next::Again(retry), None, None).await? {
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
        match deps.callbacks.vault.open(endpoint.id.as_str(), secret.sealed()).await {
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
    let is_written = deps.callbacks.table.settle(row, &next, Some(&made), made.error.as_deref()).await?;
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

fn log(event: &EventRow, row: &DeliveryRow, made: &AttemptRow, next: &Next) {
    let next_retry_at = match next {
        Next::Again(retry) => Timestamp::from_millisecond(retry.at_ms).ok().map(iso_millis),
        Next::Ended(_) => None,
    };
    let is_success = matches!(next, Next::Ended(DeliveryStatus::Success));
    tracing::info!(
        event_id = event.id.as_str(),
        tenant_id = event.organization_id.as_str(),
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
        Next::Ended(DeliveryStatus::Success) => tracing::info!(event_id = event.id.as_str(), "callback_job_completed"),
        Next::Ended(_) => {
            metric::count("callback.exhausted", 1);
            tracing::warn!(event_id = event.id.as_str(), reason = made.error, "callback_job_failed");
        }
        Next::Again(_) => {}
    }
}

pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
