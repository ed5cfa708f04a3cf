//! From a path to its part.

use crate::access::{Access, Caller};
use crate::health::Health;
use crate::inbound;
use crate::mock::Mock;
use crate::repeat;
use crate::stores::Stores;
use crate::webhooks::Webhooks;
use futures_util::FutureExt as _;
use http::{HeaderName, HeaderValue, Method, header};
use serde_json::json;
use std::panic::AssertUnwindSafe;
use switchyard_core::{Clock, Env, EnvError, error_chain};
use switchyard_io::Aws;
use switchyard_lambda::{Call, Reply, once};
use switchyard_orders::{InboundDeps, OrdersDeps};
use switchyard_work::idempotency::Idempotency;

/// Our own fault, whichever part it came from.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Every route of this function.
pub struct Routes {
    access: Access,
    stores: Stores,
    inbound: InboundDeps,
    webhooks: Webhooks,
    mock: Mock,
    health: Health,
    keys: Idempotency,
    clock: Clock,
}

impl Routes {
    /// Reads the settings of all parts.
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        let orders = OrdersDeps::from_env(aws, env)?;
        Ok(Self {
            access: Access::from_env(aws, env)?,
            inbound: InboundDeps::from_env(aws, env, orders.clone())?,
            stores: Stores::new(orders),
            webhooks: Webhooks::from_env(aws, env)?,
            mock: Mock::from_env(env),
            health: Health::from_env(aws, env)?,
            keys: Idempotency::from_env(aws, env, "ORDERS_TABLE")?,
            clock: Clock::system(),
        })
    }

    /// Answers one request; a panic as our own fault.
    pub async fn answer(&self, call: Call) -> Reply {
        let answered = AssertUnwindSafe(self.route(&call)).catch_unwind().await;
        answered.unwrap_or_else(|_| fault(&call, &Panicked))
    }

    async fn route(&self, call: &Call) -> Reply {
        let path = call.origin.path.as_str();
        let mock = path.strip_prefix("/mock/").and_then(|rest| rest.strip_suffix("/validate"));
        if let (&Method::POST, Some(marketplace)) = (&call.method, mock) {
            return self.mock.answer(call, marketplace, &self.clock);
        }
        if (&call.method, path) == (&Method::GET, "/health/orders") {
            return self.health.answer().await;
        }
        if let (&Method::POST, Some(marketplace)) = (&call.method, path.strip_prefix("/inbound/")) {
            let answered = inbound::answer(&self.inbound, call, marketplace).await;
            return answered.map_or_else(|error| fault(call, &*error), |reply| reply.unwrap_or_else(|| unknown(call)));
        }
        let caller = match self.access.caller(call).await {
            Ok(Some(caller)) => caller,
            Ok(None) => return unauthorized(),
            Err(error) => return fault(call, &error),
        };
        let answered = match call.method {
            Method::POST => once(&self.keys, call, &caller.name(), || self.act(call, &caller)).await,
            _ => self.act(call, &caller).await.map(Ok),
        };
        match answered {
            Ok(answered) => answered.unwrap_or_else(repeat::refusal),
            Err(error) => fault(call, &*error),
        }
    }

    async fn act(&self, call: &Call, caller: &Caller) -> Result<Reply, Fault> {
        if let Some(reply) = self.stores.answer(call, caller).await? {
            return Ok(reply);
        }
        Ok(self.webhooks.answer(call, caller).await?.unwrap_or_else(|| unknown(call)))
    }
}

/// The panic's place is in the log already.
#[derive(Debug, thiserror::Error)]
#[error("the request's work panicked")]
struct Panicked;

fn unauthorized() -> Reply {
    let body = json!({"error": "unauthorized", "message": "an API key is needed, as X-Api-Key or bearer token"});
    Reply::json(401, &body).with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

fn unknown(call: &Call) -> Reply {
    let message = format!("Route {}:{} not found", call.method, call.origin.path);
    Reply::json(404, &json!({"message": message, "error": "Not Found", "statusCode": 404}))
}

/// Our own fault: the cause goes to the log, under the id that the client gets.
fn fault(call: &Call, error: &(dyn std::error::Error + 'static)) -> Reply {
    tracing::error!(error = error_chain(error), "the request could not be completed");
    let reply = Reply::json(500, &json!({"error": "internal_server_error", "message": "Internal server error"}));
    match HeaderValue::from_str(&call.origin.request_id) {
        Ok(id) => reply.with_header(HeaderName::from_static("x-request-id"), id),
        Err(_) => reply,
    }
}
