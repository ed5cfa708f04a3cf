//! Requests that may be sent again: `Idempotency-Key`.

use crate::access::Caller;
use crate::routes::Fault;
use http::{HeaderName, HeaderValue};
use serde_json::json;
use switchyard_core::{error_chain, hex_sha256};
use switchyard_io::idempotency::{Begun, Idempotency};
use switchyard_lambda::{Call, Reply};

/// Names a request, so that sending it again takes effect once.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const MAX_KEY: usize = 255;

/// Answers a request with a key: by `act` the first time, with that same answer after that.
///
/// # Errors
/// Our own fault; the request may be sent again.
pub async fn once<F>(
    keys: &Idempotency,
    call: &Call,
    caller: &Caller,
    key: &str,
    act: impl FnOnce() -> F,
) -> Result<Reply, Fault>
where
    F: Future<Output = Result<Reply, Fault>>,
{
    if key.is_empty() || key.len() > MAX_KEY {
        return Ok(unusable());
    }
    let request = hex_sha256(&[&call.origin.path, &call.query, &String::from_utf8_lossy(&call.body)]);
    let running = match keys.begin(&caller.name(), key, &request).await? {
        Begun::First(running) => running,
        Begun::Answered { status, body } => return Ok(replay(status, body)),
        Begun::OtherRequest => {
            let message = "this Idempotency-Key was used for another request";
            return Ok(Reply::json(422, &json!({"error": "idempotency_key_reused", "message": message})));
        }
        Begun::InProgress => {
            let message = "the request with this Idempotency-Key is being answered; send it again later";
            return Ok(Reply::json(409, &json!({"error": "idempotency_key_in_use", "message": message})));
        }
    };
    let answered = act().await;
    let kept = match &answered {
        Ok(reply) if reply.status.is_success() && !reply.is_passing => {
            keys.finish(running, reply.status.as_u16(), &reply.body).await
        }
        _ => keys.abandon(running).await,
    };
    if let Err(error) = kept {
        // What was done is done: the answer is worth more than its repetition.
        tracing::warn!(error = error_chain(&error), "an answer could not be kept for its repetition");
    }
    answered
}

/// The answer to a request whose key is none.
pub fn unusable() -> Reply {
    let message = format!("Idempotency-Key must have 1 to {MAX_KEY} characters of visible ASCII");
    Reply::json(400, &json!({"error": "invalid_idempotency_key", "message": message}))
}

fn replay(status: u16, body: String) -> Reply {
    let reply = Reply::json(status, &()).with_header(REPLAYED, HeaderValue::from_static("true"));
    Reply { body, ..reply }
}
