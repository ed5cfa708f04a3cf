//! Email through a real mail server, aiosmtpd. `bash shared/notify/tests/smtp.sh` starts it, runs this, and reads what
//! the server received; without the server there is nothing to test.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use serde_json::json;
use switchyard_core::{Env, Timestamp};
use switchyard_io::Aws;
use switchyard_notify::{Channel, Config, DeliveryMeta, Message, Outcome, Senders};

const TEXT: &str = "Grüße aus Zürich.\nDie Karte …4242 wurde abgelehnt: 5 € ≠ 6 €.\n.\nEin Punkt allein. 日本語 ✓\n";
const HTML: &str = "<p>Grüße aus <b>Zürich</b>.</p>\n<p>5 € ≠ 6 €, 日本語 ✓</p>\n";

/// What the script has set up.
struct Server {
    env: Env,
    port: String,
    tls_port: String,
}

impl Server {
    fn running() -> Option<Self> {
        let env = Env::process();
        let (port, tls_port) = (env.optional("SMTP_TEST_PORT"), env.optional("SMTP_TEST_TLS_PORT"));
        let (Some(port), Some(tls_port)) = (port, tls_port) else {
            println!("skipped: shared/notify/tests/smtp.sh runs this with a mail server");
            return None;
        };
        Some(Self { env, port, tls_port })
    }

    async fn senders(&self, trusts: bool) -> Senders {
        let roots = self.env.optional("SMTP_TEST_ROOTS");
        let env = Env::from_lookup(move |name| match name {
            "SMTP_EXTRA_ROOTS_FILE" => roots.clone().filter(|_| trusts),
            "WEBHOOK_ALLOW_CIDRS" => Some("127.0.0.0/8,::1/128".to_owned()),
            _ => None,
        });
        Senders::from_env(&Aws::at("http://127.0.0.1:1").await, &env).unwrap()
    }

    async fn send(&self, with: Sending<'_>) -> Outcome {
        let senders = self.senders(with.trusts).await;
        let port = if with.security == "tls" { &self.tls_port } else { &self.port };
        let config = json!({
            "transport": "smtp",
            "from": "Schaltwerk Zürich <alerts@acme.example>",
            "replyTo": "help@acme.example",
            "smtp": {"host": "localhost", "port": port.parse::<u16>().unwrap(), "security": with.security,
                "username": "alerts", "password": with.password},
        });
        let config = Config::parse(Channel::Email, &config, senders.guard()).unwrap();
        let message = Message {
            to: with.to.to_owned(),
            subject: with.subject.to_owned(),
            text: TEXT.to_owned(),
            html: Some(HTML.to_owned()),
            ..Message::default()
        };
        let now = Timestamp::from_second(1_767_607_200).unwrap();
        senders.send(&config, &message, DeliveryMeta { delivery_id: with.delivery_id, now }).await.outcome
    }
}

struct Sending<'a> {
    security: &'a str,
    password: &'a str,
    to: &'a str,
    subject: &'a str,
    delivery_id: &'a str,
    trusts: bool,
}

const DEFAULT_SENDING: Sending<'_> = Sending {
    security: "starttls",
    password: "correct horse",
    to: "ann@example.org",
    subject: "Zahlung abgelehnt: größer als 5 € ✉ 日本語, und der Betreff ist so lang, dass er umbricht",
    delivery_id: "starttls",
    trusts: true,
};

#[tokio::test]
async fn s7_a_real_server_takes_mail() {
    let Some(server) = Server::running() else { return };
    for security in ["starttls", "tls"] {
        // Twice, as after an answer that was lost: the id stays.
        for _ in 0..2 {
            let outcome = server.send(Sending { security, delivery_id: security, ..DEFAULT_SENDING }).await;
            let provider_id = Some(format!("<{security}@acme.example>"));
            assert_eq!(outcome, Outcome::Sent { provider_id });
        }
    }
}

#[tokio::test]
async fn s7_a_real_servers_refusals_are_told_apart() {
    let Some(server) = Server::running() else { return };
    let recipient = |code: &'static str| Outcome::TerminalRecipient { code: code.into() };
    let config = |code: &'static str| Outcome::TerminalConfig { code: code.into() };
    for (sending, outcome) in [
        (Sending { to: "nobody@example.org", ..DEFAULT_SENDING }, recipient("smtp_550")),
        (
            Sending { to: "busy@example.org", ..DEFAULT_SENDING },
            Outcome::Retry { after: None, code: "smtp_451".into(), holds_account: false },
        ),
        (Sending { subject: "refuse this", ..DEFAULT_SENDING }, Outcome::TerminalMessage { code: "smtp_554".into() }),
        (Sending { password: "wrong", ..DEFAULT_SENDING }, config("smtp_535")),
        (Sending { trusts: false, ..DEFAULT_SENDING }, config("smtp_certificate")),
        (Sending { trusts: false, security: "tls", ..DEFAULT_SENDING }, config("smtp_certificate")),
    ] {
        assert_eq!(server.send(sending).await, outcome);
    }
}
