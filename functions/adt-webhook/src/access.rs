//! What the operations need, and who may call them: ALIS, from its addresses and with its credentials.

use http::request::Parts;
use http::{HeaderValue, header};
use std::sync::Arc;
use switchyard_adt::{AcceptDeps, HealthDeps};
use switchyard_api::{Authenticate, Refusal};
use switchyard_core::{Clock, Env, Invocation, Timestamp};
use switchyard_identity::{Access, Basic, IpAllowlist};
use switchyard_io::{Aws, Secrets};
use switchyard_lambda::Error;

/// ALIS's own addresses, from its integration notes.
const ALIS_ADDRESSES: &str = "40.122.155.32/30";

/// What the operations need.
#[derive(Clone)]
pub struct State(pub(crate) Arc<Deps>);

pub(crate) struct Deps {
    pub(crate) accept: AcceptDeps,
    pub(crate) health: HealthDeps,
    pub(crate) clock: Clock,
    pub(crate) started: Timestamp,
    credentials: Basic,
    allowlist: IpAllowlist,
}

impl State {
    /// Reads `IP_ALLOWLIST`, `ADT_WEBHOOK_SECRET`, that secret, and the workflow's own settings.
    ///
    /// # Errors
    /// A setting or a secret's value is missing; the message names it.
    pub async fn from_env(aws: &Aws, env: &Env) -> Result<Self, Error> {
        let accept = AcceptDeps::from_env(aws, env)?;
        let health = HealthDeps::from_env(aws, env, &accept)?;
        let credentials = Basic::new(Secrets::new(aws), env.required("ADT_WEBHOOK_SECRET")?, "WEBHOOK_BASIC");
        credentials.current().await?;
        let allowlist = IpAllowlist::parse(&env.optional("IP_ALLOWLIST").unwrap_or_else(|| ALIS_ADDRESSES.to_owned()));
        let clock = Clock::system();
        Ok(Self(Arc::new(Deps { accept, health, credentials, allowlist, started: clock.now(), clock })))
    }
}

impl Authenticate for State {
    type Caller = ();

    async fn authenticate(&self, parts: &Parts, _access: Access) -> Result<(), Refusal> {
        let source_ip = parts.extensions.get::<Invocation>().map_or("", |invocation| &invocation.source_ip);
        if !self.0.allowlist.admits(source_ip) {
            return Err(Refusal::forbidden("The address is not on the allow-list"));
        }
        let authorization = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        match self.0.credentials.accepts(authorization).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                let challenge = HeaderValue::from_static("Basic realm=\"ALIS Webhook\"");
                let refusal = Refusal::unauthorized("The webhook's credentials are required");
                Err(refusal.with_header(header::WWW_AUTHENTICATE, challenge))
            }
            Err(error) => Err(Refusal::fault(&error)),
        }
    }
}
