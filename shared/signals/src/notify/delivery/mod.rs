//! A tenant's notifications: their state, and retrying them.

pub(crate) mod row;
pub(crate) mod view;

use crate::audit::Audit;
use crate::error::SignalsError;
use crate::evaluate::plan::message;
use crate::ids::{ActorId, DeliveryId, EventId, RuleId, TenantId};
use crate::manage::tenants::TenantDeps;
use crate::notify::delivery::row::{DeliveryRow, DeliveryStatus, RestartWrite};
use crate::notify::delivery::view::{DeliveryInFull, DeliveryView};
use crate::queues::{NOTIFY, QueueDeps};
use switchyard_core::error_chain;
use switchyard_io::dynamo::{Item, Key};
use switchyard_work::dead_letters;
use switchyard_work::listing::{self, Rows};

/// Which deliveries are looked for.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// Of this rule.
    pub rule_id: Option<RuleId>,
    /// In this state.
    pub status: Option<DeliveryStatus>,
}

/// An event's deliveries.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn of_event(
    deps: &TenantDeps,
    tenant: &TenantId,
    event_id: &EventId,
) -> Result<Vec<DeliveryView>, SignalsError> {
    deps.store.deliveries(tenant, event_id).await
}

/// A tenant's deliveries, those first whose state changed last, at most `limit` from `cursor` on, and the cursor of the
/// next page. One look reads a bounded number of them, so that it may find fewer than there are and still say where to go on.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn list(
    deps: &TenantDeps,
    tenant: &TenantId,
    wanted: &DeliveryFilter,
    cursor: Option<&str>,
    limit: usize,
) -> Result<(Vec<DeliveryView>, Option<String>), SignalsError> {
    let statuses = wanted.status.map_or(DeliveryStatus::ALL.to_vec(), |status| vec![status]);
    let partitions: Vec<_> = statuses.iter().map(|status| listing::partition(tenant.as_str(), status.name())).collect();
    let fits = |row: &Item| {
        wanted.rule_id.as_ref().map(RuleId::as_str).is_none_or(|rule| listing::text(row, "rule_id") == Some(rule))
    };
    let (items, next) = listing::page(deps.store.table(), &Rows::Listed(partitions), cursor, limit, &fits).await?;
    let views = items.into_iter().map(|item| deps.store.table().read(item)).collect::<Result<_, _>>()?;
    Ok((views, next))
}

/// A delivery with its attempts; `None` when the tenant has no such delivery.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn delivery(
    deps: &TenantDeps,
    tenant: &TenantId,
    id: &DeliveryId,
) -> Result<Option<DeliveryInFull>, SignalsError> {
    deps.store.delivery(tenant.as_str(), id.as_str()).await
}

/// Outcome of a request to send something again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryOutcome {
    /// It is sent again.
    Enqueued,
    /// It is not, and why.
    Refused(&'static str),
}

/// Begins a delivery again that failed or got too old, with a schedule and an age of its own; `None` when the tenant has no
/// such delivery.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn retry(
    deps: &QueueDeps,
    actor: &ActorId,
    tenant: &TenantId,
    id: &DeliveryId,
) -> Result<Option<RetryOutcome>, SignalsError> {
    match deps.store.delivery::<DeliveryRow>(tenant.as_str(), id.as_str()).await? {
        Some(row) => retry_row(deps, actor, &row).await.map(Some),
        None => Ok(None),
    }
}

pub(crate) async fn retry_row(
    deps: &QueueDeps,
    actor: &ActorId,
    row: &DeliveryRow,
) -> Result<RetryOutcome, SignalsError> {
    if !matches!(row.status, DeliveryStatus::Failed | DeliveryStatus::Expired) {
        return Ok(RetryOutcome::Refused("it neither failed nor expired"));
    }
    if row.intent.failed.is_some() {
        return Ok(RetryOutcome::Refused("it was never composed; replay its event instead"));
    }
    let letter = row.dead_letter.as_ref().map(|id| dead_letters::key(Some(&row.tenant), id));
    restart_delivery(deps, actor, row, letter).await
}

/// Begins a delivery anew, with its dead letter if there is one, and sends its message.
pub(crate) async fn restart_delivery(
    deps: &QueueDeps,
    actor: &ActorId,
    row: &DeliveryRow,
    mut letter: Option<Key>,
) -> Result<RetryOutcome, SignalsError> {
    let now = deps.clock.now();
    loop {
        let (tenant, action, subject) = (row.tenant.as_str(), "delivery.retry", row.id.as_str());
        let record = deps.store.audit(Audit { tenant, actor, action, subject, before: None, after: None }, now)?;
        match deps.store.restart(row, letter.as_ref(), actor, record, now).await? {
            RestartWrite::Done => break,
            RestartWrite::TooLate => return Ok(RetryOutcome::Refused("it was retried before")),
            RestartWrite::LetterGone => letter = None,
        }
    }
    let sent = match message(row, row.attempts_after_restart()) {
        Ok(text) => deps.send(NOTIFY, &text).await,
        Err(error) => Err(error),
    };
    if let Err(error) = sent {
        tracing::warn!(event_id = row.event_id, error = error_chain(&error), "the delivery waits for the sweeper");
    }
    Ok(RetryOutcome::Enqueued)
}
