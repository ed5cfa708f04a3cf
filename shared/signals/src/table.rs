//! The signals table: every row in it, and the handle on it. Each entity's rows, keys and conditions stand beside its subject.
//!
//! | Row | `pk` | `sk` | Lives |
//! |---|---|---|---|
//! | tenant | `T#<tenant>` | `META` | until purged |
//! | tenant's slug | `SLUG#<slug>` | `-` | as the tenant |
//! | tenant, in the list of all | `TENANTS#<shard>` | `<tenant>` | as the tenant |
//! | event | `E#<tenant>#<day>#<shard>` | `<event id>` | by plan: 30, 180 or 400 days |
//! | rule, with the document in force | `T#<tenant>` | `RULE#<rule>` | no expiry |
//! | version of a rule | `T#<tenant>` | `RULEV#<rule>#<number>` | no expiry |
//! | number of the last change of rules and configs | `T#<tenant>` | `RULESET` | no expiry |
//! | notification config | `T#<tenant>` | `NCFG#<config>` | until removed |
//! | how a webhook answered, if it failed | `T#<tenant>` | `HEALTH#<config>` | 30 days |
//! | what a rule remembers of a group | `S#<tenant>#<rule>#<digest of the group>` | `TH`, `CD`, `DG` | twice its window |
//! | event counted by a threshold that forgets events | the same | `TC#<event>` | twice its window |
//! | digest that is to be sent | the same | `DB#<when it opened>` | until sent |
//! | delivery | `D#<tenant>#<event>` | `<delivery id>` | 400 days |
//! | dead letter | see `switchyard_work::dead_letters` | | |
//! | pace of a provider | `P#<digest>` | `P` | a day |
//! | events of a second, held to the rate | `P#<digest of tenant and second>` | `R` | a minute |
//! | idempotency key | `I#<tenant>#<digest of the key>` | `-` | 90 days |
//! | users, their attempts at passwords | see `switchyard_identity::users` | | |
//! | who changed what | `A#<tenant>#<yyyymm>` | `<id>` | 400 days |
//! | events of a month, held to the limit | `U#<tenant>#<yyyymm>#<shard>` | `C` | no expiry |
//! | everything else counted in a month | the same, 16 shards | `N` | no expiry |
//! | limit whose event was written | `U#<tenant>#<yyyymm>` | its name | no expiry |
//! | delivery by its provider's id | `R#<digest of channel and id>` | `-` | 35 days |
//! | suppressed address | `T#<tenant>` | `SUP#<digest of the address>` | until removed |
//! | API keys | see `switchyard_identity::api_keys` | | |
//!
//! Beside `due` there are two indexes: `by_id` finds a delivery or a dead letter by its id alone; `listed` holds a tenant's
//! deliveries by their status, and all dead letters, in the order of time.
//!
//! Every key of a tenant's row begins with the tenant's id, which comes from its credential and never from a request.

use crate::error::SignalsError;
use crate::evaluate::state::DueState;
use crate::ids::TenantId;
use crate::ingest::event::EventRow;
use crate::manage::tenants::row::TenantEntry;
use crate::notify::delivery::row::DeliveryRow;
use serde::de::DeserializeOwned;
use switchyard_io::Table;
use switchyard_io::dynamo::{Index, Item, Key, Page};
use switchyard_work::dead_letters::{DeadLetter, DeadLetters};
use switchyard_work::outbox::DueRow;

/// The workflow's name in the index `due`.
pub(crate) const WORKFLOW: &str = "signals";

/// The workflow's table.
#[derive(Clone)]
pub(crate) struct SignalsTable {
    pub(crate) table: Table,
}

impl SignalsTable {
    pub(crate) fn new(table: Table) -> Self {
        Self { table }
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// The table's dead letters.
    pub(crate) fn dead_letters(&self) -> DeadLetters {
        DeadLetters::new(self.table.clone(), WORKFLOW)
    }

    /// The key of the delivery or dead letter with an id, of whatever tenant.
    pub(crate) async fn key_of(&self, id: &str) -> Result<Option<Key>, SignalsError> {
        let index = Index::Named("by_id");
        let page = Page { index, hash: id.to_owned(), range: None, newest_first: false, limit: 1, after: None };
        let (items, _) = self.table.page(page).await?;
        self.read(items.into_iter().next())
    }

    /// Reads the row that a due row stands for.
    pub(crate) fn read_due(&self, row: &DueRow, item: Item) -> Result<Due, SignalsError> {
        Ok(match row.pk.as_bytes().first() {
            Some(b'E') => Due::Event(Box::new(self.table.read(item)?)),
            Some(b'D') => Due::Delivery(Box::new(self.table.read(item)?)),
            Some(b'T') => Due::Tenant(self.table.read(item)?),
            Some(b'X') => Due::DeadLetter(Box::new(self.table.read(item)?)),
            _ => Due::Digest(self.table.read(item)?),
        })
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>, SignalsError> {
        self.read(self.table.get(key).await?)
    }

    pub(crate) fn read<T: DeserializeOwned>(&self, item: Option<Item>) -> Result<Option<T>, SignalsError> {
        Ok(item.map(|item| self.table.read(item)).transpose()?)
    }
}

/// What a due row is.
pub(crate) enum Due {
    /// An event that the rules are not through with.
    Event(Box<EventRow>),
    /// A delivery that is to be attempted.
    Delivery(Box<DeliveryRow>),
    /// A dead letter whose message is to be sent again.
    DeadLetter(Box<DeadLetter>),
    /// A tenant whose usage is to be compared with its events.
    Tenant(TenantEntry),
    /// A digest that is due to be closed, or was closed.
    Digest(DueState),
}

/// The partition of most rows of a tenant.
pub(crate) fn tenant_partition(tenant: &TenantId) -> String {
    format!("T#{tenant}")
}
