//! What tenants and operators look after.

pub mod api_keys;
pub mod auth;
pub mod configs;
pub mod dead_letters;
pub mod deliveries;
pub mod events;
pub mod rules;
pub mod suppressions;
pub mod tenants;
pub mod usage;
pub mod users;

use crate::access::Caller;
use crate::answer::Failure;
use switchyard_core::{Env, EnvError};
use switchyard_io::Aws;
use switchyard_io::keys::ApiKeys;
use switchyard_lambda::Call;
use switchyard_signals::QueueDeps;
use switchyard_signals::configs::ConfigDeps;
use switchyard_signals::events::EventDeps;
use switchyard_signals::receipts::ReceiptDeps;
use switchyard_signals::tenants::TenantDeps;
use switchyard_signals::trials::TrialDeps;
use switchyard_signals::users::UserDeps;

/// What all of it needs.
pub struct Deps {
    /// Who logs in.
    pub users: UserDeps,
    /// Tenants and rules.
    pub tenants: TenantDeps,
    /// Notification configs.
    pub configs: ConfigDeps,
    /// Stored events.
    pub events: EventDeps,
    /// Trials of configs.
    pub trials: TrialDeps,
    /// What providers report, and whom they know to be gone.
    pub receipts: ReceiptDeps,
    /// What was not done, and having it done again.
    pub queues: QueueDeps,
    /// Producers' keys.
    pub keys: ApiKeys,
}

impl Deps {
    /// Reads the settings of all parts.
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        Ok(Self {
            users: UserDeps::from_env(aws, env)?,
            tenants: TenantDeps::from_env(aws, env)?,
            configs: ConfigDeps::from_env(aws, env)?,
            events: EventDeps::from_env(aws, env)?,
            trials: TrialDeps::from_env(aws, env)?,
            receipts: ReceiptDeps::from_env(aws, env)?,
            queues: QueueDeps::from_env(aws, env)?,
            keys: ApiKeys::from_env(aws, env, "SIGNALS_TABLE")?,
        })
    }
}

/// One call, by somebody who may make it.
pub struct Request<'a> {
    /// What it needs.
    pub deps: &'a Deps,
    /// The call.
    pub call: &'a Call,
    /// Who makes it.
    pub caller: &'a Caller,
    /// What stands in the path's braces.
    pub ids: Vec<&'a str>,
}

impl Request<'_> {
    /// What stands in the first braces.
    pub fn id(&self) -> &str {
        self.ids.first().copied().unwrap_or_default()
    }

    /// The id of the caller's tenant.
    pub fn tenant(&self) -> Result<&str, Failure> {
        Ok(&self.caller.tenant()?.id)
    }
}

/// A text of 1 to `most` characters.
pub fn check_text(name: &str, text: &str, most: usize) -> Result<(), Failure> {
    match text.chars().count() {
        0 => Err(Failure::field(format!("{name} should not be empty"))),
        length if length > most => Err(Failure::field(format!("{name} must have at most {most} characters"))),
        _ => Ok(()),
    }
}
