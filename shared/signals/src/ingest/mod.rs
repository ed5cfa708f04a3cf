//! Accepting events: counted, stored with their unsent mark, and sent to be evaluated.

pub(crate) mod event;
mod fingerprint;
pub(crate) mod new_event;
pub(crate) mod occurred;
pub(crate) mod producer;
pub(crate) mod quota;
pub(crate) mod reservations;

use crate::error::SignalsError;
use crate::ids::{EventId, TenantId};
use crate::ingest::event::{EventRow, EventWrite, IdempotencyRow};
use crate::ingest::new_event::NewEvent;
use crate::ingest::producer::{Identified, Producers};
use crate::ingest::quota::Reserved;
use crate::ingest::reservations::Reservations;
use crate::manage::tenants::row::Tenant;
use crate::manage::tenants::row::TenantStatus;
use crate::period::Month;
use crate::table::SignalsTable;
use crate::usage::crossing;
use crate::usage::crossing::Mark;
use jiff::Timestamp;
use jiff::tz::Offset;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use switchyard_core::{Clock, Env, EnvError, Envelope, error_chain, metric, random};
use switchyard_identity::api_keys::ApiKeys;
use switchyard_io::{Aws, Queue, Table};

/// Kind of the envelopes that bring an event to the rules.
pub(crate) const EVENT_KIND: &str = "signals.event";

/// How long a tenant whose limit is reached is refused without a check.
const FULL_TTL: Duration = Duration::from_secs(5);

/// With several shards, how often their sum is compared with the limits.
const SUM_EVERY: Duration = Duration::from_secs(60);

/// Counter of what was refused: at the limit, or under a key that stands for another request.
const REJECTED: &str = "events_rejected";

/// What taking events needs.
#[derive(Clone)]
pub struct IngestDeps {
    pub(crate) store: SignalsTable,
    pub(crate) queue: Queue,
    pub(crate) clock: Clock,
    producers: Producers,
    key_kept_for: Duration,
    known: Arc<Mutex<HashMap<(TenantId, Month), MonthKnown>>>,
}

/// What this process knows of a tenant's month.
#[derive(Clone, Default)]
pub(crate) struct MonthKnown {
    pub(crate) full_until: Option<Timestamp>,
    /// The last second, since 1970, in which the tenant had no place left under its rate.
    full_second: Option<i64>,
    summed: Option<(Timestamp, u64)>,
    /// Refused events that are not counted in the table yet.
    refused: u64,
    /// Limits whose events were written.
    pub(crate) told: Vec<Mark>,
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
            store: SignalsTable::new(Table::from_env(aws, env, "SIGNALS_TABLE")?),
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

    /// Fetches at start-up what the first event would have to wait for.
    ///
    /// # Errors
    /// The secret of keys could not be had.
    pub async fn warm_up(&self) -> Result<(), EnvError> {
        self.producers.warm_up().await
    }

    /// Whose key this is.
    ///
    /// # Errors
    /// Keys or tenants could not be looked up.
    pub async fn identify(&self, key: &str) -> Result<Identified, SignalsError> {
        self.producers.identify(&self.store, key).await
    }

    pub(crate) fn known<T>(&self, tenant: &TenantId, month: &Month, work: impl FnOnce(&mut MonthKnown) -> T) -> T {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // A month that is over is asked about no more.
        known.retain(|(_, kept), _| kept >= month);
        work(known.entry((tenant.clone(), month.clone())).or_default())
    }
}

/// An event's message: ids only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventJob {
    pub(crate) event_id: EventId,
}

/// Outcome of an event.
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
    /// The tenant's rate is reached, for this second.
    RateLimited,
    /// The tenant may do nothing.
    Suspended,
}

/// A stored event whose message is not sent yet. If it is dropped, the sweep sends it.
#[must_use]
pub struct Unsent {
    tenant: TenantId,
    event_id: EventId,
    trace: Option<String>,
}

impl Unsent {
    pub(crate) fn new(event: &EventRow, trace: Option<String>) -> Self {
        Self { tenant: event.tenant.clone(), event_id: event.id.clone(), trace }
    }
}

/// An event is counted: in which hour, on which shard, and how many that has.
#[derive(Clone, Copy)]
pub(crate) struct Counted {
    pub(crate) at: Timestamp,
    pub(crate) shard: u32,
    pub(crate) count: u64,
}

/// Takes one event of `tenant`: kept as by [`store_event`], and sent to the rules.
///
/// # Errors
/// As [`store_event`].
pub async fn accept(
    deps: &IngestDeps,
    tenant: &Tenant,
    new: &NewEvent,
    idempotency_key: Option<&str>,
    trace: Option<String>,
) -> Result<Accepted, SignalsError> {
    let (accepted, unsent) = store_event(deps, tenant, new, idempotency_key, None, trace).await?;
    send(deps, unsent.as_slice()).await;
    Ok(accepted)
}

