//! API keys: `so_<live|test>_<kid>_<secret><check>`.
//!
//! `kid` is 12 characters of lower-case base 32 and may be shown; `secret` is 43 of base 62, 256 random bits; `check` is
//! the CRC-32 of all before it as 6 of base 62, so that typing errors and leaked keys are recognized without a look-up.
//! Stored is an HMAC of the whole key under a pepper: a key with 256 random bits needs no slow hash.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use switchyard_core::{Secret, random};

const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const KID: usize = 12;
const SECRET: usize = 43;
const CHECK: usize = 6;

/// A well-formed key, known or not.
#[derive(Clone, Debug)]
pub struct ApiKey(Secret<String>);

impl ApiKey {
    /// A new key. `is_live` only shows in its name.
    pub fn generate(is_live: bool) -> Self {
        let kid: String =
            random::bytes::<KID>().iter().map(|byte| char::from(BASE32[usize::from(byte % 32)])).collect();
        let head =
            format!("so_{}_{kid}_{}", if is_live { "live" } else { "test" }, base62(&random::bytes::<32>(), SECRET));
        Self(Secret::new(format!("{head}{}", check(&head))))
    }

    /// Parses a key; `None` when it is malformed.
    pub fn parse(text: &str) -> Option<Self> {
        let (head, sum) = text.is_ascii().then(|| text.split_at_checked(text.len().checked_sub(CHECK)?))??;
        let mut parts = head.splitn(4, '_');
        let is_named = parts.next() == Some("so") && matches!(parts.next(), Some("live" | "test"));
        let is_kid = parts.next().is_some_and(|kid| kid.len() == KID && kid.bytes().all(|byte| BASE32.contains(&byte)));
        let is_secret =
            parts.next().is_some_and(|text| text.len() == SECRET && text.bytes().all(|byte| BASE62.contains(&byte)));
        (is_named && is_kid && is_secret && sum == check(head)).then(|| Self(Secret::new(text.to_owned())))
    }

    /// The whole key, to be shown once.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// The start of the key, up to its kid; may be shown and logged.
    pub fn prefix(&self) -> &str {
        let text = self.0.expose();
        text.get(..text.len() - SECRET - CHECK - 1).unwrap_or_default()
    }
}

/// Whether a text has the form of a key that [`ApiKey::generate`] makes, check included.
pub fn is_well_formed(text: &str) -> bool {
    ApiKey::parse(text).is_some()
}

/// The digest that is stored for a key, in lower-case hex.
pub fn digest(text: &str, pepper: &Secret<String>) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(pepper.expose().as_bytes()) else { return String::new() };
    mac.update(text.as_bytes());
    let bytes = mac.finalize().into_bytes();
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|half| char::from(HEX[usize::from(half)])).collect()
}

/// A number of 256 bits, big-endian, in `width` digits.
fn base62(bytes: &[u8], width: usize) -> String {
    let mut number = bytes.to_vec();
    let mut digits: Vec<u8> = (0..width)
        .map(|_| {
            let mut rest = 0_u32;
            for byte in &mut number {
                rest = rest << 8 | u32::from(*byte);
                *byte = u8::try_from(rest / 62).unwrap_or_default();
                rest %= 62;
            }
            BASE62[rest as usize]
        })
        .collect();
    digits.reverse();
    String::from_utf8_lossy(&digits).into_owned()
}

fn check(head: &str) -> String {
    base62(&crc32fast::hash(head.as_bytes()).to_be_bytes(), CHECK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_parses_and_any_change_is_detected() {
        for is_live in [true, false] {
            let key = ApiKey::generate(is_live);
            assert_eq!(key.expose().len(), "so_live_".len() + KID + 1 + SECRET + CHECK);
            assert!(key.prefix().starts_with(if is_live { "so_live_" } else { "so_test_" }), "{}", key.prefix());
            assert_eq!(key.prefix().len(), "so_live_".len() + KID);
            assert!(ApiKey::parse(key.expose()).is_some());
            for at in 0..key.expose().len() {
                let mut changed = key.expose().to_owned().into_bytes();
                changed[at] = if changed[at] == b'a' { b'b' } else { b'a' };
                assert!(ApiKey::parse(&String::from_utf8(changed).unwrap()).is_none(), "position {at}");
            }
        }
        for text in ["", "so_", "so_live__", "ключ"] {
            assert!(ApiKey::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn digests_depend_on_key_and_pepper() {
        let (one, two) = (ApiKey::generate(true), ApiKey::generate(true));
        let (salt, pepper) = (Secret::new("salt".to_owned()), Secret::new("pepper".to_owned()));
        let of = |key: &ApiKey, pepper| digest(key.expose(), pepper);
        assert_ne!(of(&one, &pepper), of(&two, &pepper));
        assert_ne!(of(&one, &pepper), of(&one, &salt));
        assert_eq!(digest("Jefe", &salt).len(), 64);
    }

    #[test]
    fn base62_is_positional() {
        assert_eq!(base62(&[0, 61], 3), "00z");
        assert_eq!(base62(&[0, 62], 3), "010");
    }
}
