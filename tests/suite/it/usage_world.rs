//! A tenant whose events are counted, against a real table and queue, with a clock of the test's own and an AWS endpoint that
//! can fail.

use super::{aws, env, queue, table, take};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use switchyard_core::{Clock, Env, Timestamp};
use switchyard_io::Aws;
use switchyard_signals::tenants::{self, TenantDeps, TenantEdit};
use switchyard_signals::{Accepted, IngestDeps, NewEvent, SignalsError, Tenant, accept, reconcile, usage};
use switchyard_tests::client::{Client, unique};
use switchyard_tests::stack::Stack;

pub(super) struct World {
    pub(super) aws: Aws,
    pub(super) client: Client,
    pub(super) table: String,
    pub(super) queue: String,
    pub(super) now: Arc<Mutex<Timestamp>>,
    pub(super) ingest: IngestDeps,
    pub(super) tenants: TenantDeps,
    pub(super) tenant: Tenant,
}

/// What a test says of a post.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Taken,
    Warned,
    Replayed,
    Mismatch,
    Full,
    TooFast,
}

pub(super) fn limits(soft: Option<u64>, hard: Option<u64>, shards: u32) -> TenantEdit {
    TenantEdit {
        monthly_soft_limit: Some(soft),
        monthly_hard_limit: Some(hard),
        usage_shards: Some(shards),
        ..TenantEdit::default()
    }
}

impl World {
    pub(super) async fn new(edit: TenantEdit) -> Self {
        Self::at("2026-01-05T10:00:00Z".parse().unwrap(), edit).await
    }

    pub(super) async fn at(now: Timestamp, edit: TenantEdit) -> Self {
        let (aws, client) = aws().await;
        let table_name = format!("it-usage-{}", unique());
        table(&client, "SignalsTable", &table_name).await;
        let queue = queue(&client, &table_name).await;
        let now = Arc::new(Mutex::new(now));
        let settings = Self::settings(&table_name, &queue);
        let clock = Self::clock_of(&now);
        let tenants = TenantDeps::from_env(&aws, &settings).unwrap().with_clock(clock.clone());
        let tenant = tenants::create(&tenants, &"cli".into(), "acme", "Acme", &edit, None).await.unwrap().unwrap();
        let ingest = IngestDeps::from_env(&aws, &settings).unwrap().with_clock(clock);
        Self { aws, client, table: table_name, queue, now, ingest, tenants, tenant }
    }

    pub(super) fn settings(table: &str, queue: &str) -> Env {
        env(vec![
            ("SIGNALS_TABLE", table.to_owned()),
            ("RULES_QUEUE_URL", queue.to_owned()),
            ("NOTIFY_QUEUE_URL", queue.to_owned()),
            ("API_KEY_SECRET", "ApiKeySecret".to_owned()),
        ])
    }

    pub(super) fn clock_of(now: &Arc<Mutex<Timestamp>>) -> Clock {
        let now = now.clone();
        Clock::from_fn(move || *now.lock().unwrap())
    }

    pub(super) fn env(&self) -> Env {
        Self::settings(&self.table, &self.queue)
    }

    pub(super) fn clock(&self) -> Clock {
        Self::clock_of(&self.now)
    }

    /// Another process, which knows nothing yet.
    pub(super) fn process(&self) -> IngestDeps {
        IngestDeps::from_env(&self.aws, &self.env()).unwrap().with_clock(self.clock())
    }

    pub(super) fn pass(&self, seconds: u64) {
        *self.now.lock().unwrap() += Duration::from_secs(seconds);
    }

    pub(super) async fn post(&self, key: Option<&str>) -> Said {
        self.post_as(&self.ingest, &self.tenant, key, "x").await.unwrap()
    }

    pub(super) async fn post_as(
        &self,
        ingest: &IngestDeps,
        tenant: &Tenant,
        key: Option<&str>,
        kind: &str,
    ) -> Result<Said, SignalsError> {
        let event = NewEvent::parse(&json!({"type": kind, "payload": {}}).to_string()).unwrap();
        Ok(match accept(ingest, tenant, &event, key, None).await? {
            Accepted::New { is_beyond_soft_limit: false, .. } => Said::Taken,
            Accepted::New { .. } => Said::Warned,
            Accepted::Replayed { .. } => Said::Replayed,
            Accepted::Mismatch => Said::Mismatch,
            Accepted::HardLimit { .. } => Said::Full,
            Accepted::RateLimited => Said::TooFast,
            Accepted::Suspended => panic!("suspended"),
        })
    }

    pub(super) async fn change(&self, edit: TenantEdit) -> Tenant {
        tenants::change(&self.tenants, &"cli".into(), &self.tenant.id, &edit).await.unwrap().unwrap()
    }

    pub(super) async fn usage(&self) -> Value {
        let tenant = tenants::tenant(&self.tenants, &self.tenant.id).await.unwrap().unwrap();
        json!(usage(&self.tenants, &tenant, None).await.unwrap())
    }

    /// The types of the platform's own events whose messages wait, in no order.
    pub(super) async fn told(&self) -> Vec<String> {
        let mut told = Vec::new();
        for message in take(&self.client, &self.queue).await {
            let kind = self.event(message["id"].as_str().unwrap()).await["kind"]["S"].as_str().unwrap().to_owned();
            if let Some(name) = kind.strip_prefix("signalops.usage.") {
                told.push(name.to_owned());
            }
        }
        told.sort();
        told
    }

