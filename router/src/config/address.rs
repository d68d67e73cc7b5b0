//! Where is a peer: a literal address or a name with a port?

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// `host:port`: an IPv6 literal in brackets, an IPv4 literal, or a DNS name resolved at every connect.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerAddress {
    text: String,
    literal: Option<SocketAddr>,
}

impl PeerAddress {
    /// The literal address, unless it is a name.
    #[must_use]
    pub fn literal(&self) -> Option<SocketAddr> {
        self.literal
    }

    /// `host:port` as configured, in the form a resolver takes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for PeerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Ok(literal) = text.parse::<SocketAddr>() {
            return match literal.port() {
                0 => Err(AddressError::Port),
                _ => Ok(Self { text: text.to_owned(), literal: Some(literal) }),
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or(AddressError::Port)?;
        if !matches!(port.parse::<u16>(), Ok(1..)) {
            return Err(AddressError::Port);
        }
        if !is_host_name(host) {
            return Err(AddressError::Host);
        }
        Ok(Self { text: text.to_owned(), literal: None })
    }
}

/// Why a text is no peer address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// No port, or not one from 1 to 65,535.
    #[error("has no port from 1 to 65535 after the last colon")]
    Port,
    /// The host is neither a literal nor a name.
    #[error("the host is neither a bracketed IPv6 address, an IPv4 address nor a DNS name")]
    Host,
}

fn is_host_name(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.len() <= 253 && host.split('.').all(label)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn literals_and_names_are_told_apart() {
        let literal: PeerAddress = "[fd00::1]:4713".parse().unwrap();
        assert!(literal.literal().is_some());
        let name: PeerAddress = "r1.kern.example:4713".parse().unwrap();
        assert!(name.literal().is_none());
    }

    #[test]
    fn what_cannot_be_dialled_is_refused() {
        for (text, error) in [
            ("fd00::1", AddressError::Host),
            ("[::1]:0", AddressError::Port),
            ("host", AddressError::Port),
            ("host:", AddressError::Port),
            ("ho st:1", AddressError::Host),
            ("-host:1", AddressError::Host),
        ] {
            assert_eq!(text.parse::<PeerAddress>(), Err(error), "{text}");
        }
    }
}
