//! Caspio's REST API as the flat profile needs it: one table, one row per resident.

use crate::decide::same_value;
use crate::error::AdtError;
use serde_json::{Map, Value};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use switchyard_core::{Env, EnvError};
use switchyard_io::http::{self, Http, HttpError, Method, Url};
use switchyard_io::{SecretValues, Secrets};
use switchyard_work::once;
use tokio::time::Instant;

const SERVICE: &str = "Caspio";

/// A token is renewed this long before it expires.
const TOKEN_MARGIN: Duration = Duration::from_secs(60);

/// A longer lifetime in the reply is cut to this; Caspio documents a day.
const MAX_TOKEN_LIFETIME: Duration = Duration::from_secs(7 * 86_400);

/// The lifetime when the reply has none.
const DEFAULT_TOKEN_LIFETIME: Duration = Duration::from_secs(3600);

/// What [`Caspio::upsert`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upserted {
    Inserted,
    Updated,
    /// Every column had its value already; nothing was written.
    Unchanged,
}

/// A client for one Caspio table.
///
/// Settings: `CASPIO_TABLE_ENDPOINT`, `CASPIO_TOKEN_URL`, `CASPIO_SCOPE`, `CASPIO_TIMEOUT_MS`, `CASPIO_RETRY_MAX`, and
/// `CASPIO_SECRET`, the secret holding `CASPIO_CLIENT_ID` and `CASPIO_CLIENT_SECRET`.
#[derive(Clone)]
pub(crate) struct Caspio {
    http: Http,
    timeout: Duration,
    table: Url,
    token_url: Url,
    scope: String,
    attempts: u32,
    secrets: Secrets,
    secret_id: String,
    token: Arc<Mutex<Option<Token>>>,
}

#[derive(Clone)]
struct Token {
    bearer: String,
    renew_at: Instant,
}

#[derive(serde::Deserialize)]
struct TokenReply {
    access_token: String,
    expires_in: Option<u64>,
}

impl Caspio {
    pub(crate) async fn from_env(http: &Http, secrets: &Secrets, env: &Env) -> Result<Self, EnvError> {
        let url = |name: &str| {
            let invalid = |_| EnvError::Invalid { name: name.to_owned(), reason: "not an address".to_owned() };
            Url::parse(&env.base_url(name)?).map_err(invalid)
        };
        let caspio = Self {
            http: http.clone(),
            timeout: Duration::from_millis(env.parsed("CASPIO_TIMEOUT_MS", 10_000)?),
            table: url("CASPIO_TABLE_ENDPOINT")?,
            token_url: url("CASPIO_TOKEN_URL")?,
            scope: env.optional("CASPIO_SCOPE").unwrap_or_else(|| "resources:all".to_owned()),
            attempts: env.parsed("CASPIO_RETRY_MAX", http::ATTEMPTS)?,
            secrets: secrets.clone(),
            secret_id: env.required("CASPIO_SECRET")?,
            token: Arc::default(),
        };
        // A secret without its values fails the start, not the first event.
        let unreadable =
            |error| EnvError::Invalid { name: "CASPIO_SECRET".into(), reason: switchyard_core::error_chain(&error) };
        let values = secrets.get(&caspio.secret_id).await.map_err(unreadable)?;
        values.required("CASPIO_CLIENT_ID")?;
        values.required("CASPIO_CLIENT_SECRET")?;
        Ok(caspio)
    }

    /// Inserts `row`, or updates the row with the same `key` if any column differs.
    ///
    /// Every attempt reads first, so that a write with a lost response is found done and not repeated.
    pub(crate) async fn upsert(
        &self,
        key: &[&str],
        row: &Map<String, Value>,
        deadline: Instant,
    ) -> Result<Upserted, AdtError> {
        http::with_retries(self.attempts, deadline, || self.attempt_upsert(key, row)).await
    }

    async fn attempt_upsert(&self, key: &[&str], row: &Map<String, Value>) -> Result<Upserted, AdtError> {
        let key_clause = where_clause(key.iter().filter_map(|column| Some((*column, row.get(*column)?))));
        let found = self.find(&key_clause).await?;
        let Some(found) = found else {
            self.write("inserting the resident's row", Method::POST, None, row).await?;
            return Ok(Upserted::Inserted);
        };
        if once::is_in_place(&found, row, same_value) {
            return Ok(Upserted::Unchanged);
        }
        let row_clause = match found.get("PK_ID") {
            Some(id) => where_clause([("PK_ID", id)]),
            None => key_clause,
        };
        self.write("updating the resident's row", Method::PUT, Some(&row_clause), row).await?;
        Ok(Upserted::Updated)
    }

    async fn find(&self, clause: &str) -> Result<Option<Map<String, Value>>, AdtError> {
        let query = [("q.where", clause), ("q.limit", "1")];
        let action = "finding the resident's row";
        let body = match self.call(action, Method::GET, &query, None).await {
            Err(AdtError::Caspio { source, .. }) if source.status() == Some(404) => return Ok(None),
            other => other?,
        };
        let failed = |source| AdtError::Caspio { action, source };
        let rows = match http::read_json(SERVICE, &body).map_err(failed)? {
            Value::Object(mut reply) => reply.remove("Result").unwrap_or_default(),
            array => array,
        };
        // A reply without a list is an error: treated as an empty one, it would insert a second row.
        let Value::Array(rows) = rows else {
            return Err(failed(HttpError::Content { service: SERVICE, what: "no list of rows".to_owned() }));
        };
        Ok(rows.into_iter().find_map(|row| match row {
            Value::Object(row) => Some(row),
            _ => None,
        }))
    }

