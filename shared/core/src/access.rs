//! Who may call: Basic credentials compared in constant time, and an allow-list of addresses.

use crate::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use subtle::ConstantTimeEq;

/// One user name and password, for HTTP Basic (RFC 7617).
#[derive(Clone, Debug)]
pub struct BasicCredentials {
    /// Must not contain a colon.
    pub user: String,
    /// Any text.
    pub password: Secret<String>,
}

impl BasicCredentials {
    /// The `Authorization` header that presents these credentials.
    pub fn header(&self) -> Secret<String> {
        Secret::new(format!("Basic {}", STANDARD.encode(format!("{}:{}", self.user, self.password.expose()))))
    }

    /// Whether `header`, an `Authorization` value, presents exactly these credentials.
    ///
    /// Both sides are hashed first, so that neither length nor content shows in the time taken.
    pub fn accepts(&self, header: Option<&str>) -> bool {
        let given = header
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
            .and_then(|(_, token)| STANDARD.decode(token.trim()).ok())
            .unwrap_or_default();
        let wanted = format!("{}:{}", self.user, self.password.expose());
        Sha256::digest(&given).ct_eq(&Sha256::digest(wanted.as_bytes())).into()
    }
}

/// Addresses that may call. `*` alone admits everyone; an entry that cannot be read admits no one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IpAllowlist {
    /// `*`: no check.
    Everyone,
    /// Only these networks.
    Only(Vec<IpNet>),
}

impl IpAllowlist {
    /// Reads a comma-separated list of IPv4 and IPv6 addresses and CIDR blocks.
    pub fn parse(text: &str) -> Self {
        if text.trim() == "*" {
            return Self::Everyone;
        }
        let network =
            |entry: &str| entry.parse::<IpNet>().ok().or_else(|| entry.parse::<IpAddr>().ok().map(IpNet::from));
        Self::Only(text.split(',').map(str::trim).filter_map(network).collect())
    }

    /// Whether `source_ip` is admitted; IPv4-mapped IPv6 counts as the IPv4 address it wraps.
    pub fn admits(&self, source_ip: &str) -> bool {
        match (self, source_ip.parse::<IpAddr>()) {
            (Self::Everyone, _) => true,
            (Self::Only(networks), Ok(ip)) => {
                let ip = ip.to_canonical();
                networks.iter().any(|network| network.trunc().contains(&ip))
            }
            (Self::Only(_), Err(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_accepts_only_the_exact_pair() {
        let credentials = BasicCredentials { user: "alis".into(), password: Secret::new("p:w".into()) };
        assert!(credentials.accepts(Some(credentials.header().expose())));
        assert!(credentials.accepts(Some("basic YWxpczpwOnc=")));
        for wrong in
            [None, Some(""), Some("Basic"), Some("Basic ???"), Some("Bearer YWxpczpwOnc="), Some("Basic YWxpczo=")]
        {
            assert!(!credentials.accepts(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn v6_allowlist_unwraps_mapped_addresses_and_ignores_bad_entries() {
        let list = IpAllowlist::parse("40.122.155.32/30, nonsense ,2001:db8::/32");
        for inside in ["40.122.155.32", "40.122.155.33", "::ffff:40.122.155.35", "2001:db8::1"] {
            assert!(list.admits(inside), "{inside}");
        }
        for outside in ["40.122.155.36", "9.9.9.9", "", "40.122.155.33, 9.9.9.9"] {
            assert!(!list.admits(outside), "{outside}");
        }
        assert!(!IpAllowlist::parse("nonsense").admits("9.9.9.9"));
        assert!(!IpAllowlist::parse("").admits("9.9.9.9"));
        assert!(IpAllowlist::parse(" * ").admits("9.9.9.9"));
    }
}
