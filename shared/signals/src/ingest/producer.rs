//! Who sends events: an API key and its tenant, as they were at most a minute ago.

use crate::error::SignalsError;
use crate::ids::TenantId;
use crate::manage::tenants::row::Tenant;
use crate::manage::tenants::row::TenantStatus;
use crate::table::SignalsTable;
use lru::LruCache;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use switchyard_core::{Clock, EnvError, error_chain, hex_sha256};
use switchyard_identity::api_keys::{ApiKeys, VerifiedKey};
use switchyard_identity::{Caller, Scope};
use tokio::time::Instant;

/// How long a key that is known, or one that is not, is not looked up again.
const KNOWN_TTL: Duration = Duration::from_secs(60);
const UNKNOWN_TTL: Duration = Duration::from_secs(10);

const CACHED: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// An API key with its tenant.
#[derive(Clone, Debug)]
pub struct Producer {
    key: VerifiedKey,
    /// The key as the caller of a request.
    pub caller: Arc<Caller>,
    /// The key's tenant.
    pub tenant: Arc<Tenant>,
}

impl Producer {
    fn new(key: VerifiedKey, tenant: Tenant) -> Self {
        // A key without scopes may send events, as in the service that Switchyard replaces.
        let scopes = match key.scopes.as_slice() {
            [] => vec![Scope::EventsWrite],
            scopes => scopes.iter().filter_map(|scope| scope.parse().ok()).collect(),
        };
        let caller = Caller::ApiKey { id: key.id.clone(), tenant: tenant.id.clone(), scopes };
        Self { key, caller: Arc::new(caller), tenant: Arc::new(tenant) }
    }
}

/// Outcome of looking a key up.
#[derive(Clone, Debug)]
pub enum Identified {
    /// It is good.
    Producer(Arc<Producer>),
    /// It is not known, or was revoked.
    Unknown,
    /// Its time is over.
    Expired,
}

/// Looks up API keys, cached for a minute.
#[derive(Clone)]
pub(crate) struct Producers {
    keys: ApiKeys,
    clock: Clock,
    known: Arc<Mutex<LruCache<String, Known>>>,
}

#[derive(Clone)]
struct Known {
    until: Instant,
    producer: Option<Arc<Producer>>,
}

impl Producers {
    pub(crate) fn new(keys: ApiKeys, clock: Clock) -> Self {
        Self { keys, clock, known: Arc::new(Mutex::new(LruCache::new(CACHED))) }
    }

    pub(crate) async fn warm_up(&self) -> Result<(), EnvError> {
        self.keys.warm_up().await
    }

    pub(crate) async fn identify(&self, store: &SignalsTable, key: &str) -> Result<Identified, SignalsError> {
        // By a digest: a key in memory for a minute is a key in a core dump.
        let digest = hex_sha256(&[key]);
        let now = Instant::now();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&digest).cloned();
        let producer = match known.filter(|known| known.until > now) {
            Some(known) => known.producer,
            None => {
                let producer = self.look_up(store, key).await?.map(Arc::new);
                let keep = if producer.is_some() { KNOWN_TTL } else { UNKNOWN_TTL };
                let known = Known { until: now + keep, producer: producer.clone() };
                self.known.lock().unwrap_or_else(PoisonError::into_inner).put(digest, known);
                producer
            }
        };
        Ok(match producer {
            None => Identified::Unknown,
            Some(producer) if producer.key.has_expired(self.clock.now()) => Identified::Expired,
            Some(producer) => Identified::Producer(producer),
        })
    }

    async fn look_up(&self, store: &SignalsTable, key: &str) -> Result<Option<Producer>, SignalsError> {
        let Some(key) = self.keys.find(key).await? else { return Ok(None) };
        let Some(tenant) = store.tenant(&TenantId::from(key.tenant.as_str())).await? else { return Ok(None) };
        if tenant.status == TenantStatus::Deleted {
            return Ok(None);
        }
        if let Err(error) = self.keys.record_use(&key).await {
            tracing::warn!(
                tenant_id = tenant.id.as_str(),
                error = error_chain(&error),
                "the use of an API key was not recorded"
            );
        }
        Ok(Some(Producer::new(key, tenant)))
    }
}
