//! Requests of one store: registering it, importing a receipt, its status and its orders.

use crate::decide::{AskedBy, settle};
use crate::error::OrdersError;
use crate::marketplace::{MarketplaceAnswer, Marketplaces};
use crate::model::{LogId, LogState, LogStatus, Marketplace, ReceiptId, SyncToken};
use crate::store::{LogRow, OrdersTable, ReceiptClaim, Registration, StoreIds, StoreRow};
use crate::view::{ImportOutcome, Order, OrderPage, SyncSummary};
use serde_json::json;
use std::time::Duration;
use switchyard_core::{Clock, Env, EnvError, Owner, metric};
use switchyard_io::operator::{Notice, Operator};
use switchyard_io::vault::Vault;
use switchyard_io::{Aws, Secrets, Table};

/// How long an import waits for another one of the same receipt.
const IMPORT_WAIT: Duration = Duration::from_secs(3);
/// How often it looks whether the other one is done.
const IMPORT_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Dependencies of registering stores, importing receipts and reading both.
#[derive(Clone)]
pub struct OrdersDeps {
    pub(crate) table: OrdersTable,
    pub(crate) marketplaces: Marketplaces,
    vault: Vault,
    pub(crate) operator: Operator,
    pub(crate) clock: Clock,
    /// Whether the sweep queues only stores with due receipts, once they had their first sync.
    pub(crate) only_due: bool,
}

impl OrdersDeps {
    /// Replaces the clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Reads `ORDERS_TABLE`, `DATA_KEY_SECRET`, `OPERATOR_BUS`, `SWEEP_ONLY_DUE` (0 or 1, default 0) and the marketplaces'
    /// settings.
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn from_env(aws: &Aws, env: &Env) -> Result<Self, EnvError> {
        let secrets = Secrets::new(aws);
        let vault = Vault::from_env(&secrets, env)?;
        Ok(Self {
            table: OrdersTable::new(Table::from_env(aws, env, "ORDERS_TABLE")?),
            marketplaces: Marketplaces::from_env(secrets, vault.clone(), env)?,
            vault,
            operator: Operator::from_env(aws, env)?,
            clock: Clock::system(),
            only_due: env.parsed("SWEEP_ONLY_DUE", 0_u8)? == 1,
        })
    }
}

/// The reason to refuse this id of a store; `None` when it may be registered.
pub fn refuse_shop(deps: &OrdersDeps, marketplace: Marketplace, external_store_id: &str) -> Option<&'static str> {
    deps.marketplaces.refuse_shop(marketplace, external_store_id)
}

/// Registers a store. One that is registered already gets the new name, token and currency, and keeps its ids.
///
/// # Errors
/// DynamoDB or the key for the token could not be reached.
pub async fn register(deps: &OrdersDeps, registration: &Registration) -> Result<StoreIds, OrdersError> {
    deps.table.register(registration, &deps.vault, &deps.clock).await
}

/// Outcome of an import.
#[derive(Clone, Debug, PartialEq)]
pub enum Imported {
    /// The final outcome: every repetition returns the same.
    Answer(ImportOutcome),
    /// No outcome yet; the same call may return another one later.
    NotYet(ImportOutcome),
    /// No store of the caller's organizations has this token.
    UnknownStore,
}