/// Tells the rules of events, ten per call if there are several. What could not be sent waits for the sweep.
pub async fn send(deps: &IngestDeps, unsent: &[Unsent]) {
    if let Err(error) = try_send(deps, unsent).await {
        let ids = unsent.iter().map(|unsent| unsent.event_id.as_str()).collect::<Vec<_>>().join(" ");
        tracing::warn!(event_ids = ids, error = error_chain(&error), "some of these events may wait for the sweeper");
    }
}

async fn try_send(deps: &IngestDeps, unsent: &[Unsent]) -> Result<(), SignalsError> {
    let messages = unsent.iter().map(|unsent| event_message(&unsent.tenant, &unsent.event_id, unsent.trace.clone()));
    Ok(match messages.collect::<Result<Vec<_>, _>>()?.as_slice() {
        [message] => deps.queue.send(message, Duration::ZERO).await,
        messages => deps.queue.send_all(messages).await,
    }?)
}

/// Counts one event of `tenant`, unless it gets one of `places`, and writes it with its unsent mark. What comes back with a new one
/// is for [`send`].
///
/// Without an idempotency key that is one counter and one put; with a key, a read before and a transaction in place of the put. A
/// tenant with a rate costs one write more.
///
/// Repetitions are counted as they come, on rows of their own. Events beyond the limit or the rate are counted whenever the
/// store is asked about it, every five seconds or each second at most, so that a flood of them costs few writes; the last few
/// of a process that ends may stay uncounted.
///
/// # Errors
/// DynamoDB could not be reached. Without an idempotency key the client cannot tell then whether the event was accepted.
pub async fn store_event(
    deps: &IngestDeps,
    tenant: &Tenant,
    new: &NewEvent,
    idempotency_key: Option<&str>,
    places: Option<&Reservations>,
    trace: Option<String>,
) -> Result<(Accepted, Option<Unsent>), SignalsError> {
    let unkept = |accepted| Ok((accepted, None));
    if tenant.status != TenantStatus::Active {
        return unkept(Accepted::Suspended);
    }
    let place = places.filter(|_| idempotency_key.is_none()).and_then(|places| Some((places, places.next(tenant)?)));
    // Received in the hour it is counted in.
    let now = place.map_or_else(|| deps.clock.now(), |(_, counted)| counted.at);
    if let Some(key) = idempotency_key
        && let Some(known) = deps.store.idempotency(&tenant.id, key, now).await?
    {
        return unkept(replayed(deps, tenant, known, new).await);
    }
    let id = EventId::from(deps.clock.new_id().to_string());
    let admitted = match place {
        Some((_, counted)) => Ok(counted),
        None => admit(deps, tenant, &id, now).await?,
    };
    let counted = match admitted {
        Ok(counted) => counted,
        Err(refusal) => {
            // A concurrent repetition of the request may have taken the last place.
            if let Some(key) = idempotency_key
                && let Some(known) = deps.store.idempotency(&tenant.id, key, now).await?
            {
                return unkept(replayed(deps, tenant, known, new).await);
            }
            metric::count("rejected", 1);
            return unkept(refusal);
        }
    };
    let uncount = async || match place {
        Some((places, _)) => {
            places.take_back();
            Ok(())
        }
        None => deps.store.unreserve(tenant, now, counted.shard, 1).await,
    };
    let event = EventRow::new(&tenant.id, id.clone(), new, idempotency_key, tenant.plan.kept_days(), now);
    match deps.store.add_event(&event, &new.fingerprint, deps.key_kept_for).await {
        Ok(EventWrite::Done) => {}
        Ok(EventWrite::Taken(known)) => {
            uncount().await?;
            return unkept(replayed(deps, tenant, known, new).await);
        }
        // Only the response may have been lost: an existing row was accepted.
        Err(error) => match deps.store.event(&tenant.id, &id).await {
            Ok(Some(_)) => {}
            Ok(None) => {
                uncount().await?;
                return Err(error);
            }
            Err(_) => return Err(error),
        },
    }
    metric::count("accepted", 1);
    let is_beyond_soft_limit = match total(deps, tenant, now, counted.count).await {
        Ok(total) => {
            crossing::tell(deps, tenant, now, total).await;
            tenant.monthly_soft_limit.is_some_and(|soft| total > soft)
        }
        Err(error) => {
            tracing::warn!(
                event_id = event.id.as_str(),
                error = error_chain(&error),
                "the soft limit could not be checked"
            );
            false
        }
    };
    Ok((Accepted::New { id: id.into(), is_beyond_soft_limit }, Some(Unsent::new(&event, trace))))
}

async fn replayed(deps: &IngestDeps, tenant: &Tenant, known: IdempotencyRow, new: &NewEvent) -> Accepted {
    metric::count("duplicate", 1);
    let is_same = known.fingerprint == new.fingerprint;
    count(deps, tenant, if is_same { "duplicates" } else { REJECTED }, 1).await;
    if is_same { Accepted::Replayed { id: known.event_id.into() } } else { Accepted::Mismatch }
}

