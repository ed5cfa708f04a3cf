//! What providers report later of the messages they took.

use crate::answer::Failure;
use crate::body::text_reply;
use http::HeaderName;
use serde_json::json;
use switchyard_lambda::{Call, Reply};
use switchyard_signals::receipts::{self, ReceiptDeps, Reported};

const SIGNATURE: HeaderName = HeaderName::from_static("x-hub-signature-256");

/// `GET /api/hooks/whatsapp`: WhatsApp checks the address.
pub async fn whatsapp_check(deps: &ReceiptDeps, call: &Call) -> Result<Reply, Failure> {
    let query: Vec<_> = call.form().collect();
    match receipts::whatsapp_challenge(deps, &query).await? {
        Some(challenge) => Ok(text_reply("text/plain; charset=utf-8", challenge)),
        None => Err(Failure::new(403, "forbidden", "The verify token is another")),
    }
}

/// `POST /api/hooks/whatsapp`.
pub async fn whatsapp(deps: &ReceiptDeps, call: &Call) -> Result<Reply, Failure> {
    answer(receipts::whatsapp_report(deps, call.header(SIGNATURE), &call.body).await?)
}

/// `POST /api/hooks/ses`.
pub async fn ses(deps: &ReceiptDeps, call: &Call) -> Result<Reply, Failure> {
    answer(receipts::ses_report(deps, &call.body).await?)
}

fn answer(reported: Reported) -> Result<Reply, Failure> {
    match reported {
        Reported::Taken => Ok(Reply::json(200, &json!({"status": "ok"}))),
        Reported::Refused => Err(Failure::new(401, "unauthorized", "Invalid signature")),
        Reported::Unserved => Err(Failure::not_found()),
    }
}
