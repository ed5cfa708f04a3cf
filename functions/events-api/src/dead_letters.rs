//! `/api/dlq`: dead letters, a tenant's own or, for an operator, every tenant's.

use crate::State;
use crate::access::Actor;
use crate::deliveries::{Enqueued, enqueued};
use crate::failure::{Failure, field, not_found};
use crate::ids::Id;
use crate::validate::time;
use axum::extract;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_api::{
    Accepted, Authenticated, Cursor, Endpoint, Json, NoContent, Page, PageQuery, Path, Query, Refusal,
};
use switchyard_identity::Access;
use switchyard_signals::DeadLetterId;
use switchyard_signals::dead_letters;
use switchyard_signals::view::{DeadLetterDetails, DeadLetterView};
use switchyard_work::dead_letters::{Filter, Scope};
use tokio::time::Instant;

/// Dead letters that one call redrives: at most, and by default.
const MAX_REDRIVEN: u32 = 500;
const DEFAULT_REDRIVEN: u32 = 100;

/// How long one call redrives; its response says where the next one continues.
const REDRIVE_TIME: Duration = Duration::from_secs(5);

pub(crate) fn endpoints() -> [Endpoint<State>; 5] {
    let keeper = |endpoint: Endpoint<State>| endpoint.access(Access::AdminOrOperator);
    [
        keeper(Endpoint::get("/api/dlq", list_dead_letters)).summary("List dead letters, newest first"),
        keeper(Endpoint::post("/api/dlq/redrive", redrive_dead_letters))
            .summary("Redrive several dead letters")
            .idempotent(),
        keeper(Endpoint::get("/api/dlq/{id}", get_dead_letter)).summary("Get a dead letter with its message"),
        keeper(Endpoint::delete("/api/dlq/{id}", delete_dead_letter)).summary("Delete a dead letter"),
        keeper(Endpoint::post("/api/dlq/{id}/redrive", redrive_dead_letter))
            .summary("Redrive a dead letter, once")
            .idempotent()
            .refuses(&[(409, "It cannot be sent again")]),
    ]
}

/// The queue that a message came from.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum QueueName {
    /// Events to evaluate.
    Rules,
    /// Notifications to deliver.
    Notify,
}

impl QueueName {
    fn name(self) -> String {
        match self {
            Self::Rules => "rules",
            Self::Notify => "notify",
        }
        .to_owned()
    }
}

/// What a dead letter holds.
#[derive(Clone, Copy, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// A notification that could not be delivered.
    Notification,
    /// A queue's message that could not be processed.
    Message,
}

impl Kind {
    fn is_given_up(self) -> bool {
        self == Self::Notification
    }
}

/// Which dead letters to list.
#[derive(Deserialize, JsonSchema)]
struct DeadLettersQuery {
    queue: Option<QueueName>,
    kind: Option<Kind>,
    /// Only those with this error code.
    reason: Option<String>,
}

/// A tenant's own, or for an operator those of all tenants.
fn scope(actor: &Actor) -> Result<Scope<'_>, Refusal> {
    if actor.is_operator() { Ok(Scope::All) } else { Ok(Scope::Tenant(actor.tenant_id()?.as_str())) }
}

async fn list_dead_letters(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Query(query): Query<DeadLettersQuery>,
    page: PageQuery,
) -> Result<Json<Page<DeadLetterView>>, Failure> {
    let filter = Filter {
        queue: query.queue.map(QueueName::name),
        error_code: query.reason,
        is_given_up: query.kind.map(Kind::is_given_up),
        ..Filter::default()
    };
    let (deps, scope) = (&state.0.queues, scope(&actor)?);
    let (items, next_cursor) = dead_letters::list(deps, scope, &filter, page.cursor(), page.limit).await?;
    Ok(Json(Page { items, next_cursor }))
}

async fn get_dead_letter(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path(Id(id)): Path<Id<DeadLetterId>>,
) -> Result<Json<DeadLetterDetails>, Failure> {
    let letter = dead_letters::get(&state.0.queues, scope(&actor)?, &id).await?;
    letter.map(Json).ok_or_else(not_found)
}

async fn delete_dead_letter(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path(Id(id)): Path<Id<DeadLetterId>>,
) -> Result<NoContent, Failure> {
    match dead_letters::delete(&state.0.queues, &actor.id(), scope(&actor)?, &id).await? {
        true => Ok(NoContent),
        false => Err(not_found()),
    }
}

async fn redrive_dead_letter(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path(Id(id)): Path<Id<DeadLetterId>>,
) -> Result<Accepted<Enqueued>, Failure> {
    let retried = dead_letters::redrive(&state.0.queues, &actor.id(), scope(&actor)?, &id).await?;
    enqueued(retried, id.as_str())
}

/// Which dead letters to redrive.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Redrive {
    queue: QueueName,
    /// Both when absent; for an operator messages.
    kind: Option<Kind>,
    /// Only those with this error code.
    reason: Option<String>,
    /// RFC 3339; only those archived before.
    older_than: Option<String>,
    /// 1 to 500; 100 when absent.
    #[schemars(range(min = 1, max = 500))]
    max: Option<u32>,
    /// `nextCursor` of an earlier response.
    cursor: Option<String>,
}

/// How many dead letters were redriven.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
struct RedriveResult {
    matched: usize,
    /// `cursor` of the next call; null when there are no more.
    next_cursor: Option<String>,
}

async fn redrive_dead_letters(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Json(body): Json<Redrive>,
) -> Result<Accepted<RedriveResult>, Failure> {
    let max = body.max.unwrap_or(DEFAULT_REDRIVEN);
    if !(1..=MAX_REDRIVEN).contains(&max) {
        return Err(field(format!("max must be 1 to {MAX_REDRIVEN}")));
    }
    let cursor = body.cursor.as_deref().map(str::parse::<Cursor>).transpose()?;
    let scope = scope(&actor)?;
    let is_given_up = match (body.kind, scope) {
        // A tenant's undelivered notifications are for the tenant to redrive.
        (None, Scope::All) => Some(false),
        (kind, _) => kind.map(Kind::is_given_up),
    };
    let filter = Filter {
        queue: Some(body.queue.name()),
        error_code: body.reason,
        older_than: body.older_than.as_deref().map(|text| time("olderThan", text)).transpose()?,
        is_open: true,
        is_given_up,
    };
    let (deps, cursor) = (&state.0.queues, cursor.as_ref().map(Cursor::as_str));
    let deadline = Instant::now() + REDRIVE_TIME;
    let (matched, next_cursor) =
        dead_letters::redrive_all(deps, &actor.id(), scope, &filter, cursor, max as usize, deadline).await?;
    Ok(Accepted(RedriveResult { matched, next_cursor }))
}