    /// An event's row, wherever it is.
    pub(super) async fn event(&self, id: &str) -> Value {
        let rows = self.client.aws("DynamoDB_20120810.Scan", &json!({"TableName": self.table})).await.unwrap();
        let rows = rows["Items"].as_array().unwrap();
        rows.iter().find(|row| row["sk"]["S"] == id).unwrap_or_else(|| panic!("{id} is not there")).clone()
    }
}

impl World {
    /// A world of now: an event's id tells the time of the machine's clock.
    pub(super) async fn of_today(edit: TenantEdit) -> Self {
        Self::at(Clock::system().now(), edit).await
    }

    pub(super) fn month(&self) -> String {
        self.now.lock().unwrap().to_string()[..7].to_owned()
    }

    /// Changes what is counted, on a shard that counted something.
    pub(super) async fn miscount(&self, month: &str, hour: &str, amount: i64) {
        let key = |shard| {
            let pk = format!("U#{}#{}#{shard}", self.tenant.id, month.replace('-', ""));
            json!({"pk": {"S": pk}, "sk": {"S": "C"}})
        };
        let request = json!({"TableName": self.table, "Key": key(0), "ConsistentRead": true});
        let first = self.client.aws("DynamoDB_20120810.GetItem", &request).await.unwrap();
        let is_empty = ["0", ""].contains(&first["Item"][hour]["N"].as_str().unwrap_or_default());
        let key = key(u8::from(is_empty));
        let request = json!({
            "TableName": self.table, "Key": key,
            "UpdateExpression": format!("ADD events_ingested :n, {hour} :n"),
            "ExpressionAttributeValues": {":n": {"N": amount.to_string()}},
        });
        self.client.aws("DynamoDB_20120810.UpdateItem", &request).await.unwrap();
    }

    pub(super) async fn used_in(&self, month: &str) -> u64 {
        let tenant = tenants::tenant(&self.tenants, &self.tenant.id).await.unwrap().unwrap();
        usage(&self.tenants, &tenant, Some(month)).await.unwrap().events_ingested
    }

    pub(super) async fn reconciled(&self, month: &str) -> Vec<(u64, u64)> {
        let corrections = reconcile(&self.tenants, &self.tenant, Some(month), &"somebody".into()).await.unwrap();
        corrections.iter().map(|correction| (correction.counted, correction.kept)).collect()
    }

    /// Who corrected what, of the audit.
    pub(super) async fn audited(&self) -> Vec<(String, String)> {
        let rows = self.client.aws("DynamoDB_20120810.Scan", &json!({"TableName": self.table})).await.unwrap();
        let of = |row: &Value, name: &str| row[name]["S"].as_str().unwrap_or_default().to_owned();
        let rows = rows["Items"].as_array().unwrap().iter().filter(|row| of(row, "action") == "usage.reconcile");
        rows.map(|row| (of(row, "actor"), of(row, "after"))).collect()
    }
}

/// How an AWS endpoint before the real one treats requests for an operation that contain a text.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Fault {
    /// Does what the first asks for, and loses the answer.
    LosesAnswer,
    /// Refuses the first, since a transaction is in the way.
    Conflicts,
    /// Refuses them all.
    Fails,
}

#[derive(Clone)]
pub(super) struct Faulty {
    to: String,
    http: reqwest::Client,
    fault: Fault,
    operation: &'static str,
    text: &'static str,
    had: Arc<AtomicBool>,
}

impl Faulty {
    pub(super) async fn before(fault: Fault, operation: &'static str, text: &'static str) -> (Aws, Arc<AtomicBool>) {
        let had = Arc::new(AtomicBool::new(false));
        let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
        let to = Stack::shared().unwrap().aws.clone();
        let faulty = Self { to, http, fault, operation, text, had: had.clone() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().fallback(Self::pass).with_state(faulty);
        tokio::spawn(async move { axum::serve(listener, router).await });
        (Aws::at(&address).await, had)
    }

    pub(super) async fn pass(State(faulty): State<Self>, headers: HeaderMap, body: String) -> (StatusCode, String) {
        let target = headers.get("x-amz-target").map(|target| target.to_str().unwrap().to_owned()).unwrap_or_default();
        let is_meant = target.ends_with(faulty.operation) && body.contains(faulty.text);
        let is_first = is_meant && !faulty.had.swap(true, Ordering::Relaxed);
        let lost = (StatusCode::INTERNAL_SERVER_ERROR, r#"{"__type":"InternalServerError"}"#.to_owned());
        match faulty.fault {
            Fault::Fails if is_meant => return lost,
            Fault::Conflicts if is_first => {
                return (StatusCode::BAD_REQUEST, r#"{"__type":"TransactionConflictException"}"#.to_owned());
            }
            _ => {}
        }
        let mut request = faulty.http.post(&faulty.to).body(body);
        for (name, value) in headers.iter().filter(|(name, _)| *name != "host" && *name != "content-length") {
            request = request.header(name, value);
        }
        let answer = request.send().await.unwrap();
        if is_first && faulty.fault == Fault::LosesAnswer {
            return lost;
        }
        (answer.status(), answer.text().await.unwrap())
    }
}
