//! Who an API key belongs to.

use crate::dynamo::{Changes, Create, DynamoError, IntoAttribute as _, Key, Update};
use crate::{Aws, SecretError, Secrets, Table};
use serde::{Deserialize, Serialize};
use switchyard_core::api_key::ApiKey;
use switchyard_core::{Clock, Env, EnvError, Timestamp};

/// The keys of one table: `K#<digest>` / `K`.
pub struct ApiKeys {
    table: Table,
    secrets: Secrets,
    pepper_id: String,
    clock: Clock,
}

/// A key that could not be looked up or kept.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// DynamoDB.
    #[error("looking after API keys")]
    Store(#[source] DynamoError),
    /// The pepper.
    #[error("fetching the pepper of API keys")]
    Pepper(#[source] SecretError),
    /// The pepper's secret lacks its value.
    #[error("reading the pepper of API keys")]
    Value(#[source] EnvError),
}

#[derive(Serialize, Deserialize)]
struct KeyRow {
    pk: String,
    sk: String,
    /// The part of the key that may be shown.
    prefix: String,
    tenant: String,
    name: String,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<String>,
}

impl ApiKeys {
    /// Keys in the table that the setting `table` names, under the pepper `API_KEY_PEPPER` of the secret that the
    /// setting `API_KEY_SECRET` names.
    ///
    /// # Errors
    /// A setting is missing.
    pub fn from_env(aws: &Aws, env: &Env, table: &str) -> Result<Self, EnvError> {
        Ok(Self {
            table: Table::from_env(aws, env, table)?,
            secrets: Secrets::new(aws),
            pepper_id: env.required("API_KEY_SECRET")?,
            clock: Clock::system(),
        })
    }

    /// Makes a key for `tenant`. It can be shown now and never again.
    ///
    /// # Errors
    /// DynamoDB or Secrets Manager could not be reached.
    pub async fn create(&self, tenant: &str, name: &str, is_live: bool) -> Result<ApiKey, KeyError> {
        loop {
            let key = ApiKey::generate(is_live);
            let Key { pk, sk } = self.key(&key).await?;
            let row = KeyRow {
                pk,
                sk,
                prefix: key.prefix().to_owned(),
                tenant: tenant.to_owned(),
                name: name.to_owned(),
                created_at: self.clock.now(),
                revoked_at: None,
            };
            if let Create::Created = self.table.create(&row).await.map_err(KeyError::Store)? {
                return Ok(key);
            }
        }
    }

    /// Whose key it is; `None` for one that is malformed, unknown or revoked.
    ///
    /// # Errors
    /// DynamoDB or Secrets Manager could not be reached.
    pub async fn tenant_of(&self, text: &str) -> Result<Option<String>, KeyError> {
        let Some(key) = ApiKey::parse(text) else { return Ok(None) };
        let Some(item) = self.table.get(&self.key(&key).await?).await.map_err(KeyError::Store)? else {
            return Ok(None);
        };
        let row: KeyRow = self.table.read(item).map_err(KeyError::Store)?;
        Ok(row.revoked_at.is_none().then_some(row.tenant))
    }

    /// Makes a key useless at once. `false` when it is not known.
    ///
    /// # Errors
    /// DynamoDB or Secrets Manager could not be reached.
    pub async fn revoke(&self, text: &str) -> Result<bool, KeyError> {
        let Some(key) = ApiKey::parse(text) else { return Ok(false) };
        let revoked = Changes::new()
            .set("revoked_at", self.clock.now().to_string().into_attribute())
            .only_if("attribute_exists(#pk)", []);
        let outcome = self.table.update(&self.key(&key).await?, revoked).await.map_err(KeyError::Store)?;
        Ok(matches!(outcome, Update::Applied(_)))
    }

    async fn key(&self, key: &ApiKey) -> Result<Key, KeyError> {
        let values = self.secrets.get(&self.pepper_id).await.map_err(KeyError::Pepper)?;
        let pepper = values.required("API_KEY_PEPPER").map_err(KeyError::Value)?;
        Ok(Key { pk: format!("K#{}", key.digest(&pepper)), sk: "K".into() })
    }
}
