//! SMTP, to a tenant's mail server.
//!
//! Commands are sent one by one, since the meaning of a refusal depends on the command: 550 to `RCPT` is about the
//! recipient, to other commands about the message.

use crate::config::{EmailConfig, Security, SmtpConfig};
use crate::message::{DeliveryMeta, Message};
use crate::outcome::Outcome;
use crate::senders::TIMEOUT;
use lettre::message::{MultiPart, SinglePart};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use std::collections::HashMap;
use std::error::Error as StdError;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use switchyard_core::{Env, EnvError};
use switchyard_io::http::{Guard, is_public};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The timeout of `QUIT`, after the message was accepted.
const QUIT_TIMEOUT: Duration = Duration::from_secs(1);

/// The step of the conversation that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpStep {
    /// Connection, greeting and `EHLO`.
    Connect,
    /// `STARTTLS`.
    Tls,
    /// `AUTH`.
    Auth,
    /// `MAIL FROM`.
    From,
    /// `RCPT TO`.
    Rcpt,
    /// `DATA` and the message itself.
    Data,
}

/// How a step failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpFailure {
    /// The server refused with this code, 400 to 599.
    Refused(u16),
    /// The server did not respond in time.
    Timeout,
    /// The connection failed or was closed, or the response was not SMTP.
    Broken,
    /// The server does not offer TLS or a supported login.
    NotOffered,
    /// The server's certificate is not trusted.
    Certificate,
}

/// Classifies a failure at a step.
pub fn classify(step: SmtpStep, failure: SmtpFailure) -> Outcome {
    match (step, failure) {
        (_, SmtpFailure::Timeout) => Outcome::retry("timeout"),
        (SmtpStep::Connect, SmtpFailure::Broken) => Outcome::retry("connection_failed"),
        (_, SmtpFailure::Broken) => Outcome::retry("connection_lost"),
        (SmtpStep::Auth, SmtpFailure::NotOffered) => Outcome::config("smtp_no_login"),
        (_, SmtpFailure::NotOffered) => Outcome::config("smtp_no_tls"),
        (_, SmtpFailure::Certificate) => Outcome::config("smtp_certificate"),
        (step, SmtpFailure::Refused(code)) => {
            let name = format!("smtp_{code}");
            match (step, code) {
                (_, ..=499) => Outcome::retry(name),
                // Refused credentials stay wrong until the config is edited.
                (_, 530 | 534 | 535) | (SmtpStep::Auth, _) => Outcome::config(name),
                (SmtpStep::Rcpt, 550 | 551 | 553) => Outcome::recipient(name),
                _ => Outcome::message(name),
            }
        }
    }
}

/// The email: both bodies if there are two, its `Message-ID` the same on every attempt.
///
/// # Errors
/// The recipient is not an address.
pub fn compose(
    config: &EmailConfig,
    message: &Message,
    meta: DeliveryMeta<'_>,
) -> Result<lettre::Message, lettre::address::AddressError> {
    let mut builder = lettre::Message::builder()
        .from(config.from.clone())
        .to(message.to.parse()?)
        .subject(message.subject.replace(['\r', '\n'], " "))
        .message_id(Some(message_id(config, meta.delivery_id)))
        .date(meta.system_time());
    if let Some(reply_to) = &config.reply_to {
        builder = builder.reply_to(reply_to.clone());
    }
    let text = message.text.clone();
    let built = match message.html.clone() {
        Some(html) if text.is_empty() => builder.singlepart(SinglePart::html(html)),
        Some(html) => builder.multipart(MultiPart::alternative_plain_html(text, html)),
        None => builder.singlepart(SinglePart::plain(text)),
    };
    // Building fails only without sender or recipient.
    built.map_err(|_| lettre::address::AddressError::MissingParts)
}

/// `<delivery id@domain of the sender>`
pub fn message_id(config: &EmailConfig, delivery_id: &str) -> String {
    format!("<{delivery_id}@{}>", config.from.email.domain())
}

