//! Who is meant? Ids of zones, endpoints, routers, messages, link identities and directory versions.
//!
//! Text ids are checked once, when parsed, and are cheap to clone afterwards (WIRE 1.6, 1.7, 2.2, 3.5). This file
//! knows the form of ids only, not whether the directory lists them.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use crate::cbor::Writer;
use crate::digest::Digest;

/// The longest endpoint or router id, in bytes.
pub const LONGEST_ID: usize = 64;
/// The longest text of a link identity, with its prefix, in bytes.
pub const LONGEST_IDENTITY: usize = 768;

const LONGEST_LABEL: usize = 16;
const MOST_LABELS: usize = 4;
const LONGEST_NAME: usize = 40;

/// Why a text is not the id it should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what}: character {at}: {reason}")]
pub struct IdError {
    /// What was being parsed, for instance "endpoint id".
    pub what: &'static str,
    /// Position of the first character at fault, counted from 1.
    pub at: usize,
    /// What is wrong there.
    pub reason: IdFault,
}

/// What is wrong with an id at the position an [`IdError`] names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IdFault {
    /// A label of a zone is empty or begins or ends with `-`.
    #[error("a zone label begins and ends with a lower-case letter or a digit")]
    LabelEdge,
    /// A zone label is longer than 16 characters.
    #[error("a zone label has at most 16 characters")]
    LabelLength,
    /// A zone has more than 4 labels.
    #[error("a zone has at most 4 labels")]
    Labels,
    /// A name is empty or begins or ends with something else than a letter or digit.
    #[error("a name begins and ends with a lower-case letter or a digit")]
    NameEdge,
    /// A name is longer than 40 characters.
    #[error("a name has at most 40 characters")]
    NameLength,
    /// A character that is not allowed.
    #[error("only a-z, 0-9, - and . are allowed here")]
    Character,
    /// The `/` between zone and name is missing.
    #[error("expected zone/name")]
    Slash,
    /// The `/router/` between zone and name is missing.
    #[error("expected zone/router/name")]
    RouterSlash,
    /// The whole id is longer than 64 bytes.
    #[error("an id has at most 64 bytes")]
    Length,
    /// The text is not a UUID in the form 8-4-4-4-12 of lower-case hex digits.
    #[error("expected a UUID such as 0198a1b2-3c4d-7e5f-8a9b-0c1d2e3f4a5b")]
    Uuid,
    /// A link identity has no known prefix.
    #[error("expected uri:, spki:, dns: or name:")]
    Prefix,
    /// A link identity is empty or too long.
    #[error("a link identity has a value and at most 768 bytes")]
    IdentityLength,
    /// Not the SHA-256 in 64 hex digits.
    #[error("expected 64 lower-case hex digits")]
    Hex,
    /// Not a SPIFFE URI.
    #[error("expected spiffe://trust-domain/path")]
    Spiffe,
    /// Not a DNS name in lower case.
    #[error("expected a DNS name in lower case")]
    Dns,
    /// Not issuer and subject.
    #[error("expected issuer|subject")]
    Name,
}

/// A fault and the offset of the byte at fault.
type At<T> = Result<T, (usize, IdFault)>;

const fn is_alphanumeric(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9')
}

/// Checks a zone id; offsets are relative to its beginning.
fn check_zone(zone: &[u8]) -> At<()> {
    let (mut labels, mut start) = (1usize, 0usize);
    for (offset, &byte) in zone.iter().enumerate() {
        match byte {
            b'.' => {
                check_label(zone, start, offset)?;
                labels = labels.saturating_add(1);
                start = offset.saturating_add(1);
                if labels > MOST_LABELS {
                    return Err((start, IdFault::Labels));
                }
            }
            b'-' => {}
            _ if is_alphanumeric(byte) => {}
            _ => return Err((offset, IdFault::Character)),
        }
    }
    check_label(zone, start, zone.len())
}

fn check_label(zone: &[u8], start: usize, end: usize) -> At<()> {
    let label = zone.get(start..end).unwrap_or_default();
    if label.len() > LONGEST_LABEL {
        return Err((start.saturating_add(LONGEST_LABEL), IdFault::LabelLength));
    }
    check_edges(label, IdFault::LabelEdge).map_err(|(offset, fault)| (start.saturating_add(offset), fault))
}

fn check_edges(part: &[u8], fault: IdFault) -> At<()> {
    match (part.first(), part.last()) {
        (Some(&first), Some(&last)) if is_alphanumeric(first) && is_alphanumeric(last) => Ok(()),
        (Some(&first), Some(_)) if is_alphanumeric(first) => Err((part.len().saturating_sub(1), fault)),
        _ => Err((0, fault)),
    }
}

