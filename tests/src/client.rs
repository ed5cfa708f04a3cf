//! A client of the stack's HTTP surfaces, and what the tests send.

use crate::stack::Stack;
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use switchyard_core::Secret;
use switchyard_identity::BasicCredentials;
use tokio::time::Instant;

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers, lower case.
    pub headers: reqwest::header::HeaderMap,
    /// The body as JSON, or as a JSON string where it is none.
    pub body: Value,
}

/// HTTP towards one stack.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    stack: Stack,
}

impl Client {
    /// A client of `stack`.
    ///
    /// # Errors
    /// The HTTP client cannot be built.
    pub fn new(stack: Stack) -> Result<Self> {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let mut builder = reqwest::Client::builder().timeout(Duration::from_secs(60));
        // RFC 6761: names below `localhost` are this machine; not every resolver knows.
        let address = reqwest::Url::parse(&stack.http)?;
        if let Some(host) = address.host_str().filter(|host| host.ends_with(".localhost")) {
            let port = address.port().unwrap_or(80);
            builder = builder.resolve(host, std::net::SocketAddr::from(([127, 0, 0, 1], port)));
        }
        let http = builder.build()?;
        Ok(Self { http, stack })
    }

    /// The stack this client talks to.
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// Posts a webhook with the right credentials.
    ///
    /// # Errors
    /// No answer.
    pub async fn webhook(&self, body: &Value) -> Result<Answer> {
        self.webhook_bytes(body.to_string().into_bytes()).await
    }

    /// Posts any bytes as a webhook with the right credentials.
    ///
    /// # Errors
    /// No answer.
    pub async fn webhook_bytes(&self, body: Vec<u8>) -> Result<Answer> {
        let (user, password) = self.stack.webhook_credentials();
        let request = self.http.post(format!("{}/webhook/alis", self.stack.http)).basic_auth(user, Some(password));
        answer(request.header("content-type", "application/json").body(body)).await
    }

    /// Posts a webhook with an `Authorization` header of the caller's choosing.
    ///
    /// # Errors
    /// No answer.
    pub async fn webhook_as(&self, authorization: Option<&str>, body: &str) -> Result<Answer> {
        let mut request = self.http.post(format!("{}/webhook/alis", self.stack.http)).body(body.to_owned());
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        answer(request.header("content-type", "application/json")).await
    }

