//! Addresses that a tenant does not write to any more.

use super::Request;
use super::rules::page;
use crate::answer::Failure;
use crate::body::{self, limit};
use switchyard_lambda::Reply;
use switchyard_signals::receipts;

/// `GET /api/suppressions`.
pub async fn list(request: &Request<'_>) -> Result<Reply, Failure> {
    let query = body::query(request.call, &["limit", "cursor"])?;
    let limit = limit(&query)?;
    let items = receipts::suppressions(&request.deps.receipts, request.tenant()?).await?;
    Ok(Reply::json(200, &page(items, limit, query.get("cursor").map(String::as_str))))
}

/// `DELETE /api/suppressions/{id}`.
pub async fn remove(request: &Request<'_>) -> Result<Reply, Failure> {
    let (deps, actor) = (&request.deps.receipts, &request.caller.actor);
    match receipts::unsuppress(deps, actor, request.tenant()?, request.id()).await? {
        true => Ok(Reply::empty(204)),
        false => Err(Failure::not_found()),
    }
}
