//! Notifications under fire: every event matches three rules, each with a receiver of its own: one in good health, one that
//! fails, one that cuts the connection after it took the message. Processes are killed in the meantime. Then every delivery's row
//! is compared with what the receivers saw, and what is billed with what was sent.

use crate::{Killer, pause, say};
use anyhow::{Context as _, Result, ensure};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::post;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use switchyard_core::Env;
use switchyard_identity::api_keys::{ApiKeys, NewKey};
use switchyard_io::Aws;
use switchyard_local::Profile;
use switchyard_notify::Channel;
use switchyard_signals::configs::{self, ConfigDeps, NewConfig};
use switchyard_signals::rules;
use switchyard_signals::tenants::{self, TenantDeps, TenantEdit};
use switchyard_signals::{Tenant, deliveries, usage};
use switchyard_tests::client::{Client, poll};
use switchyard_tests::process::{HostOptions, HostProcess, build};
use tokio::net::TcpListener;
use tokio::time::Instant;

const RECEIVERS: [&str; 3] = ["healthy", "failing", "cutting"];
const EVENTS_A_SECOND: usize = 40;
const SENDERS: usize = 16;
const SETTLE: Duration = Duration::from_secs(1_200);
/// Deliveries that one process attempts at a time, and that one kill can cut off after the answer.
const PROCESS_CONCURRENCY: usize = 10;

/// What the receivers saw: how often each delivery was taken, and whether its sender could learn of that.
#[derive(Default)]
struct Seen {
    random: Mutex<fastrand::Rng>,
    are_well: AtomicBool,
    taken: Mutex<HashMap<String, Taken>>,
}

#[derive(Clone, Copy, Default)]
struct Taken {
    aloud: usize,
    silently: usize,
}

