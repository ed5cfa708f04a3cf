//! Deliveries under fire: one receiver in good health beside one that fails, one that wants patience and one that is
//! slow or hangs up. Then every delivery's row is compared with what the receivers saw.
//!
//! Receivers live on 127.0.0.2, which is let in. 127.0.0.1 is not: a trap listens there, and anyone who reaches it, by a
//! name, a redirect or an address in disguise, has passed the guard.

use crate::{Killer, pause, say};
use anyhow::{Context as _, Result, ensure};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use switchyard_callbacks::{EVENT_KIND, Published};
use switchyard_core::{Clock, Envelope};
use switchyard_local::Profile;
use switchyard_tests::client::{Client, poll};
use switchyard_tests::process::{HostOptions, HostProcess, build};
use tokio::net::TcpListener;
use tokio::time::Instant;

/// The endpoint whose name leads to the trap.
const TRAP: &str = "trap";
const RECEIVERS: [&str; 4] = ["healthy", "failing", "limited", "slow"];
/// Each receiver's waits between attempts, in seconds.
const WAITS: [u32; 3] = [1, 2, 40];
/// The slow receiver takes longer than this.
const TIMEOUT: Duration = Duration::from_millis(1000);
const SETTLE: Duration = Duration::from_secs(600);
const EVENTS_A_SECOND: usize = 50;
/// SQS takes so many messages in one call.
const SENT_TOGETHER: usize = 10;
/// Deliveries that one process makes at a time, and that one kill can cut off after the answer.
const PROCESS_CONCURRENCY: usize = 10;

/// What a receiver did with a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Did {
    Took,
    Refused,
    /// Took it, but the sender could not learn of it.
    TookSilently,
}

/// When, and what came of it.
type Requests = Vec<(Instant, Did)>;

/// What the receivers saw, by receiver and event.
#[derive(Default)]
struct Seen {
    random: Mutex<fastrand::Rng>,
    are_well: AtomicBool,
    requests: Mutex<HashMap<(String, String), Requests>>,
    trapped: AtomicUsize,
    trap_port: u16,
}

impl Seen {
    fn of(&self, receiver: &str, event: &str) -> Requests {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.get(&(receiver.to_owned(), event.to_owned())).cloned().unwrap_or_default()
    }

    fn requests_to(&self, receiver: &str) -> usize {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.iter().filter(|((name, _), _)| name == receiver).map(|(_, requests)| requests.len()).sum()
    }
}

/// Starts the host and the receivers, and kills processes while deliveries are made. With `compare`, the same is done
/// before in calm, and then among troubled receivers without kills, to see what the healthy one waits.
pub async fn run(seed: u64, events: usize, compare: bool) -> Result<()> {
    let trap = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let seen = Arc::new(Seen {
        random: Mutex::new(fastrand::Rng::with_seed(seed)),
        trap_port: trap.local_addr()?.port(),
        ..Seen::default()
    });
    let port = receive(seen.clone(), trap).await?;
    let options = HostOptions {
        binaries: build(Profile::Dev, &[])?,
        data: None,
        port: 0,
        arguments: Vec::new(),
        settings: [("WEBHOOK_ALLOW_CIDRS", "127.0.0.2/32"), ("LOG_LEVEL", "warn")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
    };
    let host = HostProcess::start(&options).await?;
    let client = host.client()?;
    addresses_in_disguise(&client, seen.trap_port).await?;

    if compare {
        seen.are_well.store(true, Ordering::Relaxed);
        let calm = storm(&client, &seen, port, "calm", events).await?.healthy_p99;
        seen.are_well.store(false, Ordering::Relaxed);
        let beside = storm(&client, &seen, port, "beside", events).await?.healthy_p99;
        let (calm, beside) = (calm.as_millis(), beside.as_millis());
        say(&format!(
            "the healthy receiver waits {calm} ms (p99) beside three others in good health, {beside} ms in trouble"
        ));
    }

    let killer = Killer::start(client.clone(), fastrand::Rng::with_seed(seed));
    let outcome = storm(&client, &seen, port, "storm", events).await;
    let kills = killer.stop().await?;
    let doubled = outcome?.doubled;
    say(&format!("{kills} kills, {doubled} deliveries received again after an answer that a kill cut off"));
    ensure!(doubled <= kills * PROCESS_CONCURRENCY, "more deliveries were doubled than kills can explain");
    let trapped = seen.trapped.load(Ordering::Relaxed);
    ensure!(trapped == 0, "{trapped} connections reached an address that is not let in");
    host.kill().await
}

/// Every way of writing the trap's address is refused when it is registered.
async fn addresses_in_disguise(client: &Client, port: u16) -> Result<()> {
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "169.254.169.254",
        "10.0.0.1",
    ] {
        let answer = register(client, "disguise", "sync.completed", &format!("http://{host}:{port}/")).await?;
        ensure!(answer.0 == 400 && answer.1["details"][0]["path"][0] == "targetUrl", "{host} answered {answer:?}");
    }
    Ok(())
}

