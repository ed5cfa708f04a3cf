//! A tenant's notification configs.

use super::rules::page;
use super::{Request, check_text};
use crate::answer::Failure;
use crate::body::{self, if_match, limit, stale, tagged};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use switchyard_core::Channel;
use switchyard_lambda::Reply;
use switchyard_signals::ConfigStatus;
use switchyard_signals::configs::{self, MAX_CONFIGS, NewConfig, Written};
use switchyard_signals::trials::{self, Tried};

const MAX_NAME: usize = 150;

/// How people are reached.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChannelName {
    /// By SES, SMTP or an HTTP API.
    Email,
    /// By a bot.
    Telegram,
    /// By the Cloud API.
    Whatsapp,
    /// By an incoming webhook.
    Slack,
    /// By a signed request.
    Webhook,
}

/// A notification config.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigBody {
    /// What people call it.
    name: String,
    channel: ChannelName,
    /// The channel's settings; a secret that is left masked stays what it was.
    config: Map<String, Value>,
    /// active or disabled; active when absent.
    status: Option<StatusName>,
    #[serde(default)]
    is_default: bool,
    #[serde(default = "yes")]
    allow_override: bool,
}

/// Whether anything is sent with a config.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StatusName {
    /// It is.
    Active,
    /// It is not.
    Disabled,
}

/// Whom a trial goes to.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrialBody {
    /// A recipient of the channel; the config's own when absent.
    to: Option<String>,
}

fn yes() -> bool {
    true
}

/// `POST /api/notification-configs`.
pub async fn create(request: &Request<'_>) -> Result<Reply, Failure> {
    let new = read(request)?;
    let (deps, actor) = (&request.deps.configs, &request.caller.actor);
    answer(request, configs::create(deps, actor, request.tenant()?, &new).await?, 201)
}

/// `GET /api/notification-configs`.
pub async fn list(request: &Request<'_>) -> Result<Reply, Failure> {
    let query = body::query(request.call, &["limit", "cursor"])?;
    let limit = limit(&query)?;
    let items = configs::list(&request.deps.configs, request.tenant()?).await?;
    Ok(Reply::json(200, &page(items, limit, query.get("cursor").map(String::as_str))))
}

/// `GET /api/notification-configs/{id}`.
pub async fn find(request: &Request<'_>) -> Result<Reply, Failure> {
    let found = configs::config(&request.deps.configs, request.tenant()?, request.id()).await?;
    let (config, number) = found.ok_or_else(Failure::not_found)?;
    Ok(tagged(Reply::json(200, &config), number))
}

/// `PUT /api/notification-configs/{id}`.
pub async fn replace(request: &Request<'_>) -> Result<Reply, Failure> {
    let new = read(request)?;
    let known = if_match(request.call)?;
    let (deps, actor) = (&request.deps.configs, &request.caller.actor);
    answer(request, configs::replace(deps, actor, request.tenant()?, request.id(), &new, known).await?, 200)
}

/// `DELETE /api/notification-configs/{id}`.
pub async fn remove(request: &Request<'_>) -> Result<Reply, Failure> {
    let (deps, actor) = (&request.deps.configs, &request.caller.actor);
    match configs::remove(deps, actor, request.tenant()?, request.id(), if_match(request.call)?).await? {
        Written::Config(..) => Ok(Reply::empty(204)),
        other => answer(request, other, 200),
    }
}

/// `POST /api/notification-configs/{id}/enable` and `…/disable`.
pub async fn set_status(request: &Request<'_>, status: ConfigStatus) -> Result<Reply, Failure> {
    let (deps, actor) = (&request.deps.configs, &request.caller.actor);
    answer(
        request,
        configs::set_status(deps, actor, request.tenant()?, request.id(), status, if_match(request.call)?).await?,
        200,
    )
}

/// `POST /api/notification-configs/{id}/test`.
pub async fn test(request: &Request<'_>) -> Result<Reply, Failure> {
    let TrialBody { to } = body::fields(request.call)?;
    match trials::send_test(&request.deps.trials, request.tenant()?, request.id(), to.as_deref()).await? {
        Tried::Answer(answer) => Ok(Reply::json(200, &answer).passing()),
        Tried::Unknown => Err(Failure::not_found()),
        Tried::BadRecipient => Err(Failure::field("to must be a recipient that the channel knows")),
    }
}

fn read(request: &Request<'_>) -> Result<NewConfig, Failure> {
    let body: ConfigBody = body::fields(request.call)?;
    check_text("name", &body.name, MAX_NAME)?;
    let status = body.status.map(|status| match status {
        StatusName::Active => ConfigStatus::Active,
        StatusName::Disabled => ConfigStatus::Disabled,
    });
    let channel = match body.channel {
        ChannelName::Email => Channel::Email,
        ChannelName::Telegram => Channel::Telegram,
        ChannelName::Whatsapp => Channel::Whatsapp,
        ChannelName::Slack => Channel::Slack,
        ChannelName::Webhook => Channel::Webhook,
    };
    let (is_default, allow_override) = (body.is_default, body.allow_override);
    let config = Value::Object(body.config);
    Ok(NewConfig { name: body.name, channel, config, is_default, allow_override, status })
}

fn answer(request: &Request<'_>, written: Written, status: u16) -> Result<Reply, Failure> {
    match written {
        Written::Config(config, number) => Ok(tagged(Reply::json(status, &config), number)),
        Written::Invalid(issues) => {
            let details: Vec<_> =
                issues.iter().map(|issue| json!({"pointer": issue.pointer, "message": issue.message})).collect();
            Err(Failure::invalid("config_invalid", "The config is not valid", json!(details)))
        }
        Written::Unknown => Err(Failure::not_found()),
        Written::Stale => Err(stale(request.call)),
        Written::TooMany => {
            Err(Failure::new(409, "too_many_configs", format!("A tenant has at most {MAX_CONFIGS} configs")))
        }
        Written::OtherChannel => Err(Failure::field("channel cannot be changed")),
    }
}
