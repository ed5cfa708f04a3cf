//! What an operation asks of its caller.

use crate::{Role, Scope};

/// Who may call an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Any caller, without a credential.
    Anyone,
    /// A third party, by a signature over the request that the handler verifies.
    Signature,
    /// A machine, by HTTP Basic.
    Basic,
    /// An organization, by its API key.
    Organization,
    /// A tenant's producer, by an API key with this scope.
    ApiKey(Scope),
    /// Any signed-in user.
    User,
    /// A user of the tenant with at least this role; with a scope, also an API key that has it.
    Tenant(Role, Option<Scope>),
    /// A tenant's administrator, for the tenant's own; an operator, for every tenant's.
    AdminOrOperator,
    /// An operator of the platform.
    Operator,
    /// An operator of the platform, or a machine by the stack's own Basic credentials.
    OperatorOrBasic,
}

impl Access {
    /// The sentence that the API document says of it.
    pub fn description(self) -> String {
        match self {
            Self::Anyone => "No credential is needed.".to_owned(),
            Self::Signature => "The request is signed by the sender.".to_owned(),
            Self::Basic => "HTTP Basic credentials are required.".to_owned(),
            Self::Organization => "An organization's API key is required.".to_owned(),
            Self::ApiKey(scope) => format!("Requires an API key with the scope `{}`.", scope.name()),
            Self::User => "Requires a signed-in user.".to_owned(),
            Self::Tenant(role, None) => format!("Requires a user with the role `{}` or higher.", role.name()),
            Self::Tenant(role, Some(scope)) => {
                let (role, scope) = (role.name(), scope.name());
                format!("Requires a user with the role `{role}` or higher, or an API key with the scope `{scope}`.")
            }
            Self::AdminOrOperator => {
                "Requires an administrator of the tenant, or an operator for all tenants.".to_owned()
            }
            Self::Operator => "Requires an operator.".to_owned(),
            Self::OperatorOrBasic => "Requires an operator, or the stack's Basic credentials.".to_owned(),
        }
    }

    /// Whether a credential has to be presented and checked before the handler runs.
    pub fn needs_caller(self) -> bool {
        !matches!(self, Self::Anyone | Self::Signature)
    }
}
