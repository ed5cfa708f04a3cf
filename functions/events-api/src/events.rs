//! `/api/events`: a tenant's stored events.

use crate::State;
use crate::access::Actor;
use crate::failure::{Failure, field, not_found};
use crate::ids::Id;
use crate::validate::time;
use axum::extract;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use switchyard_api::{Accepted, Authenticated, Endpoint, Json, Page, PageQuery, Path, Query};
use switchyard_core::{SignedDuration, Uuid};
use switchyard_identity::{Access, Role, Scope};
use switchyard_signals::EventId;
use switchyard_signals::events::{self, EventFilter, EventStatus, EventView, MAX_DAYS, type_pattern};

pub(crate) fn endpoints() -> [Endpoint<State>; 3] {
    let read = |endpoint: Endpoint<State>| endpoint.access(Access::Tenant(Role::Member, Some(Scope::EventsRead)));
    [
        read(Endpoint::get("/api/events", list_events)).summary("List events, newest first"),
        read(Endpoint::get("/api/events/{id}", get_event)).summary("Get an event with its outcomes and deliveries"),
        Endpoint::post("/api/events/{id}/replay", replay_event)
            .summary("Evaluate an event again")
            .access(Access::Tenant(Role::Admin, None))
            .idempotent(),
    ]
}

/// Which events to list.
#[derive(Deserialize, JsonSchema)]
struct EventsQuery {
    /// An exact type, `payment.*` or `*`.
    r#type: Option<String>,
    /// Only events from this source.
    source: Option<String>,
    /// Only events with this status.
    status: Option<EventStatus>,
    /// Received since, RFC 3339; a day before `to` when absent.
    from: Option<String>,
    /// Received until, RFC 3339; now when absent.
    to: Option<String>,
}

async fn list_events(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Query(query): Query<EventsQuery>,
    page: PageQuery,
) -> Result<Json<Page<EventView>>, Failure> {
    let from = query.from.as_deref().map(|text| time("from", text)).transpose()?;
    let to = query.to.as_deref().map(|text| time("to", text)).transpose()?;
    if let (Some(from), Some(to)) = (from, to)
        && (from > to || to.duration_since(from).as_secs() > MAX_DAYS * 86_400)
    {
        return Err(field(format!("from must lie at most {MAX_DAYS} days before to")));
    }
    // A month from either end has to be a time, too.
    let span = SignedDuration::from_hours(24 * MAX_DAYS);
    let (from_end, to_start) = (from.map(|from| from.checked_add(span)), to.map(|to| to.checked_sub(span)));
    if matches!(from_end, Some(Err(_))) || matches!(to_start, Some(Err(_))) {
        return Err(field("from and to must be times of this age"));
    }
    let pattern = |text: &String| type_pattern(text).ok_or_else(|| field("type must be a type, payment.* or *"));
    let before = page.cursor.as_ref().map(switchyard_api::Cursor::parse::<Uuid>).transpose()?;
    let wanted = EventFilter {
        kind: query.r#type.as_ref().map(pattern).transpose()?,
        source: query.source,
        status: query.status,
        from,
        to: to.or_else(|| from_end.and_then(Result::ok)),
        before: before.map(|id| id.to_string()),
    };
    let found = events::events(&state.0.events, actor.tenant()?, &wanted, page.limit).await?;
    Ok(Json(Page { items: found.events, next_cursor: found.cursor }))
}

async fn get_event(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path(Id(id)): Path<Id<EventId>>,
) -> Result<Json<EventView>, Failure> {
    let event = events::event(&state.0.events, actor.tenant()?, &id).await?;
    event.map(Json).ok_or_else(not_found)
}

/// How an event is evaluated again.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Replay {
    /// Whether notifications are sent.
    notify: bool,
}

/// The copy that is evaluated.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReplayedEvent {
    /// The copy's id.
    id: String,
    /// The event that it is a replay of.
    replay_of: String,
    /// `enqueued`.
    status: &'static str,
}

async fn replay_event(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path(Id(id)): Path<Id<EventId>>,
    Json(Replay { notify }): Json<Replay>,
) -> Result<Accepted<ReplayedEvent>, Failure> {
    let copy = events::replay(&state.0.events, &actor.id(), actor.tenant()?, &id, notify).await?;
    let copy = copy.ok_or_else(not_found)?;
    Ok(Accepted(ReplayedEvent { id: copy, replay_of: id.as_str().to_owned(), status: "enqueued" }))
}
