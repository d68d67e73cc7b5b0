//! Where does one frame end and the next begin, and on which stream may it be? (WIRE 2.3, 2.4)
//!
//! Bytes of a stream go in as they arrive, whole frames come out. What a body means is decoded elsewhere.

use std::collections::VecDeque;
use std::fmt;

use bytes::{Buf, Bytes, BytesMut};

use crate::class::Class;
use crate::code::{CloseCode, FrameFault};
use crate::varint;

/// The longest frame body, in bytes (WIRE 2.4).
pub const LONGEST_BODY: usize = 262_144;

/// Two varints of 8 bytes.
const LONGEST_HEADER: usize = 16;

/// The numbers of frame types and the streams they belong on.
pub mod frame_type {
    use super::FrameFault;

    /// Hello, the first frame of each side.
    pub const HELLO: u64 = 0x01;
    /// Attach an endpoint.
    pub const ATTACH: u64 = 0x02;
    /// Answer to ATTACH.
    pub const ATTACHED: u64 = 0x03;
    /// Detach an endpoint.
    pub const DETACH: u64 = 0x04;
    /// All attachments of a router.
    pub const PRESENCE_FULL: u64 = 0x05;
    /// Changes of attachments.
    pub const PRESENCE_DELTA: u64 = 0x06;
    /// Ask who is responsible.
    pub const RESOLVE: u64 = 0x07;
    /// Answer to RESOLVE.
    pub const RESOLVED: u64 = 0x08;
    /// The sender of it is going to close.
    pub const DRAIN: u64 = 0x09;
    /// Ask for a sign of life.
    pub const PING: u64 = 0x0a;
    /// Answer to PING.
    pub const PONG: u64 = 0x0b;
    /// Ask for the zones of a directory version.
    pub const GET_VERSION: u64 = 0x0c;
    /// Answer to GET-VERSION.
    pub const VERSION: u64 = 0x0d;
    /// Ask for a piece of a zone snapshot.
    pub const GET_SNAPSHOT: u64 = 0x0e;
    /// Answer to GET-SNAPSHOT.
    pub const SNAPSHOT: u64 = 0x0f;
    /// Entries with one root signature.
    pub const BUNDLE: u64 = 0x20;
    /// Limits of entries and bytes.
    pub const CREDIT: u64 = 0x30;
    /// Unsigned outcomes.
    pub const SETTLE: u64 = 0x31;
    /// Signed outcomes.
    pub const RECEIPTS: u64 = 0x32;
    /// A large payload may be sent.
    pub const WANT: u64 = 0x33;

    /// The kind of stream that carries frames of a type.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum Home {
        /// The control stream.
        Control,
        /// A bundle lane.
        Bundle,
        /// The settlement lane.
        Settlement,
    }

    /// Where a type belongs, or `None` for a type version 1 does not know.
    #[must_use]
    pub const fn home(kind: u64) -> Option<Home> {
        match kind {
            HELLO..=SNAPSHOT => Some(Home::Control),
            BUNDLE => Some(Home::Bundle),
            CREDIT..=WANT => Some(Home::Settlement),
            _ => None,
        }
    }

    /// Whether to decode a frame found on a stream: `false` for an unknown type, which is skipped.
    ///
    /// # Errors
    /// `unexpected-frame` for a known type that belongs on another stream (WIRE 2.4).
    pub fn check(kind: u64, found_on: Home) -> Result<bool, FrameFault> {
        match home(kind) {
            None => Ok(false),
            Some(home) if home == found_on => Ok(true),
            Some(home) => Err(FrameFault::unexpected(
                "WIRE 2.4",
                format!("type {kind:#04x} belongs on {home:?}, found on {found_on:?}"),
            )),
        }
    }
}

/// What a unidirectional stream of a link is for: the varint it begins with (WIRE 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LaneKind {
    /// Bundles of one priority class: 0, 1, 2.
    Bundle(Class),
    /// Settlements: 3.
    Settlement,
    /// One large payload: 4.
    LargePayload,
}

/// The control stream's place in [`LaneKind::sending_priority`].
pub const CONTROL_PRIORITY: i32 = 1;

