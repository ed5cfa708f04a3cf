//! `/api/hooks`: what providers report later about the messages they accepted.

use crate::State;
use crate::failure::{Failure, not_found};
use axum::extract;
use http::HeaderMap;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use switchyard_api::{Endpoint, File, Json, QueryPairs, RawBody, Refusal};
use switchyard_identity::Access;
use switchyard_signals::receipts::{self, Reported};

/// Signature of WhatsApp's reports.
const SIGNATURE: &str = "x-hub-signature-256";

/// Largest report, in bytes: API Gateway's own limit is larger, SNS's and WhatsApp's are smaller.
const MAX_BYTES: usize = 5 * 1024 * 1024;

pub(crate) fn endpoints() -> [Endpoint<State>; 3] {
    const OFF: &[(u16, &str)] = &[(404, "No secret is configured for these reports")];
    let signed =
        |endpoint: Endpoint<State>| endpoint.access(Access::Signature).max_bytes(MAX_BYTES).lenient().refuses(OFF);
    [
        Endpoint::get("/api/hooks/whatsapp", verify_whatsapp_webhook)
            .summary("Verify the WhatsApp webhook")
            .lenient()
            .refuses(&[(403, "The verify token is not valid")]),
        signed(Endpoint::post("/api/hooks/whatsapp", receive_whatsapp_report).summary("Receive a WhatsApp report")),
        signed(Endpoint::post("/api/hooks/ses", receive_ses_report).summary("Receive an SES report")),
    ]
}

/// WhatsApp's parameters.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "the document's schema")]
struct Verification {
    #[serde(rename = "hub.mode", skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    #[serde(rename = "hub.verify_token", skip_serializing_if = "Option::is_none")]
    verify_token: Option<String>,
    #[serde(rename = "hub.challenge", skip_serializing_if = "Option::is_none")]
    challenge: Option<String>,
}

/// That a report was accepted.
#[derive(JsonSchema, Serialize)]
struct ReportReceipt {
    /// `ok`.
    status: &'static str,
}

async fn verify_whatsapp_webhook(
    extract::State(state): extract::State<State>,
    query: QueryPairs<Verification>,
) -> Result<File, Failure> {
    match receipts::whatsapp_challenge(&state.0.receipts, &query.pairs).await? {
        Some(body) => Ok(File { media_type: "text/plain; charset=utf-8", name: None, body }),
        None => Err(Refusal::forbidden("The verify token is not valid").into()),
    }
}

async fn receive_whatsapp_report(
    extract::State(state): extract::State<State>,
    headers: HeaderMap,
    body: RawBody<Map<String, Value>>,
) -> Result<Json<ReportReceipt>, Failure> {
    let signature = headers.get(SIGNATURE).and_then(|value| value.to_str().ok());
    reply(receipts::whatsapp_report(&state.0.receipts, signature, &body.bytes).await?)
}

async fn receive_ses_report(
    extract::State(state): extract::State<State>,
    body: RawBody<Map<String, Value>>,
) -> Result<Json<ReportReceipt>, Failure> {
    reply(receipts::ses_report(&state.0.receipts, &body.bytes).await?)
}

fn reply(reported: Reported) -> Result<Json<ReportReceipt>, Failure> {
    match reported {
        Reported::Taken => Ok(Json(ReportReceipt { status: "ok" })),
        Reported::Refused => Err(Refusal::unauthorized("Invalid signature").into()),
        Reported::Unserved => Err(not_found()),
    }
}
