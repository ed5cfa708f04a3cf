//! The channels over the wire, against the sandbox's stand-ins and a receiver of webhooks.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;
use switchyard_core::signature::verify;
use switchyard_core::{Env, Timestamp};
use switchyard_io::Aws;
use switchyard_notify::{
    Attempt, Channel, Config, DeliveryMeta, Message, Outcome, Senders, Substitute, Template, webhook,
};
use switchyard_sandbox::{Fault, Options, Rule, Sandbox, When};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

struct World {
    sandbox: Sandbox,
    senders: Senders,
}

impl World {
    async fn start() -> Self {
        let sandbox = Sandbox::open(Options::default()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(sandbox.clone().serve(listener));
        let mut settings: HashMap<_, _> = Sandbox::settings(&base).into_iter().collect();
        settings.insert("WEBHOOK_ALLOW_HTTP", "true".to_owned());
        settings.insert("WEBHOOK_ALLOW_CIDRS", "127.0.0.1/32".to_owned());
        let env = Env::from_lookup(move |name| settings.get(name).cloned());
        Self { sandbox, senders: Senders::from_env(&Aws::at(&base).await, &env).unwrap() }
    }

    async fn send(&self, channel: Channel, config: Value, message: Message) -> Attempt {
        let config = Config::parse(channel, &config, self.senders.guard()).unwrap();
        let now = Timestamp::from_second(1_767_607_200).unwrap();
        self.senders.send(&config, &message, DeliveryMeta { delivery_id: "d1", now }).await
    }

    async fn telegram(&self, to: &str, text: &str) -> Attempt {
        self.send(Channel::Telegram, json!({"botToken": "42:abc", "parseMode": "HTML"}), message(to, text)).await
    }

    fn requests(&self) -> Vec<Value> {
        self.sandbox.ledger().into_iter().map(|entry| Value::Object(entry.effect.request)).collect()
    }
}

fn message(to: &str, text: &str) -> Message {
    Message { to: to.to_owned(), subject: "Subject".to_owned(), text: text.to_owned(), ..Message::default() }
}

fn sent(id: &str) -> Outcome {
    Outcome::Sent { provider_id: Some(id.to_owned()) }
}

#[tokio::test]
async fn v33_v34_telegram() {
    let world = World::start().await;
    assert_eq!(world.telegram("7", "<b>hi</b>").await.outcome, sent("1"));
    let held =
        Outcome::Retry { after: Some(Duration::from_secs(36)), code: "telegram_429".into(), holds_account: true };
    assert_eq!(world.telegram("429", "hi").await.outcome, held);
    assert_eq!(world.telegram("403", "hi").await.outcome, Outcome::TerminalRecipient { code: "telegram_403".into() });
    let moved = world.telegram("-300", "<x>hi").await;
    assert_eq!((moved.outcome, moved.substitute), (sent("2"), Some(Substitute::PlainText)));
    assert_eq!(moved.new_chat_id.as_deref(), Some("-1000000000300"));
    assert_eq!(
        world.requests(),
        [
            json!({"chat_id": 7, "text": "<b>hi</b>", "parse_mode": "HTML"}),
            json!({"chat_id": -1_000_000_000_300_i64, "text": "<x>hi"}),
        ]
    );
    let lost = Rule {
        path: "/telegram".to_owned(),
        method: None,
        contains: None,
        fault: Fault::LostAnswer,
        when: When::Next(1),
    };
    world.sandbox.faults().add(lost);
    let unknown = Outcome::Retry { after: None, code: "connection_lost".into(), holds_account: false };
    assert_eq!(world.telegram("7", "hi").await.outcome, unknown);
    assert_eq!(world.requests().len(), 3);
}

#[tokio::test]
async fn v35_whatsapp() {
    let world = World::start().await;
    let fallback = json!({"name": "alert", "language": "en_US", "params": ["7"]});
    let config = json!({"phoneNumberId": "1066", "accessToken": "EAAG", "fallbackTemplate": fallback});
    let send = async |to: &str| world.send(Channel::Whatsapp, config.clone(), message(to, "hi")).await;
    assert_eq!(send("491512345678").await.outcome, sent("wamid.sandbox00000001"));
    let full = Outcome::Retry { after: None, code: "whatsapp_130429".into(), holds_account: false };
    assert_eq!(send("1555130429").await.outcome, full);
    assert_eq!(send("1555132001").await.outcome, Outcome::TerminalMessage { code: "whatsapp_132001".into() });
    let late = send("1555131047").await;
    assert_eq!((late.outcome, late.substitute), (sent("wamid.sandbox00000002"), Some(Substitute::FallbackTemplate)));
    let template = Template { name: "own".into(), language: "de".into(), params: Vec::new() };
    world
        .send(Channel::Whatsapp, config.clone(), Message { template: Some(template), ..message("49151234567", "") })
        .await;
    let kinds: Vec<_> = world.requests().iter().map(|request| request["template"]["name"].clone()).collect();
    assert_eq!(kinds, [Value::Null, json!("alert"), json!("own")]);
}

#[tokio::test]
async fn v36_slack() {
    let world = World::start().await;
    let send = async |token: &str| {
        let config = json!({"webhookUrl": format!("https://hooks.slack.com/services/T1/B1/{token}")});
        world.send(Channel::Slack, config, message("", "hi")).await.outcome
    };
    assert_eq!(send("abc").await, Outcome::Sent { provider_id: None });
    assert_eq!(send("no_service").await, Outcome::TerminalConfig { code: "slack_no_service".into() });
    let limited =
        Outcome::Retry { after: Some(Duration::from_secs(30)), code: "slack_rate_limited".into(), holds_account: true };
    assert_eq!(send("rate_limited").await, limited);
}

#[tokio::test]
async fn ses() {
    let world = World::start().await;
    let config = json!({"transport": "ses", "from": "a@acme.test", "ses": {"region": "eu-central-1"}});
    let send = async |to: &str| world.send(Channel::Email, config.clone(), message(to, "hi")).await.outcome;
    assert_eq!(send("b@acme.test").await, sent("0107sandbox00000001-000000"));
    let quota = Outcome::Retry {
        after: Some(Duration::from_secs(600)),
        code: "ses_TooManyRequests".into(),
        holds_account: false,
    };
    assert_eq!(send("quota@simulator.amazonses.com").await, quota);
    let paused = Outcome::TerminalConfig { code: "ses_SendingPaused".into() };
    assert_eq!(send("paused@simulator.amazonses.com").await, paused);
    assert_eq!(world.requests()[0]["EmailTags"], json!([{"Name": "deliveryId", "Value": "d1"}]));
}

/// Returns one request with `status` and what stands after it, and hands out what was received.
async fn receiver(answer: &'static str) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let received = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut text = String::new();
        while !text.ends_with('}') {
            let mut buffer = [0; 4096];
            let count = stream.read(&mut buffer).await.unwrap();
            text.push_str(str::from_utf8(&buffer[..count]).unwrap());
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        text
    });
    (url, received)
}