impl LaneKind {
    /// Every kind of lane that exists once per direction.
    pub const LANES: [Self; 4] =
        [Self::Bundle(Class::Urgent), Self::Bundle(Class::Interactive), Self::Bundle(Class::Bulk), Self::Settlement];

    /// Which bytes leave first when several streams of a link wait for the line: higher before lower (WIRE 2.3). What settles
    /// frees credit and memory on both sides, so it goes before everything; the control stream ([`CONTROL_PRIORITY`]) goes
    /// with interactive, because it also carries whole directories.
    #[must_use]
    pub const fn sending_priority(self) -> i32 {
        match self {
            Self::Settlement => 3,
            Self::Bundle(Class::Urgent) => 2,
            Self::Bundle(Class::Interactive) => CONTROL_PRIORITY,
            Self::Bundle(Class::Bulk) => 0,
            Self::LargePayload => -1,
        }
    }

    /// The number the stream begins with.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        match self {
            Self::Bundle(class) => class.as_u64(),
            Self::Settlement => 3,
            Self::LargePayload => 4,
        }
    }

    /// The kind with this number; `None` for an unknown one from 0x20 on, which is stopped and ignored.
    ///
    /// # Errors
    /// `unexpected-frame` for an unknown kind below 0x20.
    pub fn from_u64(kind: u64) -> Result<Option<Self>, FrameFault> {
        match kind {
            0..=2 => Ok(Class::try_from(kind).ok().map(Self::Bundle)),
            3 => Ok(Some(Self::Settlement)),
            4 => Ok(Some(Self::LargePayload)),
            0x20.. => Ok(None),
            _ => Err(FrameFault::unexpected("WIRE 2.3", format!("stream kind {kind} is not known"))),
        }
    }

    /// Where the frames of this lane are at home; a large payload has no frames.
    #[must_use]
    pub const fn home(self) -> Option<frame_type::Home> {
        match self {
            Self::Bundle(_) => Some(frame_type::Home::Bundle),
            Self::Settlement => Some(frame_type::Home::Settlement),
            Self::LargePayload => None,
        }
    }
}

impl fmt::Display for LaneKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bundle(class) => class.fmt(f),
            Self::Settlement => f.write_str("settlement"),
            Self::LargePayload => f.write_str("large-payload"),
        }
    }
}

/// A whole frame. The body borrows the memory of the chunk it arrived in, unless it spanned several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The type.
    pub kind: u64,
    /// The body, at most [`LONGEST_BODY`] bytes.
    pub body: Bytes,
}

/// Cuts the bytes of one stream into frames.
///
/// Inputs: [`push`](Self::push). Outputs, to be drained after every push: [`next`](Self::next), and for what is not
/// framed [`next_varint`](Self::next_varint) and [`take_chunk`](Self::take_chunk). When `next` has returned `None`, at
/// most one incomplete frame is held: 16 bytes of header, or one allocation of the declared, checked length. After an
/// error the stream is of no more use.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    chunks: VecDeque<Bytes>,
    partial: Option<Partial>,
}

/// A frame whose header was read and whose body spans chunks.
#[derive(Debug)]
struct Partial {
    kind: u64,
    length: usize,
    body: Vec<u8>,
}

