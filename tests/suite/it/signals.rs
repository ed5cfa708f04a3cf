//! Rules and notifications against a real table and real queues, with a clock of the test's own and a bot on the wire.

use super::{aws, data_key, env, owner, queue, table, take};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::routing::post;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use switchyard_core::{Clock, Secret, Timestamp};
use switchyard_io::Aws;
use switchyard_io::once::Owner;
use switchyard_notify::Channel;
use switchyard_notify::receipts::ses::{Fate, MailReport};
use switchyard_signals::configs::{self, ConfigDeps, NewConfig};
use switchyard_signals::dead_letters;
use switchyard_signals::events::{self, EventDeps, Wanted};
use switchyard_signals::receipts::{self, ReceiptDeps, Reported};
use switchyard_signals::rules::{self, Written};
use switchyard_signals::tenants::{self, TenantDeps, TenantEdit};
use switchyard_signals::trials::{self, TrialDeps, Tried};
use switchyard_signals::{
    Accepted, ConfigStatus, DeliveryStatus, IngestDeps, NewEvent, NotifyDeps, QueueDeps, RuleStatus, RulesDeps,
    SignalsError, Tenant, TenantStatus, WantedLetters, Whose, accept, deliver, deliveries, process, sweep, usage,
};
use switchyard_tests::client::{Client, poll, unique};
use tokio::time::Instant;

/// A Telegram that says to each chat what it is told to say, and remembers what it was sent.
#[derive(Clone, Default)]
pub(super) struct Bot {
    answers: Arc<Mutex<HashMap<String, (u16, Value)>>>,
    got: Arc<Mutex<Vec<(String, String)>>>,
}

async fn send_message(State(bot): State<Bot>, axum::Json(body): axum::Json<Value>) -> axum::response::Response {
    let chat = body["chat_id"].as_str().map_or_else(|| body["chat_id"].to_string(), str::to_owned);
    let told = bot.answers.lock().unwrap().get(&chat).cloned();
    match told {
        Some((status, answer)) => (StatusCode::from_u16(status).unwrap(), axum::Json(answer)).into_response(),
        None => {
            bot.got.lock().unwrap().push((chat, body["text"].as_str().unwrap().to_owned()));
            axum::Json(json!({"ok": true, "result": {"message_id": 7}})).into_response()
        }
    }
}

/// A tenant's own endpoint, as chat `hook`; what it is sent is remembered by its `webhook-id`, whatever it answers.
async fn take_webhook(State(bot): State<Bot>, headers: axum::http::HeaderMap) -> StatusCode {
    let id = headers["webhook-id"].to_str().unwrap().to_owned();
    bot.got.lock().unwrap().push(("hook".to_owned(), id));
    let told = bot.answers.lock().unwrap().get("hook").cloned();
    told.map_or(StatusCode::NO_CONTENT, |(status, _)| StatusCode::from_u16(status).unwrap())
}

/// WhatsApp and SES take everything, each under an id of its own.
async fn take_message() -> axum::Json<Value> {
    axum::Json(json!({"messages": [{"id": format!("wamid.{}", unique())}]}))
}

async fn take_mail() -> axum::Json<Value> {
    axum::Json(json!({"MessageId": format!("ses-{}", unique())}))
}

impl Bot {
    pub(super) fn says(&self, chat: &str, status: u16, answer: Value) {
        self.answers.lock().unwrap().insert(chat.to_owned(), (status, answer));
    }

    pub(super) fn recovers(&self, chat: &str) {
        self.answers.lock().unwrap().remove(chat);
    }

    pub(super) fn got(&self, chat: &str) -> Vec<String> {
        self.got.lock().unwrap().iter().filter(|(to, _)| to == chat).map(|(_, text)| text.clone()).collect()
    }
}

/// A default config of a bot.
fn bot_config(config: Value) -> NewConfig {
    NewConfig {
        name: "bot".to_owned(),
        channel: Channel::Telegram,
        config,
        is_default: true,
        allow_override: true,
        status: None,
    }
}

const APP_SECRET: &str = "the app's own secret";

pub(super) struct World {
    pub(super) table: String,
    pub(super) base: String,
    pub(super) aws: Aws,
    pub(super) client: Client,
    pub(super) bot: Bot,
    pub(super) now: Arc<Mutex<Timestamp>>,
    pub(super) ingest: IngestDeps,
    pub(super) rules: RulesDeps,
    pub(super) notify: NotifyDeps,
    pub(super) queues: QueueDeps,
    pub(super) tenants: TenantDeps,
    pub(super) configs: ConfigDeps,
    pub(super) receipts: ReceiptDeps,
    pub(super) tenant: Tenant,
    pub(super) rules_queue: String,
    pub(super) notify_queue: String,
}

