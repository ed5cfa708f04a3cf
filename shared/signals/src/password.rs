//! Passwords: kept as Argon2id hashes; bcrypt hashes from elsewhere are understood.

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use std::sync::OnceLock;
use switchyard_core::Secret;
use switchyard_io::keys::fits_bcrypt;
use tokio::sync::Semaphore;

/// Shortest and longest password, in characters.
pub const LENGTH: std::ops::RangeInclusive<usize> = 10..=128;

/// Hashes at a time in one process: each takes 19 MiB and a core.
static TURNS: Semaphore = Semaphore::const_new(2);

/// Hashing failed; that is our own fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("hashing a password")]
pub struct HashError;

/// The hash to keep.
pub(crate) async fn hash(password: &Secret<String>) -> Result<String, HashError> {
    let password = password.clone();
    at_the_side(move || {
        let hashed = Argon2::default().hash_password(password.expose().as_bytes());
        hashed.map(|hash| hash.to_string()).map_err(|_| HashError)
    })
    .await?
}

/// Whether a password is the one of a hash. Without a hash the answer is no, after as much work.
pub(crate) async fn fits(password: &Secret<String>, hash: Option<&str>) -> Result<bool, HashError> {
    if let Some(hash) = hash.filter(|hash| is_imported(hash)) {
        return Ok(fits_bcrypt(password.expose().clone(), hash.to_owned()).await);
    }
    let (password, hash) = (password.clone(), hash.map(str::to_owned));
    at_the_side(move || {
        let known = hash.as_deref().unwrap_or_else(|| nobodys());
        Argon2::default().verify_password(password.expose().as_bytes(), known).is_ok() && hash.is_some()
    })
    .await
}

/// Whether a hash came from elsewhere, so that it is replaced when its owner logs in.
pub(crate) fn is_imported(hash: &str) -> bool {
    ["$2a$", "$2b$", "$2y$"].iter().any(|form| hash.starts_with(form))
}

/// A hash that no password has.
fn nobodys() -> &'static str {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| {
        let random = switchyard_core::Uuid::new_v4();
        Argon2::default().hash_password(random.as_bytes()).map(|hash| hash.to_string()).unwrap_or_default()
    })
}

async fn at_the_side<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, HashError> {
    let _turn = TURNS.acquire().await.map_err(|_| HashError)?;
    tokio::task::spawn_blocking(work).await.map_err(|_| HashError)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn a_password_fits_its_own_hash_alone() {
        let hash = hash(&secret("correct horse")).await.unwrap();
        assert!(hash.starts_with("$argon2id$"));
        assert!(fits(&secret("correct horse"), Some(&hash)).await.unwrap());
        assert!(!fits(&secret("correct  horse"), Some(&hash)).await.unwrap());
        assert!(!fits(&secret("correct horse"), None).await.unwrap());
    }
}
