//! What does an attach token promise? The statement inside it (WIRE 3.2). The signature around it is read elsewhere.

use super::{Fields, LONGEST_STATEMENT, StatementError, StatementKind, required};
use crate::cbor::{MapWriter, Reader};
use crate::id::{EndpointId, LinkIdentity, RouterId};
use crate::time::UnixMs;

/// The longest time an attachment may be valid, in milliseconds: 24 h.
pub const LONGEST_ATTACHMENT_MS: u64 = 24 * 60 * 60 * 1_000;

/// An endpoint says: this link identity speaks for me at this router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Key 1: the endpoint.
    pub endpoint: EndpointId,
    /// Key 2: the router it is for.
    pub router: RouterId,
    /// Key 3: the link identity it is for.
    pub identity: LinkIdentity,
    /// Key 4: larger for every new attachment of the endpoint.
    pub epoch: u64,
    /// Key 5: until when, at most 24 h ahead.
    pub expires: UnixMs,
    /// Key 6: the journal whose promise against duplicates this attachment shares.
    pub journal: [u8; 16],
}

impl Attachment {
    /// Reads an attachment statement of at most 1,024 bytes.
    ///
    /// # Errors
    /// Not deterministic, a field missing, of the wrong type or out of range, an unknown critical key, too long.
    pub fn parse(bytes: &[u8]) -> Result<Self, StatementError> {
        let (mut fields, mut keys) = Fields::open(bytes, LONGEST_STATEMENT, StatementKind::Attachment)?;
        let (mut endpoint, mut router, mut identity) = (None, None, None);
        let (mut epoch, mut expires, mut journal) = (None, None, None);
        while let Some(key) = fields.next(&mut keys)? {
            match key {
                1 => endpoint = Some(fields.read_parsed::<EndpointId>("endpoint")?),
                2 => router = Some(fields.read_parsed::<RouterId>("router")?),
                3 => identity = Some(fields.read_parsed::<LinkIdentity>("link identity")?),
                4 => epoch = Some(fields.read("epoch", Reader::uint)?),
                5 => expires = Some(fields.read("expires", Reader::time)?),
                6 => journal = Some(fields.read("journal id", |reader| reader.fixed("journal id"))?),
                _ => fields.read("unknown key", Reader::skip)?,
            }
        }
        fields.finish()?;
        Ok(Self {
            endpoint: required(endpoint, 1, "endpoint")?,
            router: required(router, 2, "router")?,
            identity: required(identity, 3, "link identity")?,
            epoch: required(epoch, 4, "epoch")?,
            expires: required(expires, 5, "expires")?,
            journal: required(journal, 6, "journal id")?,
        })
    }

    /// The statement's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        let mut map = MapWriter::new(&mut out);
        map.key(0).uint(StatementKind::Attachment as u64);
        map.key(1).text(self.endpoint.as_str());
        map.key(2).text(self.router.as_str());
        map.key(3).text(&self.identity.to_string());
        map.key(4).uint(self.epoch);
        map.key(5).uint(self.expires.0);
        map.key(6).bytes(&self.journal);
        map.finish();
        out
    }
}
