//! A tenant with its rules, ready to evaluate, as they were at most a few seconds ago.

use crate::error::SignalsError;
use crate::ids::{RuleId, TenantId};
use crate::manage::configs::row::{ConfigRow, ConfigStatus};
use crate::manage::rules::row::RuleStatus;
use crate::manage::tenants::row::Tenant;
use crate::table::SignalsTable;
use lru::LruCache;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use switchyard_notify::Channel;
use switchyard_rules::{MAX_PATTERN_BYTES, Rule, parse_text};
use tokio::time::Instant;

/// How long a cached ruleset is used without a check.
const CACHE_TTL: Duration = Duration::from_secs(5);

const CACHED: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

/// Bytes that all rulesets that are remembered may take together; two tenants may fill it, and others do not notice but by
/// loading theirs again.
const CACHED_BYTES: usize = 2 * MAX_PATTERN_BYTES;

/// Bytes that a rule takes for each byte of its document, patterns apart.
const BYTES_EACH: usize = 8;

/// A rule in force.
#[derive(Debug)]
pub(crate) struct ActiveRule {
    pub(crate) id: RuleId,
    pub(crate) version: u64,
    pub(crate) rule: Rule,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Ruleset {
    rev: i64,
    pub(crate) tenant: Tenant,
    /// By priority, then by age.
    pub(crate) rules: Vec<ActiveRule>,
    configs: Vec<ConfigRow>,
    /// What it may take of memory, roughly.
    bytes: usize,
}

impl Ruleset {
    /// The rule of this id, if it is in force.
    pub(crate) fn rule(&self, id: &RuleId) -> Option<&ActiveRule> {
        self.rules.iter().find(|rule| rule.id == *id)
    }

    /// The config that an action goes out with: the one it names, else the channel's newest default, else the oldest active
    /// one. Failing that, one in error: the notification is written, ends with a dead letter, and can be retried once the
    /// config is mended.
    pub(crate) fn config(&self, channel: Channel, named: Option<&str>) -> Option<&ConfigRow> {
        let pick = |status| {
            let mut known =
                self.configs.iter().filter(move |config| config.channel == channel && config.status == status);
            match named {
                Some(id) => known.find(|config| config.id.as_str() == id),
                // Ids sort by age.
                None => {
                    let default = known.clone().filter(|config| config.is_default).max_by_key(|config| &config.id);
                    default.or_else(|| known.min_by_key(|config| &config.id))
                }
            }
        };
        pick(ConfigStatus::Active).or_else(|| pick(ConfigStatus::Error))
    }
}

/// Loads rulesets, and remembers them.
#[derive(Clone)]
pub(crate) struct Rulesets {
    cache: Arc<Mutex<Cache>>,
    /// Held while a tenant's rules are loaded, so that concurrent events of one tenant load them once.
    turns: Arc<[tokio::sync::Mutex<()>; TURNS]>,
}

/// Most tenants whose rules are loaded at a time.
const TURNS: usize = 64;

/// A ruleset, and when it was checked.
type Known = (Instant, Arc<Ruleset>);

/// The rulesets that were used last, as many as fit.
struct Cache {
    known: LruCache<TenantId, Known>,
    bytes: usize,
}

impl Cache {
    fn keep(&mut self, tenant: &TenantId, at: Instant, ruleset: Arc<Ruleset>) {
        self.bytes += ruleset.bytes;
        // What had the tenant's place, or the last one.
        if let Some((_, (_, gone))) = self.known.push(tenant.clone(), (at, ruleset)) {
            self.bytes -= gone.bytes;
        }
        // The one in use stays, however large.
        while self.bytes > CACHED_BYTES
            && self.known.len() > 1
            && let Some((_, (_, gone))) = self.known.pop_lru()
        {
            self.bytes -= gone.bytes;
        }
    }
}

impl Rulesets {
    pub(crate) fn new() -> Self {
        let cache = Cache { known: LruCache::new(CACHED), bytes: 0 };
        let turns = std::array::from_fn(|_| tokio::sync::Mutex::default());
        Self { cache: Arc::new(Mutex::new(cache)), turns: Arc::new(turns) }
    }

