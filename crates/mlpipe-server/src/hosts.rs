//! By which names this server may be called. A page in a browser can point a name of its own at a loopback address (DNS
//! rebinding); the `Host` header then bears that name.

use std::net::IpAddr;

/// Names without ports, lower-case.
#[derive(Debug)]
pub struct AllowedHosts(Vec<String>);

impl AllowedHosts {
    /// Allows the names of the loopback, the address that is listened on, and `more`.
    pub fn new(address: IpAddr, more: &[String]) -> Self {
        let own = match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        let loopback = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned);
        Self(loopback.into_iter().chain([own]).chain(more.iter().map(|name| name.to_lowercase())).collect())
    }

    /// Tells whether a `Host` header names this server.
    pub fn allows(&self, host: &str) -> bool {
        let has_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let name = host.rsplit_once(':').filter(|(_, port)| has_port(port)).map_or(host, |(name, _)| name);
        self.0.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_names_are_allowed_whatever_the_port() {
        let hosts = AllowedHosts::new(IpAddr::from([10, 0, 0, 7]), &["Cache.Example".to_owned()]);
        for allowed in ["localhost:5000", "127.0.0.1", "[::1]:80", "10.0.0.7:5000", "cache.example"] {
            assert!(hosts.allows(allowed), "{allowed}");
        }
        for refused in ["", "evil.example:5000", "localhost.evil.example", "[::1", "10.0.0.8"] {
            assert!(!hosts.allows(refused), "{refused}");
        }
    }
}
