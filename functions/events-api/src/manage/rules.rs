//! A tenant's rules.

use super::Request;
use crate::answer::Failure;
use crate::body::{self, if_match, limit, stale, tagged};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use switchyard_lambda::Reply;
use switchyard_signals::RuleStatus;
use switchyard_signals::dry_runs::{self, MOST_SAMPLED, Run, State, Tried, TriedEvent};
use switchyard_signals::rules::{self, MAX_ACTIVE, Written};

/// A dry run of a stored rule.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TestBody {
    event: Option<TriedEvent>,
    version: Option<u64>,
    #[serde(default)]
    state: State,
}

/// A dry run of a document.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InlineBody {
    rule: Box<RawValue>,
    event: Option<TriedEvent>,
    #[serde(default)]
    state: State,
}

/// `POST /api/rules`.
pub async fn create(request: &Request<'_>) -> Result<Reply, Failure> {
    let document = body::text(request.call)?;
    let (deps, actor) = (&request.deps.tenants, &request.caller.actor);
    answer(request, rules::create(deps, actor, request.tenant()?, document).await?, 201)
}

/// `GET /api/rules`.
pub async fn list(request: &Request<'_>) -> Result<Reply, Failure> {
    let query = body::query(request.call, &["eventType", "status", "limit", "cursor"])?;
    let limit = limit(&query)?;
    if let Some(status) = query.get("status").filter(|status| !["active", "paused"].contains(&status.as_str())) {
        return Err(Failure::field(format!("status {status} is none; there are active and paused")));
    }
    let is_wanted =
        |rule: &Value, parameter: &str| query.get(parameter).is_none_or(|wanted| rule[parameter] == **wanted);
    let mut items = rules::list(&request.deps.tenants, request.tenant()?).await?;
    items.retain(|rule| is_wanted(rule, "eventType") && is_wanted(rule, "status"));
    Ok(Reply::json(200, &page(items, limit, query.get("cursor").map(String::as_str))))
}

/// `GET /api/rules/{id}`.
pub async fn find(request: &Request<'_>) -> Result<Reply, Failure> {
    let rule = rules::rule(&request.deps.tenants, request.tenant()?, request.id()).await?;
    let (rule, number) = rule.ok_or_else(Failure::not_found)?;
    Ok(tagged(Reply::json(200, &rule), number))
}

/// `PUT /api/rules/{id}`.
pub async fn replace(request: &Request<'_>) -> Result<Reply, Failure> {
    let document = body::text(request.call)?;
    let known = if_match(request.call)?;
    let (deps, actor) = (&request.deps.tenants, &request.caller.actor);
    answer(request, rules::replace(deps, actor, request.tenant()?, request.id(), document, known).await?, 200)
}

/// `POST /api/rules/{id}/pause`, `…/resume`, and `DELETE /api/rules/{id}`.
pub async fn set_status(request: &Request<'_>, status: RuleStatus) -> Result<Reply, Failure> {
    let (deps, actor) = (&request.deps.tenants, &request.caller.actor);
    let written =
        rules::set_status(deps, actor, request.tenant()?, request.id(), status, if_match(request.call)?).await?;
    match (written, status) {
        (Written::Rule(..), RuleStatus::Archived) => Ok(Reply::empty(204)),
        (written, _) => answer(request, written, 200),
    }
}

/// `GET /api/rules/{id}/versions`.
pub async fn versions(request: &Request<'_>) -> Result<Reply, Failure> {
    let query = body::query(request.call, &["limit", "cursor"])?;
    let before = query.get("cursor").map(|cursor| match cursor.parse() {
        Ok(version) => Ok(version),
        Err(_) => Err(Failure::field("cursor must be one that a page before ended with")),
    });
    let (before, limit) = (before.transpose()?, limit(&query)?);
    let (deps, tenant) = (&request.deps.tenants, request.tenant()?);
    let (items, next) = rules::versions(deps, tenant, request.id(), before, limit).await?;
    // Every rule has a first version.
    if items.is_empty() && before.is_none() {
        return Err(Failure::not_found());
    }
    Ok(Reply::json(200, &json!({"items": items, "nextCursor": next.map(|version| version.to_string())})))
}

/// `GET /api/rules/{id}/versions/{n}`.
pub async fn version(request: &Request<'_>) -> Result<Reply, Failure> {
    let version = rules::version(&request.deps.tenants, request.tenant()?, request.id(), number(request)?).await?;
    Ok(Reply::json(200, &version.ok_or_else(Failure::not_found)?))
}

