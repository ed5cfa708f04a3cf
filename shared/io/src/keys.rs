//! API keys: whose they are, what they may do, and until when.
//!
//! | Row | `pk` | `sk` |
//! |---|---|---|
//! | key, by what is kept of it | `K#<digest>` | `K` |
//! | key, as its owner lists it | `KEYS#<tenant>` | `<id>` |
//! | old key, of which only a bcrypt hash is known | `KL#<digest of its first 16 characters>` | `<id>` |
//! | the same, by its owner | `OLDKEYS#<tenant>` | the other's `pk` and `sk` |
//!
//! Whatever changes a key changes both of its rows in one transaction, and raises the `lock` of its owner's row.

use crate::dynamo::{
    AttributeValue, Changes, Create, DynamoError, IntoAttribute as _, Item, Key, Transact, Update, Write,
};
use crate::{Aws, SecretError, SecretValues, Secrets, Table};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use switchyard_core::api_key::{ApiKey, digest, is_of_our_form};
use switchyard_core::{Classify, Clock, Disposition, Env, EnvError, Secret, Timestamp, error_chain, hex_sha256};

/// Characters of an old key by which it is looked up.
const OLD_PREFIX: usize = 16;

/// bcrypt reads no more of a key than this.
const OLD_LONGEST: usize = 72;

/// A use is written down when the one written before is so old.
const USE_EVERY: Duration = Duration::from_secs(300);

/// The keys of one table.
#[derive(Clone)]
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
    /// Too many changes of one key at once.
    #[error("the API key was changed by another")]
    Contended,
    /// It is of no use any more. Permanent.
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

/// What a new key is to be.
#[derive(Clone, Debug, Default)]
pub struct NewKey {
    /// Whose it is.
    pub tenant: String,
    /// What it is for.
    pub label: String,
    /// What it may do; what that means when empty is the workflow's.
    pub scopes: Vec<String>,
    /// Until when it is good, this instant included.
    pub expires_at: Option<Timestamp>,
    /// Whether it begins with `so_live_`, not `so_test_`.
    pub is_live: bool,
}

/// A key as its owner sees it; what it is cannot be told any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyAbout {
    pk: String,
    sk: String,
    digest: String,
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// What it is for.
    pub label: String,
    /// The part of it that may be shown.
    pub prefix: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Until when it is good, by its owner's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    /// Until when it is good beside the key that replaces it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grace_ends_at: Option<Timestamp>,
    /// Since when it is useless.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// About when it was used last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// How often it was changed: a change holds only for the key as it was read.
    #[serde(default)]
    lock: i64,
}

impl KeyAbout {
    /// Until when it is good.
    pub fn ends_at(&self) -> Option<Timestamp> {
        first(self.expires_at, self.grace_ends_at)
    }

    /// Whether its time is over.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.ends_at().is_some_and(|until| now > until)
    }
}

fn first(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

/// What verifying needs of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownKey {
    pk: String,
    sk: String,
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// What it may do.
    pub scopes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grace_ends_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoked_at: Option<Timestamp>,
}

impl KnownKey {
    /// Whether its time is over.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        first(self.expires_at, self.grace_ends_at).is_some_and(|until| now > until)
    }
}

#[derive(Serialize, Deserialize)]
struct OldRow {
    pk: String,
    sk: String,
    hash: String,
    tenant: String,
    label: String,
    scopes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

/// Where an old key is, so that anyone who removes its owner finds it.
#[derive(Serialize, Deserialize)]
struct OldOwnedRow {
    pk: String,
    sk: String,
    old_pk: String,
    old_sk: String,
}

impl OldOwnedRow {
    fn new(row: &OldRow) -> Self {
        let (old_pk, old_sk) = (row.pk.clone(), row.sk.clone());
        Self { pk: old_owner_partition(&row.tenant), sk: format!("{old_pk}#{old_sk}"), old_pk, old_sk }
    }
}

/// What is written in one transaction with a key that is made or changed: of the key as it will be.
pub type With<'a> = &'a (dyn Fn(&KeyAbout) -> Result<Vec<Write>, DynamoError> + Sync);

/// What to change about a key; `None` leaves a setting as it is.
#[derive(Clone, Debug, Default)]
pub struct KeyChange {
    /// What it is for.
    pub label: Option<String>,
    /// What it may do.
    pub scopes: Option<Vec<String>>,
    /// Until when it is good; `Some(None)` for never.
    pub expires_at: Option<Option<Timestamp>>,
    /// Makes it useless from now on.
    pub revoke: bool,
}

impl ApiKeys {
    /// Keys in the table that the setting `table` names, under the pepper `API_KEY_PEPPER` of the secret that the
    /// setting `API_KEY_SECRET` names. While the secret holds `API_KEY_PEPPER_BEFORE` too, keys under that one are known,
    /// and each is moved to the current one when it is used.
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