fn check_name(name: &[u8]) -> At<()> {
    if let Some(offset) = name.iter().position(|&byte| !is_alphanumeric(byte) && byte != b'-' && byte != b'.') {
        return Err((offset, IdFault::Character));
    }
    if name.len() > LONGEST_NAME {
        return Err((LONGEST_NAME, IdFault::NameLength));
    }
    check_edges(name, IdFault::NameEdge)
}

fn check_length(text: &[u8]) -> At<()> {
    if text.len() > LONGEST_ID { Err((LONGEST_ID, IdFault::Length)) } else { Ok(()) }
}

/// Checks `zone` + `separator` + `name`, where the zone ends at the first `/`.
fn check_scoped(text: &[u8], separator: &[u8], missing: IdFault) -> At<()> {
    check_length(text)?;
    let slash = text.iter().position(|&byte| byte == b'/').ok_or((text.len(), missing))?;
    let (zone, rest) = text.split_at_checked(slash).ok_or((slash, missing))?;
    check_zone(zone)?;
    let name = rest.strip_prefix(separator).ok_or((slash, missing))?;
    let start = slash.saturating_add(separator.len());
    check_name(name).map_err(|(offset, fault)| (start.saturating_add(offset), fault))
}

/// Turns a byte offset into a character position counted from 1.
fn located(what: &'static str, text: &str, result: At<()>) -> Result<(), IdError> {
    result.map_err(|(offset, reason)| {
        let at = text.char_indices().take_while(|&(start, _)| start < offset).count().saturating_add(1);
        IdError { what, at, reason }
    })
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether `text` is such an id; allocates nothing unless it is not.
            ///
            /// # Errors
            /// Names the first character at fault and the reason.
            pub fn check(text: &str) -> Result<(), IdError> {
                located($what, text, $check(text.as_bytes()))
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::check(text)?;
                Ok(Self(Arc::from(text)))
            }
        }

        impl TryFrom<&str> for $name {
            type Error = IdError;

            fn try_from(text: &str) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.as_str() == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.as_str() == *other
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), &self.0)
            }
        }
    };
}

text_id! {
    /// A zone of the directory: 1 to 4 labels joined by `.`, each 1 to 16 of `a-z 0-9 -` (WIRE 1.6).
    ZoneId, "zone id", check_zone
}

text_id! {
    /// An endpoint, `zone/name`, at most 64 bytes (WIRE 1.6).
    EndpointId, "endpoint id", |text| check_scoped(text, b"/", IdFault::Slash)
}

text_id! {
    /// A router, `zone/router/name`, at most 64 bytes (WIRE 1.6).
    RouterId, "router id", |text| check_scoped(text, b"/router/", IdFault::RouterSlash)
}

impl EndpointId {
    /// The id of a text that [`check`](Self::check) has accepted before.
    pub(crate) fn from_checked(text: &str) -> Self {
        debug_assert!(Self::check(text).is_ok(), "the text was not checked");
        Self(Arc::from(text))
    }

    /// The zone that maintains the endpoint.
    #[must_use]
    pub fn zone(&self) -> &str {
        self.0.split_once('/').map_or("", |(zone, _)| zone)
    }

    /// The name within the zone.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, name)| name)
    }
}

impl RouterId {
    /// The zone that maintains the router.
    #[must_use]
    pub fn zone(&self) -> &str {
        self.0.split_once('/').map_or("", |(zone, _)| zone)
    }

    /// The name within the zone.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(_, name)| name)
    }
}

/// Who signs a receipt: an endpoint or a router. A text with `/router/` is a router's id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// The recipient of a message.
    Endpoint(EndpointId),
    /// A router with custody.
    Router(RouterId),
}

impl Party {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Endpoint(id) => id.as_str(),
            Self::Router(id) => id.as_str(),
        }
    }
}

impl FromStr for Party {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.contains("/router/") { text.parse().map(Self::Router) } else { text.parse().map(Self::Endpoint) }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<EndpointId> for Party {
    fn from(id: EndpointId) -> Self {
        Self::Endpoint(id)
    }
}

impl From<RouterId> for Party {
    fn from(id: RouterId) -> Self {
        Self::Router(id)
    }
}

/// A message id: the 16 bytes of a UUIDv7, also the trace id. Receivers compare bytes only (WIRE 1.7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub [u8; 16]);

impl MessageId {
    /// A UUIDv7 from a time and 10 random bytes, of which 74 bits are used.
    #[must_use]
    pub const fn from_parts(at: crate::time::UnixMs, random: [u8; 10]) -> Self {
        let [_, _, t0, t1, t2, t3, t4, t5] = at.0.to_be_bytes();
        let [a0, a1, b0, b1, b2, b3, b4, b5, b6, b7] = random;
        Self([t0, t1, t2, t3, t4, t5, 0x70 | (a0 & 0x0f), a1, 0x80 | (b0 & 0x3f), b1, b2, b3, b4, b5, b6, b7])
    }

