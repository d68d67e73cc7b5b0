//! Which link identities does a leaf certificate carry, in the order of WIRE 2.2?
//!
//! URI, SPKI and DNS names. The `name:` form is matched only when it is configured: its text depends on the directory's
//! spelling of issuer and subject.

use kernpost_codecs::LinkIdentity;
use kernpost_codecs::digest::Digest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The identities of a DER certificate; empty when it cannot be read.
pub(crate) fn link_identities(leaf: &[u8], trust_domain: Option<&str>) -> Vec<LinkIdentity> {
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return Vec::new() };
    let (mut uris, mut dns) = (Vec::new(), Vec::new());
    for extension in certificate.extensions() {
        let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension() else { continue };
        for name in &names.general_names {
            match name {
                GeneralName::URI(uri) => uris.push(*uri),
                GeneralName::DNSName(name) => dns.push(name.to_ascii_lowercase()),
                _ => {}
            }
        }
    }
    let mut identities = Vec::with_capacity(2 + dns.len());
    if let [uri] = uris.as_slice()
        && in_domain(uri, trust_domain)
    {
        identities.push(LinkIdentity::Uri((*uri).to_owned()));
    }
    identities.push(LinkIdentity::Spki(Digest::of(certificate.public_key().raw)));
    identities.extend(dns.into_iter().map(LinkIdentity::Dns));
    identities
}

fn in_domain(uri: &str, trust_domain: Option<&str>) -> bool {
    let Some((domain, path)) = uri.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    !path.is_empty() && trust_domain.is_none_or(|wanted| wanted == domain)
}