    /// `None` when the tenant does not exist.
    pub(crate) async fn of(
        &self,
        store: &SignalsTable,
        tenant: &TenantId,
    ) -> Result<Option<Arc<Ruleset>>, SignalsError> {
        if let Some(ruleset) = fresh(self.known(tenant).as_ref()) {
            return Ok(Some(ruleset));
        }
        let _turn = self.turns[turn_of(tenant)].lock().await;
        let (now, known) = (Instant::now(), self.known(tenant));
        // The previous holder of the lock may have looked already.
        if let Some(ruleset) = fresh(known.as_ref()) {
            return Ok(Some(ruleset));
        }
        let (row, rev) = (store.tenant(tenant).await?, store.ruleset_rev(tenant).await?);
        let Some(row) = row else { return Ok(None) };
        let ruleset = match known {
            Some((_, known)) if known.rev == rev && known.tenant == row => known,
            _ => Arc::new(load(store, row, rev).await?),
        };
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).keep(tenant, now, ruleset.clone());
        Ok(Some(ruleset))
    }

    fn known(&self, tenant: &TenantId) -> Option<Known> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).known.get(tenant).cloned()
    }
}

/// A ruleset that was checked within the last seconds.
fn fresh(known: Option<&Known>) -> Option<Arc<Ruleset>> {
    known.filter(|(at, _)| at.elapsed() < CACHE_TTL).map(|(_, ruleset)| ruleset.clone())
}

fn turn_of(tenant: &TenantId) -> usize {
    tenant.as_str().bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte))) % TURNS
}

async fn load(store: &SignalsTable, tenant: Tenant, rev: i64) -> Result<Ruleset, SignalsError> {
    let (rows, configs) = (store.rules(&tenant.id).await?, store.configs(&tenant.id).await?);
    let (mut rules, mut bytes) = (Vec::new(), 0);
    for row in rows.into_iter().filter(|row| row.status == RuleStatus::Active) {
        match parse_text(&row.document) {
            // Whether it is paused is the row's to say: the document says it only of the time when it was written.
            Ok(parsed) => {
                bytes += parsed.pattern_bytes() + BYTES_EACH * row.document.len();
                let rule = Rule { status: None, ..parsed.rule };
                rules.push(ActiveRule { id: row.id, version: row.version, rule });
            }
            // It was checked when it was written; a later release may know better.
            Err(_) => tracing::error!(
                reason = "rule_invalid",
                tenant_id = tenant.id.as_str(),
                "a rule in force does not read"
            ),
        }
    }
    rules.sort_by(|one, other| other.rule.priority.cmp(&one.rule.priority).then_with(|| one.id.cmp(&other.id)));
    Ok(Ruleset { rev, tenant, rules, configs, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[test]
    fn rulesets_are_remembered_as_far_as_memory_goes() {
        let ruleset = |bytes| {
            let tenant = Tenant::new(&"t".into(), "acme", "Acme", Timestamp::UNIX_EPOCH);
            Arc::new(Ruleset { rev: 1, tenant, rules: Vec::new(), configs: Vec::new(), bytes })
        };
        let mut cache = Cache { known: LruCache::new(NonZeroUsize::new(3).unwrap()), bytes: 0 };
        let mut kept = |tenant: &str, bytes: usize| {
            cache.keep(&tenant.into(), Instant::now(), ruleset(bytes));
            assert_eq!(cache.bytes, cache.known.iter().map(|(_, (_, ruleset))| ruleset.bytes).sum::<usize>());
            cache.known.iter().map(|(tenant, _)| tenant.as_str()).collect::<String>()
        };
        assert_eq!([kept("a", 10), kept("b", 20), kept("c", 30)], ["a", "ba", "cba"]);
        assert_eq!(kept("d", 40), "dcb", "no more than three");
        assert_eq!(kept("b", CACHED_BYTES - 60), "bd", "the oldest goes");
        assert_eq!(kept("a", CACHED_BYTES + 1), "a", "the one in use stays");
        assert_eq!(kept("b", 1), "b");
    }
}