    /// The 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageId({self})")
    }
}

impl FromStr for MessageId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let fault = |at: usize| IdError { what: "message id", at: at.saturating_add(1), reason: IdFault::Uuid };
        let mut bytes = [0u8; 16];
        let mut nibbles = 0usize;
        for (position, found) in text.chars().enumerate() {
            if matches!(position, 8 | 13 | 18 | 23) {
                if found != '-' {
                    return Err(fault(position));
                }
                continue;
            }
            let digit = match found {
                '0'..='9' | 'a'..='f' => found.to_digit(16).and_then(|digit| u8::try_from(digit).ok()),
                _ => None,
            };
            let (Some(digit), Some(byte)) = (digit, bytes.get_mut(nibbles / 2)) else {
                return Err(fault(position));
            };
            *byte = *byte << 4 | digit;
            nibbles = nibbles.saturating_add(1);
        }
        if nibbles == 32 { Ok(Self(bytes)) } else { Err(fault(text.chars().count())) }
    }
}

/// What a peer's certificate says about it, in one of the four forms the directory may list (WIRE 2.2).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkIdentity {
    /// The only URI SAN, `spiffe://trust-domain/path`.
    Uri(String),
    /// SHA-256 of the SubjectPublicKeyInfo.
    Spki(Digest),
    /// A DNS SAN in lower case.
    Dns(String),
    /// Issuer and subject, `issuer|subject`, both as RFC 4514 strings.
    Name(String),
}

impl FromStr for LinkIdentity {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let fault = |at, reason| IdError { what: "link identity", at, reason };
        let (form, value) = text.split_once(':').ok_or(fault(1, IdFault::Prefix))?;
        if value.is_empty() || text.len() > LONGEST_IDENTITY {
            return Err(fault(form.len().saturating_add(2), IdFault::IdentityLength));
        }
        match form {
            "uri" if is_spiffe(value) => Ok(Self::Uri(value.to_owned())),
            "uri" => Err(fault(5, IdFault::Spiffe)),
            "spki" if !value.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                value.parse().map(Self::Spki).map_err(|_| fault(6, IdFault::Hex))
            }
            "spki" => Err(fault(6, IdFault::Hex)),
            "dns" if is_dns(value) => Ok(Self::Dns(value.to_owned())),
            "dns" => Err(fault(5, IdFault::Dns)),
            "name" if value.contains('|') => Ok(Self::Name(value.to_owned())),
            "name" => Err(fault(6, IdFault::Name)),
            _ => Err(fault(1, IdFault::Prefix)),
        }
    }
}

fn is_spiffe(uri: &str) -> bool {
    uri.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/')).is_some_and(|(domain, _)| !domain.is_empty())
}

fn is_dns(name: &str) -> bool {
    name.len() <= 253 && name.bytes().all(|byte| is_alphanumeric(byte) || matches!(byte, b'-' | b'.' | b'_'))
}

impl fmt::Display for LinkIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uri(uri) => write!(f, "uri:{uri}"),
            Self::Spki(digest) => write!(f, "spki:{digest}"),
            Self::Dns(name) => write!(f, "dns:{name}"),
            Self::Name(name) => write!(f, "name:{name}"),
        }
    }
}

/// One zone's snapshot in a directory version (WIRE 3.5).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZoneVersion {
    /// The zone.
    pub zone: ZoneId,
    /// Its serial, which never goes back.
    pub serial: u64,
    /// SHA-256 of the signed snapshot as distributed.
    pub digest: Digest,
}

impl ZoneVersion {
    /// Appends `[zone, serial, digest]`.
    pub(crate) fn write(&self, out: &mut Writer<'_>) {
        out.array(3);
        out.text(self.zone.as_str());
        out.uint(self.serial);
        out.bytes(&self.digest.0);
    }
}

/// Which directory is meant: SHA-256 over its sorted zone versions (WIRE 3.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirectoryVersion(pub Digest);

impl DirectoryVersion {
    /// The version made of these zones, in any order.
    #[must_use]
    pub fn of(zones: &[ZoneVersion]) -> Self {
        let mut sorted: Vec<&ZoneVersion> = zones.iter().collect();
        sorted.sort_by(|a, b| a.zone.cmp(&b.zone));
        let mut encoded = Vec::with_capacity(zones.len().saturating_mul(80));
        let mut out = Writer::new(&mut encoded);
        out.array(sorted.len());
        for zone in sorted {
            zone.write(&mut out);
        }
        Self(Digest::of(&encoded))
    }
}

impl fmt::Display for DirectoryVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests;