impl World {
    pub(super) async fn new() -> Self {
        let (aws, client) = aws().await;
        let name = format!("it-signals-{}", unique());
        table(&client, "SignalsTable", &name).await;
        let (rules_queue, notify_queue) =
            (queue(&client, &format!("{name}-rules")).await, queue(&client, &format!("{name}-notify")).await);
        let bot = Bot::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new()
            .route("/{bot}/sendMessage", post(send_message))
            .route("/hook", post(take_webhook))
            .route("/{version}/{number}/messages", post(take_message))
            .route("/v2/email/outbound-emails", post(take_mail))
            .with_state(bot.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let hooks = format!("{name}-hooks");
        let secret = json!({"WHATSAPP_APP_SECRET": APP_SECRET, "WHATSAPP_VERIFY_TOKEN": "ours"}).to_string();
        let secret = json!({"Name": hooks, "SecretString": secret});
        client.aws("secretsmanager.CreateSecret", &secret).await.unwrap();
        let env = env(vec![
            ("SIGNALS_TABLE", name.clone()),
            ("RULES_QUEUE_URL", rules_queue.clone()),
            ("NOTIFY_QUEUE_URL", notify_queue.clone()),
            ("API_KEY_SECRET", "ApiKeySecret".to_owned()),
            ("TELEGRAM_BASE_URL", base.clone()),
            ("WHATSAPP_BASE_URL", base.clone()),
            ("SES_BASE_URL", base.clone()),
            ("WEBHOOK_ALLOW_HTTP", "true".to_owned()),
            ("WEBHOOK_ALLOW_CIDRS", "127.0.0.1/32".to_owned()),
            ("NOTIFY_HOOK_SECRET", hooks),
            data_key(),
        ]);
        let now = Arc::new(Mutex::new("2026-01-05T10:00:00Z".parse::<Timestamp>().unwrap()));
        let shared = now.clone();
        let clock = Clock::from_fn(move || *shared.lock().unwrap());
        let tenants = TenantDeps::from_env(&aws, &env).unwrap();
        let tenant =
            tenants::create(&tenants, "cli", "acme", "Acme", &TenantEdit::default(), None).await.unwrap().unwrap();
        Self {
            table: name,
            base,
            client,
            bot,
            now,
            ingest: IngestDeps::from_env(&aws, &env).unwrap().with_clock(clock.clone()),
            rules: RulesDeps::from_env(&aws, &env).unwrap().with_clock(clock.clone()),
            notify: NotifyDeps::from_env(&aws, &env).unwrap().with_clock(clock.clone()),
            queues: QueueDeps::from_env(&aws, &env).unwrap().with_clock(clock),
            configs: ConfigDeps::from_env(&aws, &env).unwrap(),
            receipts: ReceiptDeps::from_env(&aws, &env).unwrap(),
            tenants,
            tenant,
            rules_queue,
            notify_queue,
            aws,
        }
    }

    /// The same with a Telegram config whose messages go to chat 1 where a rule names none.
    pub(super) async fn with_bot() -> Self {
        let world = Self::new().await;
        let config = json!({"botToken": "42:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "destination": "1"});
        let made = configs::create(&world.configs, "cli", &world.tenant.id, &bot_config(config)).await;
        assert!(matches!(made.unwrap(), configs::Written::Config(..)));
        world
    }

    /// The keys of all rows.
    pub(super) async fn rows(&self) -> Vec<(String, String)> {
        let answer = self.client.aws("DynamoDB_20120810.Scan", &json!({"TableName": self.table})).await.unwrap();
        assert!(answer["LastEvaluatedKey"].is_null());
        let text = |item: &Value, name: &str| item[name]["S"].as_str().unwrap().to_owned();
        let items = answer["Items"].as_array().unwrap();
        items.iter().map(|item| (text(item, "pk"), text(item, "sk"))).collect()
    }

    pub(super) fn clock(&self) -> Clock {
        let shared = self.now.clone();
        Clock::from_fn(move || *shared.lock().unwrap())
    }

    pub(super) fn pass(&self, seconds: u64) {
        *self.now.lock().unwrap() += Duration::from_secs(seconds);
    }

    pub(super) async fn rule(&self, document: Value) -> String {
        match rules::create(&self.tenants, "cli", &self.tenant.id, &document.to_string()).await.unwrap() {
            Written::Rule(rule, ..) => rule["id"].as_str().unwrap().to_owned(),
            other => panic!("{other:?}"),
        }
    }

    /// Takes an event in; its message stays in the queue.
    pub(super) async fn event(&self, kind: &str, payload: Value) -> String {
        let text = json!({"type": kind, "payload": payload}).to_string();
        match accept(&self.ingest, &self.tenant, &NewEvent::parse(&text).unwrap(), None, None).await.unwrap() {
            Accepted::New { id, .. } => id,
            other => panic!("{other:?}"),
        }
    }

    /// Works off what is in both queues, and what that brings there at once.
    pub(super) async fn work(&self) {
        loop {
            let events = take(&self.client, &self.rules_queue).await;
            let messages = take(&self.client, &self.notify_queue).await;
            if events.is_empty() && messages.is_empty() {
                return self.check_faults().await;
            }
            for event in events {
                process(&self.rules, &event.to_string(), &owner()).await.unwrap();
            }
            for message in messages {
                deliver(&self.notify, &message.to_string(), &owner()).await.unwrap();
            }
        }
    }

    /// What nobody expects to fail for good would be a dead letter, and go unnoticed.
    async fn check_faults(&self) {
        let wanted = WantedLetters { reason: Some("internal".to_owned()), ..WantedLetters::default() };
        let found = dead_letters::list(&self.queues, Whose::Everybody, &wanted, None, 10).await.unwrap();
        assert!(found.0.is_empty(), "{:?}", found.0);
    }

    pub(super) async fn run_sweep(&self) -> u64 {
        sweep(&self.queues, Instant::now() + Duration::from_secs(60)).await.unwrap().enqueued
    }

    pub(super) async fn deliveries(&self, event: &str) -> Vec<Value> {
        let rows = deliveries::of_event(&self.tenants, &self.tenant.id, event).await.unwrap();
        rows.iter().map(|row| json!(row)).collect()
    }

    pub(super) async fn usage(&self) -> Value {
        usage(&self.tenants, &self.tenant, Some("2026-01")).await.unwrap().unwrap()
    }
}

pub(super) fn rule(kind: &str, definition: Value) -> Value {
    let mut definition = definition;
    definition["schema"] = json!(2);
    json!({"name": "A rule", "eventType": kind, "definition": definition})
}

pub(super) fn telegram(text: &str) -> Value {
    json!([{"type": "notify", "channel": "telegram", "text": text}])
}

#[tokio::test]
async fn v31_the_same_message_again_sends_and_counts_nothing_more() {
    let world = World::with_bot().await;
    world.rule(rule("user.*", json!({"when": true, "actions": telegram("Hi {{ payload.name }}")}))).await;
    let event = world.event("user.signup", json!({"name": "Ann"})).await;
    let message = take(&world.client, &world.rules_queue).await.remove(0).to_string();
    for _ in 0..3 {
        process(&world.rules, &message, &owner()).await.unwrap();
    }
    world.work().await;
    process(&world.rules, &message, &owner()).await.unwrap();
    world.work().await;
    assert_eq!(world.bot.got("1"), ["Hi Ann"]);
    let used = world.usage().await;
    assert_eq!((&used["notificationsSent"], &used["rulesMatched"]), (&json!(1), &json!(1)));
    assert_eq!(used["byChannel"], json!({"telegram": 1}));
    let deliveries = world.deliveries(&event).await;
    assert_eq!((deliveries.len(), &deliveries[0]["status"]), (1, &json!("sent")));
    assert_eq!(deliveries[0]["attempts"], 1);
}

#[tokio::test]
async fn v29_v30_a_threshold_fires_once_and_a_cooldown_keeps_quiet() {
    let world = World::with_bot().await;
    let text = "{{ count }} of {{ payload.userId }}, {{ suppressed }} quiet";
    let definition = json!({
        "when": true,
        "threshold": {"count": 5, "window": "10m", "by": ["payload.userId"]},
        "cooldown": {"for": "1h", "by": ["payload.userId"]},
        "actions": telegram(text),
    });
    world.rule(rule("login.failed", definition)).await;
    for minute in 0..10 {
        world.event("login.failed", json!({"userId": "u"})).await;
        if minute == 4 {
            world.event("login.failed", json!({"userId": "other"})).await;
        }
        world.work().await;
        let wanted = usize::from(minute >= 4);
        assert_eq!(world.bot.got("1").len(), wanted, "minute {minute}");
        world.pass(60);
    }
    assert_eq!(world.bot.got("1"), ["5 of u, 0 quiet"]);
    world.pass(3_600);
    for _ in 0..5 {
        world.event("login.failed", json!({"userId": "u"})).await;
    }
    world.work().await;
    assert_eq!(world.bot.got("1")[1..], ["5 of u, 1 quiet"]);
}

#[tokio::test]
async fn v32_one_action_without_a_config_fails_alone() {
    let world = World::with_bot().await;
    let channels = ["telegram", "whatsapp", "telegram"];
    for (number, channel) in channels.into_iter().enumerate() {
        let action = json!([{"type": "notify", "channel": channel, "text": format!("rule {number}")}]);
        world.rule(rule("*", json!({"when": true, "actions": action}))).await;
    }
    let event = world.event("x", json!({})).await;
    world.work().await;
    world.pass(5);
    world.work().await;
    let deliveries = world.deliveries(&event).await;
    let of = |channel: &str| {
        let found: Vec<_> = deliveries.iter().filter(|row| row["channel"] == channel).collect();
        found.iter().map(|row| (row["status"].clone(), row["lastError"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(of("whatsapp"), [(json!("failed"), json!("no_active_config"))]);
    assert_eq!(deliveries.len(), 3);
    let used = world.usage().await;
    assert_eq!((&used["notificationsFailed"], &used["rulesMatched"]), (&json!(1), &json!(3)));
}

#[tokio::test]
async fn v33_a_bots_limit_holds_the_whole_bot() {
    let world = World::with_bot().await;
    let two = json!([{"type": "notify", "channel": "telegram", "to": ["1", "2"], "text": "x"}]);
    world.rule(rule("*", json!({"when": true, "actions": two}))).await;
    let limited =
        json!({"ok": false, "error_code": 429, "description": "Too Many Requests", "parameters": {"retry_after": 35}});
    world.bot.says("1", 429, limited.clone());
    world.bot.says("2", 429, limited);
    let event = world.event("x", json!({})).await;
    world.work().await;
    let deliveries = world.deliveries(&event).await;
    for row in &deliveries {
        let next: Timestamp = row["nextAttemptAt"].as_str().unwrap().parse().unwrap();
        assert!(next >= "2026-01-05T10:00:35Z".parse().unwrap(), "{row}");
    }
    assert!(deliveries.iter().any(|row| row["status"] == "retry_wait"), "{deliveries:?}");
    world.bot.recovers("1");
    world.bot.recovers("2");
    for _ in 0..4 {
        world.pass(300);
        world.run_sweep().await;
        world.work().await;
    }
    assert_eq!((world.bot.got("1").len(), world.bot.got("2").len()), (1, 1));
    assert_eq!(world.usage().await["notificationsSent"], 2);
}

#[tokio::test]
async fn v34_v36_what_is_hopeless_is_given_up_and_its_fallback_sent() {
    let world = World::with_bot().await;
    let fallback = json!([{"type": "notify", "channel": "telegram", "to": ["2"], "text": "instead"}]);
    let action = json!([{"type": "notify", "channel": "telegram", "text": "first", "fallback": fallback}]);
    world.rule(rule("*", json!({"when": true, "actions": action}))).await;
    let blocked = json!({"ok": false, "error_code": 403, "description": "Forbidden: bot was blocked by the user"});
    world.bot.says("1", 403, blocked);
    let event = world.event("x", json!({})).await;
    world.work().await;
    let mut statuses: Vec<_> =
        world.deliveries(&event).await.iter().map(|row| row["status"].as_str().unwrap().to_owned()).collect();
    statuses.sort();
    assert_eq!(statuses, ["failed", "sent"]);
    assert_eq!(world.bot.got("2"), ["instead"]);
    // A token that is refused puts the config out of use, until somebody mends it.
    world.bot.says("1", 401, json!({"ok": false, "error_code": 401, "description": "Unauthorized"}));
    world.pass(5);
    world.event("x", json!({})).await;
    world.work().await;
    let configs = configs::list(&world.configs, &world.tenant.id).await.unwrap();
    assert_eq!(configs[0]["status"], "error");
    assert!(configs[0]["config"]["botToken"].as_str().unwrap().starts_with("***"), "{}", configs[0]);
}

#[tokio::test]
async fn a_fallback_has_its_own_fallback_and_no_depth_makes_it_large() {
    let world = World::with_bot().await;
    let to = |chats: Vec<String>, fallback: Option<Value>| {
        let mut action = json!({"type": "notify", "channel": "telegram", "to": chats, "text": "x".repeat(2_000)});
        if let Some(fallback) = fallback {
            action["fallback"] = json!([fallback]);
        }
        action
    };
    let chat = |chat: &str| vec![chat.to_owned()];
    let chain = to(chat("1"), Some(to(chat("2"), Some(to(chat("3"), None)))));
    world.rule(rule("chain", json!({"when": true, "actions": [chain]}))).await;
    let many = || (100..120).map(|number| number.to_string()).collect::<Vec<_>>();
    let wide = to(many(), Some(to(many(), Some(to(many(), Some(to(many(), None)))))));
    world.rule(rule("wide", json!({"when": true, "actions": [wide]}))).await;

    let blocked = json!({"ok": false, "error_code": 403, "description": "Forbidden: bot was blocked by the user"});
    world.bot.says("1", 403, blocked.clone());
    world.bot.says("2", 403, blocked);
    let event = world.event("chain", json!({})).await;
    world.work().await;
    assert_eq!(world.bot.got("3").len(), 1);
    let mut found: Vec<_> = world.deliveries(&event).await.iter().map(|row| row["action"].clone()).collect();
    found.sort_by_key(Value::to_string);
    assert_eq!(found, [json!("0"), json!("0.fallback.0"), json!("0.fallback.0.fallback.0")]);

    // Of 160,000 messages, those that would be too many to keep are not: what they stand in for is sent all the same.
    let event = world.event("wide", json!({})).await;
    world.work().await;
    assert_eq!(world.deliveries(&event).await.len(), 20);
    // A bot's pace lets some through at once.
    assert!(many().iter().any(|chat| !world.bot.got(chat).is_empty()));
    world.pass(2);
    for chat in many() {
        world.bot.says(
            &chat,
            403,
            json!({"ok": false, "error_code": 403, "description": "Forbidden: bot was blocked"}),
        );
    }
    let event = world.event("wide", json!({})).await;
    world.work().await;
    let rows = world.deliveries(&event).await;
    let cut = rows.iter().find(|row| row["action"] == "0.fallback.0").unwrap();
    assert_eq!(cut["lastError"], "too_large", "{cut}");
}

#[tokio::test]
async fn the_messages_of_an_event_take_so_much_room_and_no_more() {
    let world = World::with_bot().await;
    let chats: Vec<_> = (100..120).map(|chat| chat.to_string()).collect();
    let action = json!({"type": "notify", "channel": "telegram", "to": chats, "text": "{{ payload.text }}"});
    let mut large = rule("t", json!({"when": true, "actions": vec![action; 10]}));
    large["priority"] = json!(1);
    let large = world.rule(large).await;
    let small = world.rule(rule("t", json!({"when": true, "actions": telegram("hi")}))).await;
    let event = world.event("t", json!({"text": "x".repeat(30_000)})).await;
    world.work().await;
    let events = world.event_deps();
    let shown = events::event(&events, &world.tenant, &event).await.unwrap().unwrap();
    let shown: Value = serde_json::from_str(shown.get()).unwrap();
    assert_eq!(shown["outcomes"][&large]["outcome"], "too_many", "200 messages of 30 kB");
    assert_eq!(shown["outcomes"][&small]["outcome"], "fired");
    assert_eq!(shown["deliveries"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_composed_while_a_config_is_in_error_can_be_begun_again() {
    let world = World::with_bot().await;
    world.rule(rule("t", json!({"when": true, "actions": telegram("hi")}))).await;
    world.bot.says("1", 401, json!({"ok": false, "error_code": 401, "description": "Unauthorized"}));
    for _ in 0..2 {
        world.event("t", json!({})).await;
        world.work().await;
        world.pass(5);
    }
    let wanted = WantedLetters::default();
    let letters = dead_letters::list(&world.queues, Whose::Everybody, &wanted, None, 9).await.unwrap().0;
    let mut reasons: Vec<_> = letters.iter().map(|letter| letter["errorCode"].as_str().unwrap()).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["no_active_config", "telegram_401"]);
    world.bot.recovers("1");
    let config = configs::list(&world.configs, &world.tenant.id).await.unwrap()[0]["id"].as_str().unwrap().to_owned();
    configs::set_status(&world.configs, "cli", &world.tenant.id, &config, ConfigStatus::Active, None).await.unwrap();
    for letter in letters {
        world.pass(5);
        let id = letter["id"].as_str().unwrap();
        dead_letters::redrive(&world.queues, "cli", Whose::Everybody, id).await.unwrap().unwrap();
        world.work().await;
    }
    assert_eq!(world.bot.got("1"), ["hi", "hi"]);
}

#[tokio::test]
async fn a_trial_is_one_attempt_and_leaves_no_letter() {
    let world = World::with_bot().await;
    world.bot.says("1", 500, json!({"ok": false, "error_code": 500, "description": "sorry"}));
    let env = env(vec![("SIGNALS_TABLE", world.table.clone()), ("NOTIFY_QUEUE_URL", world.notify_queue.clone())]);
    let trials = TrialDeps::from_env(&world.aws, &env).unwrap();
    let config = configs::list(&world.configs, &world.tenant.id).await.unwrap()[0]["id"].as_str().unwrap().to_owned();
    let failed = deliveries::WantedDeliveries { rule_id: None, status: Some(DeliveryStatus::Failed) };
    let is_over = async || {
        world.work().await;
        let (found, _) = deliveries::list(&world.tenants, &world.tenant.id, &failed, None, 1).await?;
        Ok(!found.is_empty())
    };
    let worked = poll(Duration::from_secs(20), Duration::from_millis(20), is_over);
    let (tried, worked) = tokio::join!(trials::send_test(&trials, &world.tenant.id, &config, None), worked);
    worked.unwrap();
    let Tried::Answer(answer) = tried.unwrap() else { panic!("there is such a config") };
    assert_eq!(answer, json!({"ok": false, "error": "telegram_500"}));
    world.pass(10_000);
    assert_eq!(world.run_sweep().await, 0, "nobody asked for more");
    let wanted = WantedLetters::default();
    assert!(dead_letters::list(&world.queues, Whose::Everybody, &wanted, None, 9).await.unwrap().0.is_empty());
}

#[tokio::test]
async fn an_owners_metadata_leaves_the_operators_as_they_are() {
    let world = World::new().await;
    let edit = async |edit: TenantEdit| tenants::change(&world.tenants, "x", &world.tenant.id, &edit).await;
    let identities = |known: &[&str]| TenantEdit {
        ses_identities: Some(known.iter().map(|one| (*one).to_owned()).collect()),
        ..TenantEdit::default()
    };
    let own = |own: Value| TenantEdit { own_metadata: own.as_object().cloned(), ..TenantEdit::default() };
    edit(identities(&["acme.test"])).await.unwrap();
    let kept = edit(own(json!({"mine": 1}))).await.unwrap().unwrap();
    assert_eq!(kept.metadata.as_deref(), Some(r#"{"mine":1,"sesIdentities":["acme.test"]}"#));
    // Whatever order they come in, what the operator took away stays away.
    for round in 0..10 {
        edit(identities(&["acme.test"])).await.unwrap();
        let (one, other) = tokio::join!(edit(own(json!({"mine": round}))), edit(identities(&[])));
        assert!(one.is_ok() && other.is_ok());
        let left = tenants::tenant(&world.tenants, &world.tenant.id).await.unwrap().unwrap();
        assert_eq!(left.metadata, Some(format!(r#"{{"mine":{round},"sesIdentities":[]}}"#)));
    }
    let taken = edit(own(json!({"sesIdentities": ["evil.test"]}))).await.unwrap_err();
    assert!(matches!(taken, SignalsError::Refused { field: "metadata.sesIdentities", .. }), "{taken}");
    assert!(edit(identities(&["*"])).await.is_err() && edit(identities(&["x.test "])).await.is_err());
}

#[tokio::test]
async fn v38_the_version_in_force_is_the_one_that_fires() {
    let world = World::with_bot().await;
    let document = |text: &str| rule("*", json!({"when": true, "actions": telegram(text)}));
    let id = world.rule(document("one")).await;
    let replaced =
        rules::replace(&world.tenants, "cli", &world.tenant.id, &id, &document("two").to_string(), Some(1)).await;
    assert!(matches!(replaced.unwrap(), Written::Rule(..)));
    let stale = rules::replace(&world.tenants, "cli", &world.tenant.id, &id, &document("x").to_string(), Some(1)).await;
    assert!(matches!(stale.unwrap(), Written::Stale));
    let event = world.event("x", json!({})).await;
    world.work().await;
    assert_eq!(
        (world.bot.got("1"), &world.deliveries(&event).await[0]["ruleVersion"]),
        (vec!["two".into()], &json!(2))
    );
    rules::activate(&world.tenants, "cli", &world.tenant.id, &id, 1, None).await.unwrap();
    // Processes act on a change within seconds; another one knows it at once.
    let other = World { rules: fresh(&world).await, ..world };
    other.pass(5);
    other.event("x", json!({})).await;
    other.work().await;
    assert_eq!(other.bot.got("1"), ["two", "one"]);
    assert_eq!(rules::versions(&other.tenants, &other.tenant.id, &id, None, 10).await.unwrap().0.len(), 2);
}

#[tokio::test]
async fn a_rule_is_paused_until_it_is_resumed_whatever_its_document_says() {
    let world = World::with_bot().await;
    let (tenants, tenant) = (&world.tenants, &world.tenant.id);
    let mut document = rule("*", json!({"when": true, "actions": telegram("{{payload.n}}")}));
    document["status"] = "paused".into();
    let id = world.rule(document.clone()).await;
    document.as_object_mut().unwrap().remove("status");
    let replaced = rules::replace(tenants, "cli", tenant, &id, &document.to_string(), None).await.unwrap();
    assert!(matches!(&replaced, Written::Rule(rule, 2, _) if rule["status"] == "paused"), "{replaced:?}");
    document["status"] = "paused".into();
    rules::replace(tenants, "cli", tenant, &id, &document.to_string(), Some(2)).await.unwrap();
    world.event("x", json!({"n": 1})).await;
    world.work().await;
    rules::set_status(tenants, "cli", tenant, &id, RuleStatus::Active, None).await.unwrap();
    let world = World { rules: fresh(&world).await, ..world };
    world.pass(5);
    world.event("x", json!({"n": 2})).await;
    world.work().await;
    assert_eq!(world.bot.got("1"), ["2"]);
}

#[tokio::test]
async fn a_replay_is_listed_when_it_was_asked_for_and_weighed_as_of_the_first_receipt() {
    let world = World::with_bot().await;
    let text = "{{payload.n}} of {{receivedAt}}";
    world.rule(rule("*", json!({"when": true, "actions": telegram(text)}))).await;
    let first = world.event("x", json!({"n": 1})).await;
    world.work().await;
    let events = world.event_deps();
    let copy = events::replay(&events, "cli", &world.tenant, &first, true).await.unwrap().unwrap();
    // A chat is written to once a second.
    world.pass(5);
    world.work().await;
    assert_eq!(world.bot.got("1"), ["1 of 2026-01-05T10:00:00.000Z"; 2]);
    // The first one's id is of today, its receipt of another day; a copy is of today in every way.
    let listed = events::events(&events, &world.tenant, &Wanted::default(), 10).await.unwrap();
    let listed: Vec<Value> = listed.events.iter().map(|event| serde_json::from_str(event.get()).unwrap()).collect();
    let [listed] = listed.as_slice() else { panic!("{listed:?}") };
    assert_eq!((&listed["id"], &listed["replayOf"]), (&json!(copy), &json!(first)));
    assert_eq!(listed["receivedAt"], "2026-01-05T10:00:00.000Z");
}

impl World {
    fn event_deps(&self) -> EventDeps {
        let env = env(vec![("SIGNALS_TABLE", self.table.clone()), ("RULES_QUEUE_URL", self.rules_queue.clone())]);
        EventDeps::from_env(&self.aws, &env).unwrap()
    }
}

/// Another process's view of the same rules.
async fn fresh(world: &World) -> RulesDeps {
    let (aws, _) = aws().await;
    let env = env(vec![("SIGNALS_TABLE", world.table.clone()), ("NOTIFY_QUEUE_URL", world.notify_queue.clone())]);
    let now = world.now.clone();
    RulesDeps::from_env(&aws, &env).unwrap().with_clock(Clock::from_fn(move || *now.lock().unwrap()))
}

#[tokio::test]
async fn a_digest_gathers_and_is_sent_when_its_time_is_over() {
    let world = World::with_bot().await;
    let text = "{{ count }}:{% for event in events %} {{ event.payload.n }}{% endfor %}";
    world.rule(rule("*", json!({"when": true, "digest": {"window": "5m"}, "actions": telegram(text)}))).await;
    for number in 1..=3 {
        world.event("x", json!({"n": number})).await;
        world.pass(1);
    }
    world.work().await;
    assert_eq!(world.bot.got("1").len(), 0);
    world.pass(300);
    assert_eq!(world.run_sweep().await, 1);
    world.work().await;
    assert_eq!(world.bot.got("1"), ["3: 1 2 3"]);
    world.pass(600);
    world.run_sweep().await;
    world.work().await;
    assert_eq!(world.bot.got("1").len(), 1, "once");
}

#[tokio::test]
async fn what_never_reached_its_queue_is_sent_by_the_sweep() {
    let world = World::with_bot().await;
    world.rule(rule("*", json!({"when": true, "actions": telegram("x")}))).await;
    world.event("x", json!({})).await;
    take(&world.client, &world.rules_queue).await;
    assert_eq!(world.run_sweep().await, 0, "it may be under way");
    world.pass(121);
    assert_eq!(world.run_sweep().await, 1);
    let message = take(&world.client, &world.rules_queue).await.remove(0).to_string();
    process(&world.rules, &message, &owner()).await.unwrap();
    take(&world.client, &world.notify_queue).await;
    world.pass(121);
    assert_eq!(world.run_sweep().await, 1);
    world.work().await;
    assert_eq!(world.bot.got("1"), ["x"]);
    world.pass(3_600);
    assert_eq!(world.run_sweep().await, 0);
}

#[tokio::test]
async fn a_tenant_suspended_meanwhile_is_told_nothing() {
    let world = World::with_bot().await;
    world.rule(rule("*", json!({"when": true, "actions": telegram("x")}))).await;
    world.event("x", json!({})).await;
    let suspended = TenantEdit { status: Some(TenantStatus::Suspended), ..TenantEdit::default() };
    tenants::change(&world.tenants, "cli", &world.tenant.id, &suspended).await.unwrap().unwrap();
    world.work().await;
    assert_eq!(world.bot.got("1").len(), 0);
    world.pass(3_600);
    assert_eq!(world.run_sweep().await, 0, "it is done with");
}

#[tokio::test]
async fn a_tenant_that_is_deleted_stays_so_whoever_comes_second() {
    let world = World::new().await;
    let set = async |status| {
        let edit = TenantEdit { status: Some(status), ..TenantEdit::default() };
        tenants::change(&world.tenants, "cli", &world.tenant.id, &edit).await
    };
    let (activated, deleted) = tokio::join!(set(TenantStatus::Active), set(TenantStatus::Deleted));
    assert!(matches!(activated, Ok(Some(_)) | Err(SignalsError::TenantDeleted)), "{activated:?}");
    assert_eq!(deleted.unwrap().unwrap().status, TenantStatus::Deleted);
    for status in [TenantStatus::Active, TenantStatus::Suspended] {
        assert!(matches!(set(status).await, Err(SignalsError::TenantDeleted)));
    }
    assert!(set(TenantStatus::Deleted).await.is_ok(), "as often as one likes");
}

#[tokio::test]
async fn a_rule_that_says_something_wrong_is_refused_as_a_whole() {
    let world = World::new().await;
    let wrong = json!({
        "name": "x",
        "eventType": "x",
        "definition": {"conditions": {"greaterThan": {"amount": 1000}}, "actions": [{"type": "notify", "channel": "email"}]},
    });
    match rules::create(&world.tenants, "cli", &world.tenant.id, &wrong.to_string()).await.unwrap() {
        Written::Invalid(issues) => assert_eq!(issues[0].pointer, "/definition/conditions/greaterThan"),
        other => panic!("{other:?}"),
    }
    let named = rule("*", json!({"when": true, "actions": [{"type": "notify", "channel": "email", "config": "none"}]}));
    match rules::create(&world.tenants, "cli", &world.tenant.id, &named.to_string()).await.unwrap() {
        Written::Invalid(issues) => assert_eq!(issues[0].pointer, "/definition/actions/0/config"),
        other => panic!("{other:?}"),
    }
    assert_eq!(rules::list(&world.tenants, &world.tenant.id).await.unwrap().len(), 0);
}

#[tokio::test]
async fn what_was_worked_out_for_a_tenant_suspended_since_is_not_sent() {
    let world = World::with_bot().await;
    let fallback = json!([{"type": "notify", "channel": "telegram", "to": ["2"], "text": "instead"}]);
    let action = json!([{"type": "notify", "channel": "telegram", "text": "first", "fallback": fallback}]);
    world.rule(rule("*", json!({"when": true, "actions": action}))).await;
    let event = world.event("x", json!({})).await;
    let message = take(&world.client, &world.rules_queue).await.remove(0).to_string();
    process(&world.rules, &message, &owner()).await.unwrap();
    let suspended = TenantEdit { status: Some(TenantStatus::Suspended), ..TenantEdit::default() };
    tenants::change(&world.tenants, "cli", &world.tenant.id, &suspended).await.unwrap().unwrap();
    world.work().await;
    let deliveries = world.deliveries(&event).await;
    assert_eq!((deliveries.len(), &deliveries[0]["lastError"]), (1, &json!("tenant_suspended")));
    assert_eq!(world.bot.got.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn a_message_that_comes_before_its_time_does_nothing() {
    let world = World::with_bot().await;
    world.rule(rule("*", json!({"when": true, "actions": telegram("x")}))).await;
    world.bot.says("1", 500, json!({"ok": false, "error_code": 500, "description": "x"}));
    let event = world.event("x", json!({})).await;
    world.work().await;
    world.bot.recovers("1");
    let id = world.deliveries(&event).await[0]["id"].clone();
    let again = json!({
        "v": 1, "id": id, "kind": "signals.delivery", "tenant": world.tenant.id,
        "body": {"eventId": event, "deliveryId": id, "attempts": 1},
    });
    let deliver_again = async || {
        let owner = Owner { message_id: format!("again-{}", unique()), attempt: 1 };
        deliver(&world.notify, &again.to_string(), &owner).await.unwrap();
    };
    deliver_again().await;
    assert_eq!(world.bot.got("1").len(), 0, "five seconds are to pass");
    world.pass(10);
    deliver_again().await;
    assert_eq!(world.bot.got("1").len(), 1);
}

#[tokio::test]
async fn what_is_older_than_a_day_is_of_no_use_to_anybody() {
    let world = World::with_bot().await;
    world.rule(rule("*", json!({"when": true, "actions": telegram("x")}))).await;
    let event = world.event("x", json!({})).await;
    let message = take(&world.client, &world.rules_queue).await.remove(0).to_string();
    process(&world.rules, &message, &owner()).await.unwrap();
    world.pass(86_401);
    world.work().await;
    assert_eq!(world.deliveries(&event).await[0]["status"], "expired");
    assert_eq!(world.bot.got("1").len(), 0);
}

#[tokio::test]
async fn what_no_row_can_hold_fails_alone() {
    let world = World::with_bot().await;
    let to: Vec<_> = (1..=20).map(|chat| chat.to_string()).collect();
    let long = json!([{"type": "notify", "channel": "telegram", "to": to}]);
    let action = json!([{"type": "notify", "channel": "telegram", "fallback": long}]);
    world.rule(rule("*", json!({"when": true, "actions": action}))).await;
    world.rule(rule("*", json!({"when": true, "actions": telegram("short")}))).await;
    let event = world.event("x", json!({"text": "x".repeat(50_000)})).await;
    world.work().await;
    let mut statuses: Vec<_> = world
        .deliveries(&event)
        .await
        .iter()
        .map(|row| row["lastError"].as_str().unwrap_or("sent").to_owned())
        .collect();
    statuses.sort();
    assert_eq!(statuses, ["sent", "too_large"]);
}

impl World {
    async fn config(&self, channel: Channel, config: Value) {
        let new = NewConfig { channel, ..bot_config(config) };
        let made = configs::create(&self.configs, "cli", &self.tenant.id, &new).await.unwrap();
        assert!(matches!(made, configs::Written::Config(..)), "{made:?}");
    }

    /// The event's only delivery.
    async fn delivery(&self, event: &str) -> Value {
        self.deliveries(event).await.remove(0)
    }

    /// WhatsApp's report of a message, signed.
    async fn whatsapp_reports(&self, id: &str, status: &str) -> Reported {
        let change = json!({"value": {"statuses": [{"id": id, "status": status, "timestamp": "1767607200"}]}});
        let body = json!({"entry": [{"changes": [change]}]}).to_string();
        let signature = format!("sha256={}", switchyard_core::api_key::digest(&body, &Secret::new(APP_SECRET.into())));
        receipts::whatsapp_report(&self.receipts, Some(&signature), body.as_bytes()).await.unwrap()
    }
}

fn sent_by(channel: &str, to: &str) -> Value {
    json!([{"type": "notify", "channel": channel, "to": [to], "subject": "s", "text": "hi"}])
}

#[tokio::test]
async fn whatsapps_reports_move_a_delivery_on_and_never_back() {
    let world = World::new().await;
    let config = json!({"phoneNumberId": "1001", "accessToken": "EAAG0000000000000000"});
    world.config(Channel::Whatsapp, config).await;
    world.rule(rule("t", json!({"when": true, "actions": sent_by("whatsapp", "15551234567")}))).await;
    let event = world.event("t", json!({})).await;
    world.work().await;
    let sent = world.delivery(&event).await;
    assert_eq!(sent["status"], "sent", "{sent}");
    let id = sent["providerId"].as_str().unwrap();
    let forged = receipts::whatsapp_report(&world.receipts, Some("sha256=00"), b"{}").await.unwrap();
    assert_eq!(forged, Reported::Refused);
    // Read comes before delivered, and what comes late or again changes nothing.
    for status in ["read", "delivered", "failed", "sent"] {
        assert_eq!(world.whatsapp_reports(id, status).await, Reported::Taken);
        let row = world.delivery(&event).await;
        assert_eq!((&row["status"], row["readAt"].is_string()), (&json!("delivered"), true), "{status}: {row}");
    }
    assert_eq!(world.whatsapp_reports("wamid.nobody", "read").await, Reported::Taken);
    let query = |token: &str| {
        [("hub.mode", "subscribe"), ("hub.verify_token", token), ("hub.challenge", "42")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    let challenged = receipts::whatsapp_challenge(&world.receipts, &query("ours")).await.unwrap();
    assert_eq!(challenged.as_deref(), Some("42"));
    assert_eq!(receipts::whatsapp_challenge(&world.receipts, &query("theirs")).await.unwrap(), None);
}

#[tokio::test]
async fn patterns_of_one_tenant_take_so_much_memory_and_no_more() {
    let world = World::new().await;
    let patterns = |count: usize| {
        let leaf = json!({"path": "payload.a", "op": "matches", "value": "\\w{1,5}$"});
        let groups: Vec<_> = vec![leaf; count].chunks(50).map(|group| json!({"any": group})).collect();
        rule("t", json!({"when": {"any": groups}, "actions": sent_by("slack", "x")}))
    };
    let write = async |document: &Value| {
        rules::create(&world.tenants, "cli", &world.tenant.id, &document.to_string()).await.unwrap()
    };
    let refused_at = |written: Written| match written {
        Written::Invalid(issues) => issues[0].pointer.clone(),
        other => panic!("{other:?}"),
    };
    let first = world.rule(patterns(28)).await;
    let mut second = patterns(10);
    assert_eq!(refused_at(write(&second).await), "/definition/when/any/0/any/4/value");
    second["status"] = "paused".into();
    let id = world.rule(second.clone()).await;
    let resume = || rules::set_status(&world.tenants, "cli", &world.tenant.id, &id, RuleStatus::Active, None);
    refused_at(resume().await.unwrap());
    // A rule that is replaced makes room for itself, and one that is paused for others.
    let again = rules::replace(&world.tenants, "cli", &world.tenant.id, &first, &patterns(29).to_string(), None).await;
    assert!(matches!(again.unwrap(), Written::Rule(..)));
    rules::set_status(&world.tenants, "cli", &world.tenant.id, &first, RuleStatus::Paused, None).await.unwrap();
    assert!(matches!(resume().await.unwrap(), Written::Rule(..)));
    assert_eq!(refused_at(write(&patterns(33)).await), "/definition/when/any/0/any/32/value", "one rule alone");
}

#[tokio::test]
async fn an_address_that_bounced_is_not_written_to_until_it_is_taken_off_the_list() {
    let world = World::new().await;
    let metadata = json!({"sesIdentities": ["acme.test"]}).to_string();
    let edit = TenantEdit { metadata: Some(Some(metadata)), ..TenantEdit::default() };
    tenants::change(&world.tenants, "cli", &world.tenant.id, &edit).await.unwrap().unwrap();
    world
        .config(Channel::Email, json!({"transport": "ses", "from": "a@acme.test", "ses": {"region": "us-east-1"}}))
        .await;
    world.rule(rule("t", json!({"when": true, "actions": sent_by("email", "gone@example.com")}))).await;
    let first = world.event("t", json!({})).await;
    world.work().await;
    let sent = world.delivery(&first).await;
    assert_eq!(sent["status"], "sent", "{sent}");
    let report = |fate| MailReport {
        fate,
        delivery_id: None,
        message_id: sent["providerId"].as_str().unwrap().to_owned(),
        at: None,
        recipients: vec!["gone@example.com".to_owned()],
    };
    receipts::mail_report(&world.receipts, &report(Fate::Bounced { permanent: true })).await.unwrap();
    receipts::mail_report(&world.receipts, &report(Fate::Delivered)).await.unwrap();
    assert_eq!(world.delivery(&first).await["status"], "bounced");
    let second = world.event("t", json!({})).await;
    world.work().await;
    assert_eq!(world.delivery(&second).await["status"], "suppressed");
    let used = usage(&world.tenants, &world.tenant, Some("2026-01")).await.unwrap().unwrap();
    assert_eq!((&used["notificationsSent"], &used["notificationsFailed"]), (&json!(1), &json!(1)));
    let listed = receipts::suppressions(&world.receipts, &world.tenant.id).await.unwrap();
    assert_eq!((&listed[0]["address"], &listed[0]["reason"]), (&json!("gone@example.com"), &json!("bounced")));
    let id = listed[0]["id"].as_str().unwrap();
    assert!(!receipts::unsuppress(&world.receipts, "cli", "another", id).await.unwrap());
    assert!(receipts::unsuppress(&world.receipts, "cli", &world.tenant.id, id).await.unwrap());
    let third = world.event("t", json!({})).await;
    world.work().await;
    assert_eq!(world.delivery(&third).await["status"], "sent");
}