/// `POST /api/rules/{id}/versions/{n}/activate`.
pub async fn activate(request: &Request<'_>) -> Result<Reply, Failure> {
    let (deps, actor) = (&request.deps.tenants, &request.caller.actor);
    answer(
        request,
        rules::activate(deps, actor, request.tenant()?, request.id(), number(request)?, if_match(request.call)?)
            .await?,
        200,
    )
}

/// `POST /api/rules/validate`.
pub async fn validate(request: &Request<'_>) -> Result<Reply, Failure> {
    match rules::validate(&request.deps.tenants, request.tenant()?, body::text(request.call)?).await? {
        Ok(warnings) => Ok(Reply::json(200, &json!({"valid": true, "warnings": warnings}))),
        Err(issues) => Err(invalid(&issues)),
    }
}

/// `POST /api/rules/test`.
pub async fn test_document(request: &Request<'_>) -> Result<Reply, Failure> {
    let InlineBody { rule, event, state } = body::fields(request.call)?;
    run(request, Tried::Document(rule.get()), event.as_ref(), &state).await
}

/// `POST /api/rules/{id}/test`.
pub async fn test(request: &Request<'_>) -> Result<Reply, Failure> {
    let TestBody { event, version, state } = body::fields(request.call)?;
    run(request, Tried::Rule(request.id(), version), event.as_ref(), &state).await
}

async fn run(
    request: &Request<'_>,
    tried: Tried<'_>,
    event: Option<&TriedEvent>,
    state: &State,
) -> Result<Reply, Failure> {
    let query = body::query(request.call, &["sample"])?;
    let (deps, tenant) = (&request.deps.events, request.caller.tenant()?);
    let ran = match (query.get("sample"), event) {
        (Some(_), Some(_)) => return Err(Failure::field("event is not for a sample of stored events")),
        (Some(count), None) => {
            let count = count.parse().ok().filter(|count| (1..=MOST_SAMPLED).contains(count));
            let count = count.ok_or_else(|| Failure::field(format!("sample must be 1 to {MOST_SAMPLED}")))?;
            dry_runs::sample(deps, tenant, tried, count).await?
        }
        (None, Some(event)) => dry_runs::test(deps, tenant, tried, event, state).await?,
        (None, None) => return Err(Failure::field("event: missing field")),
    };
    match ran {
        Run::Ran(outcome) => Ok(Reply::json(200, &outcome)),
        Run::Invalid(issues) => Err(invalid(&issues)),
        Run::Unknown => Err(Failure::not_found()),
        Run::BadField(message) => Err(Failure::field(message)),
    }
}

fn number(request: &Request<'_>) -> Result<u64, Failure> {
    request.ids.get(1).and_then(|text| text.parse().ok()).ok_or_else(Failure::not_found)
}

fn answer(request: &Request<'_>, written: Written, status: u16) -> Result<Reply, Failure> {
    match written {
        Written::Rule(mut rule, number, warnings) => {
            rule["warnings"] = json!(warnings);
            Ok(tagged(Reply::json(status, &rule), number))
        }
        Written::Invalid(issues) => Err(invalid(&issues)),
        Written::Unknown => Err(Failure::not_found()),
        Written::Stale => Err(stale(request.call)),
        Written::TooMany => {
            Err(Failure::new(409, "too_many_rules", format!("A tenant has at most {MAX_ACTIVE} rules in force")))
        }
    }
}

fn invalid(issues: &impl serde::Serialize) -> Failure {
    Failure::invalid("rule_invalid", "The rule is not valid", json!(issues))
}

/// Bytes of one page: an answer of a function holds 6 MB, in which every quote counts twice.
const MOST_BYTES: usize = 2_500_000;

/// Things that sort by their ids, from after `cursor` on.
pub fn page(items: Vec<Value>, limit: usize, cursor: Option<&str>) -> Value {
    let is_after = |item: &Value| cursor.is_none_or(|cursor| item["id"].as_str().is_some_and(|id| id > cursor));
    let mut rest = items.into_iter().filter(is_after);
    let (mut page, mut bytes) = (Vec::new(), 0);
    while page.len() < limit
        && bytes < MOST_BYTES
        && let Some(item) = rest.next()
    {
        bytes += item.to_string().len();
        page.push(item);
    }
    let next = rest.next().and(page.last()).map(|last| last["id"].clone());
    json!({"items": page, "nextCursor": next})
}
