use crate::error::SignalsError;
use crate::model::{NewEvent, TenantStatus};
use crate::producer::{Identified, Producers};
use crate::store::{EventRow, Month, Reserved, Store, Tenant, Written};
use jiff::Timestamp;
use jiff::tz::Offset;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use switchyard_core::{Clock, Env, EnvError, Envelope, error_chain, metric};
use switchyard_io::keys::ApiKeys;
use switchyard_io::{Aws, Queue, Table};
use tokio::time::Instant;

/// Kind of the envelopes that bring an event to the rules.
pub(crate) const EVENT_KIND: &str = "signals.event";

/// Longest idempotency key, in characters.
pub const MAX_IDEMPOTENCY_KEY: usize = 255;

/// A tenant whose limit is reached is not asked about again for so long.
const FULL_FOR: Duration = Duration::from_secs(5);

/// With several shards, how often their sum is looked at to see whether the soft limit is passed.
const SUM_EVERY: Duration = Duration::from_secs(60);

/// What taking events needs.
#[derive(Clone)]
pub struct IngestDeps {
    pub(crate) store: Store,
    pub(crate) queue: Queue,
    pub(crate) clock: Clock,
    producers: Producers,
    key_kept_for: Duration,
    known: Arc<Mutex<HashMap<(String, Month), MonthKnown>>>,
}

/// What this process knows of a tenant's month.
#[derive(Clone, Copy, Default)]
struct MonthKnown {
    full_until: Option<Instant>,
    summed: Option<(Instant, u64)>,
}

impl IngestDeps {
    /// Reads `SIGNALS_TABLE`, `API_KEY_SECRET`, `RULES_QUEUE_URL` and `IDEMPOTENCY_TTL_DAYS` (default 90).
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        let clock = Clock::system();
        let days: u64 = env.parsed("IDEMPOTENCY_TTL_DAYS", 90)?;
        Ok(Self {
            store: Store::new(Table::from_env(aws, env, "SIGNALS_TABLE")?),
            queue: Queue::from_env(aws, env, "RULES_QUEUE_URL")?,
            producers: Producers::new(ApiKeys::from_env(aws, env, "SIGNALS_TABLE")?, clock.clone()),
            clock,
            key_kept_for: Duration::from_secs(days * 86_400),
            known: Arc::default(),
        })
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Whose key this is.
    ///
    /// # Errors
    /// Keys or tenants could not be looked up.
    pub async fn identify(&self, key: &str) -> Result<Identified, SignalsError> {
        self.producers.identify(&self.store, key).await
    }

    fn known<T>(&self, tenant: &str, month: &Month, work: impl FnOnce(&mut MonthKnown) -> T) -> T {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // A month that is over is asked about no more.
        known.retain(|(_, kept), _| kept >= month);
        work(known.entry((tenant.to_owned(), month.clone())).or_default())
    }
}

/// An event's message: ids only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventJob {
    pub(crate) event_id: String,
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is kept, and on its way to the rules.
    New {
        /// Its id.
        id: String,
        /// Whether the tenant is past its soft limit.
        is_beyond_soft_limit: bool,
    },
    /// The same request was accepted before.
    Replayed {
        /// The id it got then.
        id: String,
    },
    /// The idempotency key stands for another request.
    Mismatch,
    /// The month's limit is reached.
    HardLimit {
        /// Until the next month begins.
        retry_after: Duration,
    },
    /// The tenant may do nothing.
    Suspended,
}

/// Takes one event of `tenant`: counted, written with its unsent mark, and sent to the rules.
///
/// Without a key that is one counter, one put, one send; with one, a read before and a transaction in place of the put. A
/// send that fails is made up for by the sweep.
///
/// # Errors
/// DynamoDB could not be reached. Whether the event was taken is then open to one who sent no idempotency key.
pub async fn accept(
    deps: &IngestDeps,
    tenant: &Tenant,
    new: &NewEvent,
    idempotency_key: Option<&str>,
    trace: Option<String>,
) -> Result<Accepted, SignalsError> {
    if tenant.status != TenantStatus::Active {
        return Ok(Accepted::Suspended);
    }
    let now = deps.clock.now();
    if let Some(key) = idempotency_key
        && let Some(known) = deps.store.idempotency(&tenant.id, key, now).await?
    {
        return Ok(replayed(known.event_id, &known.fingerprint, new));
    }
    let month = Month::of(now);
    let Some((shard, count)) = reserve(deps, tenant, &month).await? else {
        // Perhaps the same request took the last place meanwhile.
        if let Some(key) = idempotency_key
            && let Some(known) = deps.store.idempotency(&tenant.id, key, now).await?
        {
            return Ok(replayed(known.event_id, &known.fingerprint, new));
        }
        metric::count("rejected", 1);
        return Ok(Accepted::HardLimit { retry_after: until_next_month(now) });
    };
    let id = deps.clock.new_id().to_string();
    let event = EventRow::new(&tenant.id, id.clone(), new, idempotency_key, tenant.plan.kept_days(), now);
    match deps.store.add_event(&event, &new.fingerprint, deps.key_kept_for).await {
        Ok(Written::Done) => {}
        Ok(Written::Taken(known)) => {
            deps.store.unreserve(&tenant.id, &month, shard).await?;
            return Ok(replayed(known.event_id, &known.fingerprint, new));
        }
        // Perhaps only the answer was lost: what is there was taken.
        Err(error) => match deps.store.event(&tenant.id, &id).await {
            Ok(Some(_)) => {}
            Ok(None) => {
                deps.store.unreserve(&tenant.id, &month, shard).await?;
                return Err(error);
            }
            Err(_) => return Err(error),
        },
    }
    metric::count("accepted", 1);
    if let Err(error) = send(deps, &event, trace).await {
        tracing::warn!(event_id = event.id, error = error_chain(&error), "the event waits for the sweeper");
    }
    let beyond = is_beyond_soft_limit(deps, tenant, &month, count).await;
    let is_beyond_soft_limit = beyond.unwrap_or_else(|error| {
        tracing::warn!(event_id = event.id, error = error_chain(&error), "the soft limit could not be looked at");
        false
    });
    Ok(Accepted::New { id, is_beyond_soft_limit })
}

