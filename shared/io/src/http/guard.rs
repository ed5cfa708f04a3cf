//! Which addresses a customer's URL may lead to.

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;
use switchyard_core::{Env, EnvError};

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

/// Where a customer's address may lead.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// Whether `http` will do; otherwise `https` only.
    pub allow_http: bool,
    /// Networks that are let in though they are not public, as `cargo dev` lets in this machine.
    pub allowed: Vec<IpNet>,
    /// The port of Lambda's Runtime API, which lives on a network that is not public and is never let in.
    pub runtime_port: Option<u16>,
}

impl Guard {
    /// Reads `WEBHOOK_ALLOW_HTTP` (true or false, default false), `WEBHOOK_ALLOW_CIDRS` (networks that are let in though they
    /// are not public, comma-separated) and `AWS_LAMBDA_RUNTIME_API`.
    ///
    /// # Errors
    /// A setting is wrong.
    pub fn from_env(env: &Env) -> Result<Self, EnvError> {
        let wrong = |error: ipnet::AddrParseError| EnvError::Invalid {
            name: "WEBHOOK_ALLOW_CIDRS".to_owned(),
            reason: error.to_string(),
        };
        let cidrs = env.optional("WEBHOOK_ALLOW_CIDRS").unwrap_or_default();
        let cidrs = cidrs.split(',').map(str::trim).filter(|text| !text.is_empty());
        // `host:port` on Lambda, an address with a path on this machine.
        let runtime = env.optional("AWS_LAMBDA_RUNTIME_API").unwrap_or_default();
        let runtime = runtime.trim_start_matches("http://").split('/').next().unwrap_or_default();
        Ok(Self {
            allow_http: env.parsed("WEBHOOK_ALLOW_HTTP", false)?,
            allowed: cidrs.map(|text| text.parse().map_err(wrong)).collect::<Result<_, _>>()?,
            runtime_port: runtime.rsplit(':').next().and_then(|port| port.parse().ok()),
        })
    }

    /// Whether the address may be called as it is written: its scheme, port and host. Names pass; they are checked when
    /// they resolve. The URL parser has already read decimal, octal and hex hosts as the IPv4 they mean.
    pub fn admits(&self, url: &reqwest::Url) -> bool {
        let is_scheme_fine = url.scheme() == "https" || (self.allow_http && url.scheme() == "http");
        let is_anonymous = url.username().is_empty() && url.password().is_none();
        let port = url.port_or_known_default().unwrap_or_default();
        // Where no such network is let in, nothing leads to the Runtime API, and another service may have the port.
        let is_runtime = !self.allowed.is_empty() && Some(port) == self.runtime_port;
        let is_port_fine = matches!(port, 80 | 443 | 1024..) && !is_runtime;
        let host = url.host_str().unwrap_or_default();
        let is_host_fine = match host.trim_start_matches('[').trim_end_matches(']').parse() {
            Ok(address) => self.admits_address(address),
            Err(_) => !host.is_empty(),
        };
        is_scheme_fine && is_anonymous && is_port_fine && is_host_fine
    }

    fn admits_address(&self, address: IpAddr) -> bool {
        let canonical = address.to_canonical();
        is_public(canonical) || self.allowed.iter().any(|network| network.contains(&canonical))
    }

    /// Resolves with the system's resolver and passes on admitted addresses only. The connector uses exactly what this
    /// answers, so a name cannot point elsewhere between check and use.
    pub(super) fn resolver(&self) -> Guarded {
        Guarded(self.clone())
    }
}

pub(super) struct Guarded(Guard);

/// A name that leads to no admitted address.
#[derive(Debug, thiserror::Error)]
#[error("the name leads to no admitted address")]
struct Blocked;

/// Whether it was the resolver's check that failed a request.
pub(super) fn was_refused(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source())
        .any(|error| error.is::<Blocked>())
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.0.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let admitted: Vec<SocketAddr> = found.filter(|address| guard.admits_address(address.ip())).collect();
            if admitted.is_empty() {
                return Err(Blocked.into());
            }
            Ok(Box::new(admitted.into_iter()) as Addrs)
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

    fn strict() -> Guard {
        Guard::default()
    }

    #[test]
    fn v41_addresses_written_out_are_checked_in_every_notation() {
        for url in [
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://0x7f000001/",
            "https://0177.0.0.1/",
            "https://127.1/",
            "https://169.254.169.254/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://[64:ff9b::a9fe:a9fe]/",
            "https://10.0.0.1/",
            "https://127.0.0.1./",
        ] {
            assert!(!strict().admits(&url.parse().unwrap()), "{url}");
        }
        for url in ["https://example.com/", "https://1.1.1.1/", "https://example.com:8443/", "https://example.com:80/"]
        {
            assert!(strict().admits(&url.parse().unwrap()), "{url}");
        }
    }

    #[test]
    fn scheme_user_and_port_are_checked() {
        for url in [
            "http://example.com/",
            "ftp://example.com/",
            "https://user@example.com/",
            "https://:secret@example.com/",
            "https://example.com:22/",
            "https://example.com:25/",
        ] {
            assert!(!strict().admits(&url.parse().unwrap()), "{url}");
        }
    }

    #[test]
    fn what_is_allowed_is_let_in_but_never_the_runtime_api() {
        let local =
            Guard { allow_http: true, allowed: vec!["127.0.0.1/32".parse().unwrap()], runtime_port: Some(9001) };
        assert!(local.admits(&"http://127.0.0.1:4000/webhook".parse().unwrap()));
        for url in ["http://127.0.0.1:9001/", "http://127.0.0.2:4000/", "http://10.0.0.1/", "http://[::1]:4000/"] {
            assert!(!local.admits(&url.parse().unwrap()), "{url}");
        }
        let deployed = Guard { runtime_port: Some(9001), ..strict() };
        assert!(deployed.admits(&"https://example.com:9001/".parse().unwrap()));
        assert!(!deployed.admits(&"https://127.0.0.1:9001/".parse().unwrap()));
    }

    #[test]
    fn the_runtime_api_is_known_in_either_form() {
        for (form, port) in [("127.0.0.1:9001", Some(9001)), ("http://127.0.0.1:4711/f-0", Some(4711)), ("", None)] {
            let env = Env::from_lookup(move |name| (name == "AWS_LAMBDA_RUNTIME_API").then(|| form.to_owned()));
            assert_eq!(Guard::from_env(&env).unwrap().runtime_port, port, "{form}");
        }
        let env = Env::from_lookup(|name| (name == "WEBHOOK_ALLOW_CIDRS").then(|| "10.0.0.0/8, x".to_owned()));
        assert!(Guard::from_env(&env).is_err());
    }

    #[tokio::test]
    async fn a_name_is_checked_when_it_resolves() {
        let resolve = async |guard: Guard| guard.resolver().resolve("localhost".parse().unwrap()).await.map(drop);
        let refused = resolve(strict()).await.unwrap_err();
        assert!(was_refused(&*refused));
        let local = Guard { allowed: vec!["127.0.0.0/8".parse().unwrap()], ..strict() };
        assert!(resolve(local).await.is_ok());
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
