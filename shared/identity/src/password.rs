//! Passwords: stored as Argon2id hashes; imported bcrypt hashes are verified too.

use crate::bcrypt_hash;
use argon2::password_hash;
use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use switchyard_core::{Secret, random};
use tokio::sync::Mutex;

/// Length of a password, in characters.
const LENGTH: std::ops::RangeInclusive<usize> = 10..=128;

/// The memory that passwords are hashed in, one at a time: 19 MiB, which an allocator would keep once for each thread.
static MEMORY: Mutex<Vec<Block>> = Mutex::const_new(Vec::new());

/// A password that is too short or too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must have {} to {} characters", LENGTH.start(), LENGTH.end())]
pub struct InvalidLength;

/// A new password.
///
/// # Errors
/// Its length is not within [`LENGTH`]; the error is to be read after the field's name.
pub fn parse(text: String) -> Result<Secret<String>, InvalidLength> {
    if LENGTH.contains(&text.chars().count()) { Ok(Secret::new(text)) } else { Err(InvalidLength) }
}

/// A password could not be hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("hashing a password")]
pub struct HashError;

/// Hashes a password.
///
/// # Errors
/// Argon2 failed, which is our own fault.
pub async fn hash(password: &Secret<String>) -> Result<String, HashError> {
    let password = password.clone();
    let made = off_event_loop(move |memory| make(&password, memory)).await?;
    made.map(|hash| hash.to_string()).map_err(|_| HashError)
}

/// Whether a password matches a hash. Without a hash it does not, after as much work.
pub(crate) async fn matches(password: &Secret<String>, hash: Option<&str>) -> Result<bool, HashError> {
    if let Some(hash) = hash.filter(|hash| is_imported(hash)) {
        let _guard = MEMORY.lock().await;
        return Ok(bcrypt_hash::matches(password.expose().clone(), hash.to_owned()).await);
    }
    let (password, hash) = (password.clone(), hash.map(str::to_owned));
    off_event_loop(move |memory| match hash {
        Some(hash) => compare(&password, &hash, memory).unwrap_or(false),
        None => {
            drop(make(&password, memory));
            false
        }
    })
    .await
}

/// Whether a hash was imported, so that it is replaced when its user signs in.
pub(crate) fn is_imported(hash: &str) -> bool {
    bcrypt_hash::has_prefix(hash)
}

/// Hashes with the current parameters.
fn make(password: &Secret<String>, memory: &mut Vec<Block>) -> password_hash::Result<PasswordHash> {
    let (argon, salt) = (Argon2::default(), Salt::new(&random::bytes::<16>())?);
    Ok(PasswordHash {
        algorithm: Algorithm::default().ident(),
        version: Some(Version::default().into()),
        params: argon.params().try_into()?,
        salt: Some(salt),
        hash: Some(hash_in(&argon, password, &salt, memory)?),
    })
}

/// Whether a password matches a hash, with the parameters of the hash.
fn compare(password: &Secret<String>, hash: &str, memory: &mut Vec<Block>) -> password_hash::Result<bool> {
    let hash = PasswordHash::new(hash)?;
    let (Some(salt), Some(known)) = (hash.salt, hash.hash) else { return Ok(false) };
    let version = hash.version.map(Version::try_from).transpose()?.unwrap_or_default();
    let argon = Argon2::new(hash.algorithm.as_str().try_into()?, version, Params::try_from(&hash)?);
    // Outputs compare in constant time.
    Ok(hash_in(&argon, password, &salt, memory)? == known)
}

fn hash_in(
    argon: &Argon2<'_>,
    password: &Secret<String>,
    salt: &[u8],
    memory: &mut Vec<Block>,
) -> password_hash::Result<Output> {
    let blocks = argon.params().block_count();
    if memory.len() < blocks {
        memory.resize(blocks, Block::new());
    }
    let mut output = vec![0; argon.params().output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN)];
    argon.hash_password_into_with_memory(password.expose().as_bytes(), salt, &mut output, memory)?;
    Ok(Output::new(&output)?)
}

/// Runs `work` with the memory on a blocking thread. A request that waits for the memory takes no thread.
async fn off_event_loop<T: Send + 'static>(
    work: impl FnOnce(&mut Vec<Block>) -> T + Send + 'static,
) -> Result<T, HashError> {
    let mut memory = MEMORY.lock().await;
    tokio::task::spawn_blocking(move || work(&mut memory)).await.map_err(|_| HashError)
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};

    /// Held by every test here: they share the memory that passwords are hashed in.
    static SERIAL: Mutex<()> = Mutex::const_new(());

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn a_password_matches_its_own_hash_only() {
        let _serial = SERIAL.lock().await;
        let hash = hash(&secret("correct horse")).await.unwrap();
        assert!(hash.starts_with("$argon2id$"));
        assert!(matches(&secret("correct horse"), Some(&hash)).await.unwrap());
        assert!(!matches(&secret("correct  horse"), Some(&hash)).await.unwrap());
        assert!(!matches(&secret("correct horse"), None).await.unwrap());
    }

    #[tokio::test]
    async fn hashes_of_other_argon2_parameters_are_verified() {
        let _serial = SERIAL.lock().await;
        let own = Argon2::default().hash_password_with_salt(b"password", &random::bytes::<16>()).unwrap().to_string();
        let known = [
            &own,
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
        ];
        for hash in known {
            assert!(matches(&secret("password"), Some(hash)).await.unwrap(), "{hash}");
            assert!(!matches(&secret("passwort"), Some(hash)).await.unwrap(), "{hash}");
        }
        let made = hash(&secret("password")).await.unwrap();
        assert!(Argon2::default().verify_password(b"password", &*made).is_ok(), "the library verifies our hash");
        assert!(!matches(&secret("password"), Some("$argon2id$v=19$m=256")).await.unwrap());
    }

    /// Where the memory lies, how large it is, and the end of what was hashed in it last.
    async fn memory() -> (usize, usize, Option<Vec<u64>>) {
        let memory = MEMORY.lock().await;
        (memory.as_ptr().addr(), memory.len(), memory.last().map(|block| block.as_ref().to_vec()))
    }

    #[tokio::test]
    async fn all_passwords_are_hashed_in_the_same_memory() {
        let _serial = SERIAL.lock().await;
        let made = hash(&secret("password")).await.unwrap();
        let (place, size, mut last) = memory().await;
        assert_eq!(size, Params::default().block_count());
        for known in [Some(&*made), None] {
            // The password of the hash would fill the memory as the hash did.
            matches(&secret("passwort"), known).await.unwrap();
            let now = memory().await;
            assert_eq!((now.0, now.1), (place, size));
            assert_ne!(now.2, last, "it was hashed there");
            last = now.2;
        }
    }
}