fn replayed(id: String, fingerprint: &str, new: &NewEvent) -> Accepted {
    metric::count("duplicate", 1);
    if fingerprint == new.fingerprint { Accepted::Replayed { id } } else { Accepted::Mismatch }
}

/// Counts the event; answers on which shard, and how many that has. `None` when the limit is reached.
async fn reserve(deps: &IngestDeps, tenant: &Tenant, month: &Month) -> Result<Option<(u32, u64)>, SignalsError> {
    let now = Instant::now();
    let limit = tenant.monthly_hard_limit;
    if deps.known(&tenant.id, month, |known| known.full_until.is_some_and(|until| until > now)) {
        return Ok(None);
    }
    let first = fastrand::u32(0..tenant.usage_shards.max(1));
    match deps.store.reserve(&tenant.id, month, limit, tenant.usage_shards, first).await? {
        Reserved::Counted { shard, count } => Ok(Some((shard, count))),
        Reserved::Full => {
            deps.known(&tenant.id, month, |known| known.full_until = Some(now + FULL_FOR));
            Ok(None)
        }
    }
}

/// Exact with one shard; with several, as of at most a minute ago.
async fn is_beyond_soft_limit(
    deps: &IngestDeps,
    tenant: &Tenant,
    month: &Month,
    count: u64,
) -> Result<bool, SignalsError> {
    let Some(soft) = tenant.monthly_soft_limit else { return Ok(false) };
    if tenant.usage_shards <= 1 {
        return Ok(count > soft);
    }
    let now = Instant::now();
    let summed = deps.known(&tenant.id, month, |known| known.summed);
    let sum = match summed.filter(|(at, _)| now - *at < SUM_EVERY) {
        Some((_, sum)) => sum,
        None => {
            let sum = deps.store.usage(&tenant.id, month, tenant.usage_shards).await?.of("events_ingested");
            deps.known(&tenant.id, month, |known| known.summed = Some((now, sum)));
            sum
        }
    };
    Ok(sum > soft)
}

async fn send(deps: &IngestDeps, event: &EventRow, trace: Option<String>) -> Result<(), SignalsError> {
    let text = event_message(&event.tenant, &event.id, trace)?;
    Ok(deps.queue.send(&text, Duration::ZERO).await?)
}

/// The message that brings an event's ids to the rules.
pub(crate) fn event_message(tenant: &str, event_id: &str, trace: Option<String>) -> Result<String, SignalsError> {
    let job = EventJob { event_id: event_id.to_owned() };
    let envelope = Envelope::new(EVENT_KIND, event_id.to_owned(), tenant.to_owned(), trace, job);
    envelope.to_json().map_err(SignalsError::Json)
}

fn until_next_month(now: Timestamp) -> Duration {
    let next = Offset::UTC.to_datetime(now).date().last_of_month().tomorrow();
    let next = next.and_then(|day| Offset::UTC.to_timestamp(day.at(0, 0, 0, 0)));
    // Beyond the last month of time there is nothing to wait for.
    let seconds = next.map_or(0, |next| next.as_second() - now.as_second());
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_month_begins_at_midnight_utc() {
        let wait = |text: &str| until_next_month(text.parse().unwrap()).as_secs();
        assert_eq!([wait("2026-11-30T23:59:00Z"), wait("2026-12-31T23:59:59.5Z")], [60, 1]);
        assert_eq!(wait("2026-02-01T00:00:00Z"), 28 * 86_400);
    }
}