/// Imports one receipt. The marketplace is asked once, however often and concurrently this is called. Stores of
/// organizations for which `may` is false are treated as unknown.
///
/// The receipt is claimed before the marketplace is asked; then guard, log and store are written in one transaction. When
/// the process dies in between, another may take the claim over after half a minute.
///
/// # Errors
/// DynamoDB could not be reached; the call may be repeated.
pub async fn import(
    deps: &OrdersDeps,
    sync_token: &SyncToken,
    receipt: &ReceiptId,
    may: impl Fn(&str) -> bool,
) -> Result<Imported, OrdersError> {
    let Some(store) = deps.table.by_token(sync_token).await?.filter(|store| may(store.organization_id.as_str())) else {
        return Ok(Imported::UnknownStore);
    };
    let claim = Owner::request(deps.clock.new_id().to_string());
    let end = tokio::time::Instant::now() + IMPORT_WAIT;
    loop {
        let log_id = LogId::from(deps.clock.new_id().to_string());
        match deps.table.claim_receipt(&store.id, receipt, &claim, log_id, deps.clock.now()).await? {
            ReceiptClaim::Known(log) => {
                metric::count("duplicate", 1);
                return Ok(imported(&log.state));
            }
            ReceiptClaim::Mine { log_id } => {
                if let Some(log) = ask_and_record(deps, &store, receipt, &claim, log_id).await? {
                    metric::count("accepted", 1);
                    return Ok(imported(&log.state));
                }
            }
            ReceiptClaim::Busy if tokio::time::Instant::now() >= end => {
                return Ok(Imported::NotYet(ImportOutcome::refused("import_in_progress")));
            }
            ReceiptClaim::Busy => {
                #[expect(clippy::disallowed_methods, reason = "the other import ends within milliseconds")]
                tokio::time::sleep(IMPORT_POLL_INTERVAL).await;
            }
        }
    }
}

/// Asks the marketplace and records its answer. Returns `None` when the claim was lost.
async fn ask_and_record(
    deps: &OrdersDeps,
    store: &StoreRow,
    receipt: &ReceiptId,
    claim: &Owner,
    log_id: LogId,
) -> Result<Option<LogRow>, OrdersError> {
    let MarketplaceAnswer { verdict, refused } = deps.marketplaces.ask(store, receipt, &deps.table, &deps.clock).await;
    let now = deps.clock.now();
    let state = settle(&LogState::new(), verdict, AskedBy::Import, now);
    let log = LogRow::new(store.id.clone(), log_id, receipt.clone(), state, now);
    let recorded = deps.table.record(store, claim, &log, now, deps.only_due, refused.as_ref()).await?;
    if refused.is_some() {
        report_refusal(deps, store).await;
    }
    Ok(recorded)
}

/// Reports to the operator that a marketplace refuses a store's token, unless the store was paused before.
pub(crate) async fn report_refusal(deps: &OrdersDeps, before: &StoreRow) {
    if !before.is_paused {
        let detail = json!({
            "storeId": before.id,
            "organizationId": before.organization_id,
            "marketplace": before.marketplace,
        });
        deps.operator.tell(Notice::StoreAuthFailed, &detail).await;
    }
}

fn imported(state: &LogState) -> Imported {
    match state.status {
        LogStatus::Pending => Imported::NotYet(ImportOutcome::of(state)),
        _ => Imported::Answer(ImportOutcome::of(state)),
    }
}

/// A store's summary for `GET /stores/sync-status`; `None` when no store of an organization that passes `may` has this
/// token.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn sync_status(
    deps: &OrdersDeps,
    sync_token: &SyncToken,
    may: impl Fn(&str) -> bool,
) -> Result<Option<SyncSummary>, OrdersError> {
    let store = deps.table.by_token(sync_token).await?.filter(|store| may(store.organization_id.as_str()));
    Ok(store.as_ref().map(SyncSummary::of))
}

/// One page of a store's receipts, newest first; `None` when no store of an organization that passes `may` has this token.
///
/// # Errors
/// DynamoDB could not be reached.
pub async fn orders(
    deps: &OrdersDeps,
    sync_token: &SyncToken,
    status: Option<LogStatus>,
    cursor: Option<&LogId>,
    limit: u8,
    may: impl Fn(&str) -> bool,
) -> Result<Option<OrderPage>, OrdersError> {
    let Some(store) = deps.table.by_token(sync_token).await?.filter(|store| may(store.organization_id.as_str())) else {
        return Ok(None);
    };
    let rows = deps.table.logs(&store.id, cursor, i32::from(limit)).await?;
    let cursor = (rows.len() == usize::from(limit)).then(|| rows.last().map(|row| row.id.to_string())).flatten();
    let is_wanted = |row: &&LogRow| status.is_none_or(|wanted| row.state.status == wanted);
    Ok(Some(OrderPage { orders: rows.iter().filter(is_wanted).map(Order::of).collect(), cursor }))
}
