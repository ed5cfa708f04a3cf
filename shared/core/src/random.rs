//! The workspace's only source of randomness: secrets, random identifiers, jitter.
//!
//! [`bytes`] and [`uuid()`] come from the operating system's cryptographic generator. [`fraction`] and [`below`] are for
//! spreading load in time and over partitions; they are fast and predictable, and must not become part of a secret.

use uuid::Uuid;

/// `N` bytes from the operating system's cryptographic generator, for keys, nonces, salts and tokens.
///
/// # Panics
/// The operating system has no random bytes to give. Nothing that needs a secret can go on without them.
#[expect(clippy::disallowed_methods, reason = "this is where everything else takes its secrets from")]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if let Err(error) = getrandom::fill(&mut bytes) {
        panic!("the operating system has no random bytes: {error}");
    }
    bytes
}

/// A random identifier (UUID v4). Identifiers that should sort by time are [`Clock::new_id`](crate::Clock::new_id)'s.
///
/// # Panics
/// As [`bytes`].
pub fn uuid() -> Uuid {
    uuid::Builder::from_random_bytes(bytes()).into_uuid()
}

/// A number in `0.0..1.0`, for jitter.
#[expect(clippy::disallowed_methods, reason = "this is where everything else takes its jitter from")]
pub fn fraction() -> f64 {
    fastrand::f64()
}

/// A number in `0..limit`, for jitter and for the choice of a partition; 0 when `limit` is 0.
#[expect(clippy::disallowed_methods, reason = "this is where everything else takes its choices from")]
pub fn below(limit: u64) -> u64 {
    if limit == 0 { 0 } else { fastrand::u64(0..limit) }
}

/// As [`below`], for the numbers of partitions.
#[expect(clippy::disallowed_methods, reason = "this is where everything else takes its choices from")]
pub fn below_u32(limit: u32) -> u32 {
    if limit == 0 { 0 } else { fastrand::u32(0..limit) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn bytes_fill_every_position_and_differ() {
        let drawn: Vec<[u8; 32]> = (0..64).map(|_| bytes()).collect();
        assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), 64);
        // A position that is never filled would be 0 in all of 64 draws.
        assert!((0..32).all(|at| drawn.iter().any(|bytes| bytes[at] != 0)));
    }

    #[test]
    fn random_identifiers_say_what_they_are() {
        let id = uuid();
        assert_eq!((id.get_version_num(), id.get_variant()), (4, uuid::Variant::RFC4122));
        assert_ne!(id, uuid());
    }

    #[test]
    fn jitter_stays_in_its_range_and_reaches_all_of_it() {
        let seen: BTreeSet<_> = (0..1_000).map(|_| below(4)).collect();
        assert_eq!(seen, BTreeSet::from([0, 1, 2, 3]));
        let seen: BTreeSet<_> = (0..1_000).map(|_| below_u32(3)).collect();
        assert_eq!(seen, BTreeSet::from([0, 1, 2]));
        assert_eq!((below(0), below_u32(0)), (0, 0));
        assert!((0..1_000).map(|_| fraction()).all(|part| (0.0..1.0).contains(&part)));
    }
}
