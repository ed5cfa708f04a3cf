//! `/events`: what was posted to an organization's webhooks.

use crate::State;
use crate::access::Account;
use crate::fields::{Fields, MAX_BODY_BYTES, OptionalBody, Read};
use axum::extract;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use switchyard_api::{
    Accepted, Authenticated, Endpoint, Json, OrFault as _, Path, PathParameter, Refusal, code, is_uuid,
};
use switchyard_callbacks::{EndpointId, WebhookEvent, manage};
use switchyard_identity::Access;

pub(crate) fn endpoints() -> [Endpoint<State>; 2] {
    let keyed = |endpoint: Endpoint<State>| endpoint.access(Access::Organization).max_bytes(MAX_BODY_BYTES).lenient();
    [
        keyed(Endpoint::get("/events/{id}", get_webhook_event)).summary("Get a webhook event and its deliveries"),
        keyed(Endpoint::post("/events/{id}/resend", resend_webhook_event))
            .summary("Resend a webhook event")
            .idempotent(),
    ]
}

/// An event's id.
struct EventId(switchyard_callbacks::EventId);

impl PathParameter for EventId {
    fn parse(text: &str) -> Option<Self> {
        is_uuid(text).then(|| Self(text.into()))
    }

    fn schema() -> Value {
        json!({"type": "string", "format": "uuid"})
    }

    fn not_found() -> &'static str {
        "Event not found"
    }
}

fn event_not_found() -> Refusal {
    Refusal::new(404, code::NOT_FOUND, EventId::not_found())
}

async fn get_webhook_event(
    extract::State(state): extract::State<State>,
    Authenticated(account): Authenticated<Account>,
    Path(EventId(id)): Path<EventId>,
) -> Result<Json<WebhookEvent>, Refusal> {
    let event = manage::event(&state.0.callbacks, &id).await.or_fault()?;
    event.filter(|event| account.may(&event.organization_id)).map(Json).ok_or_else(event_not_found)
}

/// Where to resend an event.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Resend {
    /// One endpoint; without it, every endpoint that the event was for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", regex(pattern = "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"))]
    endpoint_id: Option<String>,
}

impl Read for Resend {
    fn read(fields: &mut Fields, _state: &State) -> Self {
        Self { endpoint_id: fields.get("endpointId").is_some().then(|| fields.uuid("endpointId")) }
    }
}

/// Deliveries that are under way again.
#[derive(JsonSchema, Serialize)]
struct ResentEvent {
    deliveries: usize,
}

async fn resend_webhook_event(
    extract::State(state): extract::State<State>,
    Authenticated(account): Authenticated<Account>,
    Path(EventId(id)): Path<EventId>,
    OptionalBody(resend): OptionalBody<Resend>,
) -> Result<Accepted<ResentEvent>, Refusal> {
    let (callbacks, id, endpoint_id) = (&state.0.callbacks, id, resend.endpoint_id.map(EndpointId::from));
    let owner = manage::owner(callbacks, &id).await.or_fault()?;
    if !owner.is_some_and(|organization| account.may(organization.as_str())) {
        return Err(event_not_found());
    }
    let deliveries = manage::resend(callbacks, &id, endpoint_id.as_ref()).await.or_fault()?;
    Ok(Accepted(ResentEvent { deliveries }))
}
