//! `/api/deliveries`: a tenant's notifications.

use crate::State;
use crate::access::Actor;
use crate::failure::{Failure, conflict, not_found};
use crate::ids::{Id, MAX_ID};
use axum::extract;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use switchyard_api::{Accepted, Authenticated, Endpoint, Json, Page, PageQuery, Path, Query, page_of};
use switchyard_identity::{Access, Role, Scope};
use switchyard_signals::deliveries::{self, DeliveryFilter, RetryOutcome};
use switchyard_signals::{DeliveryId, DeliveryInFull, DeliveryStatus, DeliveryView};

pub(crate) fn endpoints() -> [Endpoint<State>; 3] {
    let read = |endpoint: Endpoint<State>| endpoint.access(Access::Tenant(Role::Member, Some(Scope::DeliveriesRead)));
    [
        read(Endpoint::get("/api/deliveries", list_deliveries))
            .summary("List deliveries")
            .refuses(&[(404, "The event does not exist")]),
        read(Endpoint::get("/api/deliveries/{id}", get_delivery)).summary("Get a delivery with its attempts"),
        Endpoint::post("/api/deliveries/{id}/retry", retry_delivery)
            .summary("Retry a delivery that failed or expired")
            .access(Access::Tenant(Role::Admin, None))
            .idempotent()
            .refuses(&[(409, "It cannot be retried")]),
    ]
}

/// Which deliveries to list.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct DeliveriesQuery {
    /// Only deliveries of this event.
    event_id: Option<String>,
    /// Only deliveries of this rule.
    rule_id: Option<String>,
    /// Only deliveries with this status.
    status: Option<DeliveryStatus>,
}

async fn list_deliveries(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Query(query): Query<DeliveriesQuery>,
    page: PageQuery,
) -> Result<Json<Page<DeliveryView>>, Failure> {
    let (deps, tenant) = (&state.0.tenants, actor.tenant_id()?);
    if let Some(event) = &query.event_id {
        if event.len() > MAX_ID {
            return Err(not_found());
        }
        let mut deliveries = deliveries::of_event(deps, tenant, &event.as_str().into()).await?;
        deliveries.retain(|delivery| {
            query.rule_id.as_deref().is_none_or(|wanted| delivery.rule_id() == wanted)
                && query.status.is_none_or(|wanted| delivery.status() == wanted)
        });
        deliveries.sort_by(|one, other| one.id().cmp(other.id()));
        return Ok(Json(page_of(deliveries, &page, DeliveryView::id)?));
    }
    let wanted = DeliveryFilter { rule_id: query.rule_id.map(Into::into), status: query.status };
    let (items, next_cursor) = deliveries::list(deps, tenant, &wanted, page.cursor(), page.limit).await?;
    Ok(Json(Page { items, next_cursor }))
}

async fn get_delivery(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path(Id(id)): Path<Id<DeliveryId>>,
) -> Result<Json<DeliveryInFull>, Failure> {
    let delivery = deliveries::delivery(&state.0.tenants, actor.tenant_id()?, &id).await?;
    delivery.map(Json).ok_or_else(not_found)
}

/// What is sent again.
#[derive(JsonSchema, Serialize)]
pub(crate) struct Enqueued {
    id: String,
    /// `enqueued`.
    status: &'static str,
}

async fn retry_delivery(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path(Id(id)): Path<Id<DeliveryId>>,
) -> Result<Accepted<Enqueued>, Failure> {
    let retried = deliveries::retry(&state.0.queues, &actor.id(), actor.tenant_id()?, &id).await?;
    enqueued(retried, id.as_str())
}

/// The reply to a request to send something again.
pub(crate) fn enqueued(retried: Option<RetryOutcome>, id: &str) -> Result<Accepted<Enqueued>, Failure> {
    match retried.ok_or_else(not_found)? {
        RetryOutcome::Enqueued => Ok(Accepted(Enqueued { id: id.to_owned(), status: "enqueued" })),
        RetryOutcome::Refused(reason) => Err(conflict("not_retryable", format!("It cannot be sent again: {reason}"))),
    }
}