/// What came of one run.
struct Outcome {
    healthy_p99: Duration,
    /// Deliveries that a receiver took more than once though it could say so each time.
    doubled: usize,
}

/// Publishes `events` for an organisation of its own, waits for the end of every delivery, and judges.
async fn storm(client: &Client, seen: &Seen, port: u16, organization: &str, events: usize) -> Result<Outcome> {
    let mut endpoints = Vec::new();
    for receiver in RECEIVERS {
        let name = format!("{organization}/{receiver}");
        let id = endpoint(client, organization, "sync.completed", &format!("http://127.0.0.2:{port}/{name}")).await?;
        endpoints.push((name, id));
    }
    // The name leads to an address that is not let in; that shows when it is resolved.
    let trap = format!("http://localhost:{}/", seen.trap_port);
    endpoints.push((TRAP.to_owned(), endpoint(client, organization, "sync.failed", &trap).await?));
    let started = Instant::now();
    let published = publish(client, organization, "sync.completed", events).await?;
    let for_trap = publish(client, organization, "sync.failed", 20).await?;

    let wanted = published.len() * RECEIVERS.len() + for_trap.len();
    let mut rows = Vec::new();
    let mut found = String::new();
    let ended = poll(SETTLE, Duration::from_secs(2), async || {
        rows.clear();
        for (_, id) in &endpoints {
            rows.extend(deliveries(client, id).await?);
        }
        let pending = rows.iter().filter(|row| text(row, "status") == "pending").count();
        found = format!("{} of {wanted} deliveries exist, {pending} are pending", rows.len());
        Ok(rows.len() == wanted && pending == 0)
    });
    ended.await.with_context(|| format!("waiting for {organization}'s deliveries: {found}"))?;

    let mut doubled = 0;
    let mut counts: HashMap<(&str, String), usize> = HashMap::new();
    for row in &rows {
        let (status, error) = (text(row, "status"), text(row, "last_error"));
        let reason = if status == "failed" { error } else { "" };
        let known = endpoints.iter().find(|(_, id)| id == text(row, "endpoint_id"));
        let name = known.map(|(name, _)| name.as_str()).context("an endpoint of ours")?;
        *counts.entry((name, format!("{status} {reason}"))).or_default() += 1;
        ensure!(status == "success" || (status == "failed" && !reason.is_empty()), "a delivery ended as {row}");
        if name == TRAP {
            ensure!(["blocked_address", "circuit_open"].contains(&reason), "the trap's delivery ended as {row}");
            continue;
        }
        let requests = seen.of(name, text(row, "event_id"));
        let took = requests.iter().filter(|(_, did)| *did == Did::Took).count();
        doubled += took.saturating_sub(1);
        let was_taken = requests.iter().any(|(_, did)| *did != Did::Refused);
        ensure!(status != "success" || was_taken, "{name} never took what is delivered: {row}");
        ensure!(!name.ends_with("healthy") || status == "success", "the healthy receiver missed {row}");
    }
    let mut counts: Vec<_> =
        counts.into_iter().map(|((name, what), count)| format!("{name}: {count} {what}")).collect();
    counts.sort();
    for receiver in RECEIVERS {
        let requests = seen.requests_to(&format!("{organization}/{receiver}"));
        counts.push(format!("{requests} requests to {organization}/{receiver}"));
    }
    say(&format!("{wanted} deliveries ended after {:.1} s: {}", started.elapsed().as_secs_f64(), counts.join(", ")));

    let healthy = format!("{organization}/healthy");
    let mut waits = Vec::new();
    for (event, at) in published {
        let first = seen.of(&healthy, &event).first().map(|(first, _)| *first).context("a request")?;
        waits.push(first.duration_since(at));
    }
    waits.sort();
    Ok(Outcome { healthy_p99: waits[waits.len() * 99 / 100], doubled })
}

/// Sends events to the queue that workflows send theirs to, at an even pace; returns each one's id and time.
async fn publish(client: &Client, organization: &str, event: &str, count: usize) -> Result<Vec<(String, Instant)>> {
    let queue = client.aws("AmazonSQS.GetQueueUrl", &json!({"QueueName": "CallbackQueue"})).await?["QueueUrl"].take();
    let clock = Clock::system();
    let started = Instant::now();
    let mut published = Vec::new();
    while published.len() < count {
        let mut entries = Vec::new();
        let first = published.len();
        for number in first..count.min(first + SENT_TOGETHER) {
            let id = clock.new_id().to_string();
            let payload = json!({"eventId": id, "event": event, "data": {"number": number}}).to_string();
            let body = Published { event: event.to_owned(), subject: None, payload };
            let body = Envelope::new(EVENT_KIND, id.clone(), organization.to_owned(), None, body).to_json()?;
            entries.push(json!({"Id": number.to_string(), "MessageBody": body}));
            published.push((id, Instant::now()));
        }
        let sent = client.aws("AmazonSQS.SendMessageBatch", &json!({"QueueUrl": queue, "Entries": entries})).await?;
        ensure!(sent["Failed"].as_array().is_none_or(Vec::is_empty), "not all were sent: {sent}");
        let due = started + Duration::from_secs_f64(published.len() as f64 / EVENTS_A_SECOND as f64);
        pause(due.saturating_duration_since(Instant::now())).await;
    }
    Ok(published)
}

