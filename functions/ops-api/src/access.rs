//! What the operations need, and who may call them: operators, and machines by Basic.

use crate::document::Docs;
use http::request::Parts;
use http::{HeaderValue, header};
use std::sync::Arc;
use switchyard_api::{Authenticate, OrFault as _, Refusal};
use switchyard_core::{ActorId, Env};
use switchyard_identity::operators::{OperatorSession, Operators};
use switchyard_identity::{Access, Basic, Caller};
use switchyard_io::{Aws, Secrets};
use switchyard_lambda::Error;
use switchyard_work::dead_letters::{DeadLetterQueues, MayShow};

/// What the operations need.
#[derive(Clone)]
pub struct State(pub(crate) Arc<Deps>);

pub(crate) struct Deps {
    pub(crate) dead_letters: DeadLetterQueues,
    pub(crate) docs: Docs,
    pub(crate) operators: Operators,
    credentials: Basic,
}

impl State {
    /// Reads `DOCS_ENABLED`, `ADMIN_SECRET` with that secret's `ADMIN_BASIC_USER` and `ADMIN_BASIC_PASS`, and what
    /// [`Operators::from_env`] and [`DeadLetterQueues::from_env`] do.
    ///
    /// # Errors
    /// A setting or a secret's value is missing or invalid; the message names it.
    pub async fn from_env(aws: &Aws, env: &Env) -> Result<Self, Error> {
        let credentials = Basic::new(Secrets::new(aws), env.required("ADMIN_SECRET")?, "ADMIN_BASIC");
        let operators = Operators::from_env(aws, env)?;
        credentials.current().await?;
        operators.tokens().warm_up().await?;
        let private: [(&str, MayShow); 1] = [("adt", switchyard_adt::is_queued_event)];
        let (dead_letters, docs) = (DeadLetterQueues::from_env(aws, env, &private)?, Docs::from_env(env)?);
        Ok(Self(Arc::new(Deps { dead_letters, docs, operators, credentials })))
    }
}

/// Who calls.
#[derive(Clone, Debug)]
pub struct Actor {
    caller: Arc<Caller>,
    session: Option<Arc<OperatorSession>>,
}

impl Actor {
    /// The caller in records and logs.
    pub(crate) fn id(&self) -> ActorId {
        self.caller.actor()
    }

    /// The session of an operator; a machine has none.
    pub(crate) fn session(&self) -> Result<&OperatorSession, Refusal> {
        self.session.as_deref().ok_or_else(|| Refusal::forbidden("An operator's token is required"))
    }
}

impl Authenticate for State {
    type Caller = Actor;

    async fn authenticate(&self, parts: &Parts, access: Access) -> Result<Actor, Refusal> {
        let authorization = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let actor = match authorization.and_then(|value| value.strip_prefix("Bearer ")) {
            Some(token) => self.operator(token).await?,
            None => self.machine(authorization).await?,
        };
        actor.caller.check(access)?;
        Ok(actor)
    }
}

impl State {
    async fn operator(&self, token: &str) -> Result<Actor, Refusal> {
        let operators = &self.0.operators;
        let session = match operators.tokens().verify(token).await.or_fault()? {
            Some(claims) => operators.session(&claims).await.or_fault()?,
            None => None,
        };
        let session = session.ok_or_else(|| challenge(Refusal::unauthorized("Invalid token")))?;
        let caller = Caller::Operator { id: session.operator.id.clone() };
        Ok(Actor { caller: caller.into(), session: Some(session.into()) })
    }

    async fn machine(&self, authorization: Option<&str>) -> Result<Actor, Refusal> {
        if !self.0.credentials.accepts(authorization).await.or_fault()? {
            return Err(challenge(Refusal::unauthorized(
                "An operator's token or the stack's Basic credentials are required",
            )));
        }
        let user = self.0.credentials.current().await.or_fault()?.user;
        Ok(Actor { caller: Caller::Basic { user }.into(), session: None })
    }
}

fn challenge(refusal: Refusal) -> Refusal {
    refusal.with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"Switchyard\""))
}
