//! An allow-list of source addresses.

use ipnet::IpNet;
use std::net::IpAddr;

/// Source addresses that may call. `*` alone admits every address; an unreadable entry admits none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IpAllowlist {
    /// `*`: every address.
    All,
    /// Only these networks.
    Only(Vec<IpNet>),
}

impl IpAllowlist {
    /// Reads a comma-separated list of IPv4 and IPv6 addresses and CIDR blocks.
    pub fn parse(text: &str) -> Self {
        if text.trim() == "*" {
            return Self::All;
        }
        let network =
            |entry: &str| entry.parse::<IpNet>().ok().or_else(|| entry.parse::<IpAddr>().ok().map(IpNet::from));
        Self::Only(text.split(',').map(str::trim).filter_map(network).collect())
    }

    /// Whether `source_ip` is admitted; IPv4-mapped IPv6 counts as the IPv4 address it wraps.
    pub fn admits(&self, source_ip: &str) -> bool {
        match (self, source_ip.parse::<IpAddr>()) {
            (Self::All, _) => true,
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
