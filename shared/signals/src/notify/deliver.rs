//! Sending notifications: each delivery is attempted until it is settled.

use crate::error::SignalsError;
use crate::evaluate::plan::{DELIVERY_KIND, DeliveryJob, distinct, message, queue_deliveries};
use crate::ids::{ConfigId, TenantId};
use crate::ingest::event::EventRow;
use crate::manage::configs::row::{ConfigRow, ConfigStatus};
use crate::manage::tenants::row::TenantStatus;
use crate::notify::archive::{archive_if_permanent, given_up};
use crate::notify::delivery::row::{
    AttemptRecord, DeliveryRow, DeliveryStatus, FinalAttempt, NextAttempt, Origin, SENT, delivery_key,
};
use crate::notify::webhook_health;
use crate::queues::NOTIFY;
use crate::table::SignalsTable;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use switchyard_core::{
    Classify as _, Clock, Disposition, Env, EnvError, Envelope, Owner, error_chain, iso_millis, metric, random,
};
use switchyard_io::dynamo::Write;
use switchyard_io::vault::Vault;
use switchyard_io::{Aws, Queue, Secrets, Table};
use switchyard_notify::schedule::{self, NextAttempt as Then};
use switchyard_notify::{
    Attempt, Channel, Config, DeliveryMeta, Message, Outcome, Senders, Template, config, pace, webhook,
};
use switchyard_work::attempt::{Claim, Claimant, Retry};
use switchyard_work::circuit::Circuit;

/// Attempts at writing down that a message was sent.
const SETTLE_ATTEMPTS: u32 = 3;

/// A wait for one's turn that is not worth a message, in milliseconds.
const SHORT_MS: i64 = 250;

/// How long a worker holds a delivery; longer than any request takes.
const LEASE: Duration = Duration::from_secs(60);

/// What sending needs.
#[derive(Clone)]
pub struct NotifyDeps {
    store: SignalsTable,
    queue: Queue,
    clock: Clock,
    vault: Vault,
    senders: Senders,
}

impl NotifyDeps {
    /// Reads `SIGNALS_TABLE`, `NOTIFY_QUEUE_URL`, `DATA_KEY_SECRET` and what [`Senders`] does.
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        Ok(Self {
            store: SignalsTable::new(Table::from_env(aws, env, "SIGNALS_TABLE")?),
            queue: Queue::from_env(aws, env, "NOTIFY_QUEUE_URL")?,
            clock: Clock::system(),
            vault: Vault::from_env(&Secrets::new(aws), env)?,
            senders: Senders::from_env(aws, env)?,
        })
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }
}

/// Attempts one delivery.
///
/// The row is leased, the message sent, and what came of it written with what it counts for in one transaction. Should the
/// process die after the provider took the message, the queue message's next receive sends it again: a lost notice is
/// worse than a double one, and only webhooks' receivers can tell.
///
/// A message that cannot succeed is kept as a dead letter.
///
/// # Errors
/// Transient faults of DynamoDB or SQS: the message should come again.
pub async fn deliver(deps: &NotifyDeps, text: &str, owner: &Owner) -> Result<(), SignalsError> {
    let outcome = take(deps, text, owner).await;
    archive_if_permanent(&deps.store, &deps.clock, NOTIFY, (text, owner), outcome).await
}

