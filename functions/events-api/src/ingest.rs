//! `POST /api/events` and `/api/events/batch`: events that producers send.

use crate::State;
use crate::access::{Actor, suspended};
use axum::Extension;
use axum::extract;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::time::Duration;
use switchyard_api::{
    Argument, Authenticated, Created, Dialect, Endpoint, IDEMPOTENCY_KEY, JsonText, MAX_IDEMPOTENCY_KEY, MultiStatus,
    Operation, OrFault as _, REPLAYED, Refusal, RequestHead, WithHeaders, code,
};
use switchyard_core::Invocation;
use switchyard_identity::{Access, Scope};
use switchyard_signals::{
    Accepted, BadEvent, NewEvent, Reservations, Tenant, Unsent, accept, release_reservations, reserve_events, send,
    store_event,
};

const USAGE_WARNING: HeaderName = HeaderName::from_static("x-usage-warning");

/// Events in a batch.
const MAX_BATCH: usize = 100;

/// Events of a batch that are written at a time.
const BATCH_CONCURRENCY: usize = 10;

/// Largest body of a batch, in bytes; an event's own limit is a setting.
const MAX_BATCH_BYTES: usize = 5 * 1024 * 1024;

/// How long a tenant at its rate is asked to wait.
const RATE_WINDOW: Duration = Duration::from_secs(1);

pub(crate) fn endpoints() -> [Endpoint<State>; 2] {
    const LIMITS: (u16, &str) = (429, "A limit of the tenant is reached");
    const MISMATCH: (u16, &str) = (422, "The idempotency key belongs to another event");
    let producer = |endpoint: Endpoint<State>| {
        endpoint.access(Access::ApiKey(Scope::EventsWrite)).max_bytes(MAX_BATCH_BYTES).lenient()
    };
    [
        producer(Endpoint::post("/api/events", create_event)).summary("Create an event").refuses(&[MISMATCH, LIMITS]),
        producer(Endpoint::post("/api/events/batch", create_events)).summary("Create up to 100 events"),
    ]
}

/// An event.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "the document's schema; `NewEvent` reads the text, whose payload is kept byte for byte")]
struct EventBody {
    #[schemars(length(min = 1, max = 120))]
    r#type: String,
    /// Kept byte for byte.
    payload: Map<String, Value>,
    #[schemars(length(max = 255))]
    source: Option<String>,
    /// RFC 3339, or a year, month or day.
    occurred_at: Option<String>,
}

/// Several events.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "the document's schema")]
struct BatchBody {
    #[schemars(length(min = 1, max = 100))]
    events: Vec<BatchEvent>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "the document's schema")]
struct BatchEvent {
    #[serde(flatten)]
    event: EventBody,
    /// Names the event: sent again with its key, it is stored once.
    #[schemars(length(max = 255))]
    idempotency_key: Option<String>,
}

/// An accepted event.
#[derive(JsonSchema, Serialize)]
struct AcceptedEvent {
    id: String,
    /// `enqueued`.
    status: &'static str,
}

/// A producer's idempotency key; an empty one is none.
struct EventKey(Option<String>);

impl<S: Sync> axum::extract::FromRequestParts<S> for EventKey {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut http::request::Parts, _state: &S) -> Result<Self, Refusal> {
        event_key(&parts.headers).map(Self)
    }
}

impl Argument for EventKey {
    fn describe(operation: &mut Operation) {
        <switchyard_api::IdempotencyKey as Argument>::describe(operation);
    }
}

fn event_key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let unreadable = |_| Refusal::new(400, "idempotency_key_unreadable", "Idempotency key must be visible ASCII");
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = key.to_str().map_err(unreadable)?;
    check_key(Some(key))?;
    Ok(Some(key).filter(|key| !key.is_empty()).map(str::to_owned))
}

