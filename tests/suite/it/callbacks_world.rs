//! An organization with its endpoints against a real table and queue, with a clock of the test's own and receivers on the wire.

use super::{aws, data_key, env, operator_bus, queue, table, take};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::post;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use switchyard_callbacks::manage::{self, Endpoint, Registered};
use switchyard_callbacks::{CallbacksDeps, DeliverDeps, NewEndpoint, process};
use switchyard_core::Owner;
use switchyard_core::{Clock, Timestamp};
use switchyard_tests::client::{Client, unique, wait_until};

pub(super) const ORGANIZATION: &str = "org-1";

pub(super) const EVENT: &str = "sync.completed";

/// An endpoint of [`ORGANIZATION`] for [`EVENT`].
pub(super) fn new_endpoint(target: &str) -> NewEndpoint {
    NewEndpoint { organization_id: ORGANIZATION.into(), event: EVENT.into(), target_url: target.into() }
}

/// What a receiver got.
#[derive(Clone, Debug)]
pub(super) struct Got {
    pub(super) name: String,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

/// Status and `Retry-After`; status 0 never answers.
pub(super) type Answer = (u16, Option<&'static str>);

#[derive(Clone, Default)]
pub(super) struct Receivers {
    /// What each answers; 200 unless set.
    pub(super) answers: Arc<Mutex<HashMap<String, Answer>>>,
    pub(super) got: Arc<Mutex<Vec<Got>>>,
}

async fn receive(
    State(receivers): State<Receivers>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: String,
) -> axum::response::Response {
    receivers.got.lock().unwrap().push(Got { name: name.clone(), headers, body });
    let (status, retry_after) = receivers.answers.lock().unwrap().get(&name).copied().unwrap_or((200, None));
    if status == 0 {
        std::future::pending::<()>().await;
    }
    let mut response = (StatusCode::from_u16(status).unwrap(), "the answer").into_response();
    if let Some(wait) = retry_after {
        response.headers_mut().insert("retry-after", wait.parse().unwrap());
    }
    if (300..400).contains(&status) {
        response.headers_mut().insert("location", "/hooks/elsewhere".parse().unwrap());
    }
    response
}

pub(super) struct World {
    pub(super) client: Client,
    pub(super) deps: DeliverDeps,
    pub(super) callbacks: CallbacksDeps,
    pub(super) queue: String,
    pub(super) now: Arc<Mutex<Timestamp>>,
    pub(super) receivers: Receivers,
    pub(super) base: String,
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with(&[("WEBHOOK_ALLOW_HTTP", "true"), ("WEBHOOK_ALLOW_CIDRS", "127.0.0.0/8")]).await
    }

    pub(super) async fn with(settings: &[(&'static str, &str)]) -> Self {
        let (aws, client) = aws().await;
        let name = format!("it-callbacks-{}", unique());
        table(&client, "CallbacksTable", &name).await;
        let queue = queue(&client, &name).await;
        let mut pairs = vec![("CALLBACKS_TABLE", name), ("CALLBACK_QUEUE_URL", queue.clone())];
        pairs.extend([data_key(), operator_bus()]);
        pairs.extend(settings.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let env = env(pairs);
        let now = Arc::new(Mutex::new("2026-01-05T10:00:00Z".parse::<Timestamp>().unwrap()));
        let clock = now.clone();
        let clock = Clock::from_fn(move || *clock.lock().unwrap());
        let receivers = Receivers::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/hooks", listener.local_addr().unwrap());
        let router = axum::Router::new().route("/hooks/{name}", post(receive)).with_state(receivers.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            client,
            deps: DeliverDeps::from_env(&aws, &env).unwrap().with_clock(clock.clone()),
            callbacks: CallbacksDeps::from_env(&aws, &env).unwrap().with_clock(clock),
            queue,
            now,
            receivers,
            base,
        }
    }

    pub(super) fn pass(&self, seconds: u64) {
        *self.now.lock().unwrap() += Duration::from_secs(seconds);
    }

    pub(super) async fn endpoint(&self, name: &str) -> Endpoint {
        self.endpoint_at(&format!("{}/{name}", self.base)).await
    }

    pub(super) async fn endpoint_at(&self, target: &str) -> Endpoint {
        match manage::register(&self.callbacks, &new_endpoint(target)).await.unwrap() {
            Registered::Endpoint(endpoint) => *endpoint,
            Registered::TooMany => panic!("too many"),
        }
    }

    pub(super) fn answer(&self, name: &str, status: u16, retry_after: Option<&'static str>) {
        self.receivers.answers.lock().unwrap().insert(name.to_owned(), (status, retry_after));
    }

    /// Publishes an event and fans it out.
    pub(super) async fn publish(&self) -> String {
        let id = Clock::system().new_id().to_string();
        let body = json!({"event": EVENT, "subject": "store-1", "payload": r#"{"b":1,"a":2}"#});
        self.process(&json!({"v": 1, "id": id, "kind": "callbacks.event", "tenant": ORGANIZATION, "body": body})).await;
        id
    }

    pub(super) async fn process(&self, message: &Value) {
        self.process_as(message, "m", 1).await;
    }

    pub(super) async fn process_as(&self, message: &Value, id: &str, attempt: u32) {
        let owner = Owner { message_id: id.into(), attempt };
        process(&self.deps, &message.to_string(), &owner).await.unwrap();
    }

    /// Works off what is in the queue now, and what that brings there at once.
    pub(super) async fn work(&self) {
        loop {
            let messages = take(&self.client, &self.queue).await;
            if messages.is_empty() {
                return;
            }
            for message in messages {
                self.process(&message).await;
            }
        }
    }

    /// Attempts a delivery as the delayed message would, which this clock cannot bring.
    pub(super) async fn attempt(&self, event: &str, endpoint: &Endpoint, attempts: u32) {
        let body = json!({"eventId": event, "endpointId": json!(endpoint.summary())["id"], "attempts": attempts});
        self.process(&json!({"v": 1, "id": event, "kind": "callbacks.delivery", "tenant": "", "body": body})).await;
    }

    /// Takes a delivery as far as its request, and dies there.
    pub(super) async fn die_after_the_post(&self, message: &Value, id: &str, name: &str) {
        let hits = self.hits(name);
        let (deps, message) = (self.deps.clone(), message.to_string());
        let owner = Owner { message_id: id.into(), attempt: 1 };
        let worker = tokio::spawn(async move { process(&deps, &message, &owner).await });
        let posted = wait_until(Duration::from_secs(10), async || Ok(self.hits(name) > hits));
        posted.await.unwrap();
        worker.abort();
        worker.await.unwrap_err();
    }

    pub(super) async fn event(&self, id: &str) -> Value {
        json!(manage::event(&self.callbacks, &id.into()).await.unwrap().unwrap())
    }

    /// What the operator was told of an endpoint under a name.
    pub(super) async fn told(&self, name: &str, endpoint: &Endpoint) -> Vec<Value> {
        let id = json!(endpoint.summary())["id"].clone();
        let told = self.client.operator_events(name).await.unwrap();
        told.into_iter().filter(|detail| detail["webhookId"] == id).collect()
    }

    pub(super) fn hits(&self, name: &str) -> usize {
        self.receivers.got.lock().unwrap().iter().filter(|got| got.name == name).count()
    }
}

/// Where the endpoint of an address lies.
pub(super) fn endpoint_key(target: &str) -> Value {
    let digest = switchyard_core::hex_sha256(&[target]);
    json!({"pk": {"S": format!("O#{ORGANIZATION}")}, "sk": {"S": format!("W#{EVENT}#{digest}")}})
}
