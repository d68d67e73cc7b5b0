//! Which network addresses do the configured peers have now?
//!
//! Filled whenever a peer's name is resolved: before each dial, and now and then for peers that dial us, so that the
//! handshake gate knows them. A name that cannot be resolved keeps the addresses it had.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::config::PeerSection;

/// Addresses by peer. Bounded by the configured peers × 16.
#[derive(Debug)]
pub struct PeerAddresses {
    ipv4: bool,
    known: ArcSwap<Vec<(String, Vec<IpAddr>)>>,
}

/// Addresses kept and tried per name.
const MOST_ADDRESSES: usize = 16;

impl PeerAddresses {
    /// Knows literal addresses at once. `ipv4` says whether IPv4 addresses are used.
    #[must_use]
    pub fn new(peers: &[PeerSection], ipv4: bool) -> Self {
        let known = peers.iter().filter_map(|peer| {
            let literal = peer.address.literal()?;
            Some((peer.address.to_string(), vec![literal.ip()]))
        });
        Self { ipv4, known: ArcSwap::from_pointee(known.collect()) }
    }

    /// Whether a configured peer has this address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.known.load().iter().any(|(_, held)| held.contains(&address))
    }

    /// The configured address of the peer that is there now; of several, the first that was known.
    #[must_use]
    pub fn configured(&self, address: IpAddr) -> Option<String> {
        self.known.load().iter().find(|(_, held)| held.contains(&address)).map(|(name, _)| name.clone())
    }

    /// The peer's addresses now.
    ///
    /// # Errors
    /// The name has no usable address; a sentence says why.
    pub async fn resolve(&self, peer: &PeerSection) -> Result<Vec<SocketAddr>, String> {
        if let Some(literal) = peer.address.literal() {
            return Ok(vec![literal]);
        }
        let name = peer.address.as_str();
        let found =
            tokio::net::lookup_host(name).await.map_err(|error| format!("{name} cannot be resolved: {error}"))?;
        let usable = found.filter(|address| address.is_ipv6() || self.ipv4);
        let addresses: Vec<SocketAddr> = usable.take(MOST_ADDRESSES).collect();
        if addresses.is_empty() {
            return Err(format!("{name} has no IPv6 address (and listen.ipv4 decides about IPv4)"));
        }
        self.remember(name, addresses.iter().map(SocketAddr::ip).collect());
        Ok(addresses)
    }

    fn remember(&self, name: &str, addresses: Vec<IpAddr>) {
        self.known.rcu(|known| {
            let mut known = Vec::clone(known);
            known.retain(|(held, _)| held != name);
            known.push((name.to_owned(), addresses.clone()));
            Arc::new(known)
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn literals_are_known_at_once_and_names_once_resolved() {
        let peer = |router: &str, address: &str| PeerSection {
            router: router.parse().unwrap(),
            address: address.parse().unwrap(),
            line: None,
        };
        let peers = [peer("kern/router/r2", "[fd00::2]:1"), peer("kern/router/r3", "r3.example:1")];
        let addresses = PeerAddresses::new(&peers, false);
        assert!(addresses.contains("fd00::2".parse().unwrap()));
        let third: IpAddr = "fd00::3".parse().unwrap();
        assert!(!addresses.contains(third));
        addresses.remember("r3.example:1", vec![third]);
        assert!(addresses.contains(third));
        assert_eq!(addresses.configured(third).as_deref(), Some("r3.example:1"));
        assert_eq!(addresses.configured("fd00::4".parse().unwrap()), None);
    }
}
