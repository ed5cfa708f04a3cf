//! `/webhooks`: an organization's endpoints.

use crate::State;
use crate::access::Account;
use crate::fields::{Body, Fields, MAX_BODY_BYTES, MAX_NAME, MAX_URL, OptionalBody, Query, Read};
use axum::extract;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use std::time::Duration;
use switchyard_api::{
    Accepted, Authenticated, Endpoint, Json, Operation, OrFault as _, Path, PathParameter, Refusal, Reply, code,
    is_uuid,
};
use switchyard_callbacks::manage::{self, MAX_ENDPOINTS, Registered, Settings};
use switchyard_callbacks::{
    DeliveryPage, DeliveryStatus, EndpointDetails, EndpointId, EndpointSummary, EventId, NewEndpoint, RetryPolicy,
};
use switchyard_core::Timestamp;
use switchyard_identity::Access;

/// Events that an endpoint can receive.
const EVENTS: [&str; 3] = ["sync.started", "sync.completed", "sync.failed"];

const DAY_SECONDS: u64 = 86_400;

pub(crate) fn endpoints() -> [Endpoint<State>; 9] {
    let keyed = |endpoint: Endpoint<State>| endpoint.access(Access::Organization).max_bytes(MAX_BODY_BYTES).lenient();
    [
        keyed(Endpoint::post("/webhooks/register", register_webhook))
            .summary("Register a webhook")
            .idempotent()
            .refuses(&[(404, "The organization is another's"), (409, "The organization has too many webhooks")]),
        keyed(Endpoint::get("/webhooks", list_webhooks)).summary("List an organization's webhooks"),
        keyed(Endpoint::patch("/webhooks/{id}", update_webhook)).summary("Update a webhook"),
        keyed(Endpoint::delete("/webhooks/{id}", delete_webhook)).summary("Delete a webhook"),
        keyed(Endpoint::get("/webhooks/{id}/secret", get_webhook_secret)).summary("Get a webhook's signing secret"),
        keyed(Endpoint::post("/webhooks/{id}/secret/rotate", rotate_webhook_secret))
            .summary("Rotate a webhook's signing secret")
            .idempotent()
            .refuses(&[(409, "The webhook was changed by another request")]),
        keyed(Endpoint::post("/webhooks/{id}/test", test_webhook)).summary("Send a test event").idempotent(),
        keyed(Endpoint::get("/webhooks/{id}/deliveries", list_webhook_deliveries))
            .summary("List a webhook's deliveries"),
        keyed(Endpoint::post("/webhooks/{id}/recover", recover_webhook_deliveries))
            .summary("Retry failed deliveries of a period")
            .idempotent(),
    ]
}

/// A webhook's id.
struct WebhookId(EndpointId);

impl PathParameter for WebhookId {
    fn parse(text: &str) -> Option<Self> {
        is_uuid(text).then(|| Self(text.into()))
    }

    fn schema() -> Value {
        json!({"type": "string", "format": "uuid"})
    }

    fn not_found() -> &'static str {
        "Webhook not found"
    }
}

fn not_found(message: &str) -> Refusal {
    Refusal::new(404, code::NOT_FOUND, message)
}

/// The endpoint, if it belongs to the caller.
async fn find(state: &State, account: &Account, id: &WebhookId) -> Result<manage::Endpoint, Refusal> {
    match manage::endpoint(&state.0.callbacks, &id.0).await.or_fault()? {
        Some(endpoint) if account.may(endpoint.organization_id().as_str()) => Ok(endpoint),
        _ => Err(not_found("Webhook not found")),
    }
}

/// A webhook to register.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
struct WebhookToRegister {
    #[schemars(length(min = 1, max = 255))]
    organization_id: String,
    #[schemars(extend("enum" = EVENTS))]
    event: String,
    /// An https address.
    #[schemars(length(min = 1, max = 2048))]
    target_url: String,
}

impl Read for WebhookToRegister {
    fn read(fields: &mut Fields, state: &State) -> Self {
        let organization_id = fields.string("organizationId", MAX_NAME);
        let event = fields.one_of("event", &EVENTS);
        let target_url = fields.string("targetUrl", MAX_URL);
        if fields.get("targetUrl").is_some_and(Value::is_string)
            && let Some(reason) = manage::refuse_target(&state.0.callbacks, &target_url)
        {
            fields.custom("targetUrl", reason);
        }
        Self { organization_id, event, target_url }
    }
}

async fn register_webhook(
    extract::State(state): extract::State<State>,
    Authenticated(account): Authenticated<Account>,
    Body(body): Body<WebhookToRegister>,
) -> Result<Json<EndpointSummary>, Refusal> {
    if !account.may(&body.organization_id) {
        return Err(not_found("Organization not found"));
    }
    let WebhookToRegister { organization_id, event, target_url } = body;
    let new = NewEndpoint { organization_id: organization_id.into(), event, target_url };
    match manage::register(&state.0.callbacks, &new).await.or_fault()? {
        Registered::Endpoint(endpoint) => Ok(Json(endpoint.summary())),
        Registered::TooMany => {
            let message = format!("An organization has at most {MAX_ENDPOINTS} webhooks for one event");
            Err(Refusal::new(409, "too_many_webhooks", message))
        }
    }
}