#[derive(Clone)]
pub(crate) struct Smtp {
    roots: Vec<Certificate>,
    guard: Guard,
    /// TLS parameters by host: making them reads the machine's root certificates.
    tls: Arc<Mutex<HashMap<String, TlsParameters>>>,
}

/// The most hosts with cached TLS parameters.
const MAX_HOSTS: usize = 64;

impl Smtp {
    pub(crate) fn from_env(env: &Env, guard: Guard) -> Result<Self, EnvError> {
        const NAME: &str = "SMTP_EXTRA_ROOTS_FILE";
        let wrong = |reason: String| EnvError::Invalid { name: NAME.to_owned(), reason };
        let roots = match env.optional(NAME) {
            Some(path) => {
                let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
                vec![Certificate::from_pem(&pem).map_err(|_| wrong("expected certificates in PEM".to_owned()))?]
            }
            None => Vec::new(),
        };
        Ok(Self { roots, guard, tls: Arc::default() })
    }

    pub(crate) async fn send(
        &self,
        config: &EmailConfig,
        smtp: &SmtpConfig,
        message: &Message,
        meta: DeliveryMeta<'_>,
    ) -> Outcome {
        let Ok(email) = compose(config, message, meta) else { return Outcome::recipient("smtp_address") };
        let mut step = SmtpStep::Connect;
        let conversation = self.converse(smtp, &email, &mut step);
        let mut connection = match tokio::time::timeout(TIMEOUT, conversation).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(ConversationEnd::Blocked)) => return Outcome::config("blocked_address"),
            Ok(Err(ConversationEnd::At(failure))) => return classify(step, failure),
            Err(_) => return classify(step, SmtpFailure::Timeout),
        };
        drop(tokio::time::timeout(QUIT_TIMEOUT, connection.quit()).await);
        Outcome::sent(message_id(config, meta.delivery_id))
    }

    /// Sends the email; `step` is set to the current step.
    async fn converse(
        &self,
        smtp: &SmtpConfig,
        email: &lettre::Message,
        step: &mut SmtpStep,
    ) -> Result<AsyncSmtpConnection, ConversationEnd> {
        let addresses = self.resolve(smtp).await?;
        let tls = self.tls_for(&smtp.host)?;
        let hello = ClientId::Domain(domain(email).to_owned());
        let at_once = (smtp.security == Security::Tls).then(|| tls.clone());
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(&*addresses, Some(CONNECT_TIMEOUT), &hello, at_once, None).await?;
        if smtp.security == Security::Starttls {
            *step = SmtpStep::Tls;
            if !connection.can_starttls() {
                return Err(ConversationEnd::At(SmtpFailure::NotOffered));
            }
            connection.starttls(tls, &hello).await?;
        }
        *step = SmtpStep::Auth;
        let mechanisms = [Mechanism::Plain, Mechanism::Login];
        if connection.server_info().get_auth_mechanism(&mechanisms).is_none() {
            return Err(ConversationEnd::At(SmtpFailure::NotOffered));
        }
        let credentials = Credentials::new(smtp.username.expose().clone(), smtp.password.expose().clone());
        connection.auth(&mechanisms, &credentials).await?;

        let (envelope, content) = (email.envelope(), email.formatted());
        *step = SmtpStep::From;
        let is_8bit = !content.is_ascii() && connection.server_info().supports_feature(Extension::EightBitMime);
        let parameters = is_8bit.then_some(MailParameter::Body(MailBodyParameter::EightBitMime));
        connection.command(Mail::new(envelope.from().cloned(), parameters.into_iter().collect())).await?;
        *step = SmtpStep::Rcpt;
        for address in envelope.to() {
            connection.command(Rcpt::new(address.clone(), Vec::new())).await?;
        }
        *step = SmtpStep::Data;
        connection.command(Data).await?;
        connection.message(&content).await?;
        Ok(connection)
    }

    fn tls_for(&self, host: &str) -> Result<TlsParameters, Error> {
        let kept = || self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tls) = kept().get(host) {
            return Ok(tls.clone());
        }
        let builder = TlsParameters::builder(host.to_owned());
        let roots = self.roots.iter().cloned();
        let tls = roots.fold(builder, |builder, root| builder.add_root_certificate(root)).build()?;
        let mut kept = kept();
        if kept.len() < MAX_HOSTS {
            kept.insert(host.to_owned(), tls.clone());
        }
        Ok(tls)
    }

    /// The server's addresses that the guard admits: a mail server is an address of the tenant's, like a webhook.
    async fn resolve(&self, smtp: &SmtpConfig) -> Result<Vec<SocketAddr>, ConversationEnd> {
        let found = tokio::net::lookup_host((smtp.host.as_str(), smtp.port)).await;
        let found = found.map_err(|_| ConversationEnd::At(SmtpFailure::Broken))?;
        let is_admitted = |address: &SocketAddr| {
            let address = address.ip().to_canonical();
            is_public(address) || self.guard.allowed.iter().any(|network| network.contains(&address))
        };
        let admitted: Vec<_> = found.filter(is_admitted).collect();
        if admitted.is_empty() { Err(ConversationEnd::Blocked) } else { Ok(admitted) }
    }
}

