//! Signatures of webhooks: Standard Webhooks v1.0.0, and those over the body alone.
//!
//! Signed is `{webhook-id}.{webhook-timestamp}.{body}` with HMAC-SHA256; the header lists one `v1,<base64>` for each
//! secret in force, so that a receiver may hold the old or the new one while they change.

use crate::{Secret, random};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::Sha256;
use std::time::Duration;
use subtle::ConstantTimeEq as _;

const PREFIX: &str = "whsec_";

/// How far a receiver lets a timestamp be from its own clock.
pub const TOLERANCE: Duration = Duration::from_secs(300);

/// Why a message is not taken for genuine.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Mismatch {
    /// The secret is not `whsec_` and base64.
    #[error("the secret is not whsec_ followed by base64")]
    Secret,
    /// The timestamp is not a number of seconds.
    #[error("webhook-timestamp is not a number of seconds")]
    Timestamp,
    /// Too old, or from the future.
    #[error("webhook-timestamp is more than five minutes away")]
    Stale,
    /// No signature in the list fits.
    #[error("no signature fits")]
    Signature,
}

/// A new secret of 32 random bytes; the standard asks for 24 to 64.
pub fn new_secret() -> Secret<String> {
    Secret::new(format!("{PREFIX}{}", STANDARD.encode(random::bytes::<32>())))
}

/// The `webhook-signature` header for a message signed with each of `secrets`.
///
/// # Errors
/// A secret is not `whsec_` and base64.
pub fn signatures<'a>(
    secrets: impl IntoIterator<Item = &'a str>,
    id: &str,
    timestamp_s: i64,
    body: &str,
) -> Result<String, Mismatch> {
    let content = format!("{id}.{timestamp_s}.{body}");
    let signed: Vec<_> = secrets
        .into_iter()
        .map(|secret| Ok(format!("v1,{}", STANDARD.encode(hmac_sha256(&key(secret)?, content.as_bytes())))))
        .collect::<Result<_, Mismatch>>()?;
    Ok(signed.join(" "))
}

/// Checks a received message as its receiver should.
///
/// # Errors
/// See [`Mismatch`].
pub fn verify(
    secret: &str,
    id: &str,
    timestamp: &str,
    signature: &str,
    body: &str,
    now: Timestamp,
) -> Result<(), Mismatch> {
    let seconds: i64 = timestamp.parse().map_err(|_| Mismatch::Timestamp)?;
    if now.as_second().abs_diff(seconds) > TOLERANCE.as_secs() {
        return Err(Mismatch::Stale);
    }
    let wanted = signatures([secret], id, seconds, body)?;
    let fits = |given: &str| bool::from(given.as_bytes().ct_eq(wanted.as_bytes()));
    if signature.split(' ').any(fits) { Ok(()) } else { Err(Mismatch::Signature) }
}

/// The header of the service this one replaces: `sha256=<hex>` over the body alone.
pub fn legacy(secret: &str, body: &str) -> String {
    let hex: String =
        hmac_sha256(secret.as_bytes(), body.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

/// Whether `signature` is the base64 of HMAC-SHA256 over the body alone, as Shopify signs.
pub fn signs_body(secret: &str, signature: &str, body: &[u8]) -> bool {
    let wanted = STANDARD.encode(hmac_sha256(secret.as_bytes(), body));
    bool::from(signature.as_bytes().ct_eq(wanted.as_bytes()))
}

fn key(secret: &str) -> Result<Vec<u8>, Mismatch> {
    STANDARD.decode(secret.strip_prefix(PREFIX).ok_or(Mismatch::Secret)?).map_err(|_| Mismatch::Secret)
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY_B: &str = r#"{"eventId":"01938f6a-7c00-7a11-8b22-0c0ffee00001","event":"sync.completed","timestamp":"2026-01-05T10:00:00.000Z","organizationId":"org-1","storeId":"01938f6a-0000-7000-8000-000000000001","data":{"storeId":"01938f6a-0000-7000-8000-000000000001","processedCount":2,"successCount":1,"failedCount":1,"rateLimitedCount":0}}"#;
    const ID_B: &str = "01938f6a-7c00-7a11-8b22-0c0ffee00001";

    #[test]
    fn v37_the_standards_own_example() {
        let body = r#"{"test": 2432232314}"#;
        let signed =
            signatures(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signed.unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn v38_new_and_old_secret_both_sign() {
        assert_eq!(BODY_B.len(), 319);
        let old: Vec<u8> = (0x20..0x40).collect();
        let old = format!("whsec_{}", STANDARD.encode(old));
        let new = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let signed = signatures([new, &old], ID_B, 1_767_607_200, BODY_B).unwrap();
        assert_eq!(
            signed,
            "v1,aUlsGdApnojOV2Pi8OH7cctDpwBraJGQtBGH6KHSXKo= v1,CSTBkobP79BdloSesBFGV6tbChTX9wJ4k9AYNgkZy1E="
        );
        let now = Timestamp::from_second(1_767_607_200).unwrap();
        for secret in [new, old.as_str()] {
            assert_eq!(verify(secret, ID_B, "1767607200", &signed, BODY_B, now), Ok(()));
        }
        assert_eq!(verify(new, ID_B, "1767607200", &signed, "{}", now), Err(Mismatch::Signature));
        assert_eq!(verify(new, "other", "1767607200", &signed, BODY_B, now), Err(Mismatch::Signature));
        let later = now + Duration::from_secs(301);
        assert_eq!(verify(new, ID_B, "1767607200", &signed, BODY_B, later), Err(Mismatch::Stale));
        assert_eq!(verify(new, ID_B, "soon", &signed, BODY_B, now), Err(Mismatch::Timestamp));
        assert_eq!(verify("nonsense", ID_B, "1767607200", &signed, BODY_B, now), Err(Mismatch::Secret));
    }

    #[test]
    fn v39_the_legacy_signature() {
        let wanted = "sha256=b23b4bc7ddcf7d1ad0af8d4cc25a5a23c551ad12238d3ec2415e7b408dff0e5f";
        assert_eq!(legacy("demo-secret", BODY_B), wanted);
    }

    #[test]
    fn a_signature_over_the_body_alone() {
        // RFC 4231, test case 2.
        let hex = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let bytes: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect();
        let signed = STANDARD.encode(bytes);
        assert!(signs_body("Jefe", &signed, b"what do ya want for nothing?"));
        assert!(!signs_body("Jefe", &signed, b"what do ya want for nothing!"));
        assert!(!signs_body("Jefe", "", b"what do ya want for nothing?"));
    }

    #[test]
    fn new_secrets_differ_and_have_the_standards_length() {
        let (one, two) = (new_secret(), new_secret());
        assert_ne!(one.expose(), two.expose());
        assert_eq!(key(one.expose()).unwrap().len(), 32);
    }
}
