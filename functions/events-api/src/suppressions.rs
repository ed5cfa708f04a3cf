//! `/api/suppressions`: addresses that messages are not sent to.

use crate::State;
use crate::access::Actor;
use crate::failure::{Failure, not_found};
use crate::ids::Id;
use axum::extract;
use switchyard_api::{Authenticated, Endpoint, Json, NoContent, Page, PageQuery, Path, page_of};
use switchyard_identity::{Access, Role};
use switchyard_signals::SuppressionId;
use switchyard_signals::receipts;
use switchyard_signals::view::SuppressionView;

pub(crate) fn endpoints() -> [Endpoint<State>; 2] {
    [
        Endpoint::get("/api/suppressions", list_suppressions)
            .summary("List suppressed addresses")
            .access(Access::Tenant(Role::Member, None)),
        Endpoint::delete("/api/suppressions/{id}", delete_suppression)
            .summary("Delete a suppression")
            .access(Access::Tenant(Role::Admin, None)),
    ]
}

async fn list_suppressions(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    page: PageQuery,
) -> Result<Json<Page<SuppressionView>>, Failure> {
    let suppressions = receipts::suppressions(&state.0.receipts, actor.tenant_id()?).await?;
    Ok(Json(page_of(suppressions, &page, |suppression| &suppression.id)?))
}

async fn delete_suppression(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path(Id(id)): Path<Id<SuppressionId>>,
) -> Result<NoContent, Failure> {
    match receipts::unsuppress(&state.0.receipts, &actor.id(), actor.tenant_id()?, &id).await? {
        true => Ok(NoContent),
        false => Err(not_found()),
    }
}