async fn take(deps: &NotifyDeps, text: &str, owner: &Owner) -> Result<(), SignalsError> {
    let envelope = Envelope::<DeliveryJob>::parse(text, DELIVERY_KIND).map_err(SignalsError::Envelope)?;
    let job = envelope.body;
    let now_ms = deps.clock.now().as_millisecond();
    let key = delivery_key(&TenantId::from(envelope.tenant), &job.event_id, &job.delivery_id);
    let by = Claimant { owner, attempts: job.attempts, now_ms, until_ms: now_ms + millis(LEASE) };
    let mut row = match deps.store.claim_delivery(&key, by).await? {
        Claim::Mine(row) => row,
        Claim::Busy { until_ms } => {
            let wait = Duration::from_millis(u64::try_from(until_ms - now_ms).unwrap_or_default());
            return Err(SignalsError::Busy { wait });
        }
        Claim::Settled(_) | Claim::Missing => return Ok(()),
    };
    let (tenant_id, event_id) = (row.tenant_id(), row.event_id());
    // No config has the empty id.
    let config_id = row.intent.config.clone().unwrap_or_else(|| ConfigId::from(""));
    let is_mail = row.intent.channel == Channel::Email;
    let is_webhook = row.intent.channel == Channel::Webhook;
    // Who tries a config wants to know how its provider is now.
    let has_circuit = is_webhook && !row.is_trial();
    let (tenant, event, config_row, is_suppressed, mut circuit) = tokio::try_join!(
        deps.store.tenant(&tenant_id),
        deps.store.event(&tenant_id, &event_id),
        deps.store.config(&tenant_id, &config_id),
        async { Ok(is_mail && deps.store.is_suppressed(&tenant_id, &row.intent.recipient).await?) },
        async {
            match has_circuit {
                true => deps.store.circuit(&tenant_id, &config_id).await.map(Some),
                false => Ok(None),
            }
        },
    )?;
    if tenant.is_none_or(|tenant| tenant.status != TenantStatus::Active) {
        row.intent.fallback.clear();
        return end(deps, &row, untried(DeliveryStatus::Failed, "tenant_suspended")).await;
    }
    if row.age(deps.clock.now()) > schedule::MAX_AGE {
        return end(deps, &row, untried(DeliveryStatus::Expired, "too_old")).await;
    }
    let config_row = config_row.filter(|config| config.status == ConfigStatus::Active);
    let Some(config_row) = config_row else {
        return end(deps, &row, untried(DeliveryStatus::Failed, "no_active_config")).await;
    };
    if is_suppressed {
        return end(deps, &row, untried(DeliveryStatus::Suppressed, "suppressed")).await;
    }
    if is_webhook && event.is_none() && !row.is_trial() {
        // It would not be the message that it was.
        return end(deps, &row, untried(DeliveryStatus::Failed, "event_gone")).await;
    }
    let Some(config) = open_config(deps, &config_row).await? else {
        return end(deps, &row, untried(DeliveryStatus::Failed, "config_invalid")).await;
    };
    let slot = match &mut circuit {
        Some(circuit) => {
            webhook_health::kept_back_until(&deps.store, &config_row, &tenant_id, circuit, deps.clock.now()).await?
        }
        None => hold_back(deps, &config, &row, now_ms).await?,
    };
    // Behind a circuit, one request alone goes ahead.
    let is_turn = |wait: &i64| circuit.is_none() && *wait <= SHORT_MS;
    if let Some(wait) = slot.map(|slot| slot - now_ms).filter(is_turn) {
        #[expect(clippy::disallowed_methods, reason = "shorter than the shortest delay of a message")]
        tokio::time::sleep(Duration::from_millis(u64::try_from(wait).unwrap_or_default())).await;
    } else if let Some(slot) = slot {
        if slot.saturating_sub(row.begun_at().as_millisecond()) > millis(schedule::MAX_AGE) {
            return end(deps, &row, untried(DeliveryStatus::Expired, "too_old")).await;
        }
        let now = deps.clock.now();
        let retry = Retry::at(slot, now.as_millisecond());
        if deps.store.settle_delivery(&row, &NextAttempt::Waits(retry), None, Vec::new(), now).await? {
            send_later(deps, &row, row.attempts, retry).await?;
        }
        return Ok(());
    }
    attempt(deps, &config_row, &config, circuit.as_ref(), event.as_ref(), &row).await
}

/// The config as the channels read it; `None` when it does not open or read any more.
async fn open_config(deps: &NotifyDeps, row: &ConfigRow) -> Result<Option<Config>, SignalsError> {
    let open: Value = serde_json::from_str(&row.open).map_err(SignalsError::Json)?;
    let mut secrets = BTreeMap::new();
    for (field, sealed) in &row.sealed {
        match deps.vault.open(row.id.as_str(), sealed).await {
            Ok(opened) => drop(secrets.insert(field.clone(), opened.expose().clone())),
            Err(error) if error.disposition() == Disposition::Permanent => {
                tracing::error!(error = error_chain(&error), "a config's secret does not open");
                return Ok(None);
            }
            Err(error) => return Err(SignalsError::Vault(error)),
        }
    }
    Ok(Config::parse(row.channel, &config::merge(&open, &secrets), deps.senders.guard()).ok())
}

