//! What providers report later of messages they took, and the addresses that are not written to again.

pub(crate) mod row;

use crate::audit::Audit;
use crate::error::SignalsError;
use crate::ids::{ActorId, SuppressionId, TenantId};
use crate::notify::delivery::row::DeliveryStatus;
use crate::notify::receipts::row::ReceiptRow;
use crate::table::SignalsTable;
use crate::view::SuppressionView;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use switchyard_core::{Clock, Env, EnvError};
use switchyard_io::http::Http;
use switchyard_io::{Aws, Secrets, Table};
use switchyard_notify::Channel;
use switchyard_notify::receipts::ses::{self, Fate};
use switchyard_notify::receipts::sns::{SnsError, Verifier};
use switchyard_notify::receipts::whatsapp::{self, State};
use tokio::time::Instant;

/// A report may come before it is written down that the message was sent; so long it waits for that, as a whole.
const WAIT: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long SNS may take to hand out its certificate.
const TIMEOUT: Duration = Duration::from_secs(3);

/// What taking reports needs.
#[derive(Clone)]
pub struct ReceiptDeps {
    store: SignalsTable,
    secrets: Secrets,
    secret_id: Option<String>,
    topics: Vec<String>,
    /// Made for the first report of SES's: it reads the machine's root certificates, which taking events can do without.
    sns: Arc<OnceLock<Verifier>>,
    clock: Clock,
}

impl ReceiptDeps {
    /// Reads `SIGNALS_TABLE`; `NOTIFY_HOOK_SECRET`, which names the secret with `WHATSAPP_APP_SECRET` and
    /// `WHATSAPP_VERIFY_TOKEN`; and `SES_TOPIC_ARNS`, the SNS topics that SES reports to, comma-separated. What is not set is
    /// not served.
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        let topics = env.optional("SES_TOPIC_ARNS").unwrap_or_default();
        let topics: Vec<_> =
            topics.split(',').map(str::trim).filter(|arn| !arn.is_empty()).map(str::to_owned).collect();
        Ok(Self {
            store: SignalsTable::new(Table::from_env(aws, env, "SIGNALS_TABLE")?),
            secrets: Secrets::new(aws),
            secret_id: env.optional("NOTIFY_HOOK_SECRET"),
            topics,
            sns: Arc::default(),
            clock: Clock::system(),
        })
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    fn sns(&self) -> Result<&Verifier, SignalsError> {
        if let Some(known) = self.sns.get() {
            return Ok(known);
        }
        let http = Http::plain(TIMEOUT).map_err(SignalsError::Client)?;
        Ok(self.sns.get_or_init(|| Verifier::new(http, self.topics.clone())))
    }

    /// A value of the hooks' secret; `None` when it is not set.
    async fn secret(&self, name: &str) -> Result<Option<String>, SignalsError> {
        let Some(id) = &self.secret_id else { return Ok(None) };
        let values = self.secrets.get(id).await.map_err(SignalsError::HookSecret)?;
        Ok(values.required(name).ok().map(|value| value.expose().clone()))
    }
}

/// Outcome of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reported {
    /// It is authentic; whatever it says of messages of ours is written down.
    Taken,
    /// It is not the provider's.
    Refused,
    /// This provider's reports are not served.
    Unserved,
}

/// The response to WhatsApp's verification request; `None` when its token is wrong.
///
/// # Errors
/// The secret could not be reached.
pub async fn whatsapp_challenge(
    deps: &ReceiptDeps,
    query: &[(String, String)],
) -> Result<Option<String>, SignalsError> {
    let Some(token) = deps.secret("WHATSAPP_VERIFY_TOKEN").await? else { return Ok(None) };
    let query: Vec<_> = query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Ok(whatsapp::challenge(&query, &token).map(str::to_owned))
}

