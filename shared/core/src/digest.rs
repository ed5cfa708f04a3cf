//! Digests that become keys and choose partitions.

use sha2::{Digest, Sha256};

/// Lower-case hex SHA-256 of `parts`, each preceded by its length, so that `["a", "bc"]` and `["ab", "c"]` differ.
pub fn hex_sha256(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Which of so many shards a hex digest belongs to.
pub fn shard_of(digest: &str, shards: u32) -> u32 {
    digest.get(..4).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or(0) % shards
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_borders_count() {
        assert_ne!(hex_sha256(&["a", "bc"]), hex_sha256(&["ab", "c"]));
        assert_eq!(hex_sha256(&["a"]).len(), 64);
    }
}
