//! The marketplaces, behind one question: what of this receipt?

mod credential;
mod live;
pub mod mock;

use crate::error::OrdersError;
use crate::model::{Marketplace, ReceiptId, Verdict};
use crate::store::{OrdersTable, StoreRow};
use credential::Credential;
use live::Live;
use std::time::Duration;
use switchyard_core::{Clock, Env, EnvError, Owner, error_chain};
use switchyard_io::Secrets;
use switchyard_io::vault::{Sealed, Vault};
use tokio::time::Instant;

/// How long to wait for another process that is replacing the same token.
const REFRESH_LOOKS: u32 = 30;
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What asking about one receipt may take in all, so that what came of it is written before an import's function ends.
pub(crate) const LIMIT: Duration = Duration::from_secs(15);

/// A token is replaced only as long as that can end within [`LIMIT`]: cut off, it may be lost.
const REFRESH_BEFORE: Duration = Duration::from_secs(4);

/// How each marketplace is asked.
#[derive(Clone)]
pub(crate) struct Marketplaces {
    adapters: [Adapter; 3],
    live: Option<Live>,
    vault: Vault,
}

#[derive(Clone)]
enum Adapter {
    /// The rules of [`mock`], in this process: a function must not call its own gateway.
    Mock,
    Live(live::Adapter),
}

impl Marketplaces {
    /// Reads `ADAPTER_ETSY`, `ADAPTER_SHOPIFY` and `ADAPTER_AMAZON` (`mock` or `live`, default `mock`), and of those that
    /// are live the addresses (`ETSY_BASE_URL`, `ETSY_TOKEN_URL`, `SHOPIFY_BASE_URL_TEMPLATE` with `{shop}` in it,
    /// `AMAZON_BASE_URL`, `AMAZON_TOKEN_URL`) and `MARKETPLACE_SECRET`.
    pub(crate) fn from_env(secrets: Secrets, vault: Vault, env: &Env) -> Result<Self, EnvError> {
        let adapters = [
            Adapter::from_env(env, Marketplace::Etsy)?,
            Adapter::from_env(env, Marketplace::Shopify)?,
            Adapter::from_env(env, Marketplace::Amazon)?,
        ];
        let is_live = adapters.iter().any(|adapter| matches!(adapter, Adapter::Live(_)));
        let live = is_live.then(|| Live::from_env(secrets, env)).transpose()?;
        Ok(Self { adapters, live, vault })
    }