/// Posts `events`, kills processes in the meantime, waits for the end of every delivery, and judges.
pub async fn run(seed: u64, events: usize) -> Result<()> {
    let seen = Arc::new(Seen { random: Mutex::new(fastrand::Rng::with_seed(seed)), ..Seen::default() });
    let port = receive(seen.clone()).await?;
    let options = HostOptions {
        binaries: build(Profile::Dev, &[])?,
        data: None,
        port: 0,
        arguments: Vec::new(),
        settings: [("WEBHOOK_ALLOW_HTTP", "true"), ("WEBHOOK_ALLOW_CIDRS", "127.0.0.2/32"), ("LOG_LEVEL", "warn")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
    };
    let host = HostProcess::start(&options).await?;
    let client = host.client()?;
    let (deps, tenant, key) = prepare(&client, port).await?;

    let started = Instant::now();
    let killer = Killer::start(client.clone(), fastrand::Rng::with_seed(seed));
    let posted = post_all(&client, &key, events).await?;
    seen.are_well.store(true, Ordering::Relaxed);
    let kills = killer.stop().await?;

    let mut rows = Vec::new();
    let mut found = String::new();
    let ended = poll(SETTLE, Duration::from_secs(5), async || {
        rows.clear();
        for event in &posted {
            rows.extend(
                deliveries::of_event(&deps, &tenant.id, &event.as_str().into()).await?.iter().map(|row| json!(row)),
            );
        }
        let open = rows.iter().filter(|row| ["pending", "retry_wait"].contains(&text(row, "status"))).count();
        found = format!("{} of {} deliveries exist, {open} are open", rows.len(), events * RECEIVERS.len());
        Ok(rows.len() == events * RECEIVERS.len() && open == 0)
    });
    ended.await.with_context(|| format!("waiting for the deliveries: {found}"))?;

    let (mut doubled, mut unheard) = (0, 0);
    let taken = seen.taken.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for row in &rows {
        ensure!(text(row, "status") == "sent", "a delivery ended as {row}");
        let taken = taken.get(text(row, "id")).copied().unwrap_or_default();
        ensure!(taken.aloud + taken.silently > 0, "nobody took what is sent: {row}");
        doubled += taken.aloud.saturating_sub(1);
        unheard += taken.silently;
    }
    ensure!(taken.len() == rows.len(), "the receivers took {} deliveries, {} exist", taken.len(), rows.len());
    let used = json!(usage(&deps, &tenant, None).await?);
    let count = |name: &str| used[name].as_u64().unwrap_or_default();
    let drift = i128::from(count("eventsIngested")) - i128::try_from(events)?;
    say(&format!(
        "{} notifications of {events} events sent after {:.1} s and {kills} kills; {unheard} taken again since their \
         receiver cut the answer off, {doubled} since a kill did; {} billed; {drift} events counted by processes that died \
         before they wrote them",
        rows.len(),
        started.elapsed().as_secs_f64(),
        count("notificationsSent"),
    ));
    ensure!(doubled <= kills * PROCESS_CONCURRENCY, "more deliveries were doubled than kills can explain");
    ensure!(count("notificationsSent") == rows.len() as u64, "what is billed is not what was sent: {used}");
    ensure!((0..=i128::try_from(kills * PROCESS_CONCURRENCY)?).contains(&drift), "events are billed wrongly: {used}");
    host.kill().await
}

/// A tenant with a key, and a rule for each receiver.
async fn prepare(client: &Client, port: u16) -> Result<(TenantDeps, Tenant, String)> {
    let aws = Aws::at(&client.stack().aws).await;
    let settings = client.settings_of("events-api").await?;
    let env = Env::from_lookup(move |name| settings[name].as_str().map(str::to_owned));
    let deps = TenantDeps::from_env(&aws, &env)?;
    let edit = TenantEdit { usage_shards: Some(4), ..TenantEdit::default() };
    let tenant =
        tenants::create(&deps, &"chaos".into(), "chaos", "Chaos", &edit, None).await?.context("a new tenant")?;
    let keys = ApiKeys::from_env(&aws, &env, "SIGNALS_TABLE")?;
    let (key, _) = keys.create(&NewKey::new(tenant.id.clone())).await?;
    let config_deps = ConfigDeps::from_env(&aws, &env)?;
    for receiver in RECEIVERS {
        let secret = format!("whsec_{}", "QUJD".repeat(11));
        let new = NewConfig {
            name: receiver.to_owned(),
            channel: Channel::Webhook,
            config: json!({"url": format!("http://127.0.0.2:{port}/{receiver}"), "secret": secret}),
            is_default: false,
            allow_override: true,
            status: None,
        };
        let configs::ConfigWrite::Config(config, _) =
            configs::create(&config_deps, &"chaos".into(), &tenant.id, &new).await?
        else {
            anyhow::bail!("the config of {receiver} is refused");
        };
        let action = json!({"type": "notify", "channel": "webhook", "config": config.id, "text": receiver});
        let rule = json!({"name": receiver, "eventType": "chaos.*", "definition": {
            "schema": 2, "when": {"path": "payload.number", "op": "gte", "value": 0}, "actions": [action]}});
        let written = rules::create(&deps, &"chaos".into(), &tenant.id, &rule.to_string()).await?;
        ensure!(matches!(written, rules::RuleWrite::Rule(..)), "the rule of {receiver}: {written:?}");
    }
    Ok((deps, tenant, key.expose().to_owned()))
}

/// Posts each event until it is taken, at an even pace; returns their ids.
async fn post_all(client: &Client, key: &str, count: usize) -> Result<Vec<String>> {
    let started = Instant::now();
    let posts = stream::iter(0..count).map(|number| async move {
        let due = started + Duration::from_secs_f64(number as f64 / EVENTS_A_SECOND as f64);
        pause(due.saturating_duration_since(Instant::now())).await;
        post_once(client, key, number).await
    });
    posts.buffer_unordered(SENDERS).try_collect().await
}

async fn post_once(client: &Client, key: &str, number: usize) -> Result<String> {
    let body = json!({"type": "chaos.event", "payload": {"number": number}}).to_string();
    let name = format!("chaos-{number}");
    let headers = [("content-type", "application/json"), ("x-api-key", key), ("idempotency-key", name.as_str())];
    for _ in 0..100 {
        // Anyone who serves it may be killed; the key makes asking again harmless.
        if let Ok(answer) = client.send("POST", "/api/events", &headers, body.clone()).await
            && answer.status == 201
        {
            return Ok(answer.body["id"].as_str().context("the event's id")?.to_owned());
        }
        pause(Duration::from_millis(200)).await;
    }
    anyhow::bail!("event {number} was never taken")
}

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().unwrap_or_default()
}

async fn receive(seen: Arc<Seen>) -> Result<u16> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 2], 0))).await?;
    let port = listener.local_addr()?.port();
    let app = Router::new().route("/{receiver}", post(answer)).with_state(seen);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(port)
}

async fn answer(
    State(seen): State<Arc<Seen>>,
    Path(receiver): Path<String>,
    headers: HeaderMap,
) -> Result<Response<Body>, StatusCode> {
    let id = headers.get("webhook-id").and_then(|id| id.to_str().ok()).ok_or(StatusCode::BAD_REQUEST)?.to_owned();
    let chance = seen.random.lock().unwrap_or_else(PoisonError::into_inner).f64();
    let is_well = seen.are_well.load(Ordering::Relaxed);
    let mut taken = seen.taken.lock().unwrap_or_else(PoisonError::into_inner);
    match receiver.as_str() {
        "failing" if !is_well && chance < 0.2 => return Err(StatusCode::SERVICE_UNAVAILABLE),
        // The connection is cut in the middle of the answer.
        "cutting" if !is_well && chance < 0.2 => {
            taken.entry(id).or_default().silently += 1;
            let torn = stream::iter([Err::<Vec<u8>, _>(std::io::Error::other("cut"))]);
            let response = Response::builder().status(200).header("content-length", "10").body(Body::from_stream(torn));
            return response.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR);
        }
        _ => taken.entry(id).or_default().aloud += 1,
    }
    Ok(Response::new(Body::empty()))
}
