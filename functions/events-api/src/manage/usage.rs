//! What a tenant used.

use super::Request;
use crate::answer::Failure;
use crate::body::{self, text_reply};
use http::{HeaderValue, header};
use serde_json::json;
use switchyard_lambda::Reply;
use switchyard_signals::{ExportFormat, export, usage, usage_between};

/// `GET /api/usage`: of this month, or of each month from one to another.
pub async fn show(request: &Request<'_>) -> Result<Reply, Failure> {
    let query = body::query(request.call, &["from", "to"])?;
    let (deps, tenant) = (&request.deps.tenants, request.caller.tenant()?);
    match (query.get("from"), query.get("to")) {
        (None, None) => Ok(Reply::json(200, &usage(deps, tenant, None).await?)),
        (Some(from), Some(to)) => {
            let items = usage_between(deps, tenant, from, to).await?;
            Ok(Reply::json(200, &json!({"items": items, "nextCursor": null})))
        }
        _ => Err(Failure::field("from and to must be given together")),
    }
}

/// `GET /api/usage/export`.
pub async fn file(request: &Request<'_>) -> Result<Reply, Failure> {
    let query = body::query(request.call, &["format", "period"])?;
    let given = |name: &str| query.get(name).ok_or_else(|| Failure::field(format!("{name}: missing parameter")));
    let format: ExportFormat = given("format")?.parse()?;
    let made = export(&request.deps.tenants, request.caller.tenant()?, given("period")?, format).await?;
    let reply = text_reply(made.content_type, made.body);
    match HeaderValue::from_str(&format!("attachment; filename=\"{}\"", made.file_name)) {
        Ok(name) => Ok(reply.with_header(header::CONTENT_DISPOSITION, name)),
        Err(_) => Ok(reply),
    }
}
