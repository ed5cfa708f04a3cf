//! What a tenant used.

use super::Request;
use crate::answer::Failure;
use crate::body;
use switchyard_lambda::Reply;
use switchyard_signals::usage;

/// `GET /api/usage`.
pub async fn show(request: &Request<'_>) -> Result<Reply, Failure> {
    let query = body::query(request.call, &["month"])?;
    let month = query.get("month").map(String::as_str);
    let used = usage(&request.deps.tenants, request.caller.tenant()?, month).await?;
    Ok(Reply::json(200, &used.ok_or_else(|| Failure::field("month must be YYYY-MM"))?))
}
