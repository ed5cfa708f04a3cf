//! Rows of API keys: one by digest, which a request is verified with, and one by owner, which the owner lists.

use crate::{ApiKeyId, TenantId};
use serde::{Deserialize, Serialize};
use switchyard_core::Timestamp;
use switchyard_io::dynamo::{AttributeValue, Changes, IntoAttribute as _, Item, Key, Write};

/// Conditions of a change of a key.
const EXISTS: &str = "attribute_exists(#pk)";
const IS_ACTIVE: &str = "attribute_exists(#pk) AND attribute_not_exists(#revoked_at)";
const IS_UNCHANGED: &str = "attribute_not_exists(#lock) OR #lock = ?";

/// A key as its owner sees it, without its secret part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeyRecord {
    pub(super) pk: String,
    pub(super) sk: String,
    pub(super) digest: String,
    /// The key's id.
    pub id: ApiKeyId,
    /// The tenant or organization that it belongs to.
    pub tenant: TenantId,
    /// What it is for.
    pub label: String,
    /// The start of the key, up to its kid; may be shown.
    pub prefix: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// The end that its owner set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires_at: Option<Timestamp>,
    /// The end that a rotation set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) grace_ends_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// When it was used last, to five minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
    /// The number of changes: a change is conditional on the key as it was read.
    #[serde(default)]
    pub(super) lock: i64,
}

impl ApiKeyRecord {
    /// When it expires, that instant included; `None` for never.
    pub fn ends_at(&self) -> Option<Timestamp> {
        earlier(self.expires_at, self.grace_ends_at)
    }

    /// Whether it has expired.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.ends_at().is_some_and(|end| now > end)
    }
}

/// What verifying a request needs of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedKey {
    pub(super) pk: String,
    pub(super) sk: String,
    /// The key's id.
    pub id: ApiKeyId,
    /// The tenant or organization that it belongs to.
    pub tenant: TenantId,
    /// What it may do.
    pub scopes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) grace_ends_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) revoked_at: Option<Timestamp>,
}

impl VerifiedKey {
    /// Whether it has expired.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        earlier(self.expires_at, self.grace_ends_at).is_some_and(|end| now > end)
    }
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

/// Changes of both rows of a key.
#[derive(Default)]
pub(super) struct Columns {
    pub(super) owner: Changes,
    by_digest: Changes,
    pub(super) touches_both: bool,
}

impl Columns {
    pub(super) fn set(&mut self, name: &str, value: Option<AttributeValue>) {
        self.owner = std::mem::take(&mut self.owner).set_or_remove(name, value.clone());
        self.by_digest = std::mem::take(&mut self.by_digest).set_or_remove(name, value);
        self.touches_both = true;
    }

    /// The writes that change a key as it was read. A revocation is conditional on the key's existence only: it is right
    /// whatever else was changed.
    pub(super) fn writes(self, key: &ApiKeyRecord, revokes: bool) -> Vec<Write> {
        let condition = if revokes { EXISTS } else { IS_ACTIVE };
        let mut owner = self.owner.add("lock", 1).only_if(condition, []);
        if !revokes {
            owner = owner.only_if(IS_UNCHANGED, [key.lock.into_attribute()]);
        }
        let mut writes = vec![Write::Update(owner_key(&key.tenant, &key.id), owner)];
        if self.touches_both {
            writes.push(Write::Update(digest_key(&key.digest), self.by_digest.only_if(condition, [])));
        }
        writes
    }
}

/// The partitions with a tenant's keys. To remove a tenant's keys, delete the row that [`target_of`] returns for
/// each of their rows, then the row itself.
pub fn owner_partitions(tenant: &TenantId) -> [String; 2] {
    [owner_partition(tenant), hashed_owner_partition(tenant)]
}

/// The key of the row that a row of [`owner_partitions`] points to.
pub fn target_of(row: &Item) -> Option<Key> {
    let text = |name: &str| row.get(name)?.as_s().ok().cloned();
    match text("digest") {
        Some(digest) => Some(digest_key(&digest)),
        None => Some(Key { pk: text("old_pk")?, sk: text("old_sk")? }),
    }
}

pub(super) fn digest_key(digest: &str) -> Key {
    Key { pk: format!("K#{digest}"), sk: "K".into() }
}

pub(super) fn owner_partition(tenant: &TenantId) -> String {
    format!("KEYS#{tenant}")
}

pub(super) fn hashed_owner_partition(tenant: &TenantId) -> String {
    format!("OLDKEYS#{tenant}")
}

pub(super) fn owner_key(tenant: &TenantId, id: &ApiKeyId) -> Key {
    Key { pk: owner_partition(tenant), sk: id.to_string() }
}
