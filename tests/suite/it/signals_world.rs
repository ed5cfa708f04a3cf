//! A tenant of signals with its rules and notifications against a real table and real queues, with a clock of the test's own and
//! a bot on the wire.

use super::{aws, data_key, env, owner, queue, table, take};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::routing::post;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use switchyard_core::{Clock, Timestamp};
use switchyard_io::Aws;
use switchyard_notify::Channel;
use switchyard_signals::configs::{self, ConfigDeps, NewConfig};
use switchyard_signals::dead_letters;
use switchyard_signals::receipts::ReceiptDeps;
use switchyard_signals::rules::{self, RuleWrite};
use switchyard_signals::tenants::{self, TenantDeps, TenantEdit};
use switchyard_signals::{
    Accepted, IngestDeps, NewEvent, NotifyDeps, QueueDeps, RulesDeps, Tenant, accept, deliver, deliveries, process,
    sweep, usage,
};
use switchyard_tests::client::{Client, unique};
use switchyard_work::dead_letters::{Filter, Scope};
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

    /// Messages to anybody.
    pub(super) fn total(&self) -> usize {
        self.got.lock().unwrap().len()
    }

    pub(super) fn got(&self, chat: &str) -> Vec<String> {
        self.got.lock().unwrap().iter().filter(|(to, _)| to == chat).map(|(_, text)| text.clone()).collect()
    }
}

/// A default config of a bot.
pub(super) fn bot_config(config: Value) -> NewConfig {
    NewConfig {
        name: "bot".to_owned(),
        channel: Channel::Telegram,
        config,
        is_default: true,
        allow_override: true,
        status: None,
    }
}

pub(super) const APP_SECRET: &str = "the app's own secret";

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
        let tenant = tenants::create(&tenants, &"cli".into(), "acme", "Acme", &TenantEdit::default(), None)
            .await
            .unwrap()
            .unwrap();
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
        let made = configs::create(&world.configs, &"cli".into(), &world.tenant.id, &bot_config(config)).await;
        assert!(matches!(made.unwrap(), configs::ConfigWrite::Config(..)));
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
        match rules::create(&self.tenants, &"cli".into(), &self.tenant.id, &document.to_string()).await.unwrap() {
            RuleWrite::Rule(rule, ..) => rule.id().to_owned(),
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
        let wanted = Filter { error_code: Some("internal".to_owned()), ..Filter::default() };
        let found = dead_letters::list(&self.queues, Scope::All, &wanted, None, 10).await.unwrap();
        assert!(found.0.is_empty(), "{:?}", found.0);
    }

    pub(super) async fn run_sweep(&self) -> u64 {
        sweep(&self.queues, Instant::now() + Duration::from_secs(60)).await.unwrap().enqueued
    }

    pub(super) async fn deliveries(&self, event: &str) -> Vec<Value> {
        let rows = deliveries::of_event(&self.tenants, &self.tenant.id, &event.into()).await.unwrap();
        rows.iter().map(|row| json!(row)).collect()
    }

    pub(super) async fn usage(&self) -> Value {
        json!(usage(&self.tenants, &self.tenant, Some("2026-01")).await.unwrap())
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

pub(super) fn sent_by(channel: &str, to: &str) -> Value {
    json!([{"type": "notify", "channel": channel, "to": [to], "subject": "s", "text": "hi"}])
}