impl FrameDecoder {
    /// A decoder at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.chunks.push_back(chunk);
        }
    }

    /// Bytes held and not yet given out.
    #[must_use]
    pub fn buffered(&self) -> usize {
        let partial = self.partial.as_ref().map_or(0, |partial| partial.body.len());
        self.chunks.iter().map(Bytes::len).fold(partial, usize::saturating_add)
    }

    /// Whether the stream is between two frames: where it may end.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.partial.is_none() && self.chunks.is_empty()
    }

    /// The next whole frame, or `None` until more bytes arrive.
    ///
    /// # Errors
    /// A header that is not two shortest varints, or a body above [`LONGEST_BODY`].
    #[expect(clippy::should_implement_trait, reason = "None is not the end: the next push may complete a frame")]
    pub fn next(&mut self) -> Result<Option<Frame>, FrameFault> {
        let mut partial = match self.partial.take() {
            Some(partial) => partial,
            None => {
                let Some((kind, length)) = self.take_header()? else {
                    return Ok(None);
                };
                if let Some(body) = self.take_contiguous(length) {
                    return Ok(Some(Frame { kind, body }));
                }
                Partial { kind, length, body: Vec::with_capacity(length) }
            }
        };
        while let Some(missing) = partial.length.checked_sub(partial.body.len()).filter(|&missing| missing > 0) {
            let Some(piece) = self.take_up_to(missing) else {
                self.partial = Some(partial);
                return Ok(None);
            };
            partial.body.extend_from_slice(&piece);
        }
        Ok(Some(Frame { kind: partial.kind, body: Bytes::from(partial.body) }))
    }

    /// A varint outside any frame, such as the kind a stream begins with; `None` until more bytes arrive.
    ///
    /// # Errors
    /// The varint is not in its shortest form.
    pub fn next_varint(&mut self) -> Result<Option<u64>, FrameFault> {
        let (front, held) = self.front();
        let Some((value, length)) = varint::peek(front.get(..held).unwrap_or_default())? else {
            return Ok(None);
        };
        self.advance(length);
        Ok(Some(value))
    }

    /// Bytes that are not framed, such as those of a large payload.
    pub fn take_chunk(&mut self) -> Option<Bytes> {
        self.chunks.pop_front()
    }

    /// The first bytes held, as many as a header may have, and how many there are.
    fn front(&self) -> ([u8; LONGEST_HEADER], usize) {
        let mut front = [0; LONGEST_HEADER];
        let mut held = 0usize;
        for (place, byte) in front.iter_mut().zip(self.chunks.iter().flatten()) {
            *place = *byte;
            held = held.saturating_add(1);
        }
        (front, held)
    }

    fn take_header(&mut self) -> Result<Option<(u64, usize)>, FrameFault> {
        let (front, held) = self.front();
        let input = front.get(..held).unwrap_or_default();
        let Some((kind, kind_length)) = varint::peek(input)? else {
            return Ok(None);
        };
        let rest = input.get(kind_length..).unwrap_or_default();
        let Some((length, length_length)) = varint::peek(rest)? else {
            return Ok(None);
        };
        let length = usize::try_from(length).ok().filter(|&length| length <= LONGEST_BODY).ok_or_else(|| {
            FrameFault::new(
                CloseCode::FrameTooLarge,
                "WIRE 2.4",
                format!("a frame of type {kind:#04x} has {length} bytes, at most {LONGEST_BODY} are allowed"),
            )
        })?;
        self.advance(kind_length.saturating_add(length_length));
        Ok(Some((kind, length)))
    }

    /// The next `length` bytes without copying, when one chunk holds them all.
    fn take_contiguous(&mut self, length: usize) -> Option<Bytes> {
        if length == 0 {
            return Some(Bytes::new());
        }
        if self.chunks.front()?.len() < length {
            return None;
        }
        self.take_up_to(length)
    }

    /// The front of the first chunk, at most `most` bytes and at least one.
    fn take_up_to(&mut self, most: usize) -> Option<Bytes> {
        let chunk = self.chunks.front_mut()?;
        if chunk.len() <= most { self.chunks.pop_front() } else { Some(chunk.split_to(most)) }
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(chunk) = self.chunks.front_mut().filter(|_| count > 0) {
            let step = chunk.len().min(count);
            chunk.advance(step);
            count = count.saturating_sub(step);
            if chunk.is_empty() {
                self.chunks.pop_front();
            }
        }
    }
}

/// Appends the header of a frame whose body of `length` bytes follows.
pub fn encode_header(kind: u64, length: usize, out: &mut BytesMut) {
    varint::encode(out, kind);
    varint::encode(out, length as u64);
}

/// Appends a whole frame.
pub fn encode_frame(kind: u64, body: &[u8], out: &mut BytesMut) {
    out.reserve(body.len().saturating_add(LONGEST_HEADER));
    encode_header(kind, body.len(), out);
    out.extend_from_slice(body);
}

#[cfg(test)]
mod tests;
