//! Which addresses a customer's URL may lead to.

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

/// Networks that are not the public internet: private, loopback, link-local, shared, documentation, multicast,
/// reserved, and the IPv6 forms that wrap an IPv4 address (IANA special-purpose registries, read 2026-11-24).
static REFUSED: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
    [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    ]
    .iter()
    .filter_map(|network| network.parse().ok())
    .collect()
});

/// Whether `address` is a public unicast address.
pub fn is_public(address: IpAddr) -> bool {
    let address = address.to_canonical();
    !REFUSED.iter().any(|network| network.contains(&address))
}

/// Whether the host, where it is an address written out in any notation, is public. Names pass: [`PublicOnly`] checks
/// them when they resolve. The URL parser has already read decimal, octal and hex hosts as the IPv4 they mean.
pub(super) fn host_may_be_public(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    match host.trim_start_matches('[').trim_end_matches(']').parse() {
        Ok(address) => is_public(address),
        Err(_) => !host.is_empty(),
    }
}

/// Resolves with the system's resolver and passes on public addresses only. The connector uses exactly what this
/// answers, so a name cannot point elsewhere between check and use.
pub(super) struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err("the name leads to no public address".into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_network_of_the_list_parses() {
        assert_eq!(REFUSED.len(), 27);
    }

    #[test]
    fn addresses_written_out_are_checked_in_every_notation() {
        for url in [
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://127.1/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://user@10.0.0.1/",
            "https://127.0.0.1./",
        ] {
            assert!(!host_may_be_public(&url.parse().unwrap()), "{url}");
        }
        for url in ["https://example.com/", "https://1.1.1.1/"] {
            assert!(host_may_be_public(&url.parse().unwrap()), "{url}");
        }
    }

    #[test]
    fn only_public_addresses_pass() {
        for public in ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "fe80::1",
            "fc00::1",
            "224.0.0.1",
            "255.255.255.255",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
    }
}
