//! Values that are kept sealed: AES-256-GCM under a key that only Secrets Manager holds.
//!
//! The secret is `{"current": "k1", "k1": "<text of high entropy>"}`. To replace the key, add `k2` and make it `current`:
//! what `k1` sealed still opens, since every sealed value names its key. [`crate::reseal`] frees `k1` for removal.

use crate::secrets::{SecretError, SecretValues, Secrets};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use std::fmt;
use switchyard_core::{Classify, Disposition, Env, EnvError, Secret, random};

/// A sealed value as it is kept: `<key id>.<base64url of nonce and ciphertext>`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(String);

impl Sealed {
    /// What a row holds.
    pub(crate) fn from_kept(text: String) -> Self {
        Self(text)
    }

    /// As it is kept.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the key that it is sealed under; empty when it names none.
    pub fn key_id(&self) -> &str {
        self.0.rsplit_once('.').map_or("", |(id, _)| id)
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[sealed]")
    }
}

/// Why a value could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The keys could not be fetched.
    #[error("fetching the data keys")]
    Keys(#[source] SecretError),
    /// The secret does not hold the key that is asked for. Permanent.
    #[error("the data keys lack one")]
    MissingKey(#[source] EnvError),
    /// The value was not sealed here, or not for this place. Permanent.
    #[error("the sealed value does not open")]
    Broken,
}

impl Classify for VaultError {
    fn disposition(&self) -> Disposition {
        match self {
            Self::Keys(source) => source.disposition(),
            Self::MissingKey(_) | Self::Broken => Disposition::Permanent,
        }
    }
}

/// Seals values and opens them.
#[derive(Clone)]
pub struct Vault {
    secrets: Secrets,
    secret_id: String,
}

impl Vault {
    /// Reads `DATA_KEY_SECRET`: name or ARN of the secret. It is fetched when the first value is sealed or opened.
    ///
    /// # Errors
    /// The setting is missing.
    pub fn from_env(secrets: &Secrets, env: &Env) -> Result<Self, EnvError> {
        Ok(Self { secrets: secrets.clone(), secret_id: env.required("DATA_KEY_SECRET")? })
    }

    /// The name of the key that values are sealed under now.
    ///
    /// # Errors
    /// The keys cannot be fetched, or name no current one.
    pub async fn current_key(&self) -> Result<String, VaultError> {
        let keys = self.secrets.get(&self.secret_id).await.map_err(VaultError::Keys)?;
        Ok(keys.required("current").map_err(VaultError::MissingKey)?.expose().clone())
    }

    /// Seals `plain` for `context`, the place where it is kept: it opens nowhere else.
    ///
    /// # Errors
    /// The current key cannot be had.
    pub async fn seal(&self, context: &str, plain: &str) -> Result<Sealed, VaultError> {
        let keys = self.secrets.get(&self.secret_id).await.map_err(VaultError::Keys)?;
        let id = keys.required("current").map_err(VaultError::MissingKey)?.expose().clone();
        let key = key(&keys, &id)?;
        let nonce = random::bytes::<NONCE_LEN>();
        let mut sealed = plain.as_bytes().to_vec();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), &mut sealed)
            .map_err(|_| VaultError::Broken)?;
        Ok(Sealed(format!("{id}.{}", URL_SAFE_NO_PAD.encode([&nonce, sealed.as_slice()].concat()))))
    }

    /// Opens what was sealed for `context`.
    ///
    /// # Errors
    /// The key cannot be had, or the value was sealed elsewhere.
    pub async fn open(&self, context: &str, sealed: &Sealed) -> Result<Secret<String>, VaultError> {
        let (id, text) = sealed.0.rsplit_once('.').ok_or(VaultError::Broken)?;
        let mut keys = self.secrets.get(&self.secret_id).await.map_err(VaultError::Keys)?;
        if keys.required(id).is_err() {
            // Another process may know a newer key.
            keys = self.secrets.refreshed(&self.secret_id).await.map_err(VaultError::Keys)?;
        }
        let key = key(&keys, id)?;
        let mut bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| VaultError::Broken)?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN).ok_or(VaultError::Broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| VaultError::Broken)?;
        let plain = key.open_in_place(nonce, Aad::from(context), sealed).map_err(|_| VaultError::Broken)?;
        String::from_utf8(plain.to_vec()).map(Secret::new).map_err(|_| VaultError::Broken)
    }
}

/// The secret's texts are of any length; their digests are keys.
fn key(keys: &SecretValues, id: &str) -> Result<LessSafeKey, VaultError> {
    let text = keys.required(id).map_err(VaultError::MissingKey)?;
    let key = UnboundKey::new(&AES_256_GCM, digest(&SHA256, text.expose().as_bytes()).as_ref());
    Ok(LessSafeKey::new(key.map_err(|_| VaultError::Broken)?))
}
