//! The marketplaces' APIs: asks about a receipt, and refreshes the store's token when necessary.

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

/// How often to look whether another process has refreshed the same token.
const REFRESH_POLLS: u32 = 30;
const REFRESH_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The time for asking about one receipt, so that the outcome is written before the function of an import times out.
pub(crate) const ASK_TIMEOUT: Duration = Duration::from_secs(15);

/// No refresh begins later than this, so that it ends within [`ASK_TIMEOUT`]: an interrupted refresh can lose the new token.
const REFRESH_CUTOFF: Duration = Duration::from_secs(4);

/// The adapter of each marketplace.
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

    /// The reason to refuse an id of a store; `None` when its marketplace can be asked with it.
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

    /// Asks the store's marketplace about one receipt. A token that expired or that the marketplace refuses is refreshed
    /// once, if the store's credential has a refresh token.
    pub(crate) async fn ask(
        &self,
        store: &StoreRow,
        receipt: &ReceiptId,
        table: &OrdersTable,
        clock: &Clock,
    ) -> MarketplaceAnswer {
        let mut token = store.access_token.clone();
        let verdict = self.ask_with(&mut token, store, receipt, table, clock).await;
        let refused = (verdict == Verdict::Auth).then_some(token);
        MarketplaceAnswer { verdict, refused }
    }

    /// As [`Marketplaces::ask`]; `token` is set to the one that was used last.
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
                tokio::time::timeout_at(started + ASK_TIMEOUT, asked).await.unwrap_or(Verdict::Unavailable)
            };
            if verdict != Verdict::Auth || was_renewed || credential.refresh_token.is_none() {
                return verdict;
            }
            if started.elapsed() > REFRESH_CUTOFF {
                return Verdict::Unavailable;
            }
            was_renewed = true;
            let used = RejectedCredential { kept: token, opened: &credential };
            match self.renew(live, adapter, store, used, table, clock).await {
                Ok(Renewal::Token(renewed)) => *token = renewed,
                Ok(Renewal::Refused) => return Verdict::Auth,
                Err(error) => {
                    tracing::warn!(
                        store_id = store.id.as_str(),
                        error = error_chain(&error),
                        "the token could not be refreshed"
                    );
                    return Verdict::Unavailable;
                }
            }
        }
    }

    /// Refreshes a store's token, one process at a time: some refresh tokens can be used only once. Other processes wait and
    /// use the new token.
    async fn renew(
        &self,
        live: &Live,
        adapter: &live::Adapter,
        store: &StoreRow,
        used: RejectedCredential<'_>,
        table: &OrdersTable,
        clock: &Clock,
    ) -> Result<Renewal, OrdersError> {
        let claim = Owner::request(clock.new_id().to_string());
        for _ in 0..REFRESH_POLLS {
            let is_ours = table.claim_refresh(&store.id, &claim, clock.now()).await?;
            let known = table.by_id(&store.id).await?.map(|row| row.access_token);
            if let Some(known) = known.filter(|known| known != used.kept) {
                if is_ours {
                    table.release_refresh(&store.id, &claim).await?;
                }
                return Ok(Renewal::Token(known));
            }
            if !is_ours {
                #[expect(clippy::disallowed_methods, reason = "the other process is waiting for one answer")]
                tokio::time::sleep(REFRESH_POLL_INTERVAL).await;
                continue;
            }
            let renewed = self.replace(live, adapter, store, &used, table, clock).await;
            table.release_refresh(&store.id, &claim).await?;
            return renewed;
        }
        Err(OrdersError::Contended { store: store.id.clone() })
    }

    /// Requests a new token and stores it, unless the store got another one in the meantime. Returns the store's token.
    async fn replace(
        &self,
        live: &Live,
        adapter: &live::Adapter,
        store: &StoreRow,
        used: &RejectedCredential<'_>,
        table: &OrdersTable,
        clock: &Clock,
    ) -> Result<Renewal, OrdersError> {
        let Some(token) = live.refresh(adapter, used.opened, clock.now()).await? else { return Ok(Renewal::Refused) };
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
        Ok(Renewal::Token(kept.map_or(token, |row| row.access_token)))
    }
}

/// A marketplace's answer about a receipt.
pub(crate) struct MarketplaceAnswer {
    pub(crate) verdict: Verdict,
    /// The token that the marketplace refused, if it did.
    pub(crate) refused: Option<Sealed>,
}

/// A credential that expired or that the marketplace refused.
struct RejectedCredential<'a> {
    kept: &'a Sealed,
    opened: &'a Credential,
}

/// Outcome of a refresh.
enum Renewal {
    Token(Sealed),
    /// The marketplace refused the refresh token.
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