#[tokio::test]
async fn v37_a_webhook_is_signed_and_its_address_is_checked_on_each_attempt() {
    let world = World::start().await;
    let event = webhook::EventAbout { id: "e1", kind: None, source: None, occurred_at: None, payload: None };
    let body = webhook::body("rule.fired", Timestamp::UNIX_EPOCH, &event, &json!({}), &json!({"id": "d1"}));
    let to_send = Message { webhook_body: Some(body.clone()), ..Message::default() };
    let config = |url: &str| json!({"url": url, "secret": SECRET, "headers": {"x-team": "ops"}});
    let (url, received) = receiver("HTTP/1.1 204 No Content\r\n\r\n").await;
    let attempt = world.send(Channel::Webhook, config(&url), to_send.clone()).await;
    assert_eq!(attempt.outcome, Outcome::Sent { provider_id: None });
    let received = received.await.unwrap();
    let (head, text) = received.split_once("\r\n\r\n").unwrap();
    let header = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("{name} is in {head}"))
    };
    let now = Timestamp::from_second(1_767_607_200).unwrap();
    let (timestamp, signature) = (header("webhook-timestamp"), header("webhook-signature"));
    verify(SECRET, header("webhook-id"), timestamp, signature, text, now).unwrap();
    assert_eq!((text, header("x-team"), header("webhook-id")), (&*body, "ops", "d1"));

    let (url, _) = receiver("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n").await;
    let attempt = world.send(Channel::Webhook, config(&url), to_send.clone()).await;
    assert_eq!(attempt.outcome.code(), Some("http_302"));

    // A name passes at write and is refused when it resolves to where it may not lead.
    let strict = Env::from_lookup(|_| None);
    let strict = Senders::from_env(&Aws::at("http://127.0.0.1:1").await, &strict).unwrap();
    let config = Config::parse(Channel::Webhook, &config("https://localhost/hook"), strict.guard()).unwrap();
    let attempt = strict.send(&config, &to_send, DeliveryMeta { delivery_id: "d1", now }).await;
    assert_eq!(attempt.outcome, Outcome::TerminalConfig { code: "blocked_address".into() });
}

#[tokio::test]
async fn a_mail_service_of_no_particular_make() {
    let world = World::start().await;
    let (url, received) = receiver("HTTP/1.1 202 Accepted\r\ncontent-length: 11\r\n\r\n{\"id\":\"m1\"}").await;
    let config = json!({"transport": "http", "from": "a@acme.test", "http": {"url": url, "token": "t0ken"}});
    assert_eq!(world.send(Channel::Email, config, message("b@acme.test", "hi")).await.outcome, sent("m1"));
    let received = received.await.unwrap();
    assert!(received.contains("authorization: Bearer t0ken\r\n") && received.contains("idempotency-key: d1\r\n"));
}
