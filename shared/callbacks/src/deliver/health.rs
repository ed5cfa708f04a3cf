//! An endpoint's health: its circuit, when it is disabled, and the operator's events about it.

use crate::deps::DeliverDeps;
use crate::error::CallbacksError;
use crate::store::{EndpointRow, EventRow};
use jiff::Timestamp;
use serde_json::{Value, json};
use switchyard_core::metric;
use switchyard_io::dynamo::{Changes, IntoAttribute as _};
use switchyard_io::operator::Notice;
use switchyard_io::webhook::Answered;
use switchyard_work::circuit::Failed;

/// Records a request's outcome: a success closes the endpoint's circuit, failures open it and in the end disable the
/// endpoint. A healthy endpoint needs no write.
pub(super) async fn record_health(
    deps: &DeliverDeps,
    endpoint: &EndpointRow,
    outcome: Answered,
    now: Timestamp,
) -> Result<(), CallbacksError> {
    let (table, now_ms) = (&deps.callbacks.table, now.as_millisecond());
    match outcome {
        Answered::Taken => {
            if let Some(healed) = endpoint.circuit.succeeded() {
                table.change_endpoint(endpoint, healed).await?;
            }
        }
        Answered::Gone => disable(deps, endpoint, "gone").await?,
        Answered::Refused => {
            let failed = endpoint.circuit.failed(now_ms);
            let Some(after) = table.change_endpoint(endpoint, failed).await? else { return Ok(()) };
            let next = after.circuit.after_failure(now_ms);
            if matches!(next, Failed::Dead) {
                return disable(deps, endpoint, "only_failures").await;
            }
            warn_operator(deps, &after, now_ms).await?;
            if let Failed::Opens(opened) = next
                && table.change_endpoint(endpoint, opened).await?.is_some()
            {
                metric::count("callback.circuit_opened", 1);
                tracing::warn!(reason = "circuit_open", "the circuit of an endpoint opened");
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
    if deps.callbacks.table.change_endpoint(endpoint, disabled).await?.is_some() {
        metric::count("endpoint.disabled", 1);
        tracing::warn!(reason, "endpoint disabled");
        deps.operator.tell(Notice::EndpointDisabled, &endpoint_detail(endpoint, "reason", &reason.into())).await;
    }
    Ok(())
}

/// Warns the operator, once for each threshold, that an endpoint will be disabled if it goes on failing.
async fn warn_operator(deps: &DeliverDeps, endpoint: &EndpointRow, now_ms: i64) -> Result<(), CallbacksError> {
    let Some((percent, warned)) = endpoint.circuit.warning(now_ms) else { return Ok(()) };
    if deps.callbacks.table.change_endpoint(endpoint, warned).await?.is_some() {
        deps.operator.tell(Notice::EndpointFailing, &endpoint_detail(endpoint, "percent", &percent.into())).await;
    }
    Ok(())
}

pub(super) async fn report_exhausted(
    deps: &DeliverDeps,
    event: &EventRow,
    endpoint: &EndpointRow,
    reason: Option<&str>,
) {
    let mut detail = endpoint_detail(endpoint, "reason", &json!(reason));
    detail["eventId"] = event.id.as_str().into();
    deps.operator.tell(Notice::DeliveryExhausted, &detail).await;
}

/// The detail of an operator's event about an endpoint. It leaves out the address, which may hold a token.
fn endpoint_detail(endpoint: &EndpointRow, name: &str, value: &Value) -> Value {
    json!({
        "webhookId": endpoint.id,
        "organizationId": endpoint.organization_id,
        "event": endpoint.event,
        name: value,
    })
}
