//! `POST /api/events` and `/api/events/batch`.

use crate::answer::Failure;
use futures_util::{StreamExt as _, stream};
use http::{HeaderName, HeaderValue, header};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use switchyard_core::{Env, EnvError};
use switchyard_io::Aws;
use switchyard_lambda::{Call, IDEMPOTENCY_KEY, MAX_IDEMPOTENCY_KEY, REPLAYED, Reply};
use switchyard_signals::{
    Accepted, BadEvent, Identified, IngestDeps, NewEvent, Places, Producer, TenantStatus, Unsent, accept, give_back,
    keep, reserve_places, send,
};

/// Bears a producer's key.
pub const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const USAGE_WARNING: HeaderName = HeaderName::from_static("x-usage-warning");

/// What a key must be allowed.
pub const SCOPE: &str = "events:write";

/// Events in a batch.
const MAX_BATCH: usize = 100;

/// Events of a batch that are taken at a time.
const BATCH_CONCURRENCY: usize = 10;

/// Largest body of a batch.
const MAX_BATCH_BYTES: usize = 5 * 1024 * 1024;

/// After so long a tenant's rate lets events pass again.
const RATE_WINDOW: Duration = Duration::from_secs(1);

/// The largest `MAX_EVENT_BYTES`: a row holds little more.
const LARGEST_EVENT: usize = 262_144;

/// The routes that producers post to.
pub struct Ingest {
    deps: IngestDeps,
    max_bytes: usize,
}

impl Ingest {
    /// Reads what [`IngestDeps`] does, and `MAX_EVENT_BYTES` (default 102,400, at most 262,144).
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        let max_bytes = env.parsed("MAX_EVENT_BYTES", 102_400)?;
        if max_bytes > LARGEST_EVENT {
            let reason = format!("expected at most {LARGEST_EVENT}");
            return Err(EnvError::Invalid { name: "MAX_EVENT_BYTES".to_owned(), reason });
        }
        Ok(Self { deps: IngestDeps::from_env(aws, env)?, max_bytes })
    }

    /// Fetches what the first event would have to wait for.
    pub async fn warm_up(&self) -> Result<(), EnvError> {
        self.deps.warm_up().await
    }

    /// Takes one event.
    pub async fn event(&self, call: &Call) -> Result<Reply, Failure> {
        check_size(call, self.max_bytes)?;
        let producer = self.producer(call).await?;
        let text = json_text(call)?;
        let event = NewEvent::parse(text).map_err(refused)?;
        if call.is_unreadable(&IDEMPOTENCY_KEY) {
            return Err(Failure::new(400, "idempotency_key_unreadable", "Idempotency key must be visible ASCII"));
        }
        let key = call.header(IDEMPOTENCY_KEY).filter(|key| !key.is_empty());
        check_key(key)?;
        let accepted = accept(&self.deps, &producer.tenant, &event, key, call.trace.clone()).await;
        answered(accepted.map_err(|error| Failure::unavailable(&error))?).map(|taken| taken.reply())
    }

    /// Takes the events of a batch, each with an answer of its own.
    pub async fn batch(&self, call: &Call) -> Result<Reply, Failure> {
        check_size(call, MAX_BATCH_BYTES)?;
        let producer = self.producer(call).await?;
        let malformed = |_| Failure::new(400, "malformed_json", "Malformed JSON");
        let body: BTreeMap<String, &RawValue> = match json_text(call)?.trim_start().starts_with('{') {
            true => serde_json::from_str(json_text(call)?).map_err(malformed)?,
            false => BTreeMap::new(),
        };
        let events: Vec<&RawValue> = match body.get("events").map(|events| events.get()) {
            Some(events) if events.starts_with('[') => serde_json::from_str(events).map_err(malformed)?,
            _ => return Err(Failure::fields(vec!["events must be an array".to_owned()])),
        };
        if !(1..=MAX_BATCH).contains(&events.len()) {
            return Err(Failure::fields(vec![format!("events must contain 1 to {MAX_BATCH} elements")]));
        }
        let events: Vec<_> = events.into_iter().map(|event| self.read_item(event.get())).collect();
        let without_key = events.iter().flatten().filter(|(_, key)| key.is_none()).count();
        let wanted = u32::try_from(without_key).unwrap_or_default();
        let places = reserve_places(&self.deps, &producer.tenant, wanted).await;
        let (items, unsent): (Vec<Value>, Vec<Option<Unsent>>) = stream::iter(events.into_iter().enumerate())
            .map(|(index, event)| self.item(call, &producer, places.as_ref(), index, event))
            .buffered(BATCH_CONCURRENCY)
            .unzip()
            .await;
        let unsent: Vec<_> = unsent.into_iter().flatten().collect();
        // Side by side: a queue that keeps us waiting is not to cost the tenant its places.
        tokio::join!(send(&self.deps, &unsent), async {
            if let Some(places) = places {
                give_back(&self.deps, &producer.tenant, places).await;
            }
        });
        Ok(Reply::json(207, &json!({"items": items})))
    }

    /// An event of a batch, and its own idempotency key.
    fn read_item(&self, text: &str) -> Result<(NewEvent, Option<String>), Failure> {
        if text.len() > self.max_bytes {
            return Err(too_large(self.max_bytes));
        }
        let event = NewEvent::parse(text).map_err(refused)?;
        let key = idempotency_key(text)?;
        check_key(key.as_deref())?;
        Ok((event, key))
    }

    async fn item(
        &self,
        call: &Call,
        producer: &Producer,
        places: Option<&Places>,
        index: usize,
        event: Result<(NewEvent, Option<String>), Failure>,
    ) -> (Value, Option<Unsent>) {
        let kept = async {
            let (event, key) = event?;
            let trace = call.trace.clone();
            let kept = keep(&self.deps, &producer.tenant, &event, key.as_deref(), places, trace).await;
            let (accepted, unsent) = kept.map_err(|error| Failure::unavailable(&error))?;
            Ok::<_, Failure>((answered(accepted)?, unsent))
        };
        match kept.await {
            Ok((taken, unsent)) => {
                let item = json!({
                    "index": index,
                    "status": 201,
                    "id": taken.id,
                    "replayed": taken.is_replayed,
                    "softLimit": taken.is_beyond_soft_limit,
                });
                (item, unsent)
            }
            Err(failure) => {
                let error = failure.body(&call.origin.request_id);
                (json!({"index": index, "status": failure.status(), "error": error}), None)
            }
        }
    }

    /// Whose key a call bears.
    pub async fn bearer(&self, call: &Call) -> Result<Arc<Producer>, Failure> {
        let unauthorized = |message: &str| Failure::new(401, "unauthorized", message);
        let key = call.header(API_KEY).filter(|key| !key.is_empty());
        let key = key.ok_or_else(|| unauthorized("Missing API key"))?;
        match self.deps.identify(key).await.map_err(|error| Failure::unavailable(&error))? {
            Identified::Unknown => Err(unauthorized("Invalid API key")),
            Identified::Expired => Err(unauthorized("API key expired")),
            Identified::Producer(producer) => Ok(producer),
        }
    }

    async fn producer(&self, call: &Call) -> Result<Arc<Producer>, Failure> {
        let producer = self.bearer(call).await?;
        if !producer.may(SCOPE) {
            return Err(Failure::new(403, "missing_scope", format!("API key lacks scope {SCOPE}")));
        }
        if producer.tenant.status != TenantStatus::Active {
            return Err(suspended());
        }
        Ok(producer)
    }
}

