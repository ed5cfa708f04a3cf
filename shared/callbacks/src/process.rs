//! One queue message, start to finish: an event to fan out, a delivery to attempt, or a window to recover.

use crate::deliver::deliver;
use crate::deps::{CallbacksDeps, DeliverDeps};
use crate::error::CallbacksError;
use crate::manage::recover_page;
use crate::model::{
    DELIVERY_KIND, DeliveryJob, DeliveryStatus, EVENT_KIND, EventId, Published, RECOVER_KIND, RecoverJob,
};
use crate::store::{DeliveryRow, EventRow};
use serde::Deserialize;
use switchyard_core::{Envelope, EnvelopeError, OrganizationId, Owner};

/// Processes one queue message: an event to fan out, a delivery to attempt, or a window to recover.
///
/// # Errors
/// Transient faults of DynamoDB or SQS: the message should be received again. A message of another workflow is permanent.
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
            fan_out(&deps.callbacks, envelope.id.into(), envelope.tenant.into(), &envelope.body).await
        }
    }
}

fn parse<T: serde::Serialize + serde::de::DeserializeOwned>(
    message: &str,
    kind: &'static str,
) -> Result<Envelope<T>, CallbacksError> {
    Envelope::parse(message, kind).map_err(CallbacksError::Envelope)
}

/// Writes an event with one delivery for each active endpoint in one transaction, then sends one message for each
/// delivery. A duplicate of the message sends deliveries that have no attempt yet again, which is harmless.
async fn fan_out(
    deps: &CallbacksDeps,
    event_id: EventId,
    organization_id: OrganizationId,
    published: &Published,
) -> Result<(), CallbacksError> {
    let now = deps.clock.now();
    let endpoints = deps.table.endpoints(&organization_id, Some(&published.event)).await?;
    let event = EventRow::new(event_id, organization_id, published, now);
    let mut deliveries: Vec<_> = endpoints
        .iter()
        .filter(|endpoint| endpoint.is_active)
        .map(|endpoint| DeliveryRow::new(&event, endpoint, now))
        .collect();
    if !deps.table.record(&event, &deliveries).await? {
        deliveries = deps.table.deliveries(&event.id).await?;
        deliveries.retain(|row| row.status == DeliveryStatus::Pending && row.attempts_ever == 0);
    } else if deliveries.is_empty() {
        tracing::info!(event_id = event.id.as_str(), "callback_no_endpoints");
    }
    send_all(deps, &deliveries).await
}

/// Sends one message for each delivery, without delay.
pub(crate) async fn send_all(deps: &CallbacksDeps, deliveries: &[DeliveryRow]) -> Result<(), CallbacksError> {
    let messages = deliveries.iter().map(|row| message(row, row.attempts)).collect::<Result<Vec<_>, _>>()?;
    Ok(deps.queue.send_all(&messages).await?)
}

pub(crate) fn message(row: &DeliveryRow, attempts: u32) -> Result<String, CallbacksError> {
    let job = DeliveryJob { event_id: row.event_id.clone(), endpoint_id: row.endpoint_id.clone(), attempts };
    Envelope::new(DELIVERY_KIND, row.event_id.to_string(), row.endpoint_id.to_string(), None, job)
        .to_json()
        .map_err(CallbacksError::Json)
}
