//! `POST /mock/{marketplace}/validate`: the mock marketplace over HTTP.

use crate::State;
use crate::fields::{MAX_BODY_BYTES, json_body};
use axum::extract;
use axum::extract::FromRequest;
use axum::extract::Request;
use http::{HeaderMap, header};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Number, Value};
use switchyard_api::{Argument, Endpoint, Json, Operation, Path, Refusal};
use switchyard_core::{Env, Secret, iso_millis};
use switchyard_identity::BasicCredentials;
use switchyard_orders::marketplace::mock::verdict;
use switchyard_orders::{Marketplace, Verdict};

pub(crate) fn endpoints() -> [Endpoint<State>; 1] {
    [Endpoint::post("/mock/{marketplace}/validate", validate_mock_receipt)
        .summary("Validate a receipt at the mock marketplace")
        .max_bytes(MAX_BODY_BYTES)
        .lenient()
        .refuses(&[(401, "The mock marketplace's Basic credentials are required"), (429, "The receipt is put off")])]
}

/// The three marketplaces' credentials.
pub(crate) struct Mock {
    credentials: Vec<(Marketplace, Option<BasicCredentials>)>,
}

impl Mock {
    /// Reads `MOCK_ETSY_USER`, `MOCK_ETSY_PASS` and so on; a marketplace without them returns 500.
    pub(crate) fn from_env(env: &Env) -> Self {
        let credentials = |marketplace: Marketplace| {
            let setting = |what: &str| env.optional(&format!("MOCK_{}_{what}", marketplace.name().to_uppercase()));
            let password = setting("PASS").map(Secret::new)?;
            Some(BasicCredentials { user: setting("USER")?, password })
        };
        Self { credentials: Marketplace::ALL.map(|marketplace| (marketplace, credentials(marketplace))).into() }
    }
}

/// The body, read as loosely as the service this one replaces does.
struct ReceiptBody(Value);

#[derive(JsonSchema)]
#[expect(dead_code, reason = "the document's schema")]
struct ReceiptToValidate {
    #[schemars(length(min = 1))]
    receipt: String,
    /// Echoed in the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<Value>,
}

impl FromRequest<State> for ReceiptBody {
    type Rejection = Refusal;

    async fn from_request(request: Request, _state: &State) -> Result<Self, Refusal> {
        json_body(request).await.map(|body| Self(body.unwrap_or_default()))
    }
}

impl Argument for ReceiptBody {
    fn describe(operation: &mut Operation) {
        let schema = operation.input::<ReceiptToValidate>();
        operation.body("application/json", true, schema);
    }
}

/// What the mock marketplace says of a receipt.
#[derive(Default, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
struct MockVerdict {
    /// Whether the receipt is an order.
    status: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    order_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<Number>,
    /// The request's own, whatever it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<Value>,
    /// RFC 3339.
    #[serde(rename = "importedAtUTC", skip_serializing_if = "Option::is_none")]
    imported_at_utc: Option<String>,
}

/// The checks run in this order; the first that holds decides.
async fn validate_mock_receipt(
    extract::State(state): extract::State<State>,
    Path(marketplace): Path<String>,
    headers: HeaderMap,
    ReceiptBody(body): ReceiptBody,
) -> Result<Json<MockVerdict>, Refusal> {
    let refused = |status, error| Err(Refusal::new(status, error, ""));
    let Ok(marketplace) = marketplace.parse::<Marketplace>() else { return refused(400, "Invalid marketplace") };
    let Some(receipt) = body["receipt"].as_str().filter(|receipt| !receipt.is_empty()) else {
        return refused(400, "receipt is required");
    };
    let known = state.0.mock.credentials.iter().find(|(known, _)| *known == marketplace);
    let Some((_, Some(credentials))) = known else {
        return refused(500, "Marketplace credentials not configured");
    };
    // The scheme's case counts here, as it always has.
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if !credentials.accepts(given.filter(|value| value.starts_with("Basic "))) {
        return refused(401, "Unauthorized");
    }
    match verdict(&receipt.into(), "") {
        Verdict::RateLimited { .. } => refused(429, "rate_limited"),
        Verdict::Found { order_id, amount, currency } => Ok(Json(MockVerdict {
            status: true,
            order_id: Some(order_id),
            amount: Some(amount.to_json()),
            currency: Some(requested(&body["currency"]).cloned().unwrap_or_else(|| currency.into())),
            imported_at_utc: Some(iso_millis(state.0.clock.now())),
        })),
        _ => Ok(Json(MockVerdict::default())),
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
