//! What else does a SETTLE say? The optional map of WIRE 8.3.

use crate::cbor::{CborError, CborFault, MapWriter, Reader};
use crate::id::{EndpointId, RouterId};

/// Longest encoded detail, in bytes (WIRE 8).
pub const LONGEST_DETAIL: u16 = 512;

/// Longest text, in bytes (WIRE 8.3).
pub const LONGEST_TEXT: usize = 256;

/// Particulars of a settlement. All optional; unsigned, so for steering and for people only.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Detail {
    /// Key 1: the endpoint that is busy or not attached.
    pub endpoint: Option<EndpointId>,
    /// Key 2: its egress router.
    pub router: Option<RouterId>,
    /// Key 3: the presence number at which this was so.
    pub presence: Option<u64>,
    /// Key 4: when trying again makes sense, in milliseconds from now.
    pub retry_after_ms: Option<u64>,
    /// Key 5: text for people, at most 256 bytes; a longer one is cut when sent.
    pub text: Option<String>,
}

impl Detail {
    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads the map; no bytes at all stand for the empty one.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, CborError> {
        let mut detail = Self::default();
        if bytes.is_empty() {
            return Ok(detail);
        }
        let mut reader = Reader::new(bytes);
        let mut keys = reader.map()?;
        while let Some(key) = keys.next(&mut reader)? {
            match key {
                1 => detail.endpoint = Some(id(&mut reader, "endpoint")?),
                2 => detail.router = Some(id(&mut reader, "router")?),
                3 => detail.presence = Some(reader.uint()?),
                4 => detail.retry_after_ms = Some(reader.uint()?),
                5 => detail.text = Some(reader.text_to(LONGEST_TEXT, "text")?.to_owned()),
                _ => reader.skip()?,
            }
        }
        reader.finish()?;
        Ok(detail)
    }

    /// At most 512 bytes: two ids of 64, two numbers, a text of 256. Empty when there is nothing to say.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.is_empty() {
            return out;
        }
        let mut map = MapWriter::new(&mut out);
        if let Some(endpoint) = &self.endpoint {
            map.key(1).text(endpoint.as_str());
        }
        if let Some(router) = &self.router {
            map.key(2).text(router.as_str());
        }
        if let Some(presence) = self.presence {
            map.key(3).uint(presence);
        }
        if let Some(retry_after_ms) = self.retry_after_ms {
            map.key(4).uint(retry_after_ms);
        }
        if let Some(text) = self.text.as_deref().map(cut).filter(|text| !text.is_empty()) {
            map.key(5).text(text);
        }
        map.finish();
        out
    }
}

fn id<T: std::str::FromStr>(reader: &mut Reader<'_>, what: &'static str) -> Result<T, CborError> {
    reader.text()?.parse().map_err(|_| reader.fault(CborFault::Range(what)))
}

/// The longest beginning of `text` that may be sent.
fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(LONGEST_TEXT)).unwrap_or_default()
}