async fn create_event(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Extension(invocation): Extension<Invocation>,
    EventKey(key): EventKey,
    body: JsonText<EventBody>,
) -> Result<WithHeaders<Created<AcceptedEvent>>, Refusal> {
    check_size(&body.text, state.0.max_event_bytes)?;
    let event = NewEvent::parse(&body.text).map_err(invalid)?;
    let accepted =
        accept(&state.0.ingest, actor.tenant()?, &event, key.as_deref(), invocation.trace).await.or_fault()?;
    let stored = stored(accepted)?;
    let mut headers = Vec::new();
    if stored.is_replayed {
        headers.push((REPLAYED, HeaderValue::from_static("true")));
    }
    if stored.exceeds_soft_limit {
        headers.push((USAGE_WARNING, HeaderValue::from_static("soft-limit")));
    }
    Ok(WithHeaders(Created(AcceptedEvent { id: stored.id, status: "enqueued" }), headers))
}

/// The outcome of each event of a batch, in the batch's order.
#[derive(JsonSchema, Serialize)]
struct BatchResult {
    items: Vec<BatchItem>,
}

/// The outcome of one event.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
enum BatchItem {
    /// It is stored.
    Stored(StoredItem),
    /// It is not.
    Refused(RefusedItem),
}

/// An event that is stored.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
struct StoredItem {
    index: usize,
    /// 201.
    status: u16,
    id: String,
    /// Whether it was stored before, under the same idempotency key.
    replayed: bool,
    /// Whether the tenant's soft limit is exceeded.
    soft_limit: bool,
}

/// An event that is not stored.
#[derive(JsonSchema, Serialize)]
struct RefusedItem {
    index: usize,
    /// What it would be refused with alone.
    status: u16,
    /// An error of this API.
    error: Value,
}

async fn create_events(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Extension(invocation): Extension<Invocation>,
    body: JsonText<BatchBody>,
) -> Result<MultiStatus<BatchResult>, Refusal> {
    let malformed = |_| Refusal::new(400, code::MALFORMED_JSON, "Malformed JSON");
    let fields: BTreeMap<String, &RawValue> = match body.text.trim_start().starts_with('{') {
        true => serde_json::from_str(&body.text).map_err(malformed)?,
        false => BTreeMap::new(),
    };
    let events: Vec<&RawValue> = match fields.get("events").map(|events| events.get()) {
        Some(events) if events.starts_with('[') => serde_json::from_str(events).map_err(malformed)?,
        _ => return Err(Refusal::field("events must be an array")),
    };
    if !(1..=MAX_BATCH).contains(&events.len()) {
        return Err(Refusal::field(format!("events must contain 1 to {MAX_BATCH} elements")));
    }
    let (deps, tenant) = (&state.0.ingest, actor.tenant()?);
    let events: Vec<_> = events.into_iter().map(|event| read_item(event.get(), state.0.max_event_bytes)).collect();
    let without_key = events.iter().flatten().filter(|(_, key)| key.is_none()).count();
    let wanted = u32::try_from(without_key).unwrap_or_default();
    let places = reserve_events(deps, tenant, wanted).await;
    let batch = Batch { state: &state, tenant, invocation: &invocation, places: places.as_ref() };
    let (items, unsent): (Vec<BatchItem>, Vec<Option<Unsent>>) = stream::iter(events.into_iter().enumerate())
        .map(|(index, event)| batch.item(index, event))
        .buffered(BATCH_CONCURRENCY)
        .unzip()
        .await;
    let unsent: Vec<_> = unsent.into_iter().flatten().collect();
    // Side by side: a slow queue is not to cost the tenant its places.
    tokio::join!(send(deps, &unsent), async {
        if let Some(places) = places {
            release_reservations(deps, tenant, places).await;
        }
    });
    Ok(MultiStatus(BatchResult { items }))
}

/// What the events of a batch share.
struct Batch<'a> {
    state: &'a State,
    tenant: &'a Tenant,
    invocation: &'a Invocation,
    places: Option<&'a Reservations>,
}

