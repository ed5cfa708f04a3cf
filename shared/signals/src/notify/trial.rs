//! Sending one real message with a config, to see whether it arrives: a delivery like any other, waited for.

use crate::error::SignalsError;
use crate::evaluate::plan::queue_deliveries;
use crate::ids::{ConfigId, EventId, TenantId};
use crate::notify::delivery::row::{Content, DeliveryRow, DeliveryStatus, Intent, Origin};
use crate::table::SignalsTable;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;
use switchyard_core::{Clock, Env, EnvError};
use switchyard_io::{Aws, Queue, Table};
use switchyard_notify::recipient;
use tokio::time::Instant;

/// How long the message is waited for.
const WAIT: Duration = Duration::from_secs(7);
const LOOK_EVERY: Duration = Duration::from_millis(150);

/// What trying configs needs.
#[derive(Clone)]
pub struct TrialDeps {
    store: SignalsTable,
    queue: Queue,
    clock: Clock,
}

impl TrialDeps {
    /// Reads `SIGNALS_TABLE` and `NOTIFY_QUEUE_URL`.
    ///
    /// # Errors
    /// A setting is missing.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        Ok(Self {
            store: SignalsTable::new(Table::from_env(aws, env, "SIGNALS_TABLE")?),
            queue: Queue::from_env(aws, env, "NOTIFY_QUEUE_URL")?,
            clock: Clock::system(),
        })
    }
}

/// What a trial's delivery has in place of a rule. It is attempted once, and leaves no dead letter.
pub(crate) const TRIAL: &str = "test";

/// Outcome of a trial.
#[derive(Debug)]
pub enum TrialOutcome {
    /// The message was sent, and fared like this.
    Outcome(TestOutcome),
    /// The config does not exist.
    Unknown,
    /// No recipient, or one that the channel does not accept.
    BadRecipient,
}

/// Sends a message with a config, to `to` or to the config's own destination. It counts as a notification.
///
/// # Errors
/// DynamoDB or SQS could not be reached.
pub async fn send_test(
    deps: &TrialDeps,
    tenant: &TenantId,
    config_id: &ConfigId,
    to: Option<&str>,
) -> Result<TrialOutcome, SignalsError> {
    let Some(config) = deps.store.config(tenant, config_id).await? else { return Ok(TrialOutcome::Unknown) };
    let open: Value = serde_json::from_str(&config.open).map_err(SignalsError::Json)?;
    let own = crate::evaluate::plan::destinations(&open).into_iter().next();
    let recipient = match (config.channel.takes_recipients(), to.map(str::to_owned).or(own)) {
        (false, _) => String::new(),
        (true, Some(given)) => match recipient::normalise(config.channel, &given) {
            Ok(recipient) => recipient,
            Err(_) => return Ok(TrialOutcome::BadRecipient),
        },
        (true, None) => return Ok(TrialOutcome::BadRecipient),
    };
    let text = format!("This is a test of the notification config {}.", config.name);
    let content = Content { subject: "Test".to_owned(), text, ..Content::default() };
    let intent = Intent {
        action: "test".to_owned(),
        channel: config.channel,
        config: Some(config.id),
        recipient,
        content,
        failed: None,
        fallback: Vec::new(),
    };
    let event_id = EventId::from(deps.clock.new_id().to_string());
    let of = Origin { tenant, event_id: &event_id, rule_id: &TRIAL.into(), rule_version: 0 };
    let row = DeliveryRow::new(of, intent, deps.clock.now());
    deps.store.add_deliveries(std::slice::from_ref(&row)).await?;
    queue_deliveries(&deps.queue, std::slice::from_ref(&row)).await?;
    let end = Instant::now() + WAIT;
    while Instant::now() < end {
        #[expect(clippy::disallowed_methods, reason = "the caller waits for what comes of the message")]
        tokio::time::sleep(LOOK_EVERY).await;
        let rows: Vec<DeliveryRow> = deps.store.deliveries(tenant, &event_id).await?;
        let Some(row) = rows.into_iter().find(|known| known.id == row.id) else { continue };
        match row.status {
            DeliveryStatus::Pending => {}
            DeliveryStatus::Sent | DeliveryStatus::Delivered => {
                return Ok(TrialOutcome::Outcome(TestOutcome {
                    ok: true,
                    provider_id: row.provider_id,
                    ..TestOutcome::default()
                }));
            }
            _ => return Ok(TrialOutcome::Outcome(TestOutcome { error: row.last_error, ..TestOutcome::default() })),
        }
    }
    let error = Some("still_under_way".to_owned());
    Ok(TrialOutcome::Outcome(TestOutcome { error, event_id: Some(event_id.into()), ..TestOutcome::default() }))
}

/// How a test message fared.
#[derive(Clone, Debug, Default, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TestOutcome {
    /// Whether the provider accepted the message.
    pub ok: bool,
    /// The provider's id of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// Why not, such as `telegram_401`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The event whose delivery is still under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
}
