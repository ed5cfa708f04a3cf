//! `POST /mock/{marketplace}/validate`: the mock marketplace over HTTP.

use crate::validate::json_body;
use http::header;
use serde_json::{Value, json};
use switchyard_core::access::BasicCredentials;
use switchyard_core::{Clock, Env, Secret, iso_millis};
use switchyard_lambda::{Call, Reply};
use switchyard_orders::marketplace::mock::verdict;
use switchyard_orders::{Marketplace, Verdict};

/// The three marketplaces' credentials.
pub struct Mock {
    credentials: Vec<(Marketplace, Option<BasicCredentials>)>,
}

impl Mock {
    /// Reads `MOCK_ETSY_USER`, `MOCK_ETSY_PASS` and so on; a marketplace without them answers 500.
    pub fn from_env(env: &Env) -> Self {
        let credentials = |marketplace: Marketplace| {
            let setting = |what: &str| env.optional(&format!("MOCK_{}_{what}", marketplace.name().to_uppercase()));
            let password = setting("PASS").map(Secret::new)?;
            Some(BasicCredentials { user: setting("USER")?, password })
        };
        Self { credentials: Marketplace::ALL.map(|marketplace| (marketplace, credentials(marketplace))).into() }
    }

    /// The checks run in this order; the first that holds answers.
    pub fn answer(&self, call: &Call, marketplace: &str, clock: &Clock) -> Reply {
        let Ok(marketplace) = marketplace.parse::<Marketplace>() else { return error(400, "Invalid marketplace") };
        let body = match json_body(call) {
            Ok(body) => body.unwrap_or_default(),
            Err(refusal) => return *refusal,
        };
        let Some(receipt) = body["receipt"].as_str().filter(|receipt| !receipt.is_empty()) else {
            return error(400, "receipt is required");
        };
        let known = self.credentials.iter().find(|(known, _)| *known == marketplace);
        let Some((_, Some(credentials))) = known else {
            return error(500, "Marketplace credentials not configured");
        };
        // The scheme's case counts here, as it always has.
        let given = call.header(header::AUTHORIZATION).filter(|value| value.starts_with("Basic "));
        if !credentials.accepts(given) {
            return error(401, "Unauthorized");
        }
        match verdict(receipt, "") {
            Verdict::RateLimited { .. } => error(429, "rate_limited"),
            Verdict::Found { order_id, amount, currency } => Reply::json(
                200,
                &json!({
                    "status": true,
                    "orderId": order_id,
                    "amount": amount.to_json(),
                    "currency": requested(&body["currency"]).unwrap_or(&currency.into()),
                    "importedAtUTC": iso_millis(clock.now()),
                }),
            ),
            _ => Reply::json(200, &json!({"status": false})),
        }
    }
}

/// The currency is echoed whatever it is, unless it is empty in the sense of JavaScript.
fn requested(currency: &Value) -> Option<&Value> {
    let is_empty = match currency {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Array(_) | Value::Object(_) => false,
    };
    (!is_empty).then_some(currency)
}

fn error(status: u16, text: &str) -> Reply {
    Reply::json(status, &json!({"error": text}))
}
