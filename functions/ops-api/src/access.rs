//! What the operations need, and who may call them: operators.

use crate::document::Docs;
use http::request::Parts;
use http::{HeaderValue, header};
use std::sync::Arc;
use switchyard_api::{Authenticate, Refusal};
use switchyard_core::Env;
use switchyard_identity::Access;
use switchyard_io::basic::Basic;
use switchyard_io::dlq::Dlqs;
use switchyard_io::{Aws, Secrets};
use switchyard_lambda::Error;

/// What the operations need.
#[derive(Clone)]
pub struct State(pub(crate) Arc<Deps>);

pub(crate) struct Deps {
    pub(crate) dlqs: Dlqs,
    pub(crate) docs: Docs,
    credentials: Basic,
}

impl State {
    /// Reads `DLQS`, `DOCS_ENABLED`, `ADMIN_SECRET` and that secret's `ADMIN_BASIC_USER` and `ADMIN_BASIC_PASS`.
    ///
    /// # Errors
    /// A setting or a secret's value is missing; the message names it.
    pub async fn from_env(aws: &Aws, env: &Env) -> Result<Self, Error> {
        let credentials = Basic::new(Secrets::new(aws), env.required("ADMIN_SECRET")?, "ADMIN_BASIC");
        credentials.known().await?;
        Ok(Self(Arc::new(Deps { dlqs: Dlqs::from_env(aws, env)?, docs: Docs::from_env(env)?, credentials })))
    }
}

impl Authenticate for State {
    type Caller = ();

    async fn authenticate(&self, parts: &Parts, _access: Access) -> Result<(), Refusal> {
        let authorization = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        match self.0.credentials.accepts(authorization).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                let challenge = HeaderValue::from_static("Basic realm=\"Switchyard\"");
                let refusal = Refusal::unauthorized("The operator's credentials are required");
                Err(refusal.with_header(header::WWW_AUTHENTICATE, challenge))
            }
            Err(error) => Err(Refusal::fault(&error)),
        }
    }
}
