//! `/api/notification-configs`: how a tenant reaches people.

use crate::State;
use crate::access::Actor;
use crate::failure::{Failure, conflict, field, not_found};
use crate::ids::Id;
use crate::validate::check_text;
use axum::extract;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use switchyard_api::{
    Authenticated, Created, Endpoint, IfMatch, Json, NoContent, OptionalJson, Page, PageQuery, Path, Refusal,
    Transient, Versioned, page_of,
};
use switchyard_core::Channel;
use switchyard_identity::{Access, Role};
use switchyard_signals::ConfigId;
use switchyard_signals::ConfigStatus;
use switchyard_signals::configs::{self, ConfigWrite, MAX_CONFIGS, NewConfig};
use switchyard_signals::trials::{self, TrialOutcome};
use switchyard_signals::view::{ConfigView, TestOutcome};

/// Longest name, in characters.
const MAX_NAME: usize = 150;

pub(crate) fn endpoints() -> [Endpoint<State>; 8] {
    const CHANGED: &[(u16, &str)] = &[(409, "Another request changed the config")];
    let admin = |endpoint: Endpoint<State>| endpoint.access(Access::Tenant(Role::Admin, None));
    [
        admin(Endpoint::post("/api/notification-configs", create_notification_config))
            .summary("Create a notification config")
            .idempotent()
            .refuses(&[(409, "The tenant has too many configs")]),
        admin(Endpoint::get("/api/notification-configs", list_notification_configs))
            .summary("List notification configs"),
        admin(Endpoint::get("/api/notification-configs/{id}", get_notification_config))
            .summary("Get a notification config"),
        admin(Endpoint::put("/api/notification-configs/{id}", replace_notification_config))
            .summary("Replace a notification config")
            .refuses(CHANGED),
        admin(Endpoint::delete("/api/notification-configs/{id}", delete_notification_config))
            .summary("Delete a notification config")
            .refuses(CHANGED),
        admin(Endpoint::post("/api/notification-configs/{id}/enable", enable_notification_config))
            .summary("Enable a notification config")
            .idempotent()
            .refuses(CHANGED),
        admin(Endpoint::post("/api/notification-configs/{id}/disable", disable_notification_config))
            .summary("Disable a notification config")
            .idempotent()
            .refuses(CHANGED),
        admin(Endpoint::post("/api/notification-configs/{id}/test", test_notification_config))
            .summary("Send a test message with a notification config")
            .idempotent(),
    ]
}

/// A notification config.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ConfigBody {
    /// Its name for people.
    #[schemars(length(min = 1, max = 150))]
    name: String,
    channel: Channel,
    /// The channel's settings; a masked secret keeps its value.
    config: Map<String, Value>,
    /// `active` when absent; with a replacement, what it was.
    status: Option<SettableStatus>,
    /// Used where a rule names no config.
    #[serde(default)]
    is_default: bool,
    /// Whether an action's own recipients are used.
    #[serde(default = "yes")]
    allow_override: bool,
}

/// Whether messages are sent with a config.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum SettableStatus {
    /// They are.
    Active,
    /// They are not.
    Disabled,
}

/// Where a test message goes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TestMessage {
    /// A recipient of the channel; the config's own when absent.
    to: Option<String>,
}

fn yes() -> bool {
    true
}

impl ConfigBody {
    fn checked(self) -> Result<NewConfig, Failure> {
        check_text("name", &self.name, MAX_NAME)?;
        Ok(NewConfig {
            name: self.name,
            channel: self.channel,
            config: Value::Object(self.config),
            is_default: self.is_default,
            allow_override: self.allow_override,
            status: self.status.map(|status| match status {
                SettableStatus::Active => ConfigStatus::Active,
                SettableStatus::Disabled => ConfigStatus::Disabled,
            }),
        })
    }
}

async fn create_notification_config(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Json(body): Json<ConfigBody>,
) -> Result<Versioned<Created<ConfigView>>, Failure> {
    let new = body.checked()?;
    let written = configs::create(&state.0.configs, &actor.id(), actor.tenant_id()?, &new).await?;
    outcome(written, IfMatch(None)).map(|(config, version)| Versioned(Created(config), version))
}

