//! Telegram, WhatsApp, SES and Slack, as far as messages are sent through them.
//!
//! Every accepted message is one effect in the ledger, in the table `messages`: its key is the returned id, its record the
//! whole request. Mail servers have no stand-in here.
//!
//! Any token is accepted, except Telegram secrets that begin with `revoked` and WhatsApp tokens that begin with `expired`.
//! These recipients cause the errors of the real services:
//!
//! | Service | Recipient | Response |
//! |---|---|---|
//! | Telegram | chat `403` | 403, the user has blocked the bot |
//! | | chat `400` | 400, chat not found |
//! | | chat `429` | 429, `retry_after` 35 |
//! | | chat `500` | 500 |
//! | | chat `-300` | 400, moved to chat `-1000000000300` |
//! | WhatsApp | `1555` and six digits, such as `1555131026` | the error with this code; `1555131047` takes templates |
//! | SES | `rejected@simulator.amazonses.com` | `MessageRejected` |
//! | | `throttled@…` | `TooManyRequestsException`, the sending rate |
//! | | `quota@…` | `TooManyRequestsException`, the daily quota |
//! | | `paused@…`, `suspended@…`, `unverified@…` | the exceptions of the account and of the MAIL FROM domain |
//! | Slack | a URL that ends in `no_service`, `channel_not_found`, `channel_is_archived`, `action_prohibited`, `invalid_token`, `user_not_found`, `rate_limited` or `rollup_error` | this word, with its status |
//!
//! Telegram refuses mark-up that it cannot parse: in HTML an unknown or unclosed tag, in MarkdownV2 a bare `.` or `!`.

mod ses;
mod slack;
mod telegram;
mod whatsapp;

use crate::answer::{Object, Refusal};
use crate::ledger::{Effect, Ledger, Operation};
use axum::Router;
use axum::routing::post;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Clone)]
pub(crate) struct Notify {
    ledger: Arc<Ledger>,
    /// The number of the last message of all services; ids contain it.
    last: Arc<AtomicU64>,
}

impl Notify {
    pub(crate) fn new(ledger: Arc<Ledger>) -> Self {
        Self { ledger, last: Arc::default() }
    }

    /// Restores an effect of an earlier process, so that no id is used twice.
    pub(crate) fn replay(&self, effect: &Effect) {
        if [telegram::SERVICE, whatsapp::SERVICE, ses::SERVICE, slack::SERVICE].contains(&&*effect.service) {
            self.last.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Accepts a message. Returns its id, which `id` makes from its number.
    fn take<T: Clone + Into<Value>>(
        &self,
        service: &str,
        request: Object,
        answered: bool,
        id: impl FnOnce(u64) -> T,
    ) -> Result<T, Refusal> {
        let id = id(self.last.fetch_add(1, Ordering::Relaxed) + 1);
        let effect = Effect {
            service: service.to_owned(),
            operation: Operation::Insert,
            table: "messages".to_owned(),
            key: id.clone().into(),
            record: request.clone(),
            request,
            answered,
        };
        self.ledger.record(vec![effect]).map_err(|error| Refusal::not_kept(&error))?;
        Ok(id)
    }
}

/// The paths of the four.
pub(crate) fn routes(notify: &Notify) -> Router {
    Router::new()
        .route("/telegram/{bot}/sendMessage", post(telegram::send))
        .route("/whatsapp/{version}/{number}/messages", post(whatsapp::send))
        .route("/ses/v2/email/outbound-emails", post(ses::send))
        .route("/slack/services/{team}/{app}/{token}", post(slack::send))
        .with_state(notify.clone())
}

fn object(body: &[u8]) -> Object {
    serde_json::from_slice(body).unwrap_or_default()
}

fn text<'v>(members: &'v Object, pointer: &str) -> &'v str {
    let (first, rest) = pointer.split_once('/').map_or((pointer, None), |(first, rest)| (first, Some(rest)));
    let value = members.get(first);
    let value = match rest {
        Some(rest) => value.and_then(|value| value.pointer(&format!("/{rest}"))),
        None => value,
    };
    value.and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use crate::testing::{Answer, Client, scratch_directory};
    use crate::{Options, Sandbox};
    use serde_json::{Value, json};

    async fn telegram(client: &Client, bot: &str, body: Value) -> Answer {
        client.post(&format!("/telegram/bot{bot}/sendMessage"), &body).await.unwrap()
    }