impl Batch<'_> {
    async fn item(
        &self,
        index: usize,
        event: Result<(NewEvent, Option<String>), Refusal>,
    ) -> (BatchItem, Option<Unsent>) {
        let kept = async {
            let (event, key) = event?;
            let (deps, trace) = (&self.state.0.ingest, self.invocation.trace.clone());
            let (accepted, unsent) =
                store_event(deps, self.tenant, &event, key.as_deref(), self.places, trace).await.or_fault()?;
            Ok::<_, Refusal>((stored(accepted)?, unsent))
        };
        match kept.await {
            Ok((stored, unsent)) => {
                let item = StoredItem {
                    index,
                    status: 201,
                    id: stored.id,
                    replayed: stored.is_replayed,
                    soft_limit: stored.exceeds_soft_limit,
                };
                (BatchItem::Stored(item), unsent)
            }
            Err(refusal) => {
                let head = RequestHead {
                    method: http::Method::POST,
                    path: "/api/events/batch".to_owned(),
                    request_id: self.invocation.request_id.clone(),
                };
                let status = refusal.status().as_u16();
                let error = Dialect::Signals.body(&refusal, &head);
                (BatchItem::Refused(RefusedItem { index, status, error }), None)
            }
        }
    }
}

/// An event of a batch, and its own idempotency key.
fn read_item(text: &str, max_bytes: usize) -> Result<(NewEvent, Option<String>), Refusal> {
    check_size(text, max_bytes)?;
    let event = NewEvent::parse(text).map_err(invalid)?;
    let key = item_key(text)?;
    check_key(key.as_deref())?;
    Ok((event, key))
}

/// An event that is stored.
struct Stored {
    id: String,
    is_replayed: bool,
    exceeds_soft_limit: bool,
}

fn stored(accepted: Accepted) -> Result<Stored, Refusal> {
    match accepted {
        Accepted::New { id, is_beyond_soft_limit } => {
            Ok(Stored { id, is_replayed: false, exceeds_soft_limit: is_beyond_soft_limit })
        }
        Accepted::Replayed { id } => Ok(Stored { id, is_replayed: true, exceeds_soft_limit: false }),
        Accepted::Mismatch => {
            let message = "Idempotency key reused with a different request";
            Err(Refusal::new(422, code::IDEMPOTENCY_KEY_REUSED, message))
        }
        Accepted::HardLimit { retry_after } => {
            Err(Refusal::new(429, "hard_limit", "Hard limit reached").retry_after(retry_after))
        }
        Accepted::RateLimited => {
            Err(Refusal::new(429, "rate_limited", "Too many events in this second").retry_after(RATE_WINDOW))
        }
        Accepted::Suspended => Err(suspended()),
    }
}

fn check_size(text: &str, max_bytes: usize) -> Result<(), Refusal> {
    if text.len() > max_bytes { Err(Refusal::too_large(max_bytes)) } else { Ok(()) }
}

fn invalid(error: BadEvent) -> Refusal {
    match error {
        BadEvent::Malformed => Refusal::new(400, code::MALFORMED_JSON, "Malformed JSON"),
        BadEvent::Fields(messages) => Refusal::fields(messages),
    }
}

fn check_key(key: Option<&str>) -> Result<(), Refusal> {
    if key.is_some_and(|key| key.chars().count() > MAX_IDEMPOTENCY_KEY) {
        return Err(Refusal::new(400, "idempotency_key_too_long", "Idempotency key too long"));
    }
    Ok(())
}

/// A batch item's own key.
fn item_key(text: &str) -> Result<Option<String>, Refusal> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(text).unwrap_or_default();
    match fields.get("idempotencyKey").map(|raw| serde_json::from_str::<Value>(raw.get())) {
        None | Some(Ok(Value::Null)) => Ok(None),
        Some(Ok(Value::String(key))) => Ok(Some(key).filter(|key| !key.is_empty())),
        Some(_) => Err(Refusal::field("idempotencyKey must be a string")),
    }
}
