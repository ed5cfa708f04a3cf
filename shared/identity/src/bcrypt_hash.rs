//! bcrypt hashes that were made elsewhere: API keys and passwords are imported with them, and replaced on first use.

use tokio::sync::Semaphore;

/// The highest cost of a hash that is compared; each step doubles the work.
const MAX_COST: u32 = 14;

/// Prefixes of the hash formats that are understood.
const FORMATS: [&str; 3] = ["$2a$", "$2b$", "$2y$"];

/// Whether a hash has the prefix of a bcrypt format.
pub(crate) fn has_prefix(hash: &str) -> bool {
    FORMATS.iter().any(|format| hash.starts_with(format))
}

/// Whether a text is a bcrypt hash of a cost up to 14, which is cheap enough to compare with.
pub fn is_importable(hash: &str) -> bool {
    has_prefix(hash) && hash.parse::<bcrypt::HashParts>().is_ok_and(|parts| parts.get_cost() <= MAX_COST)
}

/// Whether a bcrypt hash is that of a text. Compares one at a time and off the event loop: a comparison takes a good part
/// of a second.
pub(crate) async fn matches(text: String, hash: String) -> bool {
    static PERMIT: Semaphore = Semaphore::const_new(1);
    let Ok(_permit) = PERMIT.acquire().await else { return false };
    let compared = tokio::task::spawn_blocking(move || bcrypt::verify(text, &hash).unwrap_or(false));
    compared.await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hashes_of_every_format_are_compared() {
        let hash = bcrypt::hash("test_api_key_123", 4).unwrap();
        for format in FORMATS {
            let hash = format!("{format}{}", &hash[4..]);
            assert!(matches("test_api_key_123".into(), hash.clone()).await, "{format}");
            assert!(!matches("test_api_key_124".into(), hash).await, "{format}");
        }
        assert!(!matches("x".into(), "nonsense".into()).await);
        assert!(is_importable(&hash));
        assert!(!is_importable("nonsense") && !is_importable(&hash.replacen("$04$", "$31$", 1)));
    }
}