    #[tokio::test]
    async fn telegram_takes_messages_and_knows_its_errors() {
        let (sandbox, client) = Client::start().await;
        let sent = telegram(&client, "42:abc", json!({"chat_id": 7, "text": "hi"})).await;
        assert_eq!((sent.status, &sent.json["result"]["message_id"]), (200, &json!(1)));
        let entry = &sandbox.ledger()[0].effect;
        assert_eq!((&*entry.service, &*entry.table, &entry.record["text"]), ("telegram", "messages", &json!("hi")));
        for (chat, status, member, value) in [
            (json!(403), 403, "/description", json!("Forbidden: bot was blocked by the user")),
            (json!("400"), 400, "/description", json!("Bad Request: chat not found")),
            (json!(429), 429, "/parameters/retry_after", json!(35)),
            (json!(500), 500, "/ok", json!(false)),
            (json!(-300), 400, "/parameters/migrate_to_chat_id", json!(-1_000_000_000_300_i64)),
        ] {
            let answer = telegram(&client, "42:abc", json!({"chat_id": chat, "text": "hi"})).await;
            assert_eq!((answer.status, answer.json.pointer(member)), (status, Some(&value)), "{chat}");
        }
        for (bot, status) in [("42:revoked", 401), ("nonsense", 404)] {
            assert_eq!(telegram(&client, bot, json!({"chat_id": 7, "text": "hi"})).await.status, status);
        }
        for (mode, text, status) in [
            ("HTML", "<b>5 &lt; 6</b>", 200),
            ("HTML", "<b>open", 400),
            ("HTML", "<x>unknown</x>", 400),
            ("MarkdownV2", "done\\.", 200),
            ("MarkdownV2", "done.", 400),
        ] {
            let body = json!({"chat_id": 7, "text": text, "parse_mode": mode});
            assert_eq!(telegram(&client, "42:abc", body).await.status, status, "{text}");
        }
        assert_eq!(sandbox.ledger().len(), 3);
    }

    #[tokio::test]
    async fn whatsapp_takes_templates_where_texts_are_too_late() {
        let (sandbox, client) = Client::start().await;
        let send = async |to: &str, kind: &str| {
            let body = json!({"messaging_product": "whatsapp", "to": to, "type": kind, "text": {"body": "hi"},
                "template": {"name": "alert"}});
            client.post("/whatsapp/v23.0/1066/messages", &body).await.unwrap()
        };
        let sent = send("491512345678", "text").await;
        assert!(sent.json["messages"][0]["id"].as_str().unwrap().starts_with("wamid."));
        let late = send("1555131047", "text").await;
        assert_eq!((late.status, &late.json["error"]["code"]), (400, &json!(131_047)));
        assert_eq!(send("1555131047", "template").await.status, 200);
        assert_eq!(send("1555130429", "template").await.json["error"]["code"], 130_429);
        assert_eq!(sandbox.ledger().len(), 2);
    }

    #[tokio::test]
    async fn ses_wants_a_signature() {
        let (sandbox, client) = Client::start().await;
        let send = async |signed: bool, to: &str| {
            let body = json!({"FromEmailAddress": "a@acme.test", "Destination": {"ToAddresses": [to]},
                "Content": {"Simple": {}}});
            let signature =
                "Authorization: AWS4-HMAC-SHA256 Credential=A/20260105/eu-central-1/ses/aws4_request, x\r\n";
            let headers = if signed { signature } else { "" };
            client.raw("POST", "/ses/v2/email/outbound-emails", headers, &body.to_string()).await.unwrap()
        };
        assert!(send(true, "b@acme.test").await.json["MessageId"].is_string());
        let unsigned = send(false, "b@acme.test").await;
        assert_eq!(
            (unsigned.status, unsigned.header("x-amzn-errortype")),
            (403, Some("MissingAuthenticationTokenException"))
        );
        let quota = send(true, "quota@simulator.amazonses.com").await;
        assert_eq!((quota.status, quota.header("x-amzn-errortype")), (429, Some("TooManyRequestsException")));
        assert_eq!(send(true, "rejected@simulator.amazonses.com").await.status, 400);
        assert_eq!(sandbox.ledger().len(), 1);
    }

    #[tokio::test]
    async fn slack_returns_one_word() {
        let (sandbox, client) = Client::start().await;
        let send = async |token: &str, body: Value| {
            client.post(&format!("/slack/services/T1/B1/{token}"), &body).await.unwrap()
        };
        assert_eq!(send("abc", json!({"text": "hi"})).await.status, 200);
        assert_eq!(send("abc", json!({})).await.status, 400);
        let limited = send("rate_limited", json!({"text": "hi"})).await;
        assert_eq!((limited.status, limited.header("retry-after")), (429, Some("30")));
        assert_eq!(send("no_service", json!({"text": "hi"})).await.status, 404);
        assert_eq!(sandbox.ledger().len(), 1);
    }

    #[tokio::test]
    async fn no_id_is_given_twice_after_a_restart() {
        let options = Options { state_dir: Some(scratch_directory()) };
        for number in 1..=2 {
            let client = Client::of(&Sandbox::open(options.clone()).unwrap()).await;
            let sent = telegram(&client, "42:abc", json!({"chat_id": 7, "text": "hi"})).await;
            assert_eq!(sent.json["result"]["message_id"], number);
        }
        std::fs::remove_dir_all(options.state_dir.unwrap()).unwrap();
    }
}
