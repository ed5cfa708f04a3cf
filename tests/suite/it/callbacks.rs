//! Deliveries against a real table and queue, with a clock of the test's own and receivers on the wire.

use super::{aws, data_key, env, operator_bus, queue, table, take};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::post;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use switchyard_callbacks::manage::{self, Endpoint, Registered, Settings};
use switchyard_callbacks::{CallbacksDeps, DeliverDeps, RetryPolicy, process, sweep};
use switchyard_core::Owner;
use switchyard_core::{Clock, Timestamp, signature};
use switchyard_tests::client::{Client, unique, wait_until};
use tokio::time::Instant;

const ORGANIZATION: &str = "org-1";
const EVENT: &str = "sync.completed";

/// What a receiver got.
#[derive(Clone, Debug)]
struct Got {
    name: String,
    headers: HeaderMap,
    body: String,
}

/// Status and `Retry-After`; status 0 never answers.
type Answer = (u16, Option<&'static str>);

#[derive(Clone, Default)]
struct Receivers {
    /// What each answers; 200 unless set.
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    got: Arc<Mutex<Vec<Got>>>,
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

struct World {
    client: Client,
    deps: DeliverDeps,
    callbacks: CallbacksDeps,
    queue: String,
    now: Arc<Mutex<Timestamp>>,
    receivers: Receivers,
    base: String,
}

impl World {
    async fn new() -> Self {
        Self::with(&[("WEBHOOK_ALLOW_HTTP", "true"), ("WEBHOOK_ALLOW_CIDRS", "127.0.0.0/8")]).await
    }

    async fn with(settings: &[(&'static str, &str)]) -> Self {
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

    fn pass(&self, seconds: u64) {
        *self.now.lock().unwrap() += Duration::from_secs(seconds);
    }

    async fn endpoint(&self, name: &str) -> Endpoint {
        self.endpoint_at(&format!("{}/{name}", self.base)).await
    }

    async fn endpoint_at(&self, target: &str) -> Endpoint {
        match manage::register(&self.callbacks, ORGANIZATION, EVENT, target).await.unwrap() {
            Registered::Endpoint(endpoint) => *endpoint,
            Registered::TooMany => panic!("too many"),
        }
    }

    fn answer(&self, name: &str, status: u16, retry_after: Option<&'static str>) {
        self.receivers.answers.lock().unwrap().insert(name.to_owned(), (status, retry_after));
    }

    /// Publishes an event and fans it out.
    async fn publish(&self) -> String {
        let id = Clock::system().new_id().to_string();
        let body = json!({"event": EVENT, "subject": "store-1", "payload": r#"{"b":1,"a":2}"#});
        self.process(&json!({"v": 1, "id": id, "kind": "callbacks.event", "tenant": ORGANIZATION, "body": body})).await;
        id
    }

    async fn process(&self, message: &Value) {
        self.process_as(message, "m", 1).await;
    }

    async fn process_as(&self, message: &Value, id: &str, attempt: u32) {
        let owner = Owner { message_id: id.into(), attempt };
        process(&self.deps, &message.to_string(), &owner).await.unwrap();
    }

    /// Works off what is in the queue now, and what that brings there at once.
    async fn work(&self) {
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
    async fn attempt(&self, event: &str, endpoint: &Endpoint, attempts: u32) {
        let body = json!({"eventId": event, "endpointId": json!(endpoint.summary())["id"], "attempts": attempts});
        self.process(&json!({"v": 1, "id": event, "kind": "callbacks.delivery", "tenant": "", "body": body})).await;
    }

    /// Takes a delivery as far as its request, and dies there.
    async fn die_after_the_post(&self, message: &Value, id: &str, name: &str) {
        let hits = self.hits(name);
        let (deps, message) = (self.deps.clone(), message.to_string());
        let owner = Owner { message_id: id.into(), attempt: 1 };
        let worker = tokio::spawn(async move { process(&deps, &message, &owner).await });
        let posted = wait_until(Duration::from_secs(10), async || Ok(self.hits(name) > hits));
        posted.await.unwrap();
        worker.abort();
        worker.await.unwrap_err();
    }

    async fn event(&self, id: &str) -> Value {
        json!(manage::event(&self.callbacks, id).await.unwrap().unwrap())
    }

    /// What the operator was told of an endpoint under a name.
    async fn told(&self, name: &str, endpoint: &Endpoint) -> Vec<Value> {
        let id = json!(endpoint.summary())["id"].clone();
        let told = self.client.operator_events(name).await.unwrap();
        told.into_iter().filter(|detail| detail["webhookId"] == id).collect()
    }

    fn hits(&self, name: &str) -> usize {
        self.receivers.got.lock().unwrap().iter().filter(|got| got.name == name).count()
    }
}

/// Where the endpoint of an address lies.
fn endpoint_key(target: &str) -> Value {
    let digest = switchyard_core::hex_sha256(&[target]);
    json!({"pk": {"S": format!("O#{ORGANIZATION}")}, "sk": {"S": format!("W#{EVENT}#{digest}")}})
}

#[tokio::test]
async fn v34_only_the_endpoint_that_failed_is_tried_again() {
    let world = World::new().await;
    let (_good, bad) = (world.endpoint("good").await, world.endpoint("bad").await);
    world.answer("bad", 500, None);
    let event = world.publish().await;
    world.work().await;
    let status = world.event(&event).await;
    assert_eq!((&status["status"], &status["attempt"]), (&json!("pending"), &json!(1)));
    assert_eq!(status["nextRetryAt"], "2026-01-05T10:01:00.000Z");
    world.pass(60);
    world.attempt(&event, &bad, 1).await;
    assert_eq!(world.event(&event).await["nextRetryAt"], "2026-01-05T10:06:00.000Z");
    world.pass(300);
    world.attempt(&event, &bad, 2).await;
    let status = world.event(&event).await;
    assert_eq!((world.hits("good"), world.hits("bad")), (1, 3));
    assert_eq!((&status["status"], &status["attempt"]), (&json!("failed"), &json!(3)));
    assert_eq!((&status["lastError"], &status["nextRetryAt"]), (&json!("500 Internal Server Error"), &Value::Null));
    assert_eq!(status["attempts"].as_array().unwrap().len(), 4);
    assert_eq!(status["attempts"][0]["response"], "the answer");
    // A message that is out of date does nothing.
    world.attempt(&event, &bad, 2).await;
    assert_eq!(world.hits("bad"), 3);
    let told = world.told("delivery.exhausted", &bad).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&told[0]["eventId"], &told[0]["reason"]), (&json!(event), &json!("500 Internal Server Error")));
}

#[tokio::test]
async fn v35_any_2xx_is_taken_redirects_are_not_followed_and_410_is_for_good() {
    let world = World::new().await;
    for (name, status) in [("empty", 204), ("moved", 302), ("gone", 410)] {
        world.endpoint(name).await;
        world.answer(name, status, None);
    }
    let event = world.publish().await;
    world.work().await;
    let status = world.event(&event).await;
    let of = |name: &str| {
        let deliveries = status["deliveries"].as_array().unwrap();
        let found = deliveries.iter().find(|row| row["targetUrl"].as_str().unwrap().ends_with(name)).unwrap();
        (found["status"].clone(), found["lastStatusCode"].clone())
    };
    assert_eq!(of("empty"), (json!("success"), json!(204)));
    assert_eq!(of("moved"), (json!("pending"), json!(302)));
    assert_eq!(of("gone"), (json!("failed"), json!(410)));
    assert_eq!(world.hits("elsewhere"), 0);
    let list = manage::list(&world.callbacks, ORGANIZATION).await.unwrap();
    let gone = list
        .iter()
        .find(|endpoint| json!(endpoint.summary())["targetUrl"].as_str().unwrap().ends_with("gone"))
        .unwrap();
    assert_eq!(
        (&json!(gone.details())["isActive"], &json!(gone.details())["disabledReason"]),
        (&json!(false), &json!("gone"))
    );
    let told = world.told("endpoint.disabled", gone).await;
    assert_eq!((told.len(), &told[0]["reason"], &told[0]["organizationId"]), (1, &json!("gone"), &json!(ORGANIZATION)));
}

#[tokio::test]
async fn v36_an_event_that_nobody_wants_is_done() {
    let world = World::new().await;
    let event = world.publish().await;
    world.work().await;
    let status = world.event(&event).await;
    assert_eq!((&status["status"], &status["deliveries"]), (&json!("success"), &json!([])));
}

#[tokio::test]
async fn v40_the_same_address_is_the_same_endpoint_byte_for_byte() {
    let world = World::new().await;
    let (one, again) = (world.endpoint("a").await, world.endpoint("a").await);
    assert_eq!(json!(one.summary())["id"], json!(again.summary())["id"]);
    assert_ne!(json!(one.summary())["id"], json!(world.endpoint("a/").await.summary())["id"]);
    for target in ["ftp://h/x", "http://", "nonsense", "http://user:pass@127.0.0.1:4000/x", "http://10.0.0.1/x"] {
        assert!(manage::refuse_target(&world.callbacks, target).is_some(), "{target}");
    }
    for target in ["http://127.0.0.1:4000/webhook", "https://example.com/x"] {
        assert_eq!(manage::refuse_target(&world.callbacks, target), None, "{target}");
    }
}

#[tokio::test]
async fn v41_an_address_that_resolves_inside_gets_no_connection() {
    // Registered while this machine was allowed, delivered after it no longer is.
    let world = World::with(&[("WEBHOOK_ALLOW_HTTP", "true")]).await;
    for host in ["localhost", "127.0.0.1", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"] {
        let target = world.base.replace("127.0.0.1", host);
        let endpoint = world.endpoint_at(&target).await;
        let event = manage::test(&world.callbacks, &endpoint).await.unwrap();
        world.work().await;
        assert_eq!(world.event(&event).await["lastError"], "blocked_address", "{host}");
        manage::remove(&world.callbacks, &endpoint).await.unwrap();
    }
    assert_eq!(world.receivers.got.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn every_attempt_sends_the_same_bytes_signed_for_that_attempt() {
    let world = World::with(&[
        ("WEBHOOK_ALLOW_HTTP", "true"),
        ("WEBHOOK_ALLOW_CIDRS", "127.0.0.0/8"),
        ("WEBHOOK_SECRET", "demo-secret"),
    ])
    .await;
    let endpoint = world.endpoint("a").await;
    world.answer("a", 500, None);
    let event = world.publish().await;
    world.work().await;
    let old = manage::secret(&world.callbacks, &endpoint).await.unwrap();
    let rotated = manage::rotate(&world.callbacks, &endpoint, Duration::from_secs(120)).await.unwrap().unwrap();
    let new = manage::secret(&world.callbacks, &rotated).await.unwrap();
    world.pass(60);
    world.attempt(&event, &endpoint, 1).await;
    world.pass(300);
    world.attempt(&event, &endpoint, 2).await;
    let got = world.receivers.got.lock().unwrap().clone();
    let start = "2026-01-05T10:00:00Z".parse::<Timestamp>().unwrap();
    for (number, (got, seconds)) in got.iter().zip([0, 60, 360]).enumerate() {
        let header = |name: &str| got.headers[name].to_str().unwrap();
        assert_eq!(got.body, r#"{"b":1,"a":2}"#);
        assert_eq!((header("webhook-id"), header("x-event-id")), (event.as_str(), event.as_str()));
        assert!(header("user-agent").starts_with("switchyard/"));
        let now = start + Duration::from_secs(seconds);
        let fits = |secret: &str| {
            signature::verify(secret, &event, header("webhook-timestamp"), header("webhook-signature"), &got.body, now)
        };
        // The old secret signs until its grace is over, the new one from its making on.
        assert_eq!(fits(old.expose()).is_ok(), number < 2, "attempt {number}");
        assert_eq!(fits(new.expose()).is_ok(), number > 0, "attempt {number}");
        assert_eq!(header("x-webhook-signature"), signature::legacy("demo-secret", &got.body));
    }
    assert_eq!(got.len(), 3);
}

#[tokio::test]
async fn a_wish_for_patience_is_honoured() {
    let world = World::new().await;
    world.endpoint("a").await;
    world.answer("a", 429, Some("600"));
    let event = world.publish().await;
    world.work().await;
    assert_eq!(world.event(&event).await["nextRetryAt"], "2026-01-05T10:10:00.000Z");
}

#[tokio::test]
async fn a_worker_that_died_is_followed_by_its_messages_next_receive() {
    let world = World::new().await;
    world.endpoint("a").await;
    let event = world.publish().await;
    let message = take(&world.client, &world.queue).await.remove(0);
    world.answer("a", 0, None);
    world.die_after_the_post(&message, "dead", "a").await;
    assert_eq!(world.event(&event).await["attempts"], json!([]), "nothing was written down");
    world.answer("a", 200, None);
    let other = Owner { message_id: "other".into(), attempt: 1 };
    assert!(process(&world.deps, &message.to_string(), &other).await.is_err(), "the lease holds");
    world.process_as(&message, "dead", 2).await;
    let status = world.event(&event).await;
    assert_eq!((&status["status"], &status["attempt"]), (&json!("success"), &json!(1)));
    let ids: Vec<_> = world.receivers.got.lock().unwrap().iter().map(|got| got.headers["webhook-id"].clone()).collect();
    assert_eq!(ids, [event.as_str(), event.as_str()], "the receiver can tell");
}

#[tokio::test]
async fn a_secret_that_no_longer_opens_keeps_no_other_from_signing() {
    let world = World::new().await;
    let endpoint = world.endpoint("a").await;
    let lose = json!({
        "TableName": world.queue.rsplit('/').next().unwrap(),
        "Key": endpoint_key(&format!("{}/a", world.base)),
        "UpdateExpression": "SET secrets[0].secret = :lost",
        "ExpressionAttributeValues": {":lost": {"S": "k0.AAAA"}},
    });
    world.client.aws("DynamoDB_20120810.UpdateItem", &lose).await.unwrap();
    let event = world.publish().await;
    world.work().await;
    assert_eq!(world.hits("a"), 0, "nothing is sent that cannot be signed");
    let status = world.event(&event).await;
    assert_eq!((&status["status"], &status["lastError"]), (&json!("failed"), &json!("secret_unreadable")));
    manage::rotate(&world.callbacks, &endpoint, Duration::from_secs(600)).await.unwrap().unwrap();
    let second = world.publish().await;
    world.work().await;
    assert_eq!(world.event(&second).await["status"], "success");
    assert_eq!(manage::resend(&world.callbacks, &event, None).await.unwrap(), 1);
    world.work().await;
    assert_eq!(world.event(&event).await["status"], "success");
}

#[tokio::test]
async fn an_open_circuit_saves_requests_and_ends_with_the_policy() {
    let world = World::new().await;
    let endpoint = world.endpoint("bad").await;
    world.answer("bad", 500, None);
    let mut events = Vec::new();
    for _ in 0..12 {
        events.push(world.publish().await);
        world.work().await;
        world.pass(1);
    }
    assert_eq!(world.hits("bad"), 5, "five failures open the circuit");
    let last = events.last().unwrap();
    let waiting = world.event(last).await;
    assert_eq!((&waiting["status"], &waiting["attempt"]), (&json!("pending"), &json!(0)), "no attempt was used up");
    // Healed: one request goes ahead, and its success lets all others through.
    world.answer("bad", 200, None);
    world.pass(40);
    for event in &events[5..] {
        world.attempt(event, &endpoint, 0).await;
    }
    assert_eq!(world.hits("bad"), 12);
    // Broken for good: what waits is given up when its policy's time is over.
    world.answer("bad", 500, None);
    for _ in 0..6 {
        events.push(world.publish().await);
        world.work().await;
        world.pass(1);
    }
    let last = events.last().unwrap();
    world.pass(14);
    assert_eq!(world.event(last).await["status"], "pending");
    let request = json!({
        "TableName": world.queue.rsplit('/').next().unwrap(),
        "Key": endpoint_key(&format!("{}/bad", world.base)),
        "UpdateExpression": "SET open_until = :u",
        "ExpressionAttributeValues": {":u": {"N": "1900000000000"}},
    });
    world.client.aws("DynamoDB_20120810.UpdateItem", &request).await.unwrap();
    world.pass(360);
    world.attempt(last, &endpoint, 0).await;
    let ended = world.event(last).await;
    assert_eq!((&ended["status"], &ended["lastError"]), (&json!("failed"), &json!("circuit_open")));
}

#[tokio::test]
async fn failures_of_one_moment_leave_the_circuit_closed_when_a_success_follows() {
    let world = World::new().await;
    world.endpoint("flaky").await;
    for _ in 0..3 {
        world.answer("flaky", 500, None);
        for _ in 0..6 {
            world.publish().await;
            world.work().await;
        }
        world.answer("flaky", 200, None);
        world.publish().await;
        world.work().await;
        world.pass(2);
    }
    assert_eq!(world.hits("flaky"), 21, "no request was held back");
}

#[tokio::test]
async fn one_request_at_a_time_tries_an_open_circuit_however_long_it_takes() {
    let world = World::new().await;
    let endpoint = world.endpoint("bad").await;
    let settings = Settings { timeout_ms: Some(Some(30_000)), ..Settings::default() };
    manage::change(&world.callbacks, &endpoint, &settings).await.unwrap().unwrap();
    world.answer("bad", 500, None);
    for _ in 0..5 {
        world.publish().await;
        world.work().await;
        world.pass(1);
    }
    let (probe, waiting) = (world.publish().await, world.publish().await);
    let message = take(&world.client, &world.queue).await.into_iter().find(|message| message["id"] == *probe).unwrap();
    world.pass(31);
    world.answer("bad", 0, None);
    world.die_after_the_post(&message, "probe", "bad").await;
    world.answer("bad", 200, None);
    world.pass(30);
    world.attempt(&waiting, &endpoint, 0).await;
    assert_eq!(world.hits("bad"), 6, "the first may still be under way");
    world.pass(6);
    world.attempt(&waiting, &endpoint, 0).await;
    assert_eq!(world.event(&waiting).await["status"], "success");
}

#[tokio::test]
async fn a_pace_is_kept_where_its_steps_are_no_whole_milliseconds() {
    let world = World::new().await;
    let endpoint = world.endpoint("fast").await;
    let settings = Settings { rate_per_second: Some(Some(600)), ..Settings::default() };
    manage::change(&world.callbacks, &endpoint, &settings).await.unwrap().unwrap();
    let mut waits = Vec::new();
    for _ in 0..4 {
        let event = world.publish().await;
        world.work().await;
        waits.push(world.event(&event).await["nextRetryAt"].clone());
    }
    let times = ["2026-01-05T10:00:00.001Z", "2026-01-05T10:00:00.003Z", "2026-01-05T10:00:00.004Z"];
    assert_eq!(waits[0], Value::Null);
    assert_eq!(waits[1..], times);
}

#[tokio::test]
async fn a_pace_is_kept_and_waiting_for_it_is_no_attempt() {
    let world = World::new().await;
    let endpoint = world.endpoint("slow").await;
    let settings = Settings { rate_per_second: Some(Some(2)), ..Settings::default() };
    manage::change(&world.callbacks, &endpoint, &settings).await.unwrap().unwrap();
    let events = [world.publish().await, world.publish().await, world.publish().await];
    world.work().await;
    assert_eq!(world.hits("slow"), 1);
    let mut waits = Vec::new();
    for event in &events {
        let status = world.event(event).await;
        if status["status"] == "pending" {
            assert_eq!(status["attempt"], 0);
            waits.push(status["nextRetryAt"].clone());
        }
    }
    waits.sort_by_key(Value::to_string);
    assert_eq!(waits, ["2026-01-05T10:00:00.500Z", "2026-01-05T10:00:01.000Z"]);
    world.pass(1);
    for event in &events {
        world.attempt(event, &endpoint, 0).await;
    }
    assert_eq!(world.hits("slow"), 3, "the place that was reserved is used");
}

#[tokio::test]
async fn an_endpoint_that_only_failed_for_five_days_is_switched_off() {
    let world = World::new().await;
    let endpoint = world.endpoint("bad").await;
    world.answer("bad", 500, None);
    world.publish().await;
    world.work().await;
    for (percent, hours) in [(50, 60), (70, 24), (90, 24)] {
        world.pass(hours * 3600);
        world.publish().await;
        world.work().await;
        let told = world.told("endpoint.failing", &endpoint).await;
        assert_eq!(told.last().map(|detail| &detail["percent"]), Some(&json!(percent)), "{told:?}");
    }
    assert_eq!(world.told("endpoint.failing", &endpoint).await.len(), 3);
    world.pass(12 * 3600);
    let event = world.publish().await;
    world.work().await;
    let id = json!(endpoint.summary())["id"].as_str().unwrap().to_owned();
    let known = manage::endpoint(&world.callbacks, &id).await.unwrap().unwrap();
    assert_eq!(json!(known.details())["disabledReason"], "only_failures");
    world.pass(60);
    world.attempt(&event, &endpoint, 1).await;
    assert_eq!(world.event(&event).await["deliveries"][0]["status"], "skipped");
}

#[tokio::test]
async fn what_failed_is_resent_and_recovered_on_demand() {
    let world = World::new().await;
    let endpoint = world.endpoint("a").await;
    let settings = Settings { retry_policy: Some(RetryPolicy::Custom(vec![1])), ..Settings::default() };
    manage::change(&world.callbacks, &endpoint, &settings).await.unwrap().unwrap();
    world.answer("a", 500, None);
    let since = Clock::system().now();
    let mut events = Vec::new();
    for _ in 0..3 {
        let event = world.publish().await;
        world.work().await;
        world.pass(2);
        world.attempt(&event, &endpoint, 1).await;
        assert_eq!(world.event(&event).await["status"], "failed");
        events.push(event);
    }
    world.answer("a", 200, None);
    // The circuit is open by now; its owner switches the endpoint on again.
    let on = Settings { is_active: Some(true), ..Settings::default() };
    let endpoint = manage::change(&world.callbacks, &endpoint, &on).await.unwrap().unwrap();
    assert_eq!(manage::resend(&world.callbacks, &events[0], None).await.unwrap(), 1);
    world.work().await;
    let status = world.event(&events[0]).await;
    assert_eq!((&status["status"], &status["attempts"][2]["trigger"]), (&json!("success"), &json!("manual")));
    let until = Clock::system().now() + Duration::from_secs(60);
    let earlier = since - Duration::from_secs(60);
    assert_eq!(manage::count_failed(&world.callbacks, &endpoint, earlier, since).await.unwrap(), 0);
    assert_eq!(manage::count_failed(&world.callbacks, &endpoint, since, until).await.unwrap(), 2);
    manage::recover(&world.callbacks, &endpoint, since, until).await.unwrap();
    world.work().await;
    for event in &events {
        assert_eq!(world.event(event).await["status"], "success");
    }
    let page = manage::deliveries(&world.callbacks, &endpoint, None, None).await.unwrap();
    let order: Vec<_> =
        json!(page)["deliveries"].as_array().unwrap().iter().map(|row| row["eventId"].clone()).collect();
    let newest_first: Vec<_> = events.iter().rev().map(|event| json!(event)).collect();
    assert_eq!(order, newest_first);
}

#[tokio::test]
async fn what_waits_longer_than_a_message_can_is_sent_by_the_sweep_on_time() {
    let world = World::new().await;
    world.endpoint("a").await;
    world.answer("a", 503, Some("3600"));
    let event = world.publish().await;
    world.work().await;
    assert_eq!(world.event(&event).await["nextRetryAt"], "2026-01-05T11:00:00.000Z");
    let run = async || sweep(&world.callbacks, Instant::now() + Duration::from_secs(60)).await.unwrap().enqueued_jobs;
    world.pass(3599);
    assert_eq!(run().await, 0);
    world.answer("a", 200, None);
    world.pass(1);
    assert_eq!(run().await, 1);
    world.work().await;
    assert_eq!(world.event(&event).await["status"], "success");
}

#[tokio::test]
async fn an_address_registered_anew_is_another_endpoint() {
    let world = World::new().await;
    let old = world.endpoint("a").await;
    let event = world.publish().await;
    manage::remove(&world.callbacks, &old).await.unwrap();
    let new = world.endpoint("a").await;
    assert_ne!(json!(old.summary())["id"], json!(new.summary())["id"]);
    world.work().await;
    let status = world.event(&event).await;
    assert_eq!((&status["deliveries"][0]["status"], &status["status"]), (&json!("skipped"), &json!("success")));
    assert_eq!((&status["lastError"], world.hits("a")), (&json!("endpoint_removed"), 0));
    // Who still holds the old one changes and removes nothing of the new.
    assert!(manage::change(&world.callbacks, &old, &Settings::default()).await.unwrap().is_none());
    manage::remove(&world.callbacks, &old).await.unwrap();
    assert_eq!(manage::list(&world.callbacks, ORGANIZATION).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_organization_has_fifty_endpoints_for_an_event_and_no_more() {
    let world = World::new().await;
    for number in 0..40 {
        world.endpoint(&number.to_string()).await;
    }
    let register = async |name: &str| {
        let target = format!("{}/{name}", world.base);
        manage::register(&world.callbacks, ORGANIZATION, EVENT, &target).await.unwrap()
    };
    // However many come at once.
    let names: Vec<_> = (40..55).map(|number: u32| number.to_string()).collect();
    let registered = futures_util::future::join_all(names.iter().map(|name| register(name))).await;
    assert_eq!(registered.iter().filter(|one| matches!(one, Registered::TooMany)).count(), 5);
    let gone = manage::list(&world.callbacks, ORGANIZATION).await.unwrap().remove(0);
    manage::remove(&world.callbacks, &gone).await.unwrap();
    assert!(matches!(register("in-its-place").await, Registered::Endpoint(_)));
    assert!(matches!(register("one-more").await, Registered::TooMany));
    assert!(matches!(register("in-its-place").await, Registered::Endpoint(_)), "it is known");
    let event = world.publish().await;
    world.work().await;
    let status = world.event(&event).await;
    let hits = world.receivers.got.lock().unwrap().len();
    assert_eq!((&status["status"], i64::try_from(hits)), (&json!("success"), Ok(manage::MAX_ENDPOINTS)));
}

#[tokio::test]
async fn long_rows_are_listed_counted_and_recovered_to_the_last() {
    let world = World::new().await;
    let endpoint = world.endpoint(&format!("bad?{}", "x".repeat(9_000))).await;
    let mut events = Vec::new();
    for _ in 0..130 {
        events.push(manage::test(&world.callbacks, &endpoint).await.unwrap());
    }
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let page = manage::deliveries(&world.callbacks, &endpoint, None, cursor.as_deref()).await.unwrap();
        seen.extend(
            json!(page)["deliveries"].as_array().unwrap().iter().map(|row| row["eventId"].as_str().unwrap().to_owned()),
        );
        match json!(page)["cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    seen.reverse();
    assert_eq!(seen, events);
}

#[tokio::test]
async fn what_was_lost_on_the_way_is_sent_by_the_sweep() {
    let world = World::new().await;
    world.endpoint("a").await;
    let event = world.publish().await;
    assert_eq!(take(&world.client, &world.queue).await.len(), 1, "the message, lost");
    let run = async || sweep(&world.callbacks, Instant::now() + Duration::from_secs(60)).await.unwrap().enqueued_jobs;
    assert_eq!(run().await, 0);
    world.pass(121);
    assert_eq!(run().await, 1);
    assert_eq!(run().await, 0, "put off");
    world.work().await;
    assert_eq!(world.event(&event).await["status"], "success");
    world.pass(3600);
    assert_eq!(run().await, 0, "nothing is due any more");
}