/// Whose webhooks to list.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
struct OrganizationQuery {
    #[schemars(length(min = 1, max = 255))]
    organization_id: String,
}

impl Read for OrganizationQuery {
    fn read(fields: &mut Fields, _state: &State) -> Self {
        Self { organization_id: fields.string("organizationId", MAX_NAME) }
    }
}

async fn list_webhooks(
    extract::State(state): extract::State<State>,
    Authenticated(account): Authenticated<Account>,
    Query(query): Query<OrganizationQuery>,
) -> Result<Json<Vec<EndpointSummary>>, Refusal> {
    if !account.may(&query.organization_id) {
        return Ok(Json(Vec::new()));
    }
    let endpoints = manage::list(&state.0.callbacks, &query.organization_id.into()).await.or_fault()?;
    Ok(Json(endpoints.iter().map(manage::Endpoint::summary).collect()))
}

/// What to change about a webhook; null gives a setting its default.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "the document's schema; null and absent differ, which `Settings` keeps apart")]
struct WebhookChanges {
    #[serde(skip_serializing_if = "Option::is_none")]
    is_active: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1000, max = 30000))]
    timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    rate_per_second: Option<u32>,
    /// `compat`, `standard`, or 1 to 20 waits of 1 to 259200 seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_policy: Option<RetryPolicy>,
}

struct WebhookSettings(Settings);

impl JsonSchema for WebhookSettings {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        WebhookChanges::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        WebhookChanges::json_schema(generator)
    }
}

impl Read for WebhookSettings {
    fn read(fields: &mut Fields, _state: &State) -> Self {
        let rate = |rate: Option<u64>| rate.and_then(|rate| u32::try_from(rate).ok());
        let mut settings = Settings {
            is_active: fields.boolean("isActive"),
            timeout_ms: fields.number("timeoutMs", 1_000, 30_000),
            rate_per_second: fields.number("ratePerSecond", 1, 1_000).map(rate),
            retry_policy: None,
        };
        if let Some(policy) = fields.get("retryPolicy") {
            settings.retry_policy = manage::parse_policy(policy);
            if settings.retry_policy.is_none() {
                fields.custom("retryPolicy", "Expected compat, standard, or 1 to 20 waits of 1 to 259200 seconds");
            }
        }
        Self(settings)
    }
}

async fn update_webhook(
    extract::State(state): extract::State<State>,
    Authenticated(account): Authenticated<Account>,
    Path(id): Path<WebhookId>,
    Body(WebhookSettings(settings)): Body<WebhookSettings>,
) -> Result<Json<EndpointDetails>, Refusal> {
    let endpoint = find(&state, &account, &id).await?;
    let changed = manage::change(&state.0.callbacks, &endpoint, &settings).await.or_fault()?;
    changed.map(|changed| Json(changed.details())).ok_or_else(|| not_found("Webhook not found"))
}

/// That a webhook is deleted.
#[derive(JsonSchema, Serialize)]
struct DeletedWebhook {
    deleted: bool,
}

async fn delete_webhook(
    extract::State(state): extract::State<State>,
    Authenticated(account): Authenticated<Account>,
    Path(id): Path<WebhookId>,
) -> Result<Json<DeletedWebhook>, Refusal> {
    let endpoint = find(&state, &account, &id).await?;
    manage::remove(&state.0.callbacks, &endpoint).await.or_fault()?;
    Ok(Json(DeletedWebhook { deleted: true }))
}

/// A webhook's signing secret.
#[derive(JsonSchema, Serialize)]
struct WebhookSecret {
    /// `whsec_…`, as Standard Webhooks writes it.
    secret: String,
}

async fn get_webhook_secret(
    extract::State(state): extract::State<State>,
    Authenticated(account): Authenticated<Account>,
    Path(id): Path<WebhookId>,
) -> Result<Json<WebhookSecret>, Refusal> {
    let endpoint = find(&state, &account, &id).await?;
    secret_of(&state, &endpoint).await
}

async fn secret_of(state: &State, endpoint: &manage::Endpoint) -> Result<Json<WebhookSecret>, Refusal> {
    let secret = manage::secret(&state.0.callbacks, endpoint).await.or_fault()?;
    Ok(Json(WebhookSecret { secret: secret.expose().clone() }))
}

/// How a secret is rotated.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
struct SecretRotation {
    /// Seconds that the old secret signs too; a day when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 604_800))]
    grace_period_seconds: Option<u64>,
}

impl Read for SecretRotation {
    fn read(fields: &mut Fields, _state: &State) -> Self {
        Self { grace_period_seconds: fields.number("gracePeriodSeconds", 0, 7 * DAY_SECONDS).flatten() }
    }
}