/// Counts refused events. A failure to count them does not change the response.
async fn count(deps: &IngestDeps, tenant: &Tenant, what: &str, amount: u64) {
    let amount = i64::try_from(amount).unwrap_or(i64::MAX);
    if let Err(error) = deps.store.count_apart(&tenant.id, deps.clock.now(), &[(what, amount)]).await {
        tracing::warn!(tenant_id = tenant.id.as_str(), error = error_chain(&error), "refused events were not counted");
    }
}

/// Counts what this process refused and did not count yet.
pub(crate) async fn count_refused(deps: &IngestDeps, tenant: &Tenant, month: &Month) {
    let refused = deps.known(&tenant.id, month, |known| std::mem::take(&mut known.refused));
    if refused > 0 {
        count(deps, tenant, REJECTED, refused).await;
    }
}

/// Holds an event to the tenant's rate, then to its limit, where it is counted; or returns why the event is refused.
async fn admit(
    deps: &IngestDeps,
    tenant: &Tenant,
    event_id: &EventId,
    at: Timestamp,
) -> Result<Result<Counted, Accepted>, SignalsError> {
    if let Some(rate) = tenant.rate_per_second
        && !is_within_rate(deps, tenant, rate, at).await?
    {
        return Ok(Err(Accepted::RateLimited));
    }
    let counted = reserve(deps, tenant, event_id, at).await?;
    Ok(counted.ok_or_else(|| Accepted::HardLimit { retry_after: until_next_month(at) }))
}

/// Whether the second has a place left. Once it has none, this process asks no more until the next.
async fn is_within_rate(deps: &IngestDeps, tenant: &Tenant, rate: u32, at: Timestamp) -> Result<bool, SignalsError> {
    let (month, second) = (Month::of(at), Some(at.as_second()));
    let is_known_full = deps.known(&tenant.id, &month, |known| {
        let is_full = known.full_second == second;
        known.refused += u64::from(is_full);
        is_full
    });
    if is_known_full {
        return Ok(false);
    }
    if deps.store.take_turn(&tenant.id, rate, at).await? {
        count_refused(deps, tenant, &month).await;
        return Ok(true);
    }
    let refused = deps.known(&tenant.id, &month, |known| {
        known.full_second = second;
        std::mem::take(&mut known.refused) + 1
    });
    count(deps, tenant, REJECTED, refused).await;
    Ok(false)
}

/// Counts the event; `None` when the limit is reached.
async fn reserve(
    deps: &IngestDeps,
    tenant: &Tenant,
    event_id: &EventId,
    at: Timestamp,
) -> Result<Option<Counted>, SignalsError> {
    let month = Month::of(at);
    let is_known_full = deps.known(&tenant.id, &month, |known| {
        let is_full = known.full_until.is_some_and(|until| until > at);
        known.refused += u64::from(is_full);
        is_full
    });
    if is_known_full {
        return Ok(None);
    }
    let first = random::below_u32(tenant.usage_shards);
    match deps.store.reserve(tenant, event_id, at, first).await? {
        Reserved::Counted { shard, count } => {
            count_refused(deps, tenant, &month).await;
            Ok(Some(Counted { at, shard, count }))
        }
        Reserved::Full { count: total } => {
            let refused = deps.known(&tenant.id, &month, |known| {
                known.full_until = Some(at + FULL_TTL);
                std::mem::take(&mut known.refused) + 1
            });
            count(deps, tenant, REJECTED, refused).await;
            crossing::tell(deps, tenant, at, total).await;
            Ok(None)
        }
    }
}

/// The events of the month: exact with one shard; with several, as of at most a minute ago.
async fn total(deps: &IngestDeps, tenant: &Tenant, now: Timestamp, count: u64) -> Result<u64, SignalsError> {
    let has_limit = tenant.monthly_soft_limit.or(tenant.monthly_hard_limit).is_some();
    if tenant.usage_shards <= 1 || !has_limit {
        return Ok(count);
    }
    let month = Month::of(now);
    let summed = deps.known(&tenant.id, &month, |known| known.summed);
    if let Some((_, sum)) = summed.filter(|(at, _)| now < *at + SUM_EVERY) {
        return Ok(sum);
    }
    let sum = deps.store.ingested(tenant, &month).await?;
    deps.known(&tenant.id, &month, |known| known.summed = Some((now, sum)));
    Ok(sum)
}

/// The message that brings an event's ids to the rules.
pub(crate) fn event_message(
    tenant: &TenantId,
    event_id: &EventId,
    trace: Option<String>,
) -> Result<String, SignalsError> {
    let job = EventJob { event_id: event_id.clone() };
    let envelope = Envelope::new(EVENT_KIND, event_id.to_string(), tenant.to_string(), trace, job);
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