/// When the provider's pace lets this message through, if that is not now.
async fn hold_back(
    deps: &NotifyDeps,
    config: &Config,
    row: &DeliveryRow,
    now_ms: i64,
) -> Result<Option<i64>, SignalsError> {
    if row.slot_at.is_some_and(|slot| slot <= now_ms) {
        // The place is ours, unless the provider asked for patience since.
        let held = match pace::account_key(config) {
            Some(account) => deps.store.held_until(&account).await?,
            None => None,
        };
        if held.is_none_or(|until| until <= now_ms) {
            return Ok(None);
        }
    }
    let mut latest = now_ms;
    for pace in pace::paces(config, &row.intent.recipient) {
        let step = pace.per / pace.calls.max(1);
        let Some(slot) = deps.store.reserve_slot(&pace.key, step, now_ms, schedule::MAX_AGE).await? else {
            // A delivery that cannot be sent within a day reserves no slot.
            return Ok(Some(i64::MAX));
        };
        latest = latest.max(slot);
    }
    Ok((latest > now_ms).then_some(latest))
}

async fn attempt(
    deps: &NotifyDeps,
    config_row: &ConfigRow,
    config: &Config,
    circuit: Option<&Circuit>,
    event: Option<&EventRow>,
    row: &DeliveryRow,
) -> Result<(), SignalsError> {
    let (started, tenant) = (deps.clock.now(), row.tenant_id());
    let to_send = compose(row, event);
    let meta = DeliveryMeta { delivery_id: &row.id, now: started };
    let Attempt { outcome, .. } = deps.senders.send(config, &to_send, meta).await;
    let now = deps.clock.now();
    let channel = row.intent.channel;
    tracing::info!(
        event_id = row.event_id,
        tenant_id = row.tenant,
        service = channel.name(),
        attempt = row.attempts,
        outcome = outcome.code().unwrap_or(SENT),
        "notification attempted"
    );
    let took = Duration::try_from(now.duration_since(started)).unwrap_or_default();
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let tried = AttemptRecord { at: started, outcome: outcome.code().unwrap_or(SENT).to_owned(), ms };
    let given_up = |status| FinalAttempt { status, reason: &tried.outcome, tried: Some(&tried) };
    match outcome {
        Outcome::Sent { provider_id } => {
            metric::count("notification.sent", 1);
            let sent = format!("sent_{}", channel.name());
            let counted = SignalsTable::count_with(&tenant, now, &[("notifications_sent", 1), (&sent, 1)]);
            let mut with = vec![counted];
            // These two report later its outcome.
            if let (Channel::Email | Channel::Whatsapp, Some(id)) = (channel, &provider_id) {
                with.push(deps.store.receipt(row, id, now)?);
            }
            write_down_sent(deps, row, provider_id, &tried, with).await?;
            match circuit {
                Some(circuit) => webhook_health::succeeded(&deps.store, config_row, &tenant, circuit, now).await,
                None => Ok(()),
            }
        }
        // A user retries it by hand.
        Outcome::Retry { .. } if row.is_trial() => end(deps, row, given_up(DeliveryStatus::Failed)).await,
        Outcome::Retry { after, holds_account, .. } => {
            if let Some(circuit) = circuit
                && webhook_health::failed(&deps.store, config_row, &tenant, circuit, now).await?
            {
                return end(deps, row, given_up(DeliveryStatus::Failed)).await;
            }
            let after = after.map(|wish| wish.min(schedule::MAX_AGE));
            let wish_end = after.map(|wish| now.as_millisecond() + millis(wish));
            if let (true, Some(until), Some(account)) = (holds_account, wish_end, pace::account_key(config)) {
                deps.store.hold_pace(&account, until).await?;
            }
            match schedule::next(row.attempts + 1, after, row.age(now), random::fraction()) {
                Then::Wait(wait) => {
                    let retry = Retry::at(now.as_millisecond() + millis(wait), now.as_millisecond());
                    let next = NextAttempt::Again(retry);
                    if deps.store.settle_delivery(row, &next, Some(&tried), Vec::new(), now).await? {
                        send_later(deps, row, row.attempts + 1, retry).await?;
                    }
                    Ok(())
                }
                Then::Expired => end(deps, row, given_up(DeliveryStatus::Expired)).await,
                Then::Exhausted => end(deps, row, given_up(DeliveryStatus::Failed)).await,
            }
        }
        Outcome::TerminalMessage { .. } | Outcome::TerminalRecipient { .. } => {
            end(deps, row, given_up(DeliveryStatus::Failed)).await
        }
        Outcome::TerminalConfig { code } => {
            deps.store.config_failed(&tenant, config_row, &code).await?;
            end(deps, row, given_up(DeliveryStatus::Failed)).await
        }
    }
}

