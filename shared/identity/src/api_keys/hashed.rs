//! Keys of an earlier service of which only a bcrypt hash is known. The first use of one replaces it with a normal row.

use super::row::hashed_owner_partition;
use super::{ApiKeys, KeyError, NewKey, VerifiedKey, pepper};
use crate::TenantId;
use crate::api_key::digest;
use crate::bcrypt_hash;
use serde::{Deserialize, Serialize};
use switchyard_core::{Secret, Timestamp, hex_sha256};
use switchyard_io::dynamo::{Create, Key};

/// Characters of a key by which its hash is looked up.
const PREFIX: usize = 16;

/// Longest key, in bytes: bcrypt reads no more.
const MAX_BYTES: usize = 72;

#[derive(Serialize, Deserialize)]
struct HashedRow {
    pk: String,
    sk: String,
    hash: String,
    tenant: TenantId,
    label: String,
    scopes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

/// Points from the owner to the key's row, so that the key is found when its owner is removed.
#[derive(Serialize, Deserialize)]
struct PointerRow {
    pk: String,
    sk: String,
    old_pk: String,
    old_sk: String,
}

impl PointerRow {
    fn new(row: &HashedRow) -> Self {
        let (old_pk, old_sk) = (row.pk.clone(), row.sk.clone());
        Self { pk: hashed_owner_partition(&row.tenant), sk: format!("{old_pk}#{old_sk}"), old_pk, old_sk }
    }
}

impl ApiKeys {
    /// Imports a key of which only the first 16 characters and the bcrypt hash (`$2a$`, `$2b$`, `$2y$`) are known. Returns
    /// `false` when it was imported before, or its hash costs too much to compare.
    ///
    /// # Errors
    /// DynamoDB could not be reached.
    pub async fn import_hashed(&self, new: &NewKey, prefix: &str, hash: &str) -> Result<bool, KeyError> {
        if !bcrypt_hash::is_importable(hash) {
            return Ok(false);
        }
        let row = HashedRow {
            pk: partition(prefix),
            sk: hex_sha256(&[hash]),
            hash: hash.to_owned(),
            tenant: new.tenant.clone(),
            label: new.label.clone(),
            scopes: new.scopes.clone(),
            expires_at: new.expires_at,
        };
        let pointer = PointerRow::new(&row);
        Ok(matches!(self.table.create_with(&row, &[pointer]).await?, Create::Created))
    }

    /// Compares a key with the hashes that share its prefix. The one that matches becomes a normal row, so that bcrypt runs
    /// once for each key.
    pub(super) async fn find_hashed(&self, text: &str) -> Result<Option<VerifiedKey>, KeyError> {
        if text.is_empty() || text.len() > MAX_BYTES {
            return Ok(None);
        }
        let prefix: String = text.chars().take(PREFIX).collect();
        for item in self.table.rows(&partition(&prefix), "").await? {
            let row: HashedRow = self.table.read(item)?;
            if !bcrypt_hash::matches(text.to_owned(), row.hash.clone()).await {
                continue;
            }
            let pointer = PointerRow::new(&row);
            let new = NewKey {
                tenant: row.tenant,
                label: row.label,
                scopes: row.scopes,
                expires_at: row.expires_at,
                is_live: false,
            };
            self.import(&new, &Secret::new(text.to_owned())).await?;
            self.table.delete(&Key { pk: row.pk, sk: row.sk }).await?;
            self.table.delete(&Key { pk: pointer.pk, sk: pointer.sk }).await?;
            let pepper = pepper(&*self.pepper().await?)?;
            return self.by_digest(&digest(text, &pepper)).await;
        }
        Ok(None)
    }
}

fn partition(prefix: &str) -> String {
    format!("KL#{}", hex_sha256(&[prefix]))
}
