//! The channels with their connections: sends one message by one config.

use crate::config::{self, Config, EmailConfig, HttpMailConfig, SesConfig, Transport};
use crate::email::smtp::Smtp;
use crate::email::{api, ses};
use crate::message::{DeliveryMeta, Message};
use crate::outcome::{Attempt, MAX_RESPONSE_BYTES, Outcome, conclude, no_response};
use crate::{slack, telegram, webhook, whatsapp};
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use serde_json::Value;
use std::time::Duration;
use switchyard_core::{Env, EnvError};
use switchyard_io::Aws;
use switchyard_io::http::{Answer, Guard, Http, HttpError, Method, Request, Url, answer_up_to};
use switchyard_io::webhook::Webhook;

/// The timeout of one call, except to webhooks.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

const DEFAULT_GRAPH_VERSION: &str = "v23.0";

/// The five channels with their clients. Made once in `main`; clones share their connections.
#[derive(Clone)]
pub struct Senders {
    plain: Http,
    guarded: Http,
    guard: Guard,
    telegram: String,
    whatsapp: String,
    whatsapp_version: String,
    ses: Option<String>,
    slack: Option<String>,
    credentials: Option<SharedCredentialsProvider>,
    smtp: Smtp,
}

impl Senders {
    /// Reads the providers' base URLs, all optional: `TELEGRAM_BASE_URL`, `WHATSAPP_BASE_URL`, `WHATSAPP_API_VERSION`,
    /// `SES_BASE_URL` (unset: the config's region), `SLACK_BASE_URL` (in place of the host of a config's URL).
    /// `WEBHOOK_ALLOW_HTTP` and `WEBHOOK_ALLOW_CIDRS` say where tenants' addresses may lead, mail servers' too, and
    /// `SMTP_EXTRA_ROOTS_FILE` is a PEM file with certificates that mail servers may have besides those that this machine
    /// trusts. SES is called with the credentials that `aws` has.
    ///
    /// # Errors
    /// A setting is wrong, or the file cannot be read.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        let guard = Guard::from_env(env)?;
        let base = |name: &str| env.optional(name).map(|_| env.base_url(name)).transpose();
        let whatsapp_version = env.optional("WHATSAPP_API_VERSION").unwrap_or_else(|| DEFAULT_GRAPH_VERSION.to_owned());
        if !config::is_graph_version(&whatsapp_version) {
            let reason = "expected a version such as v23.0".to_owned();
            return Err(EnvError::Invalid { name: "WHATSAPP_API_VERSION".to_owned(), reason });
        }
        Ok(Self {
            plain: Http::plain(TIMEOUT)?,
            guarded: Http::guarded(webhook::TIMEOUT, guard.clone())?,
            telegram: base("TELEGRAM_BASE_URL")?.unwrap_or_else(|| "https://api.telegram.org".to_owned()),
            whatsapp: base("WHATSAPP_BASE_URL")?.unwrap_or_else(|| "https://graph.facebook.com".to_owned()),
            whatsapp_version,
            ses: base("SES_BASE_URL")?,
            slack: base("SLACK_BASE_URL")?,
            credentials: aws.sdk_config().credentials_provider(),
            smtp: Smtp::from_env(env, guard.clone())?,
            guard,
        })
    }

    /// The guard for tenants' addresses, for [`Config::parse`].
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// The client for addresses from the platform's settings, with this crate's timeouts.
    pub fn http(&self) -> &Http {
        &self.plain
    }

    /// Makes one attempt. The outcome covers every response, and the lack of one. An attempt without a response may have been
    /// carried out: its retry is then a duplicate, unless the receiver recognizes the `webhook-id`.
    pub async fn send(&self, config: &Config, message: &Message, meta: DeliveryMeta<'_>) -> Attempt {
        match config {
            Config::Email(config) => self.email(config, message, meta).await.into(),
            Config::Telegram(config) => {
                let url = format!("{}/bot{}/sendMessage", self.telegram, config.bot_token.expose());
                let post = async |body: Value| {
                    let answer = self.post(telegram::SERVICE, &url, None, &body).await;
                    match answer {
                        Ok(answer) => telegram::classify(answer.status, &answer.body),
                        Err(error) => telegram::TelegramVerdict::Done(no_response(&error)),
                    }
                };
                telegram::send(config, &message.to, &message.text, post).await
            }
            Config::Whatsapp(config) => {
                let version = config.api_version.as_ref().unwrap_or(&self.whatsapp_version);
                let url = format!("{}/{version}/{}/messages", self.whatsapp, config.phone_number_id);
                let post = async |body: Value| {
                    let answer = self.post(whatsapp::SERVICE, &url, Some(config.access_token.expose()), &body).await;
                    match answer {
                        Ok(answer) => whatsapp::classify(answer.status, &answer.body),
                        Err(error) => whatsapp::WhatsappVerdict::Done(no_response(&error)),
                    }
                };
                whatsapp::send(config, message, post).await
            }
            Config::Slack(config) => {
                let url = match &self.slack {
                    Some(base) => format!("{base}{}", config.webhook_url.expose().path()),
                    None => config.webhook_url.expose().to_string(),
                };
                let answer = self.post(slack::SERVICE, &url, None, &slack::request(&message.text)).await;
                conclude(answer, |answer| slack::classify(answer.status, answer.retry_after(meta.now), &answer.body))
                    .into()
            }
            Config::Webhook(config) => self.webhook(config, message, meta).await.into(),
        }
    }

    async fn email(&self, config: &EmailConfig, message: &Message, meta: DeliveryMeta<'_>) -> Outcome {
        match &config.transport {
            Transport::Ses(ses) => self.ses(config, ses, message, meta).await,
            Transport::Smtp(smtp) => self.smtp.send(config, smtp, message, meta).await,
            Transport::Http(http) => self.mail_api(config, http, message, meta).await,
        }
    }

    async fn ses(&self, config: &EmailConfig, ses: &SesConfig, message: &Message, meta: DeliveryMeta<'_>) -> Outcome {
        let base = self.ses.clone().unwrap_or_else(|| format!("https://email.{}.amazonaws.com", ses.region));
        let url = format!("{base}{}", ses::PATH);
        let body = ses::request(config, ses, message, meta.delivery_id).to_string();
        // The platform's credentials are at fault, not the tenant's config.
        let unsigned = || Outcome::retry("ses_credentials");
        let Some(provider) = &self.credentials else { return unsigned() };
        let Ok(credentials) = provider.provide_credentials().await else { return unsigned() };
        let Some(headers) = ses::sign(&url, &body, &ses.region, credentials, meta.system_time()) else {
            return unsigned();
        };
        let answer = match self.request(&self.plain, ses::SERVICE, &url) {
            Ok(mut request) => {
                for (name, value) in headers {
                    request = request.header(name, value);
                }
                answer_up_to(ses::SERVICE, request.body(body), MAX_RESPONSE_BYTES).await
            }
            Err(error) => Err(error),
        };
        conclude(answer, |answer| ses::classify(answer.status, &answer.headers, &answer.body))
    }

    async fn mail_api(
        &self,
        config: &EmailConfig,
        api: &HttpMailConfig,
        message: &Message,
        meta: DeliveryMeta<'_>,
    ) -> Outcome {
        let answer = match self.request(&self.guarded, api::SERVICE, api.url.as_str()) {
            Ok(request) => {
                let request = request
                    .timeout(TIMEOUT)
                    .bearer_auth(api.token.expose())
                    .header("idempotency-key", meta.delivery_id)
                    .json(&api::request(config, message, meta.delivery_id));
                answer_up_to(api::SERVICE, request, MAX_RESPONSE_BYTES).await
            }
            Err(error) => Err(error),
        };
        conclude(answer, |answer| api::classify(answer.status, answer.retry_after(meta.now), &answer.body))
    }

    async fn webhook(&self, config: &config::WebhookConfig, message: &Message, meta: DeliveryMeta<'_>) -> Outcome {
        let body = message.webhook_body.clone().unwrap_or_default();
        let (url, timeout) = (config.url.as_str(), webhook::TIMEOUT);
        let request = Webhook { id: meta.delivery_id, url, body: &body, timeout };
        let secrets = config.secrets.iter().map(|secret| secret.expose().as_str());
        let Ok(headers) = request.headers(secrets, meta.now) else { return Outcome::config("webhook_secret") };
        let own = config.headers.iter().map(|(name, value)| (name.as_str(), value.clone()));
        let answer = request.post(&self.guarded, webhook::SERVICE, own.chain(headers), MAX_RESPONSE_BYTES).await;
        conclude(answer, |answer| webhook::classify(answer.status, answer.retry_after(meta.now)))
    }

    async fn post(
        &self,
        service: &'static str,
        url: &str,
        bearer: Option<&str>,
        body: &Value,
    ) -> Result<Answer, HttpError> {
        let mut request = self.request(&self.plain, service, url)?.json(body);
        if let Some(token) = bearer {
            request = request.bearer_auth(token);
        }
        answer_up_to(service, request, MAX_RESPONSE_BYTES).await
    }

    fn request(&self, http: &Http, service: &'static str, url: &str) -> Result<Request, HttpError> {
        let url: Url = url.parse().map_err(|_| HttpError::Refused { service })?;
        http.request(service, Method::POST, url)
    }
}
