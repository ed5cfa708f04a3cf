//! What became of a tenant's notifications.

use super::Request;
use super::rules::page;
use crate::answer::Failure;
use crate::body::{self, MAX_ID, cursor, limit};
use serde_json::{Value, json};
use switchyard_lambda::Reply;
use switchyard_signals::DeliveryStatus;
use switchyard_signals::deliveries::{self, Retried, WantedDeliveries};

/// `GET /api/deliveries`.
pub async fn list(request: &Request<'_>) -> Result<Reply, Failure> {
    let query = body::query(request.call, &["eventId", "ruleId", "status", "limit", "cursor"])?;
    let (deps, tenant, limit, cursor) = (&request.deps.tenants, request.tenant()?, limit(&query)?, cursor(&query)?);
    let status = match query.get("status") {
        None => None,
        Some(text) => {
            let known = DeliveryStatus::ALL.into_iter().find(|status| status.name() == text);
            let names = DeliveryStatus::ALL.map(DeliveryStatus::name).join(", ");
            Some(known.ok_or_else(|| Failure::field(format!("status must be one of {names}")))?)
        }
    };
    if let Some(event) = query.get("eventId") {
        if event.len() > MAX_ID {
            return Err(Failure::not_found());
        }
        let views = deliveries::of_event(deps, tenant, event).await?;
        let mut items: Vec<_> = views.iter().map(|view| json!(view)).collect();
        items.retain(|row| {
            ["ruleId", "status"].iter().all(|name| query.get(*name).is_none_or(|wanted| row[*name] == **wanted))
        });
        items.sort_by(|one, other| one["id"].as_str().cmp(&other["id"].as_str()));
        return Ok(Reply::json(200, &page(items, limit, cursor)));
    }
    let wanted = WantedDeliveries { rule_id: query.get("ruleId").cloned(), status };
    let (items, next) = deliveries::list(deps, tenant, &wanted, cursor, limit).await?;
    Ok(Reply::json(200, &json!({"items": items, "nextCursor": next})))
}

/// `GET /api/deliveries/{id}`.
pub async fn find(request: &Request<'_>) -> Result<Reply, Failure> {
    let found = deliveries::delivery(&request.deps.tenants, request.tenant()?, request.id()).await?;
    Ok(Reply::json(200, &found.ok_or_else(Failure::not_found)?))
}

/// `POST /api/deliveries/{id}/retry`.
pub async fn retry(request: &Request<'_>) -> Result<Reply, Failure> {
    let (deps, actor) = (&request.deps.queues, &request.caller.actor);
    let retried = deliveries::retry(deps, actor, request.tenant()?, request.id()).await?;
    answer(retried, request.id())
}

/// The answer to the wish to have something sent again.
pub fn answer(retried: Option<Retried>, id: &str) -> Result<Reply, Failure> {
    match retried.ok_or_else(Failure::not_found)? {
        Retried::Enqueued => Ok(Reply::json(202, &json!({"id": id, "status": "enqueued"}) as &Value)),
        Retried::Refused(reason) => {
            Err(Failure::new(409, "not_retryable", format!("It cannot be sent again: {reason}")))
        }
    }
}