    /// Why a store cannot be asked about at its marketplace by this id, if it cannot.
    pub(crate) fn refuse_shop(&self, marketplace: Marketplace, shop: &str) -> Option<&'static str> {
        match self.adapter(marketplace) {
            Adapter::Live(adapter) => adapter.refuse_shop(shop),
            Adapter::Mock => None,
        }
    }

    fn adapter(&self, marketplace: Marketplace) -> &Adapter {
        match marketplace {
            Marketplace::Etsy => &self.adapters[0],
            Marketplace::Shopify => &self.adapters[1],
            Marketplace::Amazon => &self.adapters[2],
        }
    }

    /// Asks the store's marketplace about one receipt. A token that has ended, or that the marketplace refuses, is
    /// replaced once where the store's credential allows it.
    pub(crate) async fn ask(
        &self,
        store: &StoreRow,
        receipt: &ReceiptId,
        table: &OrdersTable,
        clock: &Clock,
    ) -> Answered {
        let mut token = store.access_token.clone();
        let verdict = self.ask_with(&mut token, store, receipt, table, clock).await;
        let refused = (verdict == Verdict::Auth).then_some(token);
        Answered { verdict, refused }
    }

    /// `token` is then the one that was used last.
    async fn ask_with(
        &self,
        token: &mut Sealed,
        store: &StoreRow,
        receipt: &ReceiptId,
        table: &OrdersTable,
        clock: &Clock,
    ) -> Verdict {
        let (adapter, live) = match (self.adapter(store.marketplace), &self.live) {
            (Adapter::Live(adapter), Some(live)) => (adapter, live),
            _ => return mock::verdict(receipt, &store.currency),
        };
        let (started, mut was_renewed) = (Instant::now(), false);
        loop {
            let credential = match self.vault.open(&store.token_context(), token).await {
                Ok(text) => Credential::parse(text.expose()),
                Err(error) => {
                    tracing::error!(
                        store_id = store.id.as_str(),
                        error = error_chain(&error),
                        "the token could not be opened"
                    );
                    return Verdict::Unavailable;
                }
            };
            let verdict = if credential.has_expired(clock.now()) && !was_renewed {
                Verdict::Auth
            } else {
                let asked = live.ask(adapter, &credential, &store.external_store_id, receipt, clock.now());
                tokio::time::timeout_at(started + LIMIT, asked).await.unwrap_or(Verdict::Unavailable)
            };
            if verdict != Verdict::Auth || was_renewed || credential.refresh_token.is_none() {
                return verdict;
            }
            if started.elapsed() > REFRESH_BEFORE {
                return Verdict::Unavailable;
            }
            was_renewed = true;
            let used = Used { kept: token, opened: &credential };
            match self.renew(live, adapter, store, used, table, clock).await {
                Ok(Renewed::Token(renewed)) => *token = renewed,
                Ok(Renewed::Refused) => return Verdict::Auth,
                Err(error) => {
                    tracing::warn!(
                        store_id = store.id.as_str(),
                        error = error_chain(&error),
                        "the token could not be replaced"
                    );
                    return Verdict::Unavailable;
                }
            }
        }
    }

    /// Replaces a store's token. One process at a time, since a refresh token may be good for one use only: a process that comes
    /// second takes what the first one got.
    async fn renew(
        &self,
        live: &Live,
        adapter: &live::Adapter,
        store: &StoreRow,
        used: Used<'_>,
        table: &OrdersTable,
        clock: &Clock,
    ) -> Result<Renewed, OrdersError> {
        let claim = Owner::request(clock.new_id().to_string());
        for _ in 0..REFRESH_LOOKS {
            let is_ours = table.claim_refresh(&store.id, &claim, clock.now()).await?;
            let known = table.by_id(&store.id).await?.map(|row| row.access_token);
            if let Some(known) = known.filter(|known| known != used.kept) {
                if is_ours {
                    table.release_refresh(&store.id, &claim).await?;
                }
                return Ok(Renewed::Token(known));
            }
            if !is_ours {
                #[expect(clippy::disallowed_methods, reason = "the other process is waiting for one answer")]
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
            let renewed = self.replace(live, adapter, store, &used, table, clock).await;
            table.release_refresh(&store.id, &claim).await?;
            return renewed;
        }
        Err(OrdersError::Contended { store: store.id.clone() })
    }

    /// Trades the token in and keeps the new one, unless the store was given another in the meantime; returns the one it has.
    async fn replace(
        &self,
        live: &Live,
        adapter: &live::Adapter,
        store: &StoreRow,
        used: &Used<'_>,
        table: &OrdersTable,
        clock: &Clock,
    ) -> Result<Renewed, OrdersError> {
        let Some(token) = live.refresh(adapter, used.opened, clock.now()).await? else { return Ok(Renewed::Refused) };
        let token = self.vault.seal(&store.token_context(), &token).await?;
        let kept = table
            .change(
                &store.id,
                || clock.now(),
                |row| {
                    if row.access_token == *used.kept {
                        row.access_token.clone_from(&token);
                    }
                },
            )
            .await?;
        Ok(Renewed::Token(kept.map_or(token, |row| row.access_token)))
    }
}

/// What a marketplace said of a receipt.
pub(crate) struct Answered {
    pub(crate) verdict: Verdict,
    /// The token that it refuses, if it does.
    pub(crate) refused: Option<Sealed>,
}

/// A credential that the marketplace no longer takes.
struct Used<'a> {
    kept: &'a Sealed,
    opened: &'a Credential,
}

enum Renewed {
    Token(Sealed),
    /// The marketplace does not take the refresh token.
    Refused,
}

impl Adapter {
    fn from_env(env: &Env, marketplace: Marketplace) -> Result<Self, EnvError> {
        let name = format!("ADAPTER_{}", marketplace.name().to_uppercase());
        match env.optional(&name).as_deref() {
            None | Some("mock") => Ok(Self::Mock),
            Some("live") => Ok(Self::Live(match marketplace {
                Marketplace::Etsy => live::Adapter::Etsy {
                    base: env.base_url("ETSY_BASE_URL")?,
                    token_url: env.base_url("ETSY_TOKEN_URL")?,
                },
                Marketplace::Shopify => live::Adapter::Shopify { template: env.base_url("SHOPIFY_BASE_URL_TEMPLATE")? },
                Marketplace::Amazon => live::Adapter::Amazon {
                    base: env.base_url("AMAZON_BASE_URL")?,
                    token_url: env.base_url("AMAZON_TOKEN_URL")?,
                },
            })),
            Some(_) => Err(EnvError::Invalid { name, reason: "expected mock or live".to_owned() }),
        }
    }
}
