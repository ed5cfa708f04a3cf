//! ALIS's integration API (`/v1/integration`), read side. HTTP Basic, JSON.

use crate::decide::{ResidentPage, resident_page};
use crate::error::AdtError;
use crate::model::{CompanyKey, Record};
use serde_json::Value;
use std::time::Duration;
use switchyard_core::{Env, EnvError};
use switchyard_identity::BasicCredentials;
use switchyard_io::http::{self, Http, HttpError, Method, Url};
use tokio::time::Instant;

const SERVICE: &str = "ALIS";

/// A client for `ALIS_API_BASE`, with `REQUEST_TIMEOUT_MS` (default 15 s) per attempt.
#[derive(Clone)]
pub(crate) struct Alis {
    http: Http,
    timeout: Duration,
    base: String,
}

impl Alis {
    pub(crate) fn from_env(http: &Http, env: &Env) -> Result<Self, EnvError> {
        let timeout = Duration::from_millis(env.parsed("REQUEST_TIMEOUT_MS", 15_000)?);
        Ok(Self { http: http.clone(), timeout, base: env.base_url("ALIS_API_BASE")? })
    }

    pub(crate) async fn resident(
        &self,
        auth: &BasicCredentials,
        id: i64,
        deadline: Instant,
    ) -> Result<Record, AdtError> {
        self.get("resident", &format!("residents/{id}"), auth, deadline).await
    }

    pub(crate) async fn basic_info(
        &self,
        auth: &BasicCredentials,
        id: i64,
        deadline: Instant,
    ) -> Result<Record, AdtError> {
        self.get("basic info", &format!("residents/{id}/basicInfo"), auth, deadline).await
    }

    /// One leave; `None` when ALIS has no such leave.
    pub(crate) async fn leave(
        &self,
        auth: &BasicCredentials,
        id: &str,
        deadline: Instant,
    ) -> Result<Option<Record>, AdtError> {
        let path = format!("leaves/{}", path_segment(id));
        match self.get("leave", &path, auth, deadline).await {
            Ok(leave) => Ok(Some(leave)),
            Err(AdtError::Alis { source, .. }) if source.status() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The resident's leaves: an array, or an object that wraps one.
    pub(crate) async fn leaves(
        &self,
        auth: &BasicCredentials,
        id: i64,
        deadline: Instant,
    ) -> Result<Vec<Record>, AdtError> {
        let answer: Value = self.get("leaves", &format!("residents/{id}/leaves"), auth, deadline).await?;
        let wrapped = match answer {
            Value::Object(members) => Record(members),
            array => Record(serde_json::Map::from_iter([("Leaves".to_owned(), array)])),
        };
        Ok(wrapped.list("Leaves"))
    }

    /// One page of a company's residents; pages count from 1.
    pub(crate) async fn residents(
        &self,
        auth: &BasicCredentials,
        company_key: &CompanyKey,
        community_id: Option<i64>,
        page: u32,
        page_size: u32,
        deadline: Instant,
    ) -> Result<ResidentPage, AdtError> {
        let mut path =
            format!("residents?companyKey={}&page={page}&pageSize={page_size}", path_segment(company_key.as_str()));
        if let Some(id) = community_id {
            path.push_str(&format!("&communityId={id}"));
        }
        Ok(resident_page(self.get("list of residents", &path, auth, deadline).await?, page_size))
    }

    /// Checks that the API accepts these credentials, in one attempt.
    pub(crate) async fn ping(&self, auth: &BasicCredentials) -> Result<(), AdtError> {
        self.attempt::<Value>("communities", "communities", auth).await.map(drop)
    }

    async fn get<T: serde::de::DeserializeOwned>(
        &self,
        what: &'static str,
        path: &str,
        auth: &BasicCredentials,
        deadline: Instant,
    ) -> Result<T, AdtError> {
        http::with_retries(http::ATTEMPTS, deadline, || self.attempt(what, path, auth)).await
    }

    async fn attempt<T: serde::de::DeserializeOwned>(
        &self,
        what: &'static str,
        path: &str,
        auth: &BasicCredentials,
    ) -> Result<T, AdtError> {
        let url =
            Url::parse(&format!("{}/v1/integration/{path}", self.base)).map_err(|_| AdtError::Address { what })?;
        let failed = |source: HttpError| AdtError::Alis { what, source };
        let request = self
            .http
            .request(SERVICE, Method::GET, url)
            .map_err(failed)?
            .timeout(self.timeout)
            .header("accept", "application/json")
            .header("authorization", auth.header().expose().as_str());
        http::call_json(SERVICE, request).await.map_err(failed)
    }
}

/// An id as one path segment or query value; ids come from payloads.
fn path_segment(id: &str) -> String {
    id.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}
