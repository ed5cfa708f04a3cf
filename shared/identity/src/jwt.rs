//! JSON Web Tokens, signed with HMAC-SHA-256 and nothing else.
//!
//! `jsonwebtoken` reads and writes them, with the HMAC of the `hmac` crate as its only cryptography; the caller passes the
//! time.

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::signature::{Error as SignatureError, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use switchyard_core::Secret;

/// Tolerated difference between two machines' clocks, in seconds.
const LEEWAY_S: i64 = 30;

/// Shortest secret, in bytes: the output length of SHA-256.
const MIN_SECRET: usize = 32;

/// A secret that tokens are signed with.
#[derive(Clone, Debug)]
pub struct JwtKey(Secret<String>);

/// A secret that is too short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the secret that signs tokens must have at least {MIN_SECRET} random bytes")]
pub struct WeakSecret;

impl JwtKey {
    /// A key of at least 32 bytes.
    ///
    /// # Errors
    /// It is shorter.
    pub fn new(secret: Secret<String>) -> Result<Self, WeakSecret> {
        if secret.expose().len() < MIN_SECRET { Err(WeakSecret) } else { Ok(Self(secret)) }
    }
}

/// The issuer and audience of a token; both are verified.
#[derive(Clone, Copy, Debug)]
pub struct Issuer {
    /// `iss`.
    pub name: &'static str,
    /// `aud`.
    pub audience: &'static str,
}

/// Registered claims, and the caller's own.
#[derive(Serialize, Deserialize)]
struct AllClaims<T> {
    iss: String,
    aud: String,
    /// Epoch seconds.
    iat: i64,
    exp: i64,
    #[serde(flatten)]
    own: T,
}

/// Why a token is not valid. Clients are told no more than that it is not.
#[derive(Debug, thiserror::Error)]
pub enum BadToken {
    /// Malformed, or with another signature, issuer or audience.
    #[error("reading a token")]
    Refused(#[source] jsonwebtoken::errors::Error),
    /// It has expired, or was issued in the future.
    #[error("the token has expired or was issued in the future")]
    Untimely,
}

/// Signs a token with these claims that expires at `until`.
///
/// # Errors
/// The claims cannot be written as JSON.
pub fn sign(
    claims: &impl Serialize,
    issuer: Issuer,
    key: &JwtKey,
    now: Timestamp,
    until: Timestamp,
) -> Result<String, BadToken> {
    install();
    let claims = AllClaims {
        iss: issuer.name.to_owned(),
        aud: issuer.audience.to_owned(),
        iat: now.as_second(),
        exp: until.as_second(),
        own: claims,
    };
    let key = EncodingKey::from_secret(key.0.expose().as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).map_err(BadToken::Refused)
}

/// Verifies that one of `keys` signed a token, and returns its claims.
///
/// # Errors
/// See [`BadToken`].
pub fn verify<T: DeserializeOwned>(
    token: &str,
    issuer: Issuer,
    keys: &[JwtKey],
    now: Timestamp,
) -> Result<T, BadToken> {
    install();
    let mut rules = Validation::new(Algorithm::HS256);
    rules.set_required_spec_claims(&["exp", "iss", "aud"]);
    rules.set_issuer(&[issuer.name]);
    rules.set_audience(&[issuer.audience]);
    // Checked below, by `now`.
    rules.validate_exp = false;
    let mut refused = BadToken::Untimely;
    for key in keys {
        let key = DecodingKey::from_secret(key.0.expose().as_bytes());
        match jsonwebtoken::decode::<AllClaims<T>>(token, &key, &rules) {
            Ok(read) => {
                let (from, until) = (read.claims.iat - LEEWAY_S, read.claims.exp + LEEWAY_S);
                let is_timely = (from..=until).contains(&now.as_second());
                return if is_timely { Ok(read.claims.own) } else { Err(BadToken::Untimely) };
            }
            Err(error) => refused = BadToken::Refused(error),
        }
    }
    Err(refused)
}

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| Ok(Box::new(hs256(*algorithm, key.as_bytes())?)),
    verifier_factory: |algorithm, key| Ok(Box::new(hs256(*algorithm, key.try_get_as_bytes()?)?)),
    key_utils: KeyUtils::new_unimplemented(),
};

fn install() {
    // An error means that it is installed already.
    let (Ok(()) | Err(_)) = PROVIDER.install_default();
}

struct Hs256(Hmac<Sha256>);

fn hs256(algorithm: Algorithm, key: &[u8]) -> jsonwebtoken::errors::Result<Hs256> {
    if algorithm != Algorithm::HS256 {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    Hmac::new_from_slice(key).map(Hs256).map_err(|_| ErrorKind::InvalidKeyFormat.into())
}

impl Signer<Vec<u8>> for Hs256 {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, SignatureError> {
        Ok(self.0.clone().chain_update(message).finalize().into_bytes().to_vec())
    }
}

impl Verifier<Vec<u8>> for Hs256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), SignatureError> {
        self.0.clone().chain_update(message).verify_slice(signature).map_err(|_| SignatureError::new())
    }
}

impl JwtSigner for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    const ISSUER: Issuer = Issuer { name: "switchyard", audience: "api" };

    fn key(letter: &str) -> JwtKey {
        JwtKey::new(Secret::new(letter.repeat(32))).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn read(token: &str, keys: &[JwtKey], second: i64) -> Result<Value, BadToken> {
        verify(token, ISSUER, keys, at(second))
    }

    #[test]
    fn a_token_is_valid_in_its_time_and_for_its_audience() {
        let token = sign(&json!({"sub": "u"}), ISSUER, &key("a"), at(1_000), at(1_600)).unwrap();
        assert_eq!(read(&token, &[key("a")], 1_630).unwrap()["sub"], "u");
        for second in [969, 1_631] {
            assert!(matches!(read(&token, &[key("a")], second), Err(BadToken::Untimely)), "{second}");
        }
        let other = Issuer { audience: "elsewhere", ..ISSUER };
        assert!(verify::<Value>(&token, other, &[key("a")], at(1_100)).is_err());
    }

    #[test]
    fn an_earlier_secret_verifies_and_an_unknown_one_does_not() {
        let token = sign(&json!({}), ISSUER, &key("b"), at(0), at(600)).unwrap();
        assert!(read(&token, &[key("a"), key("b")], 1).is_ok());
        assert!(matches!(read(&token, &[key("a")], 1), Err(BadToken::Refused(_))));
        assert!(read(&token, &[], 1).is_err());
    }

    #[test]
    fn other_algorithms_and_changed_claims_are_refused() {
        let token = sign(&json!({"role": "member"}), ISSUER, &key("a"), at(0), at(600)).unwrap();
        let parts: Vec<_> = token.split('.').collect();
        let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let claims = json!({"role": "owner", "iss": "switchyard", "aud": "api", "iat": 0, "exp": 600});
        let forged = [
            format!("{}.{}.{}", parts[0], encode(claims.clone()), parts[2]),
            format!("{}.{}.", encode(json!({"alg": "none", "typ": "JWT"})), encode(claims.clone())),
            format!("{}.{}.{}", encode(json!({"alg": "HS512", "typ": "JWT"})), parts[1], parts[2]),
            format!("{}.{}", parts[0], parts[1]),
            String::new(),
        ];
        for token in forged {
            assert!(matches!(read(&token, &[key("a")], 1), Err(BadToken::Refused(_))), "{token}");
        }
    }

    #[test]
    fn short_secrets_are_refused() {
        assert_eq!(JwtKey::new(Secret::new("change-me".to_owned())).err(), Some(WeakSecret));
    }
}
