//! A tenant with its rules, ready to evaluate, as they were at most a few seconds ago.

use crate::error::SignalsError;
use crate::store::{ConfigRow, ConfigStatus, RuleStatus, Store, Tenant};
use lru::LruCache;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use switchyard_notify::Channel;
use switchyard_rules::{Rule, parse_text};
use tokio::time::Instant;

/// How long rules are taken to be as they were.
const KEEP: Duration = Duration::from_secs(5);

const CACHED: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

/// A rule in force.
#[derive(Debug)]
pub(crate) struct ActiveRule {
    pub(crate) id: String,
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
}

impl Ruleset {
    /// The rule of this id, if it is in force.
    pub(crate) fn rule(&self, id: &str) -> Option<&ActiveRule> {
        self.rules.iter().find(|rule| rule.id == id)
    }

    /// The config that an action goes out with: the one it names, else the channel's newest default, else the oldest active
    /// one.
    pub(crate) fn config(&self, channel: Channel, named: Option<&str>) -> Option<&ConfigRow> {
        let mut active =
            self.configs.iter().filter(|config| config.channel == channel && config.status == ConfigStatus::Active);
        match named {
            Some(id) => active.find(|config| config.id == id),
            // Ids sort by age.
            None => {
                let default = active.clone().filter(|config| config.is_default).max_by_key(|config| &config.id);
                default.or_else(|| active.min_by_key(|config| &config.id))
            }
        }
    }
}

/// Loads rulesets, and remembers them.
#[derive(Clone)]
pub(crate) struct Rulesets(Arc<Mutex<LruCache<String, Known>>>);

/// A ruleset, and when it was looked at.
type Known = (Instant, Arc<Ruleset>);

impl Rulesets {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(LruCache::new(CACHED))))
    }

    /// `None` when there is no such tenant.
    pub(crate) async fn of(&self, store: &Store, tenant: &str) -> Result<Option<Arc<Ruleset>>, SignalsError> {
        let now = Instant::now();
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(tenant).cloned();
        if let Some((at, ruleset)) = &known
            && now - *at < KEEP
        {
            return Ok(Some(ruleset.clone()));
        }
        let (row, rev) = (store.tenant(tenant).await?, store.ruleset_rev(tenant).await?);
        let Some(row) = row else { return Ok(None) };
        let ruleset = match known {
            Some((_, known)) if known.rev == rev && known.tenant == row => known,
            _ => Arc::new(load(store, row, rev).await?),
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(tenant.to_owned(), (now, ruleset.clone()));
        Ok(Some(ruleset))
    }
}

async fn load(store: &Store, tenant: Tenant, rev: i64) -> Result<Ruleset, SignalsError> {
    let (rows, configs) = (store.rules(&tenant.id).await?, store.configs(&tenant.id).await?);
    let mut rules = Vec::new();
    for row in rows.into_iter().filter(|row| row.status == RuleStatus::Active) {
        match parse_text(&row.document) {
            // Whether it is paused is the row's to say: the document says it only of the time when it was written.
            Ok(parsed) => {
                let rule = Rule { status: None, ..parsed.rule };
                rules.push(ActiveRule { id: row.id, version: row.version, rule });
            }
            // It was checked when it was written; a later release may know better.
            Err(_) => tracing::error!(reason = "rule_invalid", tenant_id = tenant.id, "a rule in force does not read"),
        }
    }
    rules.sort_by(|one, other| other.rule.priority.cmp(&one.rule.priority).then_with(|| one.id.cmp(&other.id)));
    Ok(Ruleset { rev, tenant, rules, configs })
}
