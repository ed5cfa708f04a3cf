//! From HTTP to the ADT workflow and back, with the statuses and bodies that ALIS knows.

use http::{HeaderValue, Method, header};
use serde_json::json;
use switchyard_adt::{AcceptDeps, Accepted, HealthDeps, Notification, accept};
use switchyard_core::access::IpAllowlist;
use switchyard_core::{Clock, Env, Problem, Timestamp, error_chain, iso_millis};
use switchyard_io::Secrets;
use switchyard_io::basic::Basic;
use switchyard_lambda::{Call, Error, Reply};

/// Largest body taken.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// ALIS's own addresses, from its integration notes.
const ALIS_ADDRESSES: &str = "40.122.155.32/30";

/// The HTTP surface of ADT.
pub struct Routes {
    accept: AcceptDeps,
    health: HealthDeps,
    credentials: Basic,
    allowlist: IpAllowlist,
    clock: Clock,
    started: Timestamp,
}

impl Routes {
    /// Reads `IP_ALLOWLIST`, `ADT_WEBHOOK_SECRET` and that secret.
    ///
    /// # Errors
    /// A setting or a secret's value is missing; the message names it.
    pub async fn new(accept: AcceptDeps, health: HealthDeps, secrets: Secrets, env: &Env) -> Result<Self, Error> {
        let clock = Clock::system();
        let credentials = Basic::new(secrets, env.required("ADT_WEBHOOK_SECRET")?, "WEBHOOK_BASIC");
        credentials.known().await?;
        let allowlist = IpAllowlist::parse(&env.optional("IP_ALLOWLIST").unwrap_or_else(|| ALIS_ADDRESSES.to_owned()));
        Ok(Self { accept, health, credentials, allowlist, started: clock.now(), clock })
    }

    /// Answers one request.
    pub async fn answer(&self, call: Call) -> Reply {
        match (&call.method, call.origin.path.as_str()) {
            (&Method::POST, "/webhook/alis") => self.webhook(&call).await,
            (&Method::GET, "/health") => self.platform_health(),
            (&Method::GET, "/health/deps") => self.deep_health().await,
            (_, "/webhook/alis") => call.origin.problem(&Problem::method_not_allowed("POST")),
            (_, "/health" | "/health/deps") => call.origin.problem(&Problem::method_not_allowed("GET")),
            _ => call.origin.problem(&Problem::not_found("there is no such path")),
        }
    }

    async fn webhook(&self, call: &Call) -> Reply {
        if !self.allowlist.admits(&call.source_ip) {
            return Reply::json(403, &json!({"error": "Forbidden"}));
        }
        match self.credentials.accepts(call.header(header::AUTHORIZATION)).await {
            Ok(true) => {}
            Ok(false) => {
                return Reply::json(401, &json!({"error": "Unauthorized"}))
                    .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"ALIS Webhook\""));
            }
            Err(error) => return failed(&error),
        }
        if call.body.len() > MAX_BODY_BYTES {
            return Reply::json(413, &json!({"error": "Payload Too Large", "limit": MAX_BODY_BYTES}));
        }
        let notification = match Notification::parse(&call.body) {
            Ok(notification) => notification,
            Err(errors) => return Reply::json(400, &json!({"error": "Invalid payload", "details": errors})),
        };
        match accept(&self.accept, &notification, call.trace.clone()).await {
            Ok(Accepted::Queued { id }) => Reply::json(202, &json!({"status": "queued", "id": id})),
            Ok(Accepted::Duplicate) => Reply::json(200, &json!({"status": "duplicate"})),
            Ok(Accepted::Ignored) => Reply::json(202, &json!({"status": "ignored"})),
            Ok(Accepted::TestAcknowledged) => Reply::json(202, &json!({"status": "test_acknowledged"})),
            Err(error) => failed(&error),
        }
    }

    fn platform_health(&self) -> Reply {
        let now = self.clock.now();
        let uptime = now.duration_since(self.started).as_secs();
        let version = env!("CARGO_PKG_VERSION");
        Reply::json(200, &json!({"status": "ok", "timestamp": iso_millis(now), "uptime": uptime, "version": version}))
    }

    async fn deep_health(&self) -> Reply {
        let health = self.health.check().await;
        Reply::json(if health.status == "ok" { 200 } else { 503 }, &health)
    }
}

/// Our own fault: the cause goes to the log, and ALIS delivers again.
fn failed(error: &(dyn std::error::Error + 'static)) -> Reply {
    tracing::error!(error = error_chain(error), "the webhook could not be accepted");
    Reply::json(500, &json!({"error": "Internal Server Error"}))
}
