//! Caspio: a cloud database over REST. OAuth 2 client credentials, then records of tables.
//!
//! Rows and columns behave as Caspio documents them; triggers, views, files and authentications are not supported.

mod clause;
mod query;
mod table;

use crate::answer::{Object, Refusal};
use crate::ledger::{Effect, Ledger, Operation};
use crate::traffic::Answered;
use axum::extract::{Form, OriginalUri, Path, Query, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http::{StatusCode, header};
use query::{Params, Selection};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};
use switchyard_core::random;
use table::{PK_ID, Row, Table};

pub(crate) const SERVICE: &str = "caspio";
pub(crate) const CLIENT_ID: &str = "sandbox-caspio-client";
pub(crate) const CLIENT_SECRET: &str = "sandbox-caspio-secret";

/// The lifetime of a token, as Caspio's: a day, less a second.
const TOKEN_LIFETIME: Duration = Duration::from_secs(86_399);

/// Caspio's limit for URIs, here without scheme and host, which a server does not receive.
const LONGEST_URI: usize = 2047;

#[derive(Clone)]
pub(crate) struct Caspio(Arc<Inner>);

struct Inner {
    ledger: Arc<Ledger>,
    tables: RwLock<Tables>,
    /// When each token in use expires.
    tokens: Mutex<HashMap<String, Instant>>,
}

type Tables = BTreeMap<&'static str, Table>;

impl Caspio {
    pub(crate) fn new(ledger: Arc<Ledger>) -> Self {
        Self(Arc::new(Inner { ledger, tables: RwLock::new(table::fresh()), tokens: Mutex::default() }))
    }

    /// Applies an effect of the ledger again.
    pub(crate) fn replay(&self, effect: Effect) {
        let mut tables = self.0.tables.write().unwrap_or_else(PoisonError::into_inner);
        if let (Some(table), Some(id)) = (tables.get_mut(effect.table.as_str()), effect.key.as_i64()) {
            match effect.operation {
                Operation::Insert | Operation::Update => table.put(id, effect.record),
                Operation::Delete => table.remove(id),
            }
        }
    }

    fn read<T>(&self, table: &str, work: impl FnOnce(&Table) -> Result<T, Refusal>) -> Result<T, Refusal> {
        let tables = self.0.tables.read().unwrap_or_else(PoisonError::into_inner);
        work(tables.get(table).ok_or_else(|| no_table(table))?)
    }

    /// Runs one write at a time, so that rows do not change between `work`'s read and write.
    fn write<T>(
        &self,
        table: &str,
        work: impl FnOnce(&mut Table, &Ledger) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mut tables = self.0.tables.write().unwrap_or_else(PoisonError::into_inner);
        work(tables.get_mut(table).ok_or_else(|| no_table(table))?, &self.0.ledger)
    }