/// What is answered of an event: that it was taken, now or before, or why not.
fn answered(accepted: Accepted) -> Result<Taken, Failure> {
    match accepted {
        Accepted::New { id, is_beyond_soft_limit } => Ok(Taken { id, is_replayed: false, is_beyond_soft_limit }),
        Accepted::Replayed { id } => Ok(Taken { id, is_replayed: true, is_beyond_soft_limit: false }),
        Accepted::Mismatch => {
            Err(Failure::new(422, "idempotency_mismatch", "Idempotency key reused with a different request"))
        }
        Accepted::HardLimit { retry_after } => {
            Err(Failure::new(429, "hard_limit", "Hard limit reached").retry_after(retry_after))
        }
        Accepted::RateLimited => {
            Err(Failure::new(429, "rate_limited", "Too many events in this second").retry_after(RATE_WINDOW))
        }
        Accepted::Suspended => Err(suspended()),
    }
}

struct Taken {
    id: String,
    is_replayed: bool,
    is_beyond_soft_limit: bool,
}

impl Taken {
    fn reply(&self) -> Reply {
        let mut reply = Reply::json(201, &json!({"id": self.id, "status": "enqueued"}));
        if self.is_replayed {
            reply = reply.with_header(REPLAYED, HeaderValue::from_static("true"));
        }
        if self.is_beyond_soft_limit {
            reply = reply.with_header(USAGE_WARNING, HeaderValue::from_static("soft-limit"));
        }
        reply
    }
}

pub fn check_size(call: &Call, most: usize) -> Result<(), Failure> {
    if call.body.len() > most { Err(too_large(most)) } else { Ok(()) }
}

fn too_large(most: usize) -> Failure {
    Failure::new(413, "too_large", format!("Request is larger than {most} bytes"))
}

pub fn suspended() -> Failure {
    Failure::new(403, "tenant_suspended", "Tenant suspended")
}

fn refused(error: BadEvent) -> Failure {
    match error {
        BadEvent::Malformed => Failure::new(400, "malformed_json", "Malformed JSON"),
        BadEvent::Fields(messages) => Failure::fields(messages),
    }
}

/// The body as text, if it says that it is JSON.
pub fn json_text(call: &Call) -> Result<&str, Failure> {
    let media_type = call.header(header::CONTENT_TYPE).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Failure::new(415, "unsupported_media_type", "Content-Type must be application/json"));
    }
    std::str::from_utf8(&call.body).map_err(|_| Failure::new(400, "malformed_json", "Malformed JSON"))
}

fn check_key(key: Option<&str>) -> Result<(), Failure> {
    if key.is_some_and(|key| key.chars().count() > MAX_IDEMPOTENCY_KEY) {
        return Err(Failure::new(400, "idempotency_key_too_long", "Idempotency key too long"));
    }
    Ok(())
}

/// A batch item's own key.
fn idempotency_key(text: &str) -> Result<Option<String>, Failure> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(text).unwrap_or_default();
    match fields.get("idempotencyKey").map(|raw| serde_json::from_str::<Value>(raw.get())) {
        None | Some(Ok(Value::Null)) => Ok(None),
        Some(Ok(Value::String(key))) => Ok(Some(key).filter(|key| !key.is_empty())),
        Some(_) => Err(Failure::fields(vec!["idempotencyKey must be a string".to_owned()])),
    }
}
