//! What is said of an `Idempotency-Key` that cannot be used.

use serde_json::json;
use switchyard_lambda::{MAX_IDEMPOTENCY_KEY, Reply, Unrepeatable};

/// The answer to a request that is not answered because of its key.
pub fn refusal(reason: Unrepeatable) -> Reply {
    let (status, error, message) = match reason {
        Unrepeatable::BadKey => (
            400,
            "invalid_idempotency_key",
            format!("Idempotency-Key must have 1 to {MAX_IDEMPOTENCY_KEY} characters of visible ASCII"),
        ),
        Unrepeatable::OtherRequest => {
            (422, "idempotency_key_reused", "this Idempotency-Key was used for another request".to_owned())
        }
        Unrepeatable::InProgress => (
            409,
            "idempotency_key_in_use",
            "the request with this Idempotency-Key is being answered; send it again later".to_owned(),
        ),
    };
    Reply::json(status, &json!({"error": error, "message": message}))
}