    fn tokens(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.0.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn knows(&self, request: &Request) -> bool {
        let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token =
            header.and_then(|text| text.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        token.is_some_and(|(_, token)| self.tokens().get(token.trim()).is_some_and(|expiry| Instant::now() < *expiry))
    }
}

/// Caspio's paths, and its control routes.
pub(crate) fn routes(caspio: &Caspio) -> Router {
    let records = get(select).post(insert).put(update).delete(remove);
    let mut guarded = Router::new();
    for path in ["/caspio/integrations/rest/v3/tables/{table}", "/caspio/rest/v2/tables/{table}"] {
        guarded =
            guarded.route(&format!("{path}/records"), records.clone()).route(&format!("{path}/rows"), records.clone());
    }
    guarded
        .layer(middleware::from_fn_with_state(caspio.clone(), guard))
        .route("/caspio/oauth/token", post(issue_token))
        .route("/_sandbox/caspio/tokens", delete(expire_tokens))
        .route("/_sandbox/caspio/{table}", get(all_rows))
        .with_state(caspio.clone())
}

async fn issue_token(
    State(caspio): State<Caspio>,
    Form(form): Form<HashMap<String, String>>,
) -> Result<Response, Refusal> {
    let given = |name: &str| form.get(name).map(String::as_str);
    let refused = |code: &str| Err(Refusal::new(StatusCode::BAD_REQUEST, json!({"error": code})));
    if given("grant_type") != Some("client_credentials") {
        return refused("unsupported_grant_type");
    }
    if (given("client_id"), given("client_secret")) != (Some(CLIENT_ID), Some(CLIENT_SECRET)) {
        return refused("invalid_client");
    }
    let token = format!("{}{}", random::uuid().simple(), random::uuid().simple());
    let now = Instant::now();
    let mut tokens = caspio.tokens();
    tokens.retain(|_, expiry| now < *expiry);
    tokens.insert(token.clone(), now + TOKEN_LIFETIME);
    let reply = json!({"access_token": token, "token_type": "bearer", "expires_in": TOKEN_LIFETIME.as_secs()});
    Ok(Json(reply).into_response())
}

async fn guard(State(caspio): State<Caspio>, uri: OriginalUri, request: Request, next: Next) -> Response {
    if uri.path_and_query().is_some_and(|text| text.as_str().len() > LONGEST_URI) {
        return refusal(StatusCode::URI_TOO_LONG, "UriTooLong", "The request URI is too long.").into_response();
    }
    if !caspio.knows(&request) {
        let message = "Authorization has been denied for this request.";
        return refusal(StatusCode::UNAUTHORIZED, "Unauthorized", message).into_response();
    }
    next.run(request).await
}

async fn select(
    State(caspio): State<Caspio>,
    Path(table): Path<String>,
    Query(params): Query<Params>,
) -> Result<Json<Value>, Refusal> {
    let selection = Selection::parse(&params)?;
    let rows = caspio.read(&table, |table| {
        check(table, selection.columns())?;
        Ok(selection.take(table.find(selection.clause.as_ref()).map(|(_, row)| row)))
    })?;
    Ok(Json(json!({"Result": rows})))
}

async fn insert(
    State(caspio): State<Caspio>,
    Path(name): Path<String>,
    Query(params): Query<Params>,
    Answered(answered): Answered,
    uri: OriginalUri,
    body: Bytes,
) -> Result<Response, Refusal> {
    let request = columns_sent(&body)?;
    let row = caspio.write(&name, |table, ledger| {
        check_written(table, &request)?;
        let id = table.next_id();
        let row = table.complete(id, &request);
        record(ledger, vec![effect(&name, Operation::Insert, id, &row, &request, answered)])?;
        table.put(id, row.clone());
        Ok(row)
    })?;
    let location = format!("{}?q.where={PK_ID}%3D{}", uri.path(), row[PK_ID]);
    let location = [(header::LOCATION, location)];
    Ok(match query::wants_rows(&params) {
        true => (StatusCode::CREATED, location, Json(json!({"Result": [row]}))).into_response(),
        false => (StatusCode::CREATED, location).into_response(),
    })
}

async fn update(
    State(caspio): State<Caspio>,
    Path(name): Path<String>,
    Query(params): Query<Params>,
    Answered(answered): Answered,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let clause = query::required_clause(&params)?;
    let request = columns_sent(&body)?;
    let rows = caspio.write(&name, |table, ledger| {
        check(table, clause.columns())?;
        check_written(table, &request)?;
        let changed = |(id, row): (i64, &Row)| (id, row.clone().into_iter().chain(request.clone()).collect::<Row>());
        let rows: Vec<_> = table.find(Some(&clause)).map(changed).collect();
        let effects = rows.iter().map(|(id, row)| effect(&name, Operation::Update, *id, row, &request, answered));
        record(ledger, effects.collect())?;
        for (id, row) in &rows {
            table.put(*id, row.clone());
        }
        Ok(rows)
    })?;
    let affected = rows.len();
    Ok(Json(match query::wants_rows(&params) {
        true => {
            json!({"RecordsAffected": affected, "Result": rows.into_iter().map(|(_, row)| row).collect::<Vec<_>>()})
        }
        false => json!({"RecordsAffected": affected}),
    }))
}

async fn remove(
    State(caspio): State<Caspio>,
    Path(name): Path<String>,
    Query(params): Query<Params>,
    Answered(answered): Answered,
) -> Result<Json<Value>, Refusal> {
    let clause = query::required_clause(&params)?;
    let affected = caspio.write(&name, |table, ledger| {
        check(table, clause.columns())?;
        let (ids, effects): (Vec<_>, Vec<_>) = table
            .find(Some(&clause))
            .map(|(id, row)| (id, effect(&name, Operation::Delete, id, row, &Row::new(), answered)))
            .unzip();
        record(ledger, effects)?;
        ids.iter().for_each(|id| table.remove(*id));
        Ok(ids.len())
    })?;
    Ok(Json(json!({"RecordsAffected": affected})))
}

/// Expires all tokens, as after a day.
async fn expire_tokens(State(caspio): State<Caspio>) -> StatusCode {
    caspio.tokens().clear();
    StatusCode::NO_CONTENT
}

async fn all_rows(State(caspio): State<Caspio>, Path(table): Path<String>) -> Result<Json<Value>, Refusal> {
    let rows = caspio.read(&table, |table| Ok(table.find(None).map(|(_, row)| row.clone()).collect::<Vec<_>>()))?;
    Ok(Json(json!({"count": rows.len(), "rows": rows})))
}

fn effect(table: &str, operation: Operation, id: i64, record: &Row, request: &Row, answered: bool) -> Effect {
    Effect {
        service: SERVICE.to_owned(),
        operation,
        table: table.to_owned(),
        key: json!(id),
        record: record.clone(),
        request: request.clone(),
        answered,
    }
}

fn record(ledger: &Ledger, effects: Vec<Effect>) -> Result<(), Refusal> {
    ledger.record(effects).map_err(|error| Refusal::not_kept(&error))
}

/// The body of a write: one object of plain values.
fn columns_sent(body: &[u8]) -> Result<Object, Refusal> {
    let bad = |message: &str| refusal(StatusCode::BAD_REQUEST, "IncorrectBodyParameter", message);
    match serde_json::from_slice(body) {
        Ok(Value::Object(columns)) if columns.is_empty() => Err(bad("The body names no field.")),
        Ok(Value::Object(columns)) => match columns.values().any(|value| value.is_object() || value.is_array()) {
            true => Err(bad("A field's value must be plain.")),
            false => Ok(columns),
        },
        Ok(_) => Err(bad("The body must be one object.")),
        Err(_) => Err(bad("The body is not JSON.")),
    }
}

fn check_written(table: &Table, request: &Row) -> Result<(), Refusal> {
    if request.contains_key(PK_ID) {
        let message = format!("Cannot perform operation because the following field(s) are read only: '{PK_ID}'.");
        return Err(refusal(StatusCode::BAD_REQUEST, "AlterReadOnlyData", &message));
    }
    check(table, request.keys().map(String::as_str))
}

fn check<'a>(table: &Table, names: impl IntoIterator<Item = &'a str>) -> Result<(), Refusal> {
    let unknown: Vec<_> = table.unknown(names).into_iter().map(|name| format!("'{name}'")).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let message =
        format!("Cannot perform operation because the following field(s) do not exist: {}.", unknown.join(", "));
    Err(refusal(StatusCode::BAD_REQUEST, "FieldNotFound", &message))
}

fn no_table(name: &str) -> Refusal {
    let message = format!("Cannot perform operation because the table '{name}' does not exist.");
    refusal(StatusCode::NOT_FOUND, "TableNotFound", &message)
}

fn refusal(status: StatusCode, code: &str, message: &str) -> Refusal {
    Refusal::new(status, json!({"Code": code, "Message": message}))
}

#[cfg(test)]
mod tests;
