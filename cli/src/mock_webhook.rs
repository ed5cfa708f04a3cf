//! `switchyard mock-webhook`: receive webhooks and print them.

use crate::say;
use anyhow::{Context as _, Result};
use axum::body::Bytes;
use axum::extract::Query;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use std::process::ExitCode;
use tokio::net::TcpListener;

const USUAL_PORT: u16 = 4000;

/// What the receiver's address may ask for.
#[derive(Debug, Default, Deserialize)]
struct Wish {
    fail: Option<String>,
    status: Option<u16>,
}

/// Serves `POST /webhook` until the process ends. A port that is none counts as 4000.
pub(crate) async fn run(port: &str) -> Result<ExitCode> {
    let port = port.parse().unwrap_or(USUAL_PORT);
    let listener = TcpListener::bind(("0.0.0.0", port)).await.with_context(|| format!("listening on port {port}"))?;
    let port = listener.local_addr()?.port();
    say(&format!("mock webhook server on http://127.0.0.1:{port}/webhook"));
    axum::serve(listener, router()).await?;
    Ok(ExitCode::SUCCESS)
}

fn router() -> Router {
    Router::new().route("/webhook", post(receive))
}

async fn receive(Query(wish): Query<Wish>, headers: HeaderMap, body: Bytes) -> (StatusCode, Json<Value>) {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    say(&json!({"event": "webhook_received", "body": body}).to_string());
    let (status, answer) = verdict(&wish, headers.get("x-fail").is_some_and(|value| value == "true"), &body);
    (StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), Json(answer))
}

/// Status and body, in the order in which reasons to fail are looked for.
fn verdict(wish: &Wish, header: bool, body: &Value) -> (u16, Value) {
    let failure = |status: u16, reason: &str| (status, json!({"error": "mock_fail", "reason": reason}));
    let receipt = body["receipt"].as_str().or_else(|| body["data"]["receipt"].as_str());
    match wish {
        _ if header => failure(500, "header"),
        Wish { fail: Some(fail), .. } if fail == "1" => failure(500, "query"),
        Wish { status: Some(status), .. } if *status >= 300 => failure(*status, "query"),
        _ if receipt.is_some_and(|receipt| receipt.ends_with('5')) => failure(500, "receipt"),
        Wish { status, .. } => (status.unwrap_or(200), json!({"ok": true})),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fails_when_asked_to() {
        let plain = Wish::default();
        let ask = |fail: &str| Wish { fail: Some(fail.to_owned()), status: None };
        let status = |status| Wish { fail: None, status: Some(status) };
        for (wish, header, body, wanted, reason) in [
            (&plain, false, json!({}), 200, None),
            (&plain, true, json!({}), 500, Some("header")),
            (&plain, false, json!({"receipt": "a5"}), 500, Some("receipt")),
            (&plain, false, json!({"receipt": 5, "data": {"receipt": "5"}}), 500, Some("receipt")),
            (&plain, false, json!({"receipt": "5a", "data": {"receipt": "5"}}), 200, None),
            (&ask("1"), false, json!({}), 500, Some("query")),
            (&ask("0"), false, json!({}), 200, None),
            (&status(410), false, json!({}), 410, Some("query")),
            (&status(204), false, json!({}), 204, None),
        ] {
            let (status, answer) = verdict(wish, header, &body);
            assert_eq!((status, answer["reason"].as_str()), (wanted, reason), "{wish:?} {body}");
        }
    }
}