async fn list_notification_configs(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    page: PageQuery,
) -> Result<Json<Page<ConfigView>>, Failure> {
    let configs = configs::list(&state.0.configs, actor.tenant_id()?).await?;
    Ok(Json(page_of(configs, &page, |config| &config.id)?))
}

async fn get_notification_config(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path(Id(id)): Path<Id<ConfigId>>,
) -> Result<Versioned<Json<ConfigView>>, Failure> {
    let config = configs::config(&state.0.configs, actor.tenant_id()?, &id).await?;
    let (config, version) = config.ok_or_else(not_found)?;
    Ok(Versioned(Json(config), version))
}

async fn replace_notification_config(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path(Id(id)): Path<Id<ConfigId>>,
    known: IfMatch,
    Json(body): Json<ConfigBody>,
) -> Result<Versioned<Json<ConfigView>>, Failure> {
    let (deps, tenant, new) = (&state.0.configs, actor.tenant_id()?, body.checked()?);
    changed(configs::replace(deps, &actor.id(), tenant, &id, &new, known.0).await?, known)
}

async fn delete_notification_config(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path(Id(id)): Path<Id<ConfigId>>,
    known: IfMatch,
) -> Result<NoContent, Failure> {
    let (deps, tenant) = (&state.0.configs, actor.tenant_id()?);
    outcome(configs::remove(deps, &actor.id(), tenant, &id, known.0).await?, known).map(|_| NoContent)
}

async fn enable_notification_config(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path(Id(id)): Path<Id<ConfigId>>,
    known: IfMatch,
) -> Result<Versioned<Json<ConfigView>>, Failure> {
    set_status(&state, &actor, &id, ConfigStatus::Active, known).await
}

async fn disable_notification_config(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path(Id(id)): Path<Id<ConfigId>>,
    known: IfMatch,
) -> Result<Versioned<Json<ConfigView>>, Failure> {
    set_status(&state, &actor, &id, ConfigStatus::Disabled, known).await
}

async fn set_status(
    state: &State,
    actor: &Actor,
    id: &ConfigId,
    status: ConfigStatus,
    known: IfMatch,
) -> Result<Versioned<Json<ConfigView>>, Failure> {
    let (deps, tenant) = (&state.0.configs, actor.tenant_id()?);
    changed(configs::set_status(deps, &actor.id(), tenant, id, status, known.0).await?, known)
}

async fn test_notification_config(
    extract::State(state): extract::State<State>,
    Authenticated(actor): Authenticated<Actor>,
    Path(Id(id)): Path<Id<ConfigId>>,
    OptionalJson(TestMessage { to }): OptionalJson<TestMessage>,
) -> Result<Transient<Json<TestOutcome>>, Failure> {
    match trials::send_test(&state.0.trials, actor.tenant_id()?, &id, to.as_deref()).await? {
        TrialOutcome::Outcome(outcome) => Ok(Transient(Json(outcome))),
        TrialOutcome::Unknown => Err(not_found()),
        TrialOutcome::BadRecipient => Err(field("to must be a recipient that the channel knows")),
    }
}

fn changed(written: ConfigWrite, known: IfMatch) -> Result<Versioned<Json<ConfigView>>, Failure> {
    outcome(written, known).map(|(config, version)| Versioned(Json(config), version))
}

fn outcome(written: ConfigWrite, known: IfMatch) -> Result<(ConfigView, i64), Failure> {
    match written {
        ConfigWrite::Config(config, version) => Ok((*config, version)),
        ConfigWrite::Invalid(issues) => {
            Err(Refusal::invalid("config_invalid", "The config is not valid", json!(issues)).into())
        }
        ConfigWrite::Unknown => Err(not_found()),
        ConfigWrite::Stale => Err(known.conflict().into()),
        ConfigWrite::TooMany => {
            Err(conflict("too_many_configs", format!("A tenant has at most {MAX_CONFIGS} configs")))
        }
        ConfigWrite::OtherChannel => Err(field("channel cannot be changed")),
    }
}