/// Writes that a message was sent. That is tried again here: given up, the message would be sent twice.
async fn write_down_sent(
    deps: &NotifyDeps,
    row: &DeliveryRow,
    provider_id: Option<String>,
    tried: &AttemptRecord,
    with: Vec<Write>,
) -> Result<(), SignalsError> {
    let (next, now) = (NextAttempt::Sent { provider_id }, deps.clock.now());
    for _ in 1..SETTLE_ATTEMPTS {
        match deps.store.settle_delivery(row, &next, Some(tried), with.clone(), now).await {
            Err(error) if error.disposition() != Disposition::Permanent => {
                tracing::warn!(
                    event_id = row.event_id,
                    error = error_chain(&error),
                    "what was sent is not written down yet"
                );
            }
            settled => return settled.map(drop),
        }
    }
    deps.store.settle_delivery(row, &next, Some(tried), with, now).await.map(drop)
}

fn compose(row: &DeliveryRow, event: Option<&EventRow>) -> Message {
    let content = &row.intent.content;
    let is_webhook = row.intent.channel == Channel::Webhook;
    Message {
        to: row.intent.recipient.clone(),
        subject: content.subject.clone(),
        text: content.text.clone(),
        html: content.html.clone(),
        template: content.template.clone().map(|(name, language, params)| Template { name, language, params }),
        webhook_body: is_webhook.then(|| webhook_body(row, event)),
    }
}

/// The same on every attempt, so that it is dated by the delivery. The payload is as it was sent, byte for byte.
fn webhook_body(row: &DeliveryRow, event: Option<&EventRow>) -> String {
    let about = webhook::EventAbout {
        id: &row.event_id,
        kind: event.map(|event| event.kind.as_str()),
        source: event.and_then(|event| event.source.as_deref()),
        occurred_at: event.map(|event| iso_millis(event.occurred_at)),
        payload: event.and_then(|event| serde_json::from_str(&event.payload).ok()),
    };
    let rule = json!({"id": row.rule_id, "version": row.rule_version});
    let delivery = json!({"id": row.id, "subject": row.intent.content.subject, "text": row.intent.content.text});
    webhook::body("signal.fired", row.created_at, &about, &rule, &delivery)
}

/// An end without an attempt.
fn untried(status: DeliveryStatus, reason: &str) -> FinalAttempt<'_> {
    FinalAttempt { status, reason, tried: None }
}

/// Ends a delivery that was not sent, and starts what stands in for it.
async fn end(deps: &NotifyDeps, row: &DeliveryRow, end: FinalAttempt<'_>) -> Result<(), SignalsError> {
    let now = deps.clock.now();
    let (tenant, event_id) = (row.tenant_id(), row.event_id());
    let of = Origin { tenant: &tenant, event_id: &event_id, rule_id: &row.rule_id, rule_version: row.rule_version };
    let fallback = row.intent.fallback.iter().map(|intent| DeliveryRow::new(of, intent.clone(), now));
    let fallback = distinct(fallback.collect());
    // A suppressed recipient is not a failure to retry.
    let letter = match end.status {
        DeliveryStatus::Suppressed => None,
        _ if row.is_trial() => None,
        _ => Some(given_up(row, &message(row, row.attempts)?, end.reason, now)),
    };
    let started = deps.store.end_delivery(row, &end, letter.as_ref(), fallback, now).await?;
    if let Some(started) = started {
        metric::count("notification.failed", 1);
        tracing::warn!(event_id = row.event_id, reason = end.reason, "notification given up");
        let open: Vec<_> = started.into_iter().filter(DeliveryRow::is_open).collect();
        queue_deliveries(&deps.queue, &open).await?;
    }
    Ok(())
}

/// Sends the message that brings a rescheduled delivery, unless the sweep does.
async fn send_later(deps: &NotifyDeps, row: &DeliveryRow, attempts: u32, retry: Retry) -> Result<(), SignalsError> {
    match retry.delay(deps.clock.now().as_millisecond()) {
        Some(delay) => Ok(deps.queue.send(&message(row, attempts)?, delay).await?),
        None => Ok(()),
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
