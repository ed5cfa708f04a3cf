//! Webhooks and their events over HTTP.

use crate::access::Caller;
use crate::validate::{Fields, MAX_NAME, MAX_URL, Refusal, is_uuid};
use http::Method;
use serde_json::json;
use std::time::Duration;
use switchyard_callbacks::manage::{self, Endpoint, MAX_ENDPOINTS, Registered, Settings};
use switchyard_callbacks::{CallbacksDeps, CallbacksError, DeliveryStatus};
use switchyard_core::{Env, EnvError};
use switchyard_io::Aws;
use switchyard_lambda::{Call, Reply};

/// What an organisation can be told of.
const EVENTS: [&str; 3] = ["sync.started", "sync.completed", "sync.failed"];

const DAY: u64 = 86_400;

/// The routes under `/webhooks` and `/events`.
pub struct Webhooks {
    deps: CallbacksDeps,
}

impl Webhooks {
    /// Reads what [`CallbacksDeps`] does.
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        Ok(Self { deps: CallbacksDeps::from_env(aws, env)? })
    }

    /// Answers one request; `None` when the path is another's.
    ///
    /// # Errors
    /// Our own fault; the request may be sent again.
    pub async fn answer(&self, call: &Call, caller: &Caller) -> Result<Option<Reply>, CallbacksError> {
        let parts: Vec<_> = call.origin.path.trim_start_matches('/').split('/').collect();
        let reply = match (&call.method, parts.as_slice()) {
            (&Method::POST, ["webhooks", "register"]) => self.register(call, caller).await,
            (&Method::GET, ["webhooks"]) => self.list(call, caller).await,
            (_, ["events", id, ..]) if !is_uuid(id) => Ok(not_found("Event not found")),
            (_, ["webhooks", id, ..]) if !is_uuid(id) => Ok(not_found("Webhook not found")),
            (&Method::GET, ["events", id]) => self.event(id, caller).await,
            (&Method::POST, ["events", id, "resend"]) => self.resend(call, id, caller).await,
            (method, ["webhooks", id, rest @ ..]) => match self.find(id, caller).await {
                Ok(endpoint) => match (method, rest) {
                    (&Method::PATCH, []) => self.change(call, &endpoint).await,
                    (&Method::DELETE, []) => self.remove(&endpoint).await,
                    (&Method::GET, ["secret"]) => self.secret(&endpoint).await,
                    (&Method::POST, ["secret", "rotate"]) => self.rotate(call, &endpoint).await,
                    (&Method::POST, ["test"]) => self.test(&endpoint).await,
                    (&Method::GET, ["deliveries"]) => self.deliveries(call, &endpoint).await,
                    (&Method::POST, ["recover"]) => self.recover(call, &endpoint).await,
                    _ => return Ok(None),
                },
                Err(failure) => Err(failure),
            },
            _ => return Ok(None),
        };
        match reply {
            Ok(reply) => Ok(Some(reply)),
            Err(Failure::Refused(refusal)) => Ok(Some(*refusal)),
            Err(Failure::Fault(error)) => Err(error),
        }
    }

    async fn register(&self, call: &Call, caller: &Caller) -> Result<Reply, Failure> {
        let mut fields = Fields::body(call)?;
        let organization = fields.string("organizationId", MAX_NAME);
        let event = fields.one_of("event", &EVENTS);
        let target = fields.string("targetUrl", MAX_URL);
        if fields.get("targetUrl").is_some_and(serde_json::Value::is_string)
            && let Some(reason) = manage::refuse_target(&self.deps, &target)
        {
            fields.custom("targetUrl", reason);
        }
        fields.finish()?;
        if !caller.may(&organization) {
            return Ok(not_found("Organization not found"));
        }
        Ok(match manage::register(&self.deps, &organization, &event, &target).await? {
            Registered::Endpoint(endpoint) => Reply::json(200, &endpoint.summary()),
            Registered::TooMany => {
                let message = format!("an organization has at most {MAX_ENDPOINTS} webhooks for one event");
                Reply::json(409, &json!({"error": "too_many_webhooks", "message": message}))
            }
        })
    }

    async fn list(&self, call: &Call, caller: &Caller) -> Result<Reply, Failure> {
        let mut fields = Fields::query(call);
        let organization = fields.string("organizationId", MAX_NAME);
        fields.finish()?;
        if !caller.may(&organization) {
            return Ok(Reply::json(200, &json!([])));
        }
        let endpoints = manage::list(&self.deps, &organization).await?;
        Ok(Reply::json(200, &endpoints.iter().map(Endpoint::summary).collect::<Vec<_>>()))
    }

    /// The endpoint, if it is the caller's.
    async fn find(&self, id: &str, caller: &Caller) -> Result<Endpoint, Failure> {
        match manage::endpoint(&self.deps, id).await? {
            Some(endpoint) if caller.may(endpoint.organization_id()) => Ok(endpoint),
            _ => Err(Failure::Refused(Box::new(not_found("Webhook not found")))),
        }
    }

    async fn change(&self, call: &Call, endpoint: &Endpoint) -> Result<Reply, Failure> {
        let mut fields = Fields::body(call)?;
        let mut settings = Settings {
            is_active: fields.boolean("isActive"),
            timeout_ms: fields.number("timeoutMs", 1_000, 30_000),
            rate_per_second: fields
                .number("ratePerSecond", 1, 1_000)
                .map(|rate| rate.and_then(|rate| u32::try_from(rate).ok())),
            retry_policy: None,
        };
        if let Some(policy) = fields.get("retryPolicy") {
            settings.retry_policy = manage::parse_policy(policy);
            if settings.retry_policy.is_none() {
                fields.custom("retryPolicy", "Expected compat, standard, or 1 to 20 waits of 1 to 259200 seconds");
            }
        }
        fields.finish()?;
        let changed = manage::change(&self.deps, endpoint, &settings).await?;
        Ok(changed.map_or_else(|| not_found("Webhook not found"), |changed| Reply::json(200, &changed.details())))
    }

    async fn remove(&self, endpoint: &Endpoint) -> Result<Reply, Failure> {
        manage::remove(&self.deps, endpoint).await?;
        Ok(Reply::json(200, &json!({"deleted": true})))
    }

    async fn rotate(&self, call: &Call, endpoint: &Endpoint) -> Result<Reply, Failure> {
        let mut fields = Fields::optional_body(call)?;
        let grace = fields.number("gracePeriodSeconds", 0, 7 * DAY).flatten().unwrap_or(DAY);
        fields.finish()?;
        Ok(match manage::rotate(&self.deps, endpoint, Duration::from_secs(grace)).await? {
            Some(rotated) => self.secret(&rotated).await?,
            None => Reply::json(409, &json!({"error": "conflict", "message": "the webhook was changed meanwhile"})),
        })
    }

    async fn secret(&self, endpoint: &Endpoint) -> Result<Reply, Failure> {
        let secret = manage::secret(&self.deps, endpoint).await?;
        Ok(Reply::json(200, &json!({"secret": secret.expose()})))
    }

    async fn test(&self, endpoint: &Endpoint) -> Result<Reply, Failure> {
        Ok(Reply::json(202, &json!({"eventId": manage::test(&self.deps, endpoint).await?})))
    }

    async fn deliveries(&self, call: &Call, endpoint: &Endpoint) -> Result<Reply, Failure> {
        let mut fields = Fields::query(call);
        let status = fields.get("status").is_some().then(|| {
            let name = fields.one_of("status", &["pending", "success", "failed", "skipped"]);
            serde_json::from_value::<DeliveryStatus>(name.into()).ok()
        });
        let cursor = fields.get("cursor").is_some().then(|| fields.uuid("cursor"));
        fields.finish()?;
        let page = manage::deliveries(&self.deps, endpoint, status.flatten(), cursor.as_deref()).await?;
        Ok(Reply::json(200, &page))
    }

    async fn recover(&self, call: &Call, endpoint: &Endpoint) -> Result<Reply, Failure> {
        let mut fields = Fields::body(call)?;
        let (since, until) = (fields.instant("since"), fields.instant("until"));
        let is_dry = fields.boolean("dryRun").unwrap_or(false);
        if since > until {
            fields.custom("until", "until must not be before since");
        }
        fields.finish()?;
        if is_dry {
            let count = manage::count_failed(&self.deps, endpoint, since, until).await?;
            return Ok(Reply::json(200, &json!({"count": count})));
        }
        let task = manage::recover(&self.deps, endpoint, since, until).await?;
        Ok(Reply::json(202, &json!({"taskId": task})))
    }

    async fn event(&self, id: &str, caller: &Caller) -> Result<Reply, Failure> {
        Ok(match manage::event(&self.deps, id).await? {
            Some((organization, event)) if caller.may(&organization) => Reply::json(200, &event),
            _ => not_found("Event not found"),
        })
    }

    async fn resend(&self, call: &Call, id: &str, caller: &Caller) -> Result<Reply, Failure> {
        let mut fields = Fields::optional_body(call)?;
        let endpoint = fields.get("endpointId").is_some().then(|| fields.uuid("endpointId"));
        fields.finish()?;
        match manage::owner(&self.deps, id).await? {
            Some(organization) if caller.may(&organization) => {}
            _ => return Ok(not_found("Event not found")),
        }
        let sent = manage::resend(&self.deps, id, endpoint.as_deref()).await?;
        Ok(Reply::json(202, &json!({"deliveries": sent})))
    }
}

enum Failure {
    Refused(Refusal),
    Fault(CallbacksError),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<CallbacksError> for Failure {
    fn from(error: CallbacksError) -> Self {
        Self::Fault(error)
    }
}

fn not_found(what: &str) -> Reply {
    Reply::json(404, &json!({"error": what}))
}
