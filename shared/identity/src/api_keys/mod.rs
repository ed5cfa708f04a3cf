//! API keys of tenants and organizations: create, verify, rotate, revoke.
//!
//! | Row | `pk` | `sk` |
//! |---|---|---|
//! | key by its digest | `K#<digest>` | `K` |
//! | key by its owner | `KEYS#<tenant>` | `<id>` |
//! | imported key of which only a bcrypt hash is known | `KL#<digest of its first 16 characters>` | `<digest of the hash>` |
//! | the same by its owner | `OLDKEYS#<tenant>` | the other's `pk` and `sk` |
//!
//! A change of a key changes both of its rows in one transaction, and raises the `lock` of its owner's row.

mod hashed;
mod row;

pub use row::{ApiKeyRecord, VerifiedKey, owner_partitions, target_of};

use crate::api_key::{ApiKey, digest, is_well_formed};
use crate::{ApiKeyId, TenantId};
use row::{Columns, digest_key, owner_key, owner_partition};
use std::sync::Arc;
use std::time::Duration;
use switchyard_core::{Classify, Clock, Disposition, Env, EnvError, Secret, Timestamp, error_chain};
use switchyard_io::dynamo::{AttributeValue, Changes, DynamoError, IntoAttribute as _, Key, Transact, Update, Write};
use switchyard_io::{Aws, SecretError, SecretValues, Secrets, Table};

/// A use is recorded when the recorded one is this old.
const RECORD_USE_EVERY: Duration = Duration::from_secs(300);

/// The keys of one table.
#[derive(Clone)]
pub struct ApiKeys {
    table: Table,
    secrets: Secrets,
    pepper_id: String,
    clock: Clock,
}

