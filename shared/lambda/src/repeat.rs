use crate::http::{Call, Reply};
use ::http::header::ETAG;
use ::http::{HeaderName, HeaderValue};
use switchyard_core::{error_chain, hex_sha256};
use switchyard_work::idempotency::{Begun, Idempotency, IdempotencyError};

/// Names a request, so that sending it again takes effect once.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Says that an answer was given before.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Longest key, in characters.
pub const MAX_IDEMPOTENCY_KEY: usize = 255;

/// Why a request with a key is not answered; each API has its own words for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrepeatable {
    /// The key is empty, too long, or no visible ASCII.
    BadKey,
    /// Another request used the key.
    OtherRequest,
    /// The same request is being answered right now.
    InProgress,
}

/// Answers a request by `act`; one that names a key, by `act` the first time and with that same answer after that. Keys are
/// `caller`'s own.
///
/// # Errors
/// Our own fault; the request may be sent again.
pub async fn once<F, E>(
    keys: &Idempotency,
    call: &Call,
    caller: &str,
    act: impl FnOnce() -> F,
) -> Result<Result<Reply, Unrepeatable>, E>
where
    F: Future<Output = Result<Reply, E>>,
    E: From<IdempotencyError>,
{
    if call.is_unreadable(&IDEMPOTENCY_KEY) {
        return Ok(Err(Unrepeatable::BadKey));
    }
    let Some(key) = call.header(IDEMPOTENCY_KEY) else { return act().await.map(Ok) };
    if key.is_empty() || key.len() > MAX_IDEMPOTENCY_KEY {
        return Ok(Err(Unrepeatable::BadKey));
    }
    let request = hex_sha256(&[&call.origin.path, &call.query, &String::from_utf8_lossy(&call.body)]);
    let running = match keys.begin(caller, key, &request).await? {
        Begun::First(running) => running,
        Begun::Answered { status, body, etag } => return Ok(Ok(replay(status, body, etag))),
        Begun::OtherRequest => return Ok(Err(Unrepeatable::OtherRequest)),
        Begun::InProgress => return Ok(Err(Unrepeatable::InProgress)),
    };
    let answered = act().await;
    let kept = match &answered {
        Ok(reply) if reply.status.is_success() && !reply.is_passing => {
            let etag = reply.headers.get(ETAG).and_then(|etag| etag.to_str().ok());
            keys.finish(running, reply.status.as_u16(), &reply.body, etag).await
        }
        _ => keys.abandon(running).await,
    };
    if let Err(error) = kept {
        // What was done is done: the answer is worth more than its repetition.
        tracing::warn!(error = error_chain(&error), "an answer could not be kept for its repetition");
    }
    answered.map(Ok)
}

fn replay(status: u16, body: String, etag: Option<String>) -> Reply {
    let reply = Reply::json(status, &()).with_header(REPLAYED, HeaderValue::from_static("true"));
    let reply = match etag.map(HeaderValue::try_from) {
        Some(Ok(etag)) => reply.with_header(ETAG, etag),
        None | Some(Err(_)) => reply,
    };
    Reply { body, ..reply }
}