/// Takes WhatsApp's report of messages; `signature` is its `X-Hub-Signature-256`.
///
/// # Errors
/// DynamoDB or the secret could not be reached: the report should come again.
pub async fn whatsapp_report(
    deps: &ReceiptDeps,
    signature: Option<&str>,
    body: &[u8],
) -> Result<Reported, SignalsError> {
    let Some(secret) = deps.secret("WHATSAPP_APP_SECRET").await? else { return Ok(Reported::Unserved) };
    if !signature.is_some_and(|signature| whatsapp::is_authentic(&secret, signature, body)) {
        return Ok(Reported::Refused);
    }
    let Ok(statuses) = whatsapp::statuses(body) else {
        tracing::warn!(reason = "not_a_report", "an authentic report of WhatsApp's does not read");
        return Ok(Reported::Taken);
    };
    let until = Instant::now() + WAIT;
    for status in statuses {
        if matches!(status.state, State::Sent | State::Unknown) {
            continue;
        }
        let Some(receipt) = find(deps, Channel::Whatsapp, &status.message_id, until).await? else { continue };
        let now = deps.clock.now();
        let at = status.at.unwrap_or(now);
        match status.state {
            State::Read => deps.store.report_read(&receipt, at, now).await?,
            State::Delivered => deps.store.report(&receipt, DeliveryStatus::Delivered, None, at, now).await?,
            State::Failed => {
                let code = status.error.map_or_else(|| "undelivered".to_owned(), |code| code.to_string());
                deps.store.report(&receipt, DeliveryStatus::Undelivered, Some(&code), at, now).await?;
            }
            State::Sent | State::Unknown => {}
        }
    }
    Ok(Reported::Taken)
}

/// Takes what SES reports through SNS. An invitation to a topic of ours is accepted.
///
/// # Errors
/// DynamoDB or SNS could not be reached: the report should come again.
pub async fn ses_report(deps: &ReceiptDeps, body: &[u8]) -> Result<Reported, SignalsError> {
    if deps.topics.is_empty() {
        return Ok(Reported::Unserved);
    }
    let sns = deps.sns()?;
    let message = match sns.verify(body).await {
        Ok(message) => message,
        Err(error @ SnsError::Fetch(_)) => return Err(SignalsError::Sns(error)),
        Err(_) => return Ok(Reported::Refused),
    };
    if sns.confirm(&message).await.map_err(SignalsError::Sns)? {
        return Ok(Reported::Taken);
    }
    match ses::parse(&message.message) {
        Ok(Some(report)) => mail_report(deps, &report).await?,
        Ok(None) => {}
        Err(_) => tracing::warn!(reason = "not_a_report", "an authentic report of SES's does not read"),
    }
    Ok(Reported::Taken)
}

/// Writes down what SES reports of one message; it is authentic.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn mail_report(deps: &ReceiptDeps, report: &ses::MailReport) -> Result<(), SignalsError> {
    let Some(receipt) = find(deps, Channel::Email, &report.message_id, Instant::now() + WAIT).await? else {
        return Ok(());
    };
    let now = deps.clock.now();
    let at = report.at.unwrap_or(now);
    let (status, reason) = match report.fate {
        Fate::Delivered => (DeliveryStatus::Delivered, None),
        Fate::Bounced { .. } => (DeliveryStatus::Bounced, Some("bounced")),
        // It arrived, and was not wanted.
        Fate::Complained => (DeliveryStatus::Delivered, Some("complained")),
    };
    deps.store.report(&receipt, status, reason, at, now).await?;
    for address in report.to_suppress() {
        deps.store.suppress(&receipt.tenant, address, reason.unwrap_or_default(), at).await?;
    }
    Ok(())
}

/// The delivery that a provider means; what is not ours is given up at `until`.
async fn find(
    deps: &ReceiptDeps,
    channel: Channel,
    provider_id: &str,
    until: Instant,
) -> Result<Option<ReceiptRow>, SignalsError> {
    loop {
        let receipt = deps.store.receipt_of(channel, provider_id).await?;
        if receipt.is_some() || Instant::now() >= until {
            return Ok(receipt);
        }
        #[expect(clippy::disallowed_methods, reason = "the message is being written down at this moment, or not ours")]
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The addresses that a tenant does not write to any more.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn suppressions(deps: &ReceiptDeps, tenant: &TenantId) -> Result<Vec<SuppressionView>, SignalsError> {
    let rows = deps.store.suppressions(tenant).await?;
    Ok(rows.iter().map(SuppressionView::of).collect())
}

/// Has a tenant write to an address again; `false` when it is not on the list.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn unsuppress(
    deps: &ReceiptDeps,
    actor: &ActorId,
    tenant: &TenantId,
    id: &SuppressionId,
) -> Result<bool, SignalsError> {
    let audit = Audit {
        tenant: tenant.as_str(),
        actor,
        action: "suppression.remove",
        subject: id.as_str(),
        before: None,
        after: None,
    };
    let record = deps.store.audit(audit, deps.clock.now())?;
    deps.store.unsuppress(tenant, id, record).await
}