/// Registers an endpoint with short waits; returns its id.
async fn endpoint(client: &Client, organization: &str, event: &str, url: &str) -> Result<String> {
    let (status, body) = register(client, organization, event, url).await?;
    ensure!(status == 200, "registering {url} answered {status}: {body}");
    let id = body["id"].as_str().context("the endpoint's id")?.to_owned();
    let settings = json!({"retryPolicy": WAITS, "timeoutMs": TIMEOUT.as_millis()});
    let headers = [("content-type", "application/json")];
    let answer = client.send("PATCH", &format!("/webhooks/{id}"), &headers, settings.to_string()).await?;
    ensure!(answer.status == 200, "changing {url} answered {}: {}", answer.status, answer.body);
    Ok(id)
}

async fn register(client: &Client, organization: &str, event: &str, url: &str) -> Result<(u16, Value)> {
    let body = json!({"organizationId": organization, "event": event, "targetUrl": url});
    let answer = client.post("/webhooks/register", &body).await?;
    Ok((answer.status, answer.body))
}

/// Every delivery to an endpoint, as its row is.
async fn deliveries(client: &Client, endpoint: &str) -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    let mut from = Value::Null;
    loop {
        let mut request = json!({
            "TableName": "CallbacksTable",
            "IndexName": "endpoint",
            "KeyConditionExpression": "endpoint_pk = :endpoint",
            "ExpressionAttributeValues": {":endpoint": {"S": endpoint}},
        });
        if !from.is_null() {
            request["ExclusiveStartKey"] = from;
        }
        let mut page = client.aws("DynamoDB_20120810.Query", &request).await?;
        rows.extend(page["Items"].as_array().cloned().unwrap_or_default());
        from = page["LastEvaluatedKey"].take();
        if from.is_null() {
            return Ok(rows);
        }
    }
}

fn text<'a>(row: &'a Value, attribute: &str) -> &'a str {
    row[attribute]["S"].as_str().unwrap_or_default()
}

/// Serves the receivers, and the trap; returns the receivers' port.
async fn receive(seen: Arc<Seen>, trap: TcpListener) -> Result<u16> {
    let of_trap = seen.clone();
    tokio::spawn(async move {
        while trap.accept().await.is_ok() {
            of_trap.trapped.fetch_add(1, Ordering::Relaxed);
        }
    });
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 2], 0))).await?;
    let port = listener.local_addr()?.port();
    let app = Router::new().route("/{organization}/{receiver}", post(answer)).with_state(seen);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(port)
}

async fn answer(
    State(seen): State<Arc<Seen>>,
    Path((organization, receiver)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response<Body>, StatusCode> {
    let event = headers.get("webhook-id").and_then(|id| id.to_str().ok()).ok_or(StatusCode::BAD_REQUEST)?.to_owned();
    let at = Instant::now();
    let chance = seen.random.lock().unwrap_or_else(PoisonError::into_inner).f64();
    let is_well = seen.are_well.load(Ordering::Relaxed);
    let empty = |status| Response::builder().status(status);
    let (did, response) = match receiver.as_str() {
        _ if is_well => (Did::Took, empty(200).body(Body::empty())),
        "failing" if chance < 0.5 => {
            let trap = format!("http://127.0.0.1:{}/", seen.trap_port);
            (Did::Refused, empty(307).header("location", trap).body(Body::empty()))
        }
        "failing" => (Did::Refused, empty(500).body(Body::empty())),
        "limited" if chance < 0.3 => (Did::Refused, empty(429).header("retry-after", "3").body(Body::empty())),
        "slow" if chance < 0.3 => {
            pause(TIMEOUT + Duration::from_millis(500)).await;
            (Did::TookSilently, empty(200).body(Body::empty()))
        }
        // The connection is cut in the middle of the answer.
        "slow" if chance < 0.6 => {
            let torn = futures_util::stream::iter([Err::<Vec<u8>, _>(std::io::Error::other("cut"))]);
            (Did::TookSilently, empty(200).header("content-length", "10").body(Body::from_stream(torn)))
        }
        _ => (Did::Took, empty(200).body(Body::empty())),
    };
    let mut requests = seen.requests.lock().unwrap_or_else(PoisonError::into_inner);
    requests.entry((format!("{organization}/{receiver}"), event)).or_default().push((at, did));
    drop(requests);
    response.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}