    /// GET on the HTTP API.
    ///
    /// # Errors
    /// No answer.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        answer(self.http.get(format!("{}{path}", self.stack.http))).await
    }

    /// POST of a JSON body on the HTTP API.
    ///
    /// # Errors
    /// No answer.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string()).await
    }

    /// Any request on the HTTP API.
    ///
    /// # Errors
    /// No answer.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: String) -> Result<Answer> {
        let mut request = self.http.request(method.parse()?, format!("{}{path}", self.stack.http));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.body(body)).await
    }

    /// Any method on the sandbox, with an optional JSON body; must answer 2xx.
    ///
    /// # Errors
    /// No answer, or not 2xx.
    pub async fn sandbox(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let url = format!("{}{path}", self.stack.sandbox);
        let mut request = self.http.request(method.parse()?, url);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = answer(request).await?;
        if !(200..300).contains(&answer.status) {
            bail!("{method} {path} answered {}: {}", answer.status, answer.body);
        }
        Ok(answer.body)
    }

    /// Effects that Caspio received for one company.
    ///
    /// # Errors
    /// The sandbox does not answer.
    pub async fn effects(&self, company: &str) -> Result<Vec<Value>> {
        let ledger = self.sandbox("GET", "/_sandbox/ledger?service=caspio&limit=1000000", None).await?;
        let entries = ledger["entries"].as_array().cloned().unwrap_or_default();
        Ok(entries.into_iter().filter(|entry| entry["record"]["companyKey"] == company).collect())
    }

    /// Waits until Caspio has received `count` effects for one company.
    ///
    /// # Errors
    /// It has not after `limit`.
    pub async fn wait_for_effects(&self, company: &str, count: usize, limit: Duration) -> Result<Vec<Value>> {
        let mut seen = Vec::new();
        let arrived = wait_until(limit, async || {
            seen = self.effects(company).await?;
            Ok(seen.len() >= count)
        });
        arrived.await.with_context(|| format!("waiting for {count} effects of {company}"))?;
        Ok(seen)
    }

    /// Calls the AWS endpoint's JSON protocols.
    ///
    /// # Errors
    /// No answer, or not 200.
    pub async fn aws(&self, target: &str, body: &Value) -> Result<Value> {
        let version = if target.starts_with("DynamoDB") || target.starts_with("AmazonSQS") { "1.0" } else { "1.1" };
        let request = self
            .http
            .post(&self.stack.aws)
            .header("x-amz-target", target)
            .header("content-type", format!("application/x-amz-json-{version}"))
            .header("x-amz-date", "20260203T040506Z")
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=local/20260203/us-east-1/any/aws4_request, SignedHeaders=host, Signature=0",
            );
        let answer = answer(request.body(body.to_string())).await?;
        if answer.status != 200 {
            bail!("{target} answered {}: {}", answer.status, answer.body);
        }
        Ok(answer.body)
    }

    /// The ADT event's row.
    ///
    /// # Errors
    /// DynamoDB does not answer.
    pub async fn event(&self, company: &str, event_type: &str, id: &str) -> Result<Option<Value>> {
        let key = json!({"pk": {"S": format!("C#{company}")}, "sk": {"S": format!("E#{event_type}#{id}")}});
        let request = json!({"TableName": self.stack.adt_table, "Key": key, "ConsistentRead": true});
        let answer = self.aws("DynamoDB_20120810.GetItem", &request).await?;
        Ok(answer.get("Item").cloned())
    }

    /// Rows of a company whose sort key starts with `prefix`.
    ///
    /// # Errors
    /// DynamoDB does not answer.
    pub async fn rows(&self, company: &str, prefix: &str) -> Result<Vec<Value>> {
        let request = json!({
            "TableName": self.stack.adt_table,
            "KeyConditionExpression": "pk = :pk AND begins_with(sk, :prefix)",
            "ExpressionAttributeValues": {":pk": {"S": format!("C#{company}")}, ":prefix": {"S": prefix}},
            "ConsistentRead": true,
        });
        let answer = self.aws("DynamoDB_20120810.Query", &request).await?;
        Ok(answer["Items"].as_array().cloned().unwrap_or_default())
    }

    /// Waits until an ADT event has `status`.
    ///
    /// # Errors
    /// It has not after `limit`.
    pub async fn wait_for_status(
        &self,
        company: &str,
        event_type: &str,
        id: &str,
        status: &str,
        limit: Duration,
    ) -> Result<Value> {
        let mut row = None;
        let reached = wait_until(limit, async || {
            row = self.event(company, event_type, id).await?;
            Ok(row.as_ref().is_some_and(|row| row["status"]["S"] == status))
        });
        reached.await.with_context(|| format!("waiting for {event_type} {id} to be {status}"))?;
        row.context("the row vanished")
    }

    /// Invokes a function through Lambda's own API.
    ///
    /// # Errors
    /// No answer.
    pub async fn invoke(&self, function: &str, event: &Value) -> Result<Answer> {
        let name = format!("{}{function}", self.stack.function_prefix);
        let url = format!("{}/2015-03-31/functions/{name}/invocations", self.stack.aws);
        answer(self.http.post(url).json(event)).await
    }

    /// The settings that a function runs with.
    ///
    /// # Errors
    /// No answer.
    pub async fn settings_of(&self, function: &str) -> Result<Value> {
        let name = format!("{}{function}", self.stack.function_prefix);
        let url = format!("{}/2015-03-31/functions/{name}/configuration", self.stack.aws);
        Ok(answer(self.http.get(url)).await?.body["Environment"]["Variables"].clone())
    }

    /// What the local host tells of its functions: environment and process ids by name.
    ///
    /// # Errors
    /// No answer; a deployed stack has none.
    pub async fn local_functions(&self) -> Result<Value> {
        Ok(answer(self.http.get(format!("{}/_local/functions", self.stack.aws))).await?.body)
    }

    /// Calls that the local host's AWS endpoint has served, by `x-amz-target`.
    ///
    /// # Errors
    /// No answer; a deployed stack has none.
    pub async fn aws_calls(&self) -> Result<Value> {
        Ok(answer(self.http.get(format!("{}/_local/calls", self.stack.aws))).await?.body)
    }

    /// The `Authorization` header of the stack's own credentials, for operations below `/admin`.
    ///
    /// # Errors
    /// The secret could not be read.
    pub async fn admin(&self) -> Result<String> {
        let request = json!({"SecretId": self.stack.admin_secret});
        let answer = self.aws("secretsmanager.GetSecretValue", &request).await?;
        let values: Value = serde_json::from_str(answer["SecretString"].as_str().context("a secret")?)?;
        let value = |name: &str| values[name].as_str().map(str::to_owned).context("a value of the secret");
        let (user, password) = (value("ADMIN_BASIC_USER")?, Secret::new(value("ADMIN_BASIC_PASS")?));
        Ok(BasicCredentials { user, password }.header().expose().clone())
    }

    /// A dead-letter queue as operators see it.
    ///
    /// # Errors
    /// The operation failed.
    pub async fn dead_letters(&self, queue: &str) -> Result<Value> {
        let path = format!("/admin/dlq/{queue}?limit=200");
        let answer = self.send("GET", &path, &[("authorization", &self.admin().await?)], String::new()).await?;
        ensure!(answer.status == 200, "{path} returned {}: {}", answer.status, answer.body);
        Ok(answer.body)
    }

    /// Redrives a dead-letter queue and fires the `schedule` of its workflow's sweep, which sends what was archived.
    ///
    /// # Errors
    /// An operation failed.
    pub async fn redrive(&self, queue: &str, schedule: &str) -> Result<()> {
        let path = format!("/admin/dlq/{queue}/redrive");
        let answer = self.send("POST", &path, &[("authorization", &self.admin().await?)], String::new()).await?;
        ensure!(matches!(answer.status, 202 | 409), "{path} returned {}: {}", answer.status, answer.body);
        self.fire(schedule).await.map(drop)
    }

    /// What the operator was told under a name, oldest first: the details.
    ///
    /// # Errors
    /// No answer; a deployed stack has none.
    pub async fn operator_events(&self, name: &str) -> Result<Vec<Value>> {
        let events = answer(self.http.get(format!("{}/_local/events", self.stack.aws))).await?.body;
        let events = events.as_array().context("a list of events")?;
        let named = events.iter().filter(|event| event["detail-type"] == name);
        Ok(named.map(|event| event["detail"].clone()).collect())
    }

    /// How many effects third parties have received in all.
    ///
    /// # Errors
    /// The sandbox does not answer.
    pub async fn effect_count(&self) -> Result<u64> {
        let ledger = self.sandbox("GET", "/_sandbox/ledger?limit=0", None).await?;
        ledger["count"].as_u64().context("the ledger's count")
    }

    /// Fires a schedule now; returns what its function answered.
    ///
    /// # Errors
    /// No answer, or not 200.
    pub async fn fire(&self, schedule: &str) -> Result<Value> {
        let answer = answer(self.http.post(format!("{}/_local/schedules/{schedule}", self.stack.aws))).await?;
        if answer.status != 200 {
            bail!("firing {schedule} answered {}: {}", answer.status, answer.body);
        }
        Ok(answer.body)
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Answer> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await?;
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Ok(Answer { status, headers, body })
}

/// Asks every 20 ms until `holds` says yes.
///
/// # Errors
/// It never did within `limit`, or asking failed.
pub async fn wait_until(limit: Duration, holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    poll(limit, Duration::from_millis(20), holds).await
}

/// Asks now and then until `holds` says yes.
///
/// # Errors
/// It never did within `limit`, or asking failed.
#[expect(clippy::disallowed_methods, reason = "a test that polls must pause")]
pub async fn poll(limit: Duration, every: Duration, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + limit;
    while !holds().await? {
        if Instant::now() > end {
            bail!("not reached within {limit:?}");
        }
        tokio::time::sleep(every).await;
    }
    Ok(())
}

/// A number no other test of this run uses.
pub fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A webhook body about a resident the sandbox knows, with `changes` merged in.
pub fn webhook(company: &str, id: &str, changes: Value) -> Value {
    let mut body = json!({
        "CompanyKey": company,
        "CommunityId": 77,
        "EventType": "residents.move_in",
        "EventMessageId": id,
        "EventMessageDate": "2026-02-03T04:05:06Z",
        "NotificationData": {"ResidentId": 1_000_000 + unique()},
    });
    for (name, value) in changes.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    body
}
