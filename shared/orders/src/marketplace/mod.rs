//! The marketplaces, behind one question: what of this receipt?

pub mod mock;

use crate::model::{Marketplace, Verdict};
use crate::store::StoreRow;
use switchyard_core::{Env, EnvError};

/// How each marketplace is asked.
#[derive(Clone)]
pub(crate) struct Marketplaces {
    etsy: Adapter,
    shopify: Adapter,
    amazon: Adapter,
}

#[derive(Clone)]
enum Adapter {
    /// The rules of [`mock`], in this process: a function must not call its own gateway.
    Mock,
}

impl Marketplaces {
    /// Reads `ADAPTER_ETSY`, `ADAPTER_SHOPIFY` and `ADAPTER_AMAZON`.
    pub(crate) fn from_env(env: &Env) -> Result<Self, EnvError> {
        Ok(Self {
            etsy: Adapter::from_env(env, "ADAPTER_ETSY")?,
            shopify: Adapter::from_env(env, "ADAPTER_SHOPIFY")?,
            amazon: Adapter::from_env(env, "ADAPTER_AMAZON")?,
        })
    }

    /// Asks the store's marketplace about one receipt.
    pub(crate) async fn ask(&self, store: &StoreRow, receipt: &str) -> Verdict {
        let adapter = match store.marketplace {
            Marketplace::Etsy => &self.etsy,
            Marketplace::Shopify => &self.shopify,
            Marketplace::Amazon => &self.amazon,
        };
        match adapter {
            Adapter::Mock => mock::verdict(receipt, &store.currency),
        }
    }
}

impl Adapter {
    fn from_env(env: &Env, name: &str) -> Result<Self, EnvError> {
        match env.optional(name).as_deref() {
            None | Some("mock") => Ok(Self::Mock),
            Some(_) => Err(EnvError::Invalid { name: name.to_owned(), reason: "expected mock".to_owned() }),
        }
    }
}