/// A key could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// DynamoDB.
    #[error("reading or writing API keys")]
    Store(#[source] DynamoError),
    /// Secrets Manager.
    #[error("fetching the pepper of API keys")]
    Pepper(#[source] SecretError),
    /// The secret lacks `API_KEY_PEPPER`. Permanent.
    #[error("reading the pepper of API keys")]
    Value(#[source] EnvError),
    /// Another request changed the key. Retried.
    #[error("the API key was changed by another request")]
    Contended,
    /// The key was revoked or has expired. Permanent.
    #[error("the API key {0}")]
    NotActive(&'static str),
}

impl Classify for KeyError {
    fn disposition(&self) -> Disposition {
        match self {
            Self::Store(source) => source.disposition(),
            Self::Pepper(source) => source.disposition(),
            Self::Value(_) | Self::NotActive(_) => Disposition::Permanent,
            Self::Contended => Disposition::Retry { after: None },
        }
    }
}

impl From<DynamoError> for KeyError {
    fn from(source: DynamoError) -> Self {
        Self::Store(source)
    }
}

/// A key to create or import.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// The tenant or organization that it belongs to.
    pub tenant: TenantId,
    /// What it is for.
    pub label: String,
    /// What it may do; the workflow defines what an empty list means.
    pub scopes: Vec<String>,
    /// When it expires, this instant included; `None` for never.
    pub expires_at: Option<Timestamp>,
    /// Whether it begins with `so_live_`, not `so_test_`.
    pub is_live: bool,
}

impl NewKey {
    /// A test key of a tenant or organization, without a label, without scopes, that never expires.
    pub fn new(tenant: TenantId) -> Self {
        Self { tenant, label: String::new(), scopes: Vec::new(), expires_at: None, is_live: false }
    }
}

/// Writes made in one transaction with a created or changed key, given the key as it will be.
pub type With<'a> = &'a (dyn Fn(&ApiKeyRecord) -> Result<Vec<Write>, DynamoError> + Sync);

/// Changes of a key; `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct KeyChange {
    /// What it is for.
    pub label: Option<String>,
    /// What it may do.
    pub scopes: Option<Vec<String>>,
    /// When it expires; `Some(None)` for never.
    pub expires_at: Option<Option<Timestamp>>,
    /// Revokes it.
    pub revoke: bool,
}

impl ApiKeys {
    /// Keys in the table that the setting `table` names, under the pepper `API_KEY_PEPPER` of the secret that the
    /// setting `API_KEY_SECRET` names. While the secret holds `API_KEY_PEPPER_BEFORE` too, keys under that one are
    /// valid, and each moves to the current one when it is used.
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

    /// Replaces the clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// The clock that keys expire by.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Creates a key. The key itself is returned here and cannot be read later.
    ///
    /// # Errors
    /// DynamoDB or Secrets Manager could not be reached.
    pub async fn create(&self, new: &NewKey) -> Result<(ApiKey, ApiKeyRecord), KeyError> {
        self.create_with(new, &nothing).await
    }

    /// Creates a key, with further writes in the same transaction.
    ///
    /// # Errors
    /// As for [`Self::create`]; or a condition of a write does not hold.
    pub async fn create_with(&self, new: &NewKey, with: With<'_>) -> Result<(ApiKey, ApiKeyRecord), KeyError> {
        loop {
            let key = ApiKey::generate(new.is_live);
            if let Some(record) = self.add(new, key.expose(), key.prefix(), with).await? {
                return Ok((key, record));
            }
        }
    }

    /// Imports a key that was made elsewhere and is known in full. `None` when it was imported before.
    ///
    /// # Errors
    /// DynamoDB or Secrets Manager could not be reached.
    pub async fn import(&self, new: &NewKey, text: &Secret<String>) -> Result<Option<ApiKeyRecord>, KeyError> {
        self.add(new, text.expose(), "", &nothing).await
    }

    async fn add(
        &self,
        new: &NewKey,
        text: &str,
        prefix: &str,
        with: With<'_>,
    ) -> Result<Option<ApiKeyRecord>, KeyError> {
        let (digest, id) =
            (digest(text, &pepper(&*self.pepper().await?)?), ApiKeyId::from(self.clock.new_id().to_string()));
        let record = ApiKeyRecord {
            pk: owner_partition(&new.tenant),
            sk: id.to_string(),
            digest: digest.clone(),
            id: id.clone(),
            tenant: new.tenant.clone(),
            label: new.label.clone(),
            prefix: prefix.to_owned(),
            scopes: new.scopes.clone(),
            expires_at: new.expires_at,
            grace_ends_at: None,
            revoked_at: None,
            last_used_at: None,
            created_at: self.clock.now(),
            lock: 0,
        };
        let Key { pk, sk } = digest_key(&digest);
        let known = VerifiedKey {
            pk,
            sk,
            id,
            tenant: new.tenant.clone(),
            scopes: new.scopes.clone(),
            expires_at: new.expires_at,
            grace_ends_at: None,
            revoked_at: None,
        };
        let mut writes = vec![Write::Create(self.table.to_item(&known)?), Write::Create(self.table.to_item(&record)?)];
        let own = writes.len();
        writes.extend(with(&record)?);
        Ok(match self.table.transact(writes).await? {
            Transact::Done => Some(record),
            // The SDK repeats a call whose answer was lost: the refusal then comes from our own rows.
            Transact::Refused { row: Some(row), .. }
                if row.get("id") == Some(&AttributeValue::S(record.id.to_string())) =>
            {
                Some(record)
            }
            Transact::Refused { index, .. } if index < own => None,
            Transact::Refused { .. } => return Err(KeyError::Contended),
        })
    }

    /// Finds a key; `None` for one that is malformed, unknown or revoked. The caller checks whether it has expired.
    ///
    /// # Errors
    /// DynamoDB or Secrets Manager could not be reached.
    pub async fn find(&self, text: &str) -> Result<Option<VerifiedKey>, KeyError> {
        if text.starts_with("so_") && !is_well_formed(text) {
            return Ok(None);
        }
        let peppers = self.pepper().await?;
        let current = digest(text, &pepper(&peppers)?);
        if let Some(known) = self.by_digest(&current).await? {
            return Ok(Some(known).filter(|known| known.revoked_at.is_none()));
        }
        if let Ok(before) = peppers.required("API_KEY_PEPPER_BEFORE") {
            let before = digest(text, &before);
            if let Some(known) = self.by_digest(&before).await? {
                self.move_pepper(&known, &before, &current).await?;
                return Ok(Some(known).filter(|known| known.revoked_at.is_none()));
            }
        }
        if is_well_formed(text) { Ok(None) } else { self.find_hashed(text).await }
    }

    async fn by_digest(&self, digest: &str) -> Result<Option<VerifiedKey>, KeyError> {
        let item = self.table.get(&digest_key(digest)).await?;
        Ok(item.map(|item| self.table.read(item)).transpose()?)
    }

    /// Moves a key from its digest under the earlier pepper to that under the current one, unless it changed since.
    async fn move_pepper(&self, known: &VerifiedKey, before: &str, current: &str) -> Result<(), KeyError> {
        // Moving a key that was revoked or changed since would undo that.
        if known.revoked_at.is_some() {
            return Ok(());
        }
        let text = |at: Option<Timestamp>| at.map(|at| AttributeValue::S(at.to_string()));
        let scopes = AttributeValue::L(known.scopes.iter().cloned().map(AttributeValue::S).collect());
        let as_read = [
            ("revoked_at", None),
            ("expires_at", text(known.expires_at)),
            ("grace_ends_at", text(known.grace_ends_at)),
            ("scopes", Some(scopes)),
        ];
        let unchanged = as_read.into_iter().fold(Changes::new(), |changes, (name, value)| match value {
            Some(value) => changes.only_if(&format!("#{name} = ?"), [value]),
            None => changes.only_if(&format!("attribute_not_exists(#{name})"), []),
        });
        let Key { pk, sk } = digest_key(current);
        let is_same = Changes::new().only_if("#digest = ?", [before.into_attribute()]).set("digest", current);
        let writes = vec![
            Write::Create(self.table.to_item(&VerifiedKey { pk, sk, ..known.clone() })?),
            Write::Update(owner_key(&known.tenant, &known.id), is_same),
            Write::Delete(digest_key(before), unchanged),
        ];
        let (Transact::Done | Transact::Refused { .. }) = self.table.transact(writes).await?;
        Ok(())
    }

    /// The tenant or organization of a key; `None` for one that is malformed, unknown, revoked or expired.
    ///
    /// # Errors
    /// DynamoDB or Secrets Manager could not be reached.
    pub async fn owner_of(&self, text: &str) -> Result<Option<TenantId>, KeyError> {
        let now = self.clock.now();
        Ok(self.find(text).await?.filter(|known| !known.has_expired(now)).map(|known| known.tenant))
    }

    /// A tenant's keys, oldest first.
    ///
    /// # Errors
    /// DynamoDB could not be reached.
    pub async fn list(&self, tenant: &TenantId) -> Result<Vec<ApiKeyRecord>, KeyError> {
        let rows = self.table.rows(&owner_partition(tenant), "").await?;
        Ok(rows.into_iter().map(|row| self.table.read(row)).collect::<Result<_, _>>()?)
    }

    /// One of a tenant's keys.
    ///
    /// # Errors
    /// DynamoDB could not be reached.
    pub async fn get(&self, tenant: &TenantId, id: &ApiKeyId) -> Result<Option<ApiKeyRecord>, KeyError> {
        let row = self.table.get(&owner_key(tenant, id)).await?;
        Ok(row.map(|row| self.table.read(row)).transpose()?)
    }

    /// Changes a key, with further writes in the same transaction; `None` when the tenant has no such key.
    ///
    /// # Errors
    /// The key was revoked and `change` does not revoke; another request changed it; DynamoDB could not be reached.
    pub async fn change(
        &self,
        tenant: &TenantId,
        id: &ApiKeyId,
        change: &KeyChange,
        with: With<'_>,
    ) -> Result<Option<ApiKeyRecord>, KeyError> {
        let Some(mut record) = self.get(tenant, id).await? else { return Ok(None) };
        if record.revoked_at.is_some() && !change.revoke {
            return Err(REVOKED);
        }
        let mut columns = Columns::default();
        if let Some(label) = &change.label {
            record.label.clone_from(label);
            columns.owner = columns.owner.set("label", label.as_str());
        }
        if let Some(scopes) = &change.scopes {
            record.scopes.clone_from(scopes);
            columns.set("scopes", Some(AttributeValue::L(scopes.iter().cloned().map(AttributeValue::S).collect())));
        }
        if let Some(until) = change.expires_at {
            // The end that the owner sets replaces the one that a rotation set.
            (record.expires_at, record.grace_ends_at) = (until, None);
            columns.set("expires_at", until.map(|until| AttributeValue::S(until.to_string())));
            columns.set("grace_ends_at", None);
        }
        if change.revoke && record.revoked_at.is_none() {
            record.revoked_at = Some(self.clock.now());
            columns.set("revoked_at", record.revoked_at.map(|at| AttributeValue::S(at.to_string())));
        }
        if !columns.touches_both && change.label.is_none() {
            return Ok(Some(record));
        }
        let mut writes = columns.writes(&record, change.revoke);
        record.lock += 1;
        writes.extend(with(&record)?);
        match self.table.transact(writes).await? {
            Transact::Done => Ok(Some(record)),
            Transact::Refused { .. } => Err(KeyError::Contended),
        }
    }

    /// Creates a key that replaces one of a tenant's, which stays valid for `grace` unless it expires earlier; with further
    /// writes in the same transaction. Returns the new key, and when the old one expires; `None` when there is no such key.
    ///
    /// # Errors
    /// The old key is not active, or another request changed it; DynamoDB or Secrets Manager could not be reached.
    pub async fn rotate(
        &self,
        tenant: &TenantId,
        id: &ApiKeyId,
        grace: Duration,
        with: With<'_>,
    ) -> Result<Option<(ApiKey, ApiKeyRecord, Timestamp)>, KeyError> {
        let Some(old) = self.get(tenant, id).await? else { return Ok(None) };
        let now = self.clock.now();
        if old.revoked_at.is_some() {
            return Err(REVOKED);
        }
        if old.has_expired(now) {
            return Err(KeyError::NotActive("has expired"));
        }
        let new = NewKey {
            tenant: tenant.clone(),
            label: old.label.clone(),
            scopes: old.scopes.clone(),
            expires_at: old.expires_at,
            is_live: !old.prefix.starts_with("so_test_"),
        };
        let end = now + grace;
        let end = old.ends_at().map_or(end, |known| known.min(end));
        let mut columns = Columns::default();
        columns.set("grace_ends_at", Some(end.to_string().into_attribute()));
        let retired = columns.writes(&old, false);
        let made = self.create_with(&new, &|record| Ok([retired.clone(), with(record)?].concat())).await?;
        Ok(Some((made.0, made.1, end)))
    }

    /// Revokes a key. `false` when it is unknown.
    ///
    /// # Errors
    /// DynamoDB or Secrets Manager could not be reached.
    pub async fn revoke(&self, text: &str) -> Result<bool, KeyError> {
        let Some(known) = self.find(text).await? else { return Ok(false) };
        let change = KeyChange { revoke: true, ..KeyChange::default() };
        Ok(self.change(&known.tenant, &known.id, &change, &nothing).await?.is_some())
    }

    /// Records the use of a key, unless one of the last five minutes is recorded.
    ///
    /// # Errors
    /// DynamoDB could not be reached.
    pub async fn record_use(&self, known: &VerifiedKey) -> Result<(), KeyError> {
        let now = self.clock.now();
        let text = |at: Timestamp| at.to_string().into_attribute();
        let used = Changes::new().set("last_used_at", text(now)).only_if(
            "attribute_exists(#pk) AND (attribute_not_exists(#last_used_at) OR #last_used_at < ?)",
            [text(now - RECORD_USE_EVERY)],
        );
        match self.table.update(&owner_key(&known.tenant, &known.id), used).await? {
            Update::Applied(_) | Update::Refused(_) => Ok(()),
        }
    }

    /// Fetches the pepper ahead of the first key, at start-up.
    ///
    /// # Errors
    /// It could not be fetched, or lacks its value.
    pub async fn warm_up(&self) -> Result<(), EnvError> {
        let unusable = |error| EnvError::Invalid { name: "API_KEY_SECRET".to_owned(), reason: error_chain(&error) };
        self.pepper().await.map(drop).map_err(unusable)
    }

    async fn pepper(&self) -> Result<Arc<SecretValues>, KeyError> {
        self.secrets.get(&self.pepper_id).await.map_err(KeyError::Pepper)
    }
}

const REVOKED: KeyError = KeyError::NotActive("was revoked");

fn nothing(_: &ApiKeyRecord) -> Result<Vec<Write>, DynamoError> {
    Ok(Vec::new())
}

fn pepper(values: &SecretValues) -> Result<Secret<String>, KeyError> {
    values.required("API_KEY_PEPPER").map_err(KeyError::Value)
}
