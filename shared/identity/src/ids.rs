//! Identifiers of callers and of their credentials. Each is text in JSON and in DynamoDB.

use switchyard_core::ActorId;

switchyard_core::id_type! {
    /// A customer of the platform: a tenant of the event service, or an organization with shops. A UUID.
    pub TenantId;
    /// A user's id, a UUID v7.
    pub UserId;
    /// An operator's id, a UUID v7.
    pub OperatorId;
    /// An API key's id, a UUID v7; not the key.
    pub ApiKeyId;
    /// A bearer token's id, a UUID v7; not the token.
    pub TokenId;
}

impl UserId {
    /// The user as actor.
    pub fn actor(&self) -> ActorId {
        ActorId::from(format!("user:{self}"))
    }
}

impl OperatorId {
    /// The operator as actor.
    pub fn actor(&self) -> ActorId {
        ActorId::from(format!("operator:{self}"))
    }
}

impl ApiKeyId {
    /// The key's program as actor.
    pub fn actor(&self) -> ActorId {
        ActorId::from(format!("key:{self}"))
    }
}