    /// Writes a row; if the table lacks columns, writes it once more without them.
    async fn write(
        &self,
        action: &'static str,
        method: Method,
        clause: Option<&str>,
        row: &Map<String, Value>,
    ) -> Result<(), AdtError> {
        let query: Vec<_> = clause.map(|clause| ("q.where", clause)).into_iter().collect();
        let error = match self.call(action, method.clone(), &query, Some(row)).await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        let unknown = unknown_columns(&error);
        let known: Map<_, _> = row
            .iter()
            .filter(|(name, _)| !unknown.contains(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if known.is_empty() || known.len() == row.len() {
            return Err(error);
        }
        tracing::warn!(found = unknown.len(), "Caspio's table lacks columns; writing without them");
        self.call(action, method, &query, Some(&known)).await.map(drop)
    }

    async fn call(
        &self,
        action: &'static str,
        method: Method,
        query: &[(&str, &str)],
        body: Option<&Map<String, Value>>,
    ) -> Result<bytes::Bytes, AdtError> {
        let failed = |source| AdtError::Caspio { action, source };
        let token = self.token().await?;
        let mut request = self
            .http
            .request(SERVICE, method, self.table.clone())
            .map_err(failed)?
            .timeout(self.timeout)
            .query(query)
            .bearer_auth(&token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = http::call(SERVICE, request).await;
        if let Err(HttpError::Status { status: 401, .. }) = answer {
            self.forget(&token);
        }
        answer.map_err(failed)
    }

    async fn token(&self) -> Result<String, AdtError> {
        let known = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(token) = known.filter(|token| Instant::now() < token.renew_at) {
            return Ok(token.bearer);
        }
        let values = self.secrets.get(&self.secret_id).await.map_err(AdtError::Secret)?;
        let reply = match self.request_token(&values).await {
            Err(AdtError::CaspioToken { source }) if matches!(source.status(), Some(400 | 401)) => {
                // The secret may have been rotated since it was fetched.
                let values = self.secrets.refreshed(&self.secret_id).await.map_err(AdtError::Secret)?;
                self.request_token(&values).await?
            }
            other => other?,
        };
        let lifetime = reply.expires_in.map_or(DEFAULT_TOKEN_LIFETIME, Duration::from_secs).min(MAX_TOKEN_LIFETIME);
        // A short-lived token is used for half its life.
        let usable = lifetime.saturating_sub(TOKEN_MARGIN).max(lifetime / 2);
        let token = Token { bearer: reply.access_token.clone(), renew_at: Instant::now() + usable };
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
        Ok(reply.access_token)
    }

    async fn request_token(&self, values: &SecretValues) -> Result<TokenReply, AdtError> {
        let failed = |source| AdtError::CaspioToken { source };
        let (Ok(id), Ok(secret)) = (values.required("CASPIO_CLIENT_ID"), values.required("CASPIO_CLIENT_SECRET"))
        else {
            return Err(AdtError::NoCredentials);
        };
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", id.expose()),
            ("client_secret", secret.expose()),
            ("scope", &self.scope),
        ];
        let request = self.http.request(SERVICE, Method::POST, self.token_url.clone()).map_err(failed)?;
        http::call_json(SERVICE, request.timeout(self.timeout).form(&form)).await.map_err(failed)
    }

    /// Drops a refused token, unless another call has replaced it in the meantime.
    fn forget(&self, bearer: &str) {
        self.token.lock().unwrap_or_else(PoisonError::into_inner).take_if(|token| token.bearer == bearer);
    }
}

/// `Column='text' AND Other=7`: strings in single quotes with quotes doubled, numbers and booleans bare.
fn where_clause<'a>(columns: impl IntoIterator<Item = (&'a str, &'a Value)>) -> String {
    let clause = |(column, value): (&str, &Value)| match value {
        Value::String(text) => format!("{column}='{}'", text.replace('\'', "''")),
        other => format!("{column}={other}"),
    };
    columns.into_iter().map(clause).collect::<Vec<_>>().join(" AND ")
}

/// The columns that Caspio says it does not have: a 400 with code `FieldNotFound`, names in single quotes.
fn unknown_columns(error: &AdtError) -> Vec<String> {
    let AdtError::Caspio { source: HttpError::Status { status: 400, body, .. }, .. } = error else { return Vec::new() };
    let Ok(reply) = serde_json::from_slice::<Value>(body) else { return Vec::new() };
    if reply["Code"] != "FieldNotFound" {
        return Vec::new();
    }
    let message = reply["Message"].as_str().unwrap_or_default();
    message.split('\'').skip(1).step_by(2).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn v22_quotes_in_text_are_doubled() {
        assert_eq!(where_clause([("CommunityName", &json!("Sailor's  Rest"))]), "CommunityName='Sailor''s  Rest'");
        assert_eq!(
            where_clause([("a", &json!("k")), ("b", &json!(7)), ("c", &json!(true))]),
            "a='k' AND b=7 AND c=true"
        );
    }

    #[test]
    fn unknown_columns_are_read_from_the_message() {
        let refused = |body: Value| AdtError::Caspio {
            action: "inserting",
            source: HttpError::Status {
                service: SERVICE,
                status: 400,
                retry_after: None,
                body: body.to_string().into(),
            },
        };
        let error = refused(json!({"Code": "FieldNotFound", "Message": "Cannot find 'bed', 'wing' in the table."}));
        assert_eq!(unknown_columns(&error), ["bed", "wing"]);
        assert!(unknown_columns(&refused(json!({"Code": "Other", "Message": "'bed'"}))).is_empty());
    }
}
