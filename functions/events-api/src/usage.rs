//! `/api/usage`: what a tenant used.

use crate::State;
use crate::access::Actor;
use crate::failure::{Failure, field};
use axum::extract;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use switchyard_api::{Authenticated, Endpoint, File, Json, Operation, Page, Query, Reply};
use switchyard_identity::{Access, Role, Scope};
use switchyard_signals::view::UsageView;
use switchyard_signals::{ExportFormat, export, usage, usage_between};

pub(crate) fn endpoints() -> [Endpoint<State>; 2] {
    let read = |endpoint: Endpoint<State>| endpoint.access(Access::Tenant(Role::Member, Some(Scope::UsageRead)));
    [
        read(Endpoint::get("/api/usage", get_usage)).summary("Get the usage of this month, or of several"),
        read(Endpoint::get("/api/usage/export", export_usage)).summary("Export a month's usage by the hour"),
    ]
}

/// Which months to show.
#[derive(Deserialize, JsonSchema)]
struct UsageQuery {
    /// The first month, `2026-01`; with `to`.
    from: Option<String>,
    /// The last month; with `from`.
    to: Option<String>,
}

/// This month's usage, or a page of several months'.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
enum UsageResult {
    /// Without `from` and `to`.
    Month(Box<UsageView>),
    /// With them.
    Months(Page<UsageView>),
}

impl IntoResponse for UsageResult {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

impl Reply for UsageResult {
    fn describe(operation: &mut Operation) {
        operation.json::<Self>(200, "OK");
    }
}

async fn get_usage(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Query(query): Query<UsageQuery>,
) -> Result<UsageResult, Failure> {
    let (deps, tenant) = (&state.0.tenants, actor.tenant()?);
    match (&query.from, &query.to) {
        (None, None) => Ok(UsageResult::Month(Box::new(usage(deps, tenant, None).await?))),
        (Some(from), Some(to)) => {
            let items = usage_between(deps, tenant, from, to).await?;
            Ok(UsageResult::Months(Page { items, next_cursor: None }))
        }
        _ => Err(field("from and to must be given together")),
    }
}

/// What to export.
#[derive(Deserialize, JsonSchema)]
struct ExportQuery {
    /// `csv`, `cloudevents`, `lago` or `stripe`.
    format: String,
    /// The month, `2026-01`.
    period: String,
}

async fn export_usage(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Query(query): Query<ExportQuery>,
) -> Result<File, Failure> {
    let format: ExportFormat = query.format.parse()?;
    let made = export(&state.0.tenants, actor.tenant()?, &query.period, format).await?;
    Ok(File { media_type: made.content_type, name: Some(made.file_name), body: made.body })
}
