//! Who calls, as the presented credential says, and whether an operation lets them.

use crate::{Access, ApiKeyId, OperatorId, Role, Scope, TenantId, UserId};
use switchyard_core::ActorId;

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A machine, by HTTP Basic.
    Basic {
        /// The user name.
        user: String,
    },
    /// A tenant's program, by API key.
    ApiKey {
        /// The key's id.
        id: ApiKeyId,
        /// The tenant's id.
        tenant: TenantId,
        /// What the key may do.
        scopes: Vec<Scope>,
    },
    /// A tenant's user, by token.
    User {
        /// The user's id.
        id: UserId,
        /// The tenant's id.
        tenant: TenantId,
        /// What the user may do.
        role: Role,
    },
    /// An operator of the platform, by token.
    Operator {
        /// The operator's id.
        id: OperatorId,
    },
}

/// Why an operation does not let a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It takes no API key.
    UserRequired,
    /// The API key lacks this scope.
    MissingScope(Scope),
    /// The role is not high enough, or the caller has no tenant.
    Role,
}

impl Caller {
    /// The caller as audit records and logs name it.
    pub fn actor(&self) -> ActorId {
        match self {
            Self::Basic { user } => ActorId::from(format!("basic:{user}")),
            Self::ApiKey { id, .. } => id.actor(),
            Self::User { id, .. } => id.actor(),
            Self::Operator { id } => id.actor(),
        }
    }

    /// The caller's tenant; operators and machines have none.
    pub fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::ApiKey { tenant, .. } | Self::User { tenant, .. } => Some(tenant),
            Self::Basic { .. } | Self::Operator { .. } => None,
        }
    }

    /// Whether an operation lets the caller.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, access: Access) -> Result<(), Denied> {
        let is_allowed = match (access, self) {
            (Access::ApiKey(scope) | Access::Tenant(_, Some(scope)), Self::ApiKey { scopes, .. }) => {
                return if scopes.contains(&scope) { Ok(()) } else { Err(Denied::MissingScope(scope)) };
            }
            (_, Self::ApiKey { .. }) => return Err(Denied::UserRequired),
            (Access::Tenant(least, _), Self::User { role, .. }) => *role >= least,
            (Access::AdminOrOperator, Self::User { role, .. }) => *role >= Role::Admin,
            (Access::User, Self::User { .. } | Self::Operator { .. })
            | (Access::AdminOrOperator | Access::Operator | Access::OperatorOrBasic, Self::Operator { .. })
            | (Access::Basic | Access::OperatorOrBasic, Self::Basic { .. }) => true,
            _ => false,
        };
        if is_allowed { Ok(()) } else { Err(Denied::Role) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_access_lets_in_those_it_names() {
        let tenant = || TenantId::from("t");
        let user = |role| Caller::User { id: "1".into(), tenant: tenant(), role };
        let callers = [
            ("basic", Caller::Basic { user: "1".to_owned() }),
            ("key", Caller::ApiKey { id: "1".into(), tenant: tenant(), scopes: vec![Scope::RulesRead] }),
            ("member", user(Role::Member)),
            ("admin", user(Role::Admin)),
            ("owner", user(Role::Owner)),
            ("operator", Caller::Operator { id: "1".into() }),
        ];
        let table: [(Access, &[&str]); 9] = [
            (Access::Basic, &["basic"]),
            (Access::ApiKey(Scope::RulesRead), &["key"]),
            (Access::ApiKey(Scope::RulesWrite), &[]),
            (Access::User, &["member", "admin", "owner", "operator"]),
            (Access::Tenant(Role::Member, None), &["member", "admin", "owner"]),
            (Access::Tenant(Role::Admin, Some(Scope::RulesRead)), &["key", "admin", "owner"]),
            (Access::AdminOrOperator, &["admin", "owner", "operator"]),
            (Access::Operator, &["operator"]),
            (Access::OperatorOrBasic, &["basic", "operator"]),
        ];
        for (access, allowed) in table {
            for (name, caller) in &callers {
                assert_eq!(caller.check(access).is_ok(), allowed.contains(name), "{name} at {access:?}");
            }
        }
        assert_eq!(callers[1].1.check(Access::User), Err(Denied::UserRequired));
        let lacks = Err(Denied::MissingScope(Scope::RulesWrite));
        assert_eq!(callers[1].1.check(Access::Tenant(Role::Member, Some(Scope::RulesWrite))), lacks);
    }
}