    /// The clock by which keys expire.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Makes a key. It can be shown now and never again.
    ///
    /// # Errors
    /// DynamoDB or Secrets Manager could not be reached.
    pub async fn create(&self, new: &NewKey) -> Result<(ApiKey, KeyAbout), KeyError> {
        self.create_with(new, &nothing).await
    }

    /// The same, and `with` it.
    ///
    /// # Errors
    /// As for [`Self::create`]; or a condition of `with` does not hold.
    pub async fn create_with(&self, new: &NewKey, with: With<'_>) -> Result<(ApiKey, KeyAbout), KeyError> {
        loop {
            let key = ApiKey::generate(new.is_live);
            if let Some(about) = self.add(new, key.expose(), key.prefix(), with).await? {
                return Ok((key, about));
            }
        }
    }

    /// Takes in a key that was made elsewhere and is known in full. `None` when it is here already.
    ///
    /// # Errors
    /// DynamoDB or Secrets Manager could not be reached.
    pub async fn take_in(&self, new: &NewKey, text: &Secret<String>) -> Result<Option<KeyAbout>, KeyError> {
        self.add(new, text.expose(), "", &nothing).await
    }

    /// Takes in an old key of which only its first 16 characters and its bcrypt hash (`$2a$`, `$2b$`, `$2y$`) are known.
    /// Its first use makes it one like all others. `false` when it is here already, or its hash costs too much to compare.
    ///
    /// # Errors
    /// DynamoDB could not be reached.
    pub async fn take_in_old(&self, new: &NewKey, prefix: &str, hash: &str) -> Result<bool, KeyError> {
        if !is_payable(hash) {
            return Ok(false);
        }
        let row = OldRow {
            pk: old_partition(prefix),
            sk: hex_sha256(&[hash]),
            hash: hash.to_owned(),
            tenant: new.tenant.clone(),
            label: new.label.clone(),
            scopes: new.scopes.clone(),
            expires_at: new.expires_at,
        };
        let owned = OldOwnedRow::new(&row);
        Ok(matches!(self.table.create_with(&row, &[owned]).await?, Create::Created))
    }

