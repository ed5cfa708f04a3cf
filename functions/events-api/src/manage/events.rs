//! A tenant's stored events.

use super::Request;
use crate::answer::Failure;
use crate::body::{self, limit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use switchyard_core::{SignedDuration, Timestamp, Uuid};
use switchyard_lambda::Reply;
use switchyard_signals::events::{self, EventStatus, MOST_DAYS, Wanted, type_pattern};

/// How an event is weighed again.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayBody {
    /// Whether anything is sent.
    notify: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    items: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

/// `GET /api/events`.
pub async fn list(request: &Request<'_>) -> Result<Reply, Failure> {
    let query = body::query(request.call, &["type", "source", "status", "from", "to", "limit", "cursor"])?;
    let limit = limit(&query)?;
    let time = |name: &str| match query.get(name) {
        None => Ok(None),
        Some(text) => match text.parse::<Timestamp>() {
            Ok(time) => Ok(Some(time)),
            Err(_) => Err(Failure::field(format!("{name} must be an RFC 3339 time"))),
        },
    };
    let (from, to) = (time("from")?, time("to")?);
    if let (Some(from), Some(to)) = (from, to)
        && (from > to || to.duration_since(from).as_secs() > MOST_DAYS * 86_400)
    {
        return Err(Failure::field(format!("from must lie at most {MOST_DAYS} days before to")));
    }
    // A month from either end has to be a time, too.
    let span = SignedDuration::from_hours(24 * MOST_DAYS);
    let (from_end, to_start) = (from.map(|from| from.checked_add(span)), to.map(|to| to.checked_sub(span)));
    if matches!(from_end, Some(Err(_))) || matches!(to_start, Some(Err(_))) {
        return Err(Failure::field("from and to must be times of this age"));
    }
    let to = to.or_else(|| from_end.and_then(Result::ok));
    let kind = match query.get("type") {
        None => None,
        Some(text) => Some(type_pattern(text).ok_or_else(|| Failure::field("type must be a type, payment.* or *"))?),
    };
    let status = match query.get("status") {
        None => None,
        Some(text) => {
            let known = EventStatus::ALL.into_iter().find(|status| status.name() == text);
            let names = EventStatus::ALL.map(EventStatus::name).join(", ");
            Some(known.ok_or_else(|| Failure::field(format!("status must be one of {names}")))?)
        }
    };
    let before = query.get("cursor").map(|cursor| match Uuid::parse_str(cursor) {
        Ok(id) => Ok(id.to_string()),
        Err(_) => Err(Failure::field("cursor must be one that a page before ended with")),
    });
    let before = before.transpose()?;
    let wanted = Wanted { kind, source: query.get("source").cloned(), status, from, to, before };
    let found = events::events(&request.deps.events, request.caller.tenant()?, &wanted, limit).await?;
    Ok(Reply::json(200, &Page { items: found.events, next_cursor: found.cursor }))
}

/// `GET /api/events/{id}`.
pub async fn find(request: &Request<'_>) -> Result<Reply, Failure> {
    let event = events::event(&request.deps.events, request.caller.tenant()?, request.id()).await?;
    Ok(Reply::json(200, &event.ok_or_else(Failure::not_found)?))
}

/// `POST /api/events/{id}/replay`.
pub async fn replay(request: &Request<'_>) -> Result<Reply, Failure> {
    let ReplayBody { notify } = body::fields(request.call)?;
    let (deps, actor) = (&request.deps.events, &request.caller.actor);
    let copy = events::replay(deps, actor, request.caller.tenant()?, request.id(), notify).await?;
    let id = copy.ok_or_else(Failure::not_found)?;
    Ok(Reply::json(202, &json!({"id": id, "replayOf": request.id(), "status": "enqueued"})))
}
