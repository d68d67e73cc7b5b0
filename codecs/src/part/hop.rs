//! What changes at every hop? The unsigned hop header of an entry (WIRE 6.1, 6.3).

use bytes::BufMut;

use crate::body::{Body, prefixed_len};
use crate::code::FrameFault;
use crate::id::{EndpointId, LONGEST_ID};
use crate::varint;

const REDELIVERED: u8 = 0x01;
const DETACHED: u8 = 0x02;
const ASK: u8 = 0x04;

/// Flags, hops and recipient of an entry: unsigned, rewritten at every hop. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HopHeader {
    /// This message may have been handed on before (WIRE 10.3).
    pub redelivered: bool,
    /// The payload travels on its own stream (WIRE §9).
    pub detached: bool,
    /// This asks for an earlier outcome; there is no payload (WIRE 10.1).
    pub ask: bool,
    /// Routers passed so far, 0 from an endpoint; refused from 4 on (WIRE 6.3).
    pub hops: u8,
    /// The endpoint that ingress chose; `None` until then.
    pub recipient: Option<EndpointId>,
}

impl HopHeader {
    /// Reads flags, hops and recipient; `before` is the header of the entry before.
    pub(super) fn read(body: &mut Body, before: Option<&Self>) -> Result<Self, FrameFault> {
        let flags = body.byte("flags")?;
        if flags & !(REDELIVERED | DETACHED | ASK) != 0 || flags & (DETACHED | ASK) == DETACHED | ASK {
            return Err(body.fault(&format!("flags {flags:#04x} are not defined")));
        }
        let hops = body.byte("hops")?;
        let recipient = match body.varint("recipient")? {
            0 => None,
            1 => match before.and_then(|before| before.recipient.clone()) {
                Some(recipient) => Some(recipient),
                None => return Err(body.fault("a recipient as before, where there is none before")),
            },
            length => Some(read_recipient(body, length - 1)?),
        };
        Ok(Self {
            redelivered: flags & REDELIVERED != 0,
            detached: flags & DETACHED != 0,
            ask: flags & ASK != 0,
            hops,
            recipient,
        })
    }

    /// Whether entries with this header carry no payload.
    #[must_use]
    pub const fn is_bare(&self) -> bool {
        self.detached || self.ask
    }

    pub(super) fn put(&self, out: &mut impl BufMut, before: Option<&Self>) {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        out.put_u8(flag(self.redelivered, REDELIVERED) | flag(self.detached, DETACHED) | flag(self.ask, ASK));
        out.put_u8(self.hops);
        match &self.recipient {
            None => varint::encode(out, 0),
            same if before.is_some_and(|before| before.recipient == *same) => varint::encode(out, 1),
            Some(recipient) => {
                varint::encode(out, recipient.as_str().len() as u64 + 1);
                out.put_slice(recipient.as_str().as_bytes());
            }
        }
    }

    /// Most bytes that flags, hops and recipient take.
    pub(super) const LONGEST: usize = 2 + prefixed_len(LONGEST_ID) + 1;
}

fn read_recipient(body: &mut Body, length: u64) -> Result<EndpointId, FrameFault> {
    let length = usize::try_from(length).ok().filter(|length| *length <= LONGEST_ID);
    let length = length.ok_or_else(|| body.fault("a recipient longer than 64 bytes"))?;
    let parsed = body.text(length, "recipient")?.parse();
    parsed.map_err(|error| body.fault(&format!("recipient: {error}")))
}
