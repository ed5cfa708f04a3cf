//! What became of a tenant's notifications.

use super::Request;
use super::rules::page;
use crate::answer::Failure;
use crate::body::{self, MAX_ID, limit};
use switchyard_lambda::Reply;
use switchyard_signals::deliveries;

/// `GET /api/deliveries`.
pub async fn list(request: &Request<'_>) -> Result<Reply, Failure> {
    let query = body::query(request.call, &["eventId", "ruleId", "status", "limit", "cursor"])?;
    let limit = limit(&query)?;
    let event = query.get("eventId").ok_or_else(|| Failure::field("eventId: missing parameter"))?;
    if event.len() > MAX_ID {
        return Err(Failure::not_found());
    }
    let mut items = deliveries(&request.deps.tenants, request.tenant()?, event).await?;
    items.retain(|row| {
        ["ruleId", "status"].iter().all(|name| query.get(*name).is_none_or(|wanted| row[*name] == **wanted))
    });
    items.sort_by(|one, other| one["id"].as_str().cmp(&other["id"].as_str()));
    Ok(Reply::json(200, &page(items, limit, query.get("cursor").map(String::as_str))))
}
