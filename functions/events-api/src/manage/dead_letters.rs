//! What was not done: a tenant's own, or for an operator everybody's.

use super::{Request, deliveries};
use crate::answer::Failure;
use crate::body::{self, cursor, limit, place};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;
use switchyard_core::Timestamp;
use switchyard_lambda::Reply;
use switchyard_signals::{ARCHIVED, WantedLetters, Whose, dead_letters};
use tokio::time::Instant;

/// Dead letters that one call sends again at most, and how many it does when nobody says.
const MOST: u32 = 500;
const USUAL: u32 = 100;

/// For so long one call goes on; the answer then says where the next one may.
const FOR: Duration = Duration::from_secs(5);

/// Which dead letters are sent again.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedriveBody {
    /// `rules` or `notify`.
    queue: String,
    /// `message` or `notification`; both when absent, for an operator messages.
    kind: Option<String>,
    /// Those with this error code.
    reason: Option<String>,
    /// RFC 3339; those kept since before then.
    older_than: Option<String>,
    /// 1 to 500; 100 when absent.
    max: Option<u32>,
    /// `nextCursor` of the answer before.
    cursor: Option<String>,
}

fn whose<'a>(request: &'a Request<'_>) -> Whose<'a> {
    request.tenant().map_or(Whose::Everybody, Whose::Tenant)
}

fn check_queue(queue: &str) -> Result<(), Failure> {
    match ARCHIVED.contains(&queue) {
        true => Ok(()),
        false => Err(Failure::field(format!("queue must be one of {}", ARCHIVED.join(", ")))),
    }
}

/// Whether notifications that were given up are meant, or messages.
fn is_given_up(kind: Option<&str>) -> Result<Option<bool>, Failure> {
    match kind {
        None => Ok(None),
        Some("notification") => Ok(Some(true)),
        Some("message") => Ok(Some(false)),
        Some(_) => Err(Failure::field("kind must be message or notification")),
    }
}

/// `GET /api/dlq`.
pub async fn list(request: &Request<'_>) -> Result<Reply, Failure> {
    let query = body::query(request.call, &["queue", "kind", "reason", "limit", "cursor"])?;
    query.get("queue").map_or(Ok(()), |queue| check_queue(queue))?;
    let (queue, reason) = (query.get("queue").cloned(), query.get("reason").cloned());
    let is_given_up = is_given_up(query.get("kind").map(String::as_str))?;
    let wanted = WantedLetters { queue, reason, is_given_up, ..WantedLetters::default() };
    let (limit, cursor) = (limit(&query)?, cursor(&query)?);
    let (items, next) = dead_letters::list(&request.deps.queues, whose(request), &wanted, cursor, limit).await?;
    Ok(Reply::json(200, &json!({"items": items, "nextCursor": next})))
}

/// `GET /api/dlq/{id}`.
pub async fn find(request: &Request<'_>) -> Result<Reply, Failure> {
    let found = dead_letters::letter(&request.deps.queues, whose(request), request.id()).await?;
    Ok(Reply::json(200, &found.ok_or_else(Failure::not_found)?))
}

/// `DELETE /api/dlq/{id}`.
pub async fn remove(request: &Request<'_>) -> Result<Reply, Failure> {
    let (deps, actor) = (&request.deps.queues, &request.caller.actor);
    match dead_letters::remove(deps, actor, whose(request), request.id()).await? {
        true => Ok(Reply::empty(204)),
        false => Err(Failure::not_found()),
    }
}

/// `POST /api/dlq/{id}/redrive`.
pub async fn redrive(request: &Request<'_>) -> Result<Reply, Failure> {
    let (deps, actor) = (&request.deps.queues, &request.caller.actor);
    let retried = dead_letters::redrive(deps, actor, whose(request), request.id()).await?;
    deliveries::answer(retried, request.id())
}

/// `POST /api/dlq/redrive`.
pub async fn redrive_all(request: &Request<'_>) -> Result<Reply, Failure> {
    let RedriveBody { queue, kind, reason, older_than, max, cursor } = body::fields(request.call)?;
    check_queue(&queue)?;
    let most = max.unwrap_or(USUAL);
    if !(1..=MOST).contains(&most) {
        return Err(Failure::field(format!("max must be 1 to {MOST}")));
    }
    let older_than = older_than.map(|text| text.parse::<Timestamp>()).transpose();
    let older_than = older_than.map_err(|_| Failure::field("olderThan must be an RFC 3339 time"))?;
    let cursor = cursor.as_deref().map(place).transpose()?;
    let is_given_up = match (is_given_up(kind.as_deref())?, whose(request)) {
        // What tenants could not deliver is for them to send again.
        (None, Whose::Everybody) => Some(false),
        (kind, _) => kind,
    };
    let wanted = WantedLetters { queue: Some(queue), reason, older_than, is_open: true, is_given_up };
    let (deps, actor) = (&request.deps.queues, &request.caller.actor);
    let (matched, next) =
        dead_letters::redrive_all(deps, actor, whose(request), &wanted, cursor, most as usize, Instant::now() + FOR)
            .await?;
    Ok(Reply::json(202, &json!({"matched": matched, "nextCursor": next})))
}