    async fn add(&self, new: &NewKey, text: &str, prefix: &str, with: With<'_>) -> Result<Option<KeyAbout>, KeyError> {
        let (digest, id) = (digest(text, &pepper(&*self.pepper().await?)?), self.clock.new_id().to_string());
        let about = KeyAbout {
            pk: owner_partition(&new.tenant),
            sk: id.clone(),
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
        let Key { pk, sk } = key_of(&digest);
        let known = KnownKey {
            pk,
            sk,
            id,
            tenant: new.tenant.clone(),
            scopes: new.scopes.clone(),
            expires_at: new.expires_at,
            grace_ends_at: None,
            revoked_at: None,
        };
        let mut writes = vec![Write::Create(self.table.to_item(&known)?), Write::Create(self.table.to_item(&about)?)];
        let own = writes.len();
        writes.extend(with(&about)?);
        Ok(match self.table.transact(writes).await? {
            Transact::Done => Some(about),
            // The SDK repeats a call whose answer was lost: the refusal then comes from our own rows.
            Transact::Refused { row: Some(row), .. } if row.get("id") == Some(&AttributeValue::S(about.id.clone())) => {
                Some(about)
            }
            Transact::Refused { index, .. } if index < own => None,
            Transact::Refused { .. } => return Err(KeyError::Contended),
        })
    }

    /// What is known of a key; `None` for one that is malformed, unknown or revoked. Whether its time is over is for the
    /// caller to see.
    ///
    /// # Errors
    /// DynamoDB or Secrets Manager could not be reached.
    pub async fn find(&self, text: &str) -> Result<Option<KnownKey>, KeyError> {
        if text.starts_with("so_") && !is_of_our_form(text) {
            return Ok(None);
        }
        let peppers = self.pepper().await?;
        let current = digest(text, &pepper(&peppers)?);
        if let Some(item) = self.table.get(&key_of(&current)).await? {
            let known: KnownKey = self.table.read(item)?;
            return Ok(Some(known).filter(|known| known.revoked_at.is_none()));
        }
        if let Ok(before) = peppers.required("API_KEY_PEPPER_BEFORE") {
            let before = digest(text, &before);
            if let Some(item) = self.table.get(&key_of(&before)).await? {
                let known: KnownKey = self.table.read(item)?;
                self.keep_under(&known, &before, &current).await?;
                return Ok(Some(known).filter(|known| known.revoked_at.is_none()));
            }
        }
        if is_of_our_form(text) { Ok(None) } else { self.find_old(text).await }
    }

    /// Moves a key from one pepper's digest to another's, unless that was done or the key changed since.
    async fn keep_under(&self, known: &KnownKey, before: &str, current: &str) -> Result<(), KeyError> {
        // A key that was revoked, or changed since, is left where it is: what was read of it would come back to life.
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
        let Key { pk, sk } = key_of(current);
        let is_same = Changes::new().only_if("#digest = ?", [before.into_attribute()]).set("digest", current);
        let writes = vec![
            Write::Create(self.table.to_item(&KnownKey { pk, sk, ..known.clone() })?),
            Write::Update(owner_key(&known.tenant, &known.id), is_same),
            Write::Delete(key_of(before), unchanged),
        ];
        let (Transact::Done | Transact::Refused { .. }) = self.table.transact(writes).await?;
        Ok(())
    }

    /// Compares with the hashes of old keys that begin alike, and takes in the one that fits: bcrypt runs once for a key.
    async fn find_old(&self, text: &str) -> Result<Option<KnownKey>, KeyError> {
        if text.is_empty() || text.len() > OLD_LONGEST {
            return Ok(None);
        }
        let prefix: String = text.chars().take(OLD_PREFIX).collect();
        for item in self.table.rows(&old_partition(&prefix), "").await? {
            let row: OldRow = self.table.read(item)?;
            if !fits_bcrypt(text.to_owned(), row.hash.clone()).await {
                continue;
            }
            let owned = OldOwnedRow::new(&row);
            let new = NewKey {
                tenant: row.tenant,
                label: row.label,
                scopes: row.scopes,
                expires_at: row.expires_at,
                is_live: false,
            };
            self.take_in(&new, &Secret::new(text.to_owned())).await?;
            self.table.delete(&Key { pk: row.pk, sk: row.sk }).await?;
            self.table.delete(&Key { pk: owned.pk, sk: owned.sk }).await?;
            let digest = digest(text, &pepper(&*self.pepper().await?)?);
            let item = self.table.get(&key_of(&digest)).await?;
            return Ok(item.map(|item| self.table.read(item)).transpose()?);
        }
        Ok(None)
    }

    /// Whose key it is; `None` for one that is malformed, unknown, revoked or past its time.
    ///
    /// # Errors
    /// DynamoDB or Secrets Manager could not be reached.
    pub async fn tenant_of(&self, text: &str) -> Result<Option<String>, KeyError> {
        let now = self.clock.now();
        Ok(self.find(text).await?.filter(|known| !known.has_expired(now)).map(|known| known.tenant))
    }

    /// A tenant's keys, oldest first.
    ///
    /// # Errors
    /// DynamoDB could not be reached.
    pub async fn list(&self, tenant: &str) -> Result<Vec<KeyAbout>, KeyError> {
        let rows = self.table.rows(&owner_partition(tenant), "").await?;
        Ok(rows.into_iter().map(|row| self.table.read(row)).collect::<Result<_, _>>()?)
    }

    /// One of a tenant's keys.
    ///
    /// # Errors
    /// DynamoDB could not be reached.
    pub async fn about(&self, tenant: &str, id: &str) -> Result<Option<KeyAbout>, KeyError> {
        let row = self.table.get(&owner_key(tenant, id)).await?;
        Ok(row.map(|row| self.table.read(row)).transpose()?)
    }

    /// Changes a key, and writes `with` that; `None` when the tenant has no such key.
    ///
    /// # Errors
    /// The key was revoked, and is not to be revoked again; another changed it in the meantime; DynamoDB could not be reached.
    pub async fn change(
        &self,
        tenant: &str,
        id: &str,
        change: &KeyChange,
        with: With<'_>,
    ) -> Result<Option<KeyAbout>, KeyError> {
        let Some(mut about) = self.about(tenant, id).await? else { return Ok(None) };
        if about.revoked_at.is_some() && !change.revoke {
            return Err(REVOKED);
        }
        let mut columns = Columns::default();
        if let Some(label) = &change.label {
            about.label.clone_from(label);
            columns.owner = columns.owner.set("label", label.as_str());
        }
        if let Some(scopes) = &change.scopes {
            about.scopes.clone_from(scopes);
            columns.set("scopes", Some(AttributeValue::L(scopes.iter().cloned().map(AttributeValue::S).collect())));
        }
        if let Some(until) = change.expires_at {
            // Its owner's last word goes before the end that a replacement gave it.
            (about.expires_at, about.grace_ends_at) = (until, None);
            columns.set("expires_at", until.map(|until| AttributeValue::S(until.to_string())));
            columns.set("grace_ends_at", None);
        }
        if change.revoke && about.revoked_at.is_none() {
            about.revoked_at = Some(self.clock.now());
            columns.set("revoked_at", about.revoked_at.map(|at| AttributeValue::S(at.to_string())));
        }
        if !columns.touches_both && change.label.is_none() {
            return Ok(Some(about));
        }
        let mut writes = columns.writes(&about, change.revoke);
        about.lock += 1;
        writes.extend(with(&about)?);
        match self.table.transact(writes).await? {
            Transact::Done => Ok(Some(about)),
            Transact::Refused { .. } => Err(KeyError::Contended),
        }
    }

    /// Makes a key that stands for the same as one of a tenant's, which stays good for `grace`, unless it ends before; and
    /// writes `with` that. Returns the new key, and until when the old one is good; `None` when there is no such key.
    ///
    /// # Errors
    /// The old key is of no use any more, or another changed it in the meantime; DynamoDB or Secrets Manager could not be reached.
    pub async fn rotate(
        &self,
        tenant: &str,
        id: &str,
        grace: Duration,
        with: With<'_>,
    ) -> Result<Option<(ApiKey, KeyAbout, Timestamp)>, KeyError> {
        let Some(old) = self.about(tenant, id).await? else { return Ok(None) };
        let now = self.clock.now();
        if old.revoked_at.is_some() {
            return Err(REVOKED);
        }
        if old.has_expired(now) {
            return Err(KeyError::NotActive("has expired"));
        }
        let new = NewKey {
            tenant: tenant.to_owned(),
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
        let made = self.create_with(&new, &|about| Ok([retired.clone(), with(about)?].concat())).await?;
        Ok(Some((made.0, made.1, end)))
    }

    /// Makes a key useless at once. `false` when it is not known.
    ///
    /// # Errors
    /// DynamoDB or Secrets Manager could not be reached.
    pub async fn revoke(&self, text: &str) -> Result<bool, KeyError> {
        let Some(known) = self.find(text).await? else { return Ok(false) };
        let change = KeyChange { revoke: true, ..KeyChange::default() };
        Ok(self.change(&known.tenant, &known.id, &change, &nothing).await?.is_some())
    }

    /// Writes down that a key was used, unless that was done in the last five minutes.
    ///
    /// # Errors
    /// DynamoDB could not be reached.
    pub async fn used(&self, known: &KnownKey) -> Result<(), KeyError> {
        let now = self.clock.now();
        let text = |at: Timestamp| at.to_string().into_attribute();
        let used = Changes::new().set("last_used_at", text(now)).only_if(
            "attribute_exists(#pk) AND (attribute_not_exists(#last_used_at) OR #last_used_at < ?)",
            [text(now - USE_EVERY)],
        );
        match self.table.update(&owner_key(&known.tenant, &known.id), used).await? {
            Update::Applied(_) | Update::Refused(_) => Ok(()),
        }
    }

    /// Fetches the pepper ahead of the first key, at start-up.
    ///
    /// # Errors
    /// It could not be had.
    pub async fn warm_up(&self) -> Result<(), EnvError> {
        let unusable = |error| EnvError::Invalid { name: "API_KEY_SECRET".to_owned(), reason: error_chain(&error) };
        self.pepper().await.map(drop).map_err(unusable)
    }

    async fn pepper(&self) -> Result<std::sync::Arc<SecretValues>, KeyError> {
        self.secrets.get(&self.pepper_id).await.map_err(KeyError::Pepper)
    }
}

const REVOKED: KeyError = KeyError::NotActive("was revoked");

/// Conditions of a change of a key.
const IS_THERE: &str = "attribute_exists(#pk)";
const IS_GOOD: &str = "attribute_exists(#pk) AND attribute_not_exists(#revoked_at)";
const IS_AS_READ: &str = "attribute_not_exists(#lock) OR #lock = ?";

/// Changes of both rows of a key.
#[derive(Default)]
struct Columns {
    owner: Changes,
    known: Changes,
    touches_both: bool,
}

impl Columns {
    fn set(&mut self, name: &str, value: Option<AttributeValue>) {
        self.owner = std::mem::take(&mut self.owner).set_or_remove(name, value.clone());
        self.known = std::mem::take(&mut self.known).set_or_remove(name, value);
        self.touches_both = true;
    }

    /// The writes that make them, of a key as it was read. A revocation needs nothing but the key: it is right whatever
    /// else was changed, and must not wait for it.
    fn writes(self, about: &KeyAbout, revokes: bool) -> Vec<Write> {
        let condition = if revokes { IS_THERE } else { IS_GOOD };
        let mut owner = self.owner.add("lock", 1).only_if(condition, []);
        if !revokes {
            owner = owner.only_if(IS_AS_READ, [about.lock.into_attribute()]);
        }
        let mut writes = vec![Write::Update(owner_key(&about.tenant, &about.id), owner)];
        if self.touches_both {
            writes.push(Write::Update(key_of(&about.digest), self.known.only_if(condition, [])));
        }
        writes
    }
}

/// For anyone who has nothing to write with a key.
fn nothing(_: &KeyAbout) -> Result<Vec<Write>, DynamoError> {
    Ok(Vec::new())
}

/// The highest cost of a hash that is compared; each is twice as much work as the one below.
const OLD_MOST_COST: u32 = 14;

/// Whether a text is a bcrypt hash that does not cost too much to compare with.
pub fn is_payable(hash: &str) -> bool {
    hash.parse::<bcrypt::HashParts>().is_ok_and(|parts| parts.get_cost() <= OLD_MOST_COST)
}

/// Whether a bcrypt hash is a text's. One at a time in a process, and beside what it serves: a hash takes a good part of a
/// second.
pub async fn fits_bcrypt(text: String, hash: String) -> bool {
    static ONE: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(1);
    let Ok(_turn) = ONE.acquire().await else { return false };
    let compared = tokio::task::spawn_blocking(move || bcrypt::verify(text, &hash).unwrap_or(false));
    compared.await.unwrap_or(false)
}

fn pepper(values: &SecretValues) -> Result<Secret<String>, KeyError> {
    values.required("API_KEY_PEPPER").map_err(KeyError::Value)
}

/// The rows by which a tenant's keys are found. Who removes a tenant removes what [`key_row_of`] says of each, then the row.
pub fn owner_partitions(tenant: &str) -> [String; 2] {
    [owner_partition(tenant), old_owner_partition(tenant)]
}

/// The key that a row of [`owner_partitions`] stands for.
pub fn key_row_of(row: &Item) -> Option<Key> {
    let text = |name: &str| row.get(name)?.as_s().ok().cloned();
    match text("digest") {
        Some(digest) => Some(key_of(&digest)),
        None => Some(Key { pk: text("old_pk")?, sk: text("old_sk")? }),
    }
}

fn key_of(digest: &str) -> Key {
    Key { pk: format!("K#{digest}"), sk: "K".into() }
}

fn owner_partition(tenant: &str) -> String {
    format!("KEYS#{tenant}")
}

fn old_owner_partition(tenant: &str) -> String {
    format!("OLDKEYS#{tenant}")
}

fn owner_key(tenant: &str, id: &str) -> Key {
    Key { pk: owner_partition(tenant), sk: id.to_owned() }
}

fn old_partition(prefix: &str) -> String {
    format!("KL#{}", hex_sha256(&[prefix]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn old_keys_of_every_bcrypt_form_are_recognised() {
        let hash = bcrypt::hash("test_api_key_123", 4).unwrap();
        for form in ["$2a$", "$2b$", "$2y$"] {
            let hash = format!("{form}{}", &hash[4..]);
            assert!(fits_bcrypt("test_api_key_123".into(), hash.clone()).await, "{form}");
            assert!(!fits_bcrypt("test_api_key_124".into(), hash).await, "{form}");
        }
        assert!(!fits_bcrypt("x".into(), "nonsense".into()).await);
        assert!(is_payable(&hash) && !is_payable("nonsense") && !is_payable(&hash.replacen("$04$", "$31$", 1)));
    }
}
