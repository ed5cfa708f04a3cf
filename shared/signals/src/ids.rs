//! Identifiers of tenants and of what they have. Each is text in JSON and in DynamoDB.

pub use switchyard_core::ActorId;
pub use switchyard_identity::{ApiKeyId, TenantId, UserId};

switchyard_core::id_type! {
    /// An event's id, a UUID v7. Its time is the day that the event's row lies on.
    pub EventId;
    /// A rule's id, a UUID v7.
    pub RuleId;
    /// A notification config's id, a UUID v7.
    pub ConfigId;
    /// A delivery's id, the SHA-256 of what it delivers to whom, in hexadecimal.
    pub DeliveryId;
    /// The id of a suppressed recipient's row, the SHA-256 of channel and recipient, in hexadecimal.
    pub SuppressionId;
    /// A dead letter's id: a delivery's, or a UUID v7.
    pub DeadLetterId;
}