fn domain(email: &lettre::Message) -> &str {
    email.envelope().from().map_or("localhost", |from| from.domain())
}

/// Why a conversation ended early.
enum ConversationEnd {
    Blocked,
    At(SmtpFailure),
}

impl From<Error> for ConversationEnd {
    fn from(error: Error) -> Self {
        Self::At(failure(&error))
    }
}

fn failure(error: &Error) -> SmtpFailure {
    if let Some(code) = error.status() {
        return SmtpFailure::Refused(code.into());
    }
    if error.is_timeout() {
        return SmtpFailure::Timeout;
    }
    if has_certificate_error(error) { SmtpFailure::Certificate } else { SmtpFailure::Broken }
}

/// Whether a TLS handshake failed because of the certificate. rustls wraps its error in an I/O error.
fn has_certificate_error(error: &Error) -> bool {
    fn is_certificate(error: &(dyn StdError + 'static)) -> bool {
        matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)))
    }
    std::iter::successors(error.source(), |error| (*error).source()).any(|error| {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        is_certificate(error) || inner.is_some_and(|inner| is_certificate(inner))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Transport;
    use crate::email::testing;
    use jiff::Timestamp;
    use switchyard_core::Secret;
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::TcpListener;

    #[test]
    fn every_failure() {
        const STEPS: [SmtpStep; 6] =
            [SmtpStep::Connect, SmtpStep::Tls, SmtpStep::Auth, SmtpStep::From, SmtpStep::Rcpt, SmtpStep::Data];
        for step in STEPS {
            for code in [421, 450, 451, 452, 454] {
                assert_eq!(classify(step, SmtpFailure::Refused(code)), Outcome::retry(format!("smtp_{code}")));
            }
            for code in [530, 534, 535] {
                assert_eq!(classify(step, SmtpFailure::Refused(code)), Outcome::config(format!("smtp_{code}")));
            }
            for code in [550, 551, 553] {
                let name = format!("smtp_{code}");
                let outcome = match step {
                    SmtpStep::Rcpt => Outcome::recipient(name),
                    SmtpStep::Auth => Outcome::config(name),
                    _ => Outcome::message(name),
                };
                assert_eq!(classify(step, SmtpFailure::Refused(code)), outcome, "{step:?}");
            }
            assert_eq!(classify(step, SmtpFailure::Timeout), Outcome::retry("timeout"));
            assert_eq!(classify(step, SmtpFailure::Certificate), Outcome::config("smtp_certificate"));
        }
        for code in [500, 552, 554] {
            for step in [SmtpStep::Connect, SmtpStep::From, SmtpStep::Rcpt, SmtpStep::Data] {
                assert_eq!(classify(step, SmtpFailure::Refused(code)), Outcome::message(format!("smtp_{code}")));
            }
        }
        assert_eq!(classify(SmtpStep::Auth, SmtpFailure::Refused(504)), Outcome::config("smtp_504"));
        assert_eq!(classify(SmtpStep::Connect, SmtpFailure::Broken), Outcome::retry("connection_failed"));
        assert_eq!(classify(SmtpStep::Data, SmtpFailure::Broken), Outcome::retry("connection_lost"));
        assert_eq!(classify(SmtpStep::Tls, SmtpFailure::NotOffered), Outcome::config("smtp_no_tls"));
        assert_eq!(classify(SmtpStep::Auth, SmtpFailure::NotOffered), Outcome::config("smtp_no_login"));
    }

    fn server(port: u16) -> SmtpConfig {
        let secret = |text: &str| Secret::new(text.to_owned());
        let (username, password) = (secret("user"), secret("pass"));
        SmtpConfig { host: "127.0.0.1".into(), port, security: Security::Starttls, username, password }
    }

    fn message() -> Message {
        Message {
            to: "a@b.test".into(),
            subject: "Grüße\r\nBcc: x@y.test".into(),
            text: "Text ✓".into(),
            html: Some("<p>Html ✓</p>".into()),
            ..Message::default()
        }
    }

    const META: DeliveryMeta<'_> = DeliveryMeta { delivery_id: "d1", now: Timestamp::UNIX_EPOCH };

    #[test]
    fn an_email_has_both_bodies_and_the_same_id_each_time() {
        let config = testing::config(Transport::Smtp(server(587)));
        let composed = || String::from_utf8(compose(&config, &message(), META).unwrap().formatted()).unwrap();
        let email = composed();
        assert!(email.contains("Message-ID: <d1@acme.test>\r\n") && email.contains("multipart/alternative"), "{email}");
        assert!(email.contains("Date: Thu, 01 Jan 1970 00:00:00 +0000"), "{email}");
        assert!(email.is_ascii() && !email.contains("\r\nBcc:"), "{email}");
        assert!(composed().contains("Message-ID: <d1@acme.test>\r\n"));
    }

    /// Sends to a server that replies with `lines`, the first as its greeting and one after each command.
    async fn send_to(lines: &'static [&'static str], allowed: &str) -> Outcome {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            for line in lines {
                stream.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
                stream.read_line(&mut String::new()).await.unwrap();
            }
        });
        let guard = Guard { allowed: vec![allowed.parse().unwrap()], ..Guard::default() };
        let smtp = Smtp { roots: Vec::new(), guard, tls: Arc::default() };
        let config = testing::config(Transport::Smtp(server(port)));
        smtp.send(&config, &server(port), &message(), META).await
    }

    #[tokio::test]
    async fn without_tls_nothing_is_sent() {
        let outcome = send_to(&["220 hello", "250 AUTH PLAIN LOGIN"], "127.0.0.0/8").await;
        assert_eq!(outcome, Outcome::config("smtp_no_tls"));
        assert_eq!(send_to(&["421 later"], "127.0.0.0/8").await, Outcome::retry("smtp_421"));
        assert_eq!(
            send_to(&["220 hello", "250 STARTTLS", "454 not now"], "127.0.0.0/8").await,
            Outcome::retry("smtp_454")
        );
        assert_eq!(send_to(&["HTTP/1.1 400 Bad Request"], "127.0.0.0/8").await, Outcome::retry("connection_failed"));
    }

    #[tokio::test]
    async fn a_server_on_a_private_network_is_not_called() {
        assert_eq!(send_to(&["220 hello"], "10.0.0.0/8").await, Outcome::config("blocked_address"));
    }
}