async fn rotate_webhook_secret(
    extract::State(state): extract::State<State>,
    Authenticated(account): Authenticated<Account>,
    Path(id): Path<WebhookId>,
    OptionalBody(rotation): OptionalBody<SecretRotation>,
) -> Result<Json<WebhookSecret>, Refusal> {
    let endpoint = find(&state, &account, &id).await?;
    let grace = Duration::from_secs(rotation.grace_period_seconds.unwrap_or(DAY_SECONDS));
    match manage::rotate(&state.0.callbacks, &endpoint, grace).await.or_fault()? {
        Some(rotated) => secret_of(&state, &rotated).await,
        None => Err(Refusal::new(409, "conflict", "The webhook was changed by another request; try again")),
    }
}

/// The test event that is on its way.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
struct TestEvent {
    event_id: String,
}

async fn test_webhook(
    extract::State(state): extract::State<State>,
    Authenticated(account): Authenticated<Account>,
    Path(id): Path<WebhookId>,
) -> Result<Accepted<TestEvent>, Refusal> {
    let endpoint = find(&state, &account, &id).await?;
    let event_id = manage::test(&state.0.callbacks, &endpoint).await.or_fault()?;
    Ok(Accepted(TestEvent { event_id: event_id.into() }))
}

/// Which deliveries to list.
#[derive(JsonSchema)]
struct DeliveriesQuery {
    /// Only deliveries in this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<DeliveryStatus>,
    /// `cursor` of an earlier page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", regex(pattern = "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"))]
    cursor: Option<String>,
}

impl Read for DeliveriesQuery {
    fn read(fields: &mut Fields, _state: &State) -> Self {
        let status = fields.get("status").is_some().then(|| {
            let name = fields.one_of("status", &["pending", "success", "failed", "skipped"]);
            serde_json::from_value::<DeliveryStatus>(name.into()).ok()
        });
        let cursor = fields.get("cursor").is_some().then(|| fields.uuid("cursor"));
        Self { status: status.flatten(), cursor }
    }
}

async fn list_webhook_deliveries(
    extract::State(state): extract::State<State>,
    Authenticated(account): Authenticated<Account>,
    Path(id): Path<WebhookId>,
    Query(query): Query<DeliveriesQuery>,
) -> Result<Json<DeliveryPage>, Refusal> {
    let endpoint = find(&state, &account, &id).await?;
    let cursor = query.cursor.map(EventId::from);
    let page = manage::deliveries(&state.0.callbacks, &endpoint, query.status, cursor.as_ref()).await;
    page.map(Json).or_fault()
}

/// Which failed deliveries to retry.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Recovery {
    /// RFC 3339.
    #[schemars(with = "String", extend("format" = "date-time"))]
    since: Timestamp,
    /// RFC 3339, not before `since`.
    #[schemars(with = "String", extend("format" = "date-time"))]
    until: Timestamp,
    /// Only count them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<bool>")]
    dry_run: Option<bool>,
}

impl Read for Recovery {
    fn read(fields: &mut Fields, _state: &State) -> Self {
        let (since, until) = (fields.instant("since"), fields.instant("until"));
        let dry_run = fields.boolean("dryRun");
        if since > until {
            fields.custom("until", "until must not be before since");
        }
        Self { since, until, dry_run }
    }
}

/// How many deliveries a recovery would retry.
#[derive(JsonSchema, Serialize)]
struct RecoveryCount {
    count: usize,
}

/// The recovery that is under way.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
struct RecoveryTask {
    task_id: String,
}

/// 200 with the count of a dry run, otherwise 202.
enum RecoveryReply {
    Count(Json<RecoveryCount>),
    Task(Accepted<RecoveryTask>),
}

impl IntoResponse for RecoveryReply {
    fn into_response(self) -> Response {
        match self {
            Self::Count(reply) => reply.into_response(),
            Self::Task(reply) => reply.into_response(),
        }
    }
}

impl Reply for RecoveryReply {
    fn describe(operation: &mut Operation) {
        <Json<RecoveryCount> as Reply>::describe(operation);
        <Accepted<RecoveryTask> as Reply>::describe(operation);
    }
}

async fn recover_webhook_deliveries(
    extract::State(state): extract::State<State>,
    Authenticated(account): Authenticated<Account>,
    Path(id): Path<WebhookId>,
    Body(recovery): Body<Recovery>,
) -> Result<RecoveryReply, Refusal> {
    let endpoint = find(&state, &account, &id).await?;
    let (callbacks, since, until) = (&state.0.callbacks, recovery.since, recovery.until);
    if recovery.dry_run == Some(true) {
        let count = manage::count_failed(callbacks, &endpoint, since, until).await.or_fault()?;
        return Ok(RecoveryReply::Count(Json(RecoveryCount { count })));
    }
    let task_id = manage::recover(callbacks, &endpoint, since, until).await.or_fault()?;
    Ok(RecoveryReply::Task(Accepted(RecoveryTask { task_id })))
}
