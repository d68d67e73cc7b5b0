//! Who is at the other end of a link, judging by its leaf certificate?
//!
//! Gives the candidate link identities of WIRE 2.2 in the order in which the directory is asked for them. Whether an entry
//! lists one of them is decided by the core; whether the chain is good was decided by TLS.

use std::fmt;
use std::str::FromStr;

use kernpost_codecs::{Digest, LinkIdentity};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

mod name;

pub(crate) use name::rfc4514;

/// The trust domain of URI identities: the authority part of `spiffe://<trust domain>/…`. 1..=255 characters of
/// `a-z 0-9 - . _`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustDomain(String);

impl TrustDomain {
    /// The domain as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The URI identity of a name in this domain.
    #[must_use]
    pub fn uri(&self, name: &str) -> String {
        format!("spiffe://{}/{name}", self.0)
    }

    /// Whether `uri` names something in this domain.
    fn holds(&self, uri: &str) -> bool {
        uri.strip_prefix("spiffe://")
            .and_then(|rest| rest.split_once('/'))
            .is_some_and(|(domain, path)| domain == self.0 && !path.is_empty())
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TrustDomain {
    type Err = TrustDomainError;

    fn from_str(text: &str) -> Result<Self, TrustDomainError> {
        if text.is_empty() || text.len() > 255 {
            return Err(TrustDomainError::Length);
        }
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c);
        match text.chars().position(|c| !allowed(c)) {
            Some(position) => Err(TrustDomainError::Character(position + 1)),
            None => Ok(Self(text.to_owned())),
        }
    }
}

/// Why a text is no trust domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustDomainError {
    /// Empty or too long.
    #[error("a trust domain has 1 to 255 characters")]
    Length,
    /// The character at this position, from 1.
    #[error("character {0} is none of a-z 0-9 - . _ (write only the domain, without spiffe://)")]
    Character(usize),
}

/// A leaf certificate that cannot be read; the link is closed with `identity-unknown`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// No certificate at all: the handshake did not authenticate the peer.
    #[error("the peer presented no certificate; give it one that chains to a configured root")]
    Missing,
    /// Not DER, or extensions that cannot be parsed.
    #[error("the peer's certificate cannot be read ({0}); have it issued again")]
    Unreadable(String),
}

/// The link identities a leaf certificate (DER) gives, in the order of WIRE 2.2: URI, SPKI, DNS names, issuer and subject.
///
/// A certificate with two URI SANs has no URI identity, nor has one whose only URI lies in another trust domain.
///
/// # Errors
/// The certificate cannot be parsed.
pub fn link_identities(leaf: &[u8], trust_domain: &TrustDomain) -> Result<Vec<LinkIdentity>, IdentityError> {
    let unreadable = |error: &dyn fmt::Display| IdentityError::Unreadable(error.to_string());
    let (_, certificate) = X509Certificate::from_der(leaf).map_err(|error| unreadable(&error))?;
    let mut uris = Vec::new();
    let mut dns = Vec::new();
    for extension in certificate.extensions() {
        let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension() else {
            continue;
        };
        for general_name in &names.general_names {
            match general_name {
                GeneralName::URI(uri) => uris.push(*uri),
                GeneralName::DNSName(name) => dns.push(name.to_ascii_lowercase()),
                _ => {}
            }
        }
    }
    let mut identities = Vec::with_capacity(3 + dns.len());
    if let [uri] = uris.as_slice()
        && trust_domain.holds(uri)
    {
        identities.push(LinkIdentity::Uri((*uri).to_owned()));
    }
    identities.push(LinkIdentity::Spki(Digest::of(certificate.public_key().raw)));
    identities.extend(dns.into_iter().map(LinkIdentity::Dns));
    let issuer = rfc4514(certificate.issuer());
    let subject = rfc4514(certificate.subject());
    identities.push(LinkIdentity::Name(format!("{issuer}|{subject}")));
    Ok(identities)
}

/// [`link_identities`] of the certificate chain quinn hands out as a connection's peer identity.
///
/// # Errors
/// There is no certificate, or the leaf cannot be parsed.
pub fn peer_identities(
    connection: &quinn::Connection,
    trust_domain: &TrustDomain,
) -> Result<Vec<LinkIdentity>, IdentityError> {
    let chain = peer_chain(connection).ok_or(IdentityError::Missing)?;
    let leaf = chain.first().ok_or(IdentityError::Missing)?;
    link_identities(leaf, trust_domain)
}

/// The chain the peer presented, leaf first.
#[must_use]
pub fn peer_chain(connection: &quinn::Connection) -> Option<Vec<rustls::pki_types::CertificateDer<'static>>> {
    let chain = connection.peer_identity()?.downcast().ok()?;
    Some(*chain)
}

#[cfg(test)]
mod tests;
