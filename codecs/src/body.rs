//! How is a lane frame's body read in place?
//!
//! A position in a [`Bytes`]; every length is checked against what is left before anything is cut out or allocated.
//! Errors name the clause of the frame and the field.

use std::ops::RangeInclusive;

use bytes::{BufMut, Bytes, BytesMut};

use crate::class::Class;
use crate::code::FrameFault;
use crate::varint;

/// Reads one frame body front to back.
#[derive(Debug)]
pub(crate) struct Body {
    bytes: Bytes,
    at: usize,
    clause: &'static str,
}

impl Body {
    pub(crate) const fn new(bytes: Bytes, clause: &'static str) -> Self {
        Self { bytes, at: 0, clause }
    }

    /// Offset of the next byte.
    pub(crate) const fn position(&self) -> usize {
        self.at
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// A fault at the current position.
    #[cold]
    pub(crate) fn fault(&self, what: &str) -> FrameFault {
        FrameFault::malformed(self.clause, format!("{what} at byte {} of the body", self.at))
    }

    #[inline]
    pub(crate) fn varint(&mut self, what: &str) -> Result<u64, FrameFault> {
        match varint::peek(self.rest()) {
            Ok(Some((value, length))) => {
                self.at += length;
                Ok(value)
            }
            Ok(None) => Err(self.fault(&format!("{what} ends early"))),
            Err(error) => Err(self.fault(&format!("{what}: {error}"))),
        }
    }

    /// A varint within `range`, as an index or count.
    #[inline]
    pub(crate) fn number(&mut self, what: &str, range: RangeInclusive<u16>) -> Result<u16, FrameFault> {
        let value = self.varint(what)?;
        u16::try_from(value)
            .ok()
            .filter(|value| range.contains(value))
            .ok_or_else(|| self.fault(&format!("{what} {value} is outside {}..={}", range.start(), range.end())))
    }

    /// A varint that counts bytes still to come in this body.
    #[inline]
    pub(crate) fn length(&mut self, what: &str) -> Result<usize, FrameFault> {
        let value = self.varint(what)?;
        usize::try_from(value)
            .ok()
            .filter(|length| *length <= self.rest().len())
            .ok_or_else(|| self.fault(&format!("{what} {value} exceeds the body")))
    }

    #[inline]
    pub(crate) fn byte(&mut self, what: &str) -> Result<u8, FrameFault> {
        let value = self.rest().first().copied().ok_or_else(|| self.fault(&format!("{what} is missing")))?;
        self.at += 1;
        Ok(value)
    }

    pub(crate) fn class(&mut self) -> Result<Class, FrameFault> {
        let value = self.byte("class")?;
        Class::try_from(u64::from(value)).map_err(|error| self.fault(&error.to_string()))
    }

    /// The next `length` bytes, sharing the body's memory.
    #[inline]
    pub(crate) fn take(&mut self, length: usize, what: &str) -> Result<Bytes, FrameFault> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| self.fault(&format!("{what} of {length} bytes exceeds the body")))?;
        let taken = self.bytes.slice(self.at..end);
        self.at = end;
        Ok(taken)
    }

    /// The next `length` bytes as text.
    pub(crate) fn text(&mut self, length: usize, what: &str) -> Result<&str, FrameFault> {
        let end = self.at.saturating_add(length);
        let text = self.bytes.get(self.at..end).and_then(|bytes| std::str::from_utf8(bytes).ok());
        let Some(text) = text else {
            return Err(self.fault(&format!("{what} of {length} bytes is cut short or not UTF-8")));
        };
        self.at = end;
        Ok(text)
    }

    #[inline]
    pub(crate) fn fixed<const N: usize>(&mut self, what: &str) -> Result<[u8; N], FrameFault> {
        let value = self.rest().first_chunk::<N>().copied();
        let value = value.ok_or_else(|| self.fault(&format!("{what} is cut short")))?;
        self.at += N;
        Ok(value)
    }

    /// Everything from `start`, an earlier position, up to here.
    pub(crate) fn since(&self, start: usize) -> Bytes {
        self.bytes.slice(start.min(self.at)..self.at)
    }

    /// Ends the reading; bytes left over are a fault.
    pub(crate) fn finish(&self) -> Result<(), FrameFault> {
        match self.rest().len() {
            0 => Ok(()),
            left => Err(self.fault(&format!("{left} superfluous bytes"))),
        }
    }
}

/// Appends type and length of a frame whose body of `length` bytes follows, and makes room for it.
pub(crate) fn put_frame_head(out: &mut BytesMut, kind: u64, length: usize) {
    out.reserve(varint::len(kind) + varint::len(length as u64) + length);
    varint::encode(out, kind);
    varint::encode(out, length as u64);
}

/// Appends a length and the bytes.
pub(crate) fn put_prefixed(out: &mut impl BufMut, bytes: &[u8]) {
    varint::encode(out, bytes.len() as u64);
    out.put_slice(bytes);
}

/// Bytes that [`put_prefixed`] appends.
pub(crate) const fn prefixed_len(length: usize) -> usize {
    varint::len(length as u64) + length
}
