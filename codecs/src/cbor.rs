//! How is deterministic CBOR read and written? (WIRE 1.2)
//!
//! The subset of RFC 8949 the wire uses, read in place: every length is checked before it is used, every head has to
//! be in its shortest form, map keys have to ascend. Nothing here allocates except the writer's own vector. What a
//! map means is the business of its owner; COSE structures are read elsewhere.

use thiserror::Error;

use crate::time::UnixMs;

mod writer;

pub use writer::{MapWriter, Writer};

/// The deepest nesting inside the value of an unknown key (WIRE 1.2).
pub const DEEPEST: usize = 8;

/// Why bytes are not the deterministic CBOR expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("byte {at}: {reason}")]
pub struct CborError {
    /// Offset in the item, from 0.
    pub at: usize,
    /// What is wrong there.
    pub reason: CborFault,
}

/// What is wrong with CBOR at the offset a [`CborError`] names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CborFault {
    /// The item ends early, or a length or count reaches beyond its end.
    #[error("the item ends early")]
    Truncated,
    /// A number, length or count has a shorter form.
    #[error("a number or length is not in its shortest form")]
    NotShortest,
    /// An indefinite length.
    #[error("indefinite lengths are not allowed")]
    Indefinite,
    /// Another type than expected.
    #[error("expected {0}")]
    Expected(&'static str),
    /// A text that is not UTF-8.
    #[error("text is not UTF-8")]
    Utf8,
    /// Map keys do not ascend, or one is there twice.
    #[error("map keys have to ascend and to be there only once")]
    KeyOrder,
    /// A critical key that is not known.
    #[error("critical key -1 - {0} is not known")]
    Critical(u64),
    /// A tag, a float or a simple value other than false, true and null.
    #[error("tags, floats and simple values other than false, true and null are not allowed")]
    Forbidden,
    /// Nested too deeply.
    #[error("nested more than 8 deep")]
    Depth,
    /// A number or length outside its range.
    #[error("{0} is out of range")]
    Range(&'static str),
    /// A field at its default value, which has to be omitted.
    #[error("{0} at its default value has to be omitted")]
    Default(&'static str),
    /// Bytes after the end of the item.
    #[error("bytes follow the end of the item")]
    Trailing,
}

const UINT: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;
const NULL: u8 = 0xf6;

/// Reads one item in place. After an error the reader's position is unspecified.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the beginning of `input`.
    #[must_use]
    pub const fn new(input: &'a [u8]) -> Self {
        Self { input, at: 0 }
    }

    /// Offset of the next byte.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.at
    }

    /// Bytes not read yet.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.input.len().saturating_sub(self.at)
    }

    /// An error at the current position, for a check of the caller.
    #[cold]
    #[must_use]
    pub const fn fault(&self, reason: CborFault) -> CborError {
        CborError { at: self.at, reason }
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// Bytes are left over.
    pub const fn finish(&self) -> Result<(), CborError> {
        if self.remaining() == 0 { Ok(()) } else { Err(self.fault(CborFault::Trailing)) }
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], CborError> {
        let rest = self.input.get(self.at..).unwrap_or_default();
        let (taken, _) = rest.split_at_checked(length).ok_or(self.fault(CborFault::Truncated))?;
        self.at = self.at.saturating_add(length);
        Ok(taken)
    }

    /// The first byte of the next item, without taking it.
    #[inline]
    fn peek(&self) -> Result<u8, CborError> {
        self.input.get(self.at).copied().ok_or(self.fault(CborFault::Truncated))
    }

    /// Major type and argument of the next item, which has to be in shortest form.
    #[inline]
    fn head(&mut self) -> Result<(u8, u64), CborError> {
        let first = self.peek()?;
        self.at = self.at.saturating_add(1);
        let (major, low) = (first >> 5, first & 0x1f);
        if low < 24 {
            return Ok((major, u64::from(low)));
        }
        self.long_argument(low).map(|argument| (major, argument))
    }

    #[inline]
    fn long_argument(&mut self, low: u8) -> Result<u64, CborError> {
        let (width, least) = match low {
            24 => (1, 24),
            25 => (2, 1 << 8),
            26 => (4, 1 << 16),
            27 => (8, 1 << 32),
            31 => return Err(self.fault(CborFault::Indefinite)),
            _ => return Err(self.fault(CborFault::Forbidden)),
        };
        let argument = self.take(width)?.iter().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
        if argument < least { Err(self.fault(CborFault::NotShortest)) } else { Ok(argument) }
    }

    #[inline]
    fn expect(&mut self, wanted: u8, name: &'static str) -> Result<u64, CborError> {
        let start = self.at;
        let (major, argument) = self.head()?;
        if major == wanted { Ok(argument) } else { Err(CborError { at: start, reason: CborFault::Expected(name) }) }
    }

    /// An unsigned integer.
    ///
    /// # Errors
    /// Another type, or not in shortest form.
    #[inline]
    pub fn uint(&mut self) -> Result<u64, CborError> {
        self.expect(UINT, "an unsigned integer")
    }

    /// An integer of either sign, for instance a COSE algorithm.
    ///
    /// # Errors
    /// When there is something else, or it does not fit 64 bits with sign.
    pub fn int(&mut self) -> Result<i64, CborError> {
        let start = self.at;
        let (major, argument) = self.head()?;
        let fault = |reason| CborError { at: start, reason };
        let value = i64::try_from(argument).map_err(|_| fault(CborFault::Range("integer")))?;
        match major {
            UINT => Ok(value),
            NEGATIVE => Ok(-1 - value),
            _ => Err(fault(CborFault::Expected("an integer"))),
        }
    }

    /// An unsigned integer of at most `most`.
    ///
    /// # Errors
    /// As [`uint`](Self::uint), or above `most`; `what` names the field.
    #[inline]
    pub fn uint_to(&mut self, most: u64, what: &'static str) -> Result<u64, CborError> {
        let value = self.uint()?;
        if value <= most { Ok(value) } else { Err(self.fault(CborFault::Range(what))) }
    }

    /// A time (WIRE 1.3), below 2^62.
    ///
    /// # Errors
    /// As [`uint`](Self::uint), or 2^62 and above.
    #[inline]
    pub fn time(&mut self) -> Result<UnixMs, CborError> {
        self.uint_to(UnixMs::MAX.0, "time").map(UnixMs)
    }

    #[inline]
    fn length(&mut self, major: u8, name: &'static str) -> Result<usize, CborError> {
        let argument = self.expect(major, name)?;
        usize::try_from(argument).map_err(|_| self.fault(CborFault::Truncated))
    }

    /// A byte string, in place.
    ///
    /// # Errors
    /// Another type, not in shortest form, or longer than the input.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], CborError> {
        let length = self.length(BYTES, "a byte string")?;
        self.take(length)
    }

    /// A byte string of 1 to `longest` bytes.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes), or of another length; `what` names the field.
    #[inline]
    pub fn bytes_to(&mut self, longest: usize, what: &'static str) -> Result<&'a [u8], CborError> {
        let bytes = self.bytes()?;
        if (1..=longest).contains(&bytes.len()) { Ok(bytes) } else { Err(self.fault(CborFault::Range(what))) }
    }

    /// A byte string of exactly `N` bytes.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes), or of another length; `what` names the field.
    #[inline]
    pub fn fixed<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], CborError> {
        let bytes = self.bytes()?;
        <[u8; N]>::try_from(bytes).map_err(|_| self.fault(CborFault::Range(what)))
    }

    /// A text, in place.
    ///
    /// # Errors
    /// Another type, not in shortest form, longer than the input, or not UTF-8.
    #[inline]
    pub fn text(&mut self) -> Result<&'a str, CborError> {
        let length = self.length(TEXT, "a text")?;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map_err(|_| self.fault(CborFault::Utf8))
    }

    /// A text of 1 to `longest` bytes.
    ///
    /// # Errors
    /// As [`text`](Self::text), or of another length; `what` names the field.
    #[inline]
    pub fn text_to(&mut self, longest: usize, what: &'static str) -> Result<&'a str, CborError> {
        let text = self.text()?;
        if (1..=longest).contains(&text.len()) { Ok(text) } else { Err(self.fault(CborFault::Range(what))) }
    }

    /// Whether the next item is a text; anything else, and the end of the input, is not.
    #[inline]
    #[must_use]
    pub fn is_text(&self) -> bool {
        self.peek().is_ok_and(|first| first >> 5 == TEXT)
    }

    /// false or true.
    ///
    /// # Errors
    /// Another type.
    #[inline]
    pub fn bool(&mut self) -> Result<bool, CborError> {
        let value = match self.peek()? {
            FALSE => false,
            TRUE => true,
            _ => return Err(self.fault(CborFault::Expected("false or true"))),
        };
        self.at = self.at.saturating_add(1);
        Ok(value)
    }

    /// The head of an array: how many items follow. Never more than bytes are left.
    ///
    /// # Errors
    /// Another type, not in shortest form, or more items than could be there.
    #[inline]
    pub fn array(&mut self) -> Result<usize, CborError> {
        let count = self.length(ARRAY, "an array")?;
        if count <= self.remaining() { Ok(count) } else { Err(self.fault(CborFault::Truncated)) }
    }

    /// The head of an array of exactly `count` items.
    ///
    /// # Errors
    /// As [`array`](Self::array), or of another length; `what` names the field.
    #[inline]
    pub fn array_of(&mut self, count: usize, what: &'static str) -> Result<(), CborError> {
        if self.array()? == count { Ok(()) } else { Err(self.fault(CborFault::Range(what))) }
    }

    /// The head of a map; its keys are read with [`Keys::next`]. Never more pairs than bytes are left for.
    ///
    /// # Errors
    /// Another type, not in shortest form, or more pairs than could be there.
    #[inline]
    pub fn map(&mut self) -> Result<Keys, CborError> {
        let count = self.length(MAP, "a map")?;
        if count > self.remaining() / 2 {
            return Err(self.fault(CborFault::Truncated));
        }
        Ok(Keys { left: count, before: None })
    }

    /// Passes over the value of an unknown key, which has to be deterministic too.
    ///
    /// # Errors
    /// Anything WIRE 1.2 refuses, or nested more than [`DEEPEST`] deep.
    pub fn skip(&mut self) -> Result<(), CborError> {
        self.skip_at(0)
    }

    fn skip_at(&mut self, depth: usize) -> Result<(), CborError> {
        if depth > DEEPEST {
            return Err(self.fault(CborFault::Depth));
        }
        let below = depth.saturating_add(1);
        match self.peek()? >> 5 {
            UINT | NEGATIVE => self.head().map(drop),
            BYTES => self.bytes().map(drop),
            TEXT => self.text().map(drop),
            ARRAY => {
                for _ in 0..self.array()? {
                    self.skip_at(below)?;
                }
                Ok(())
            }
            MAP => self.skip_map(below),
            TAG => Err(self.fault(CborFault::Forbidden)),
            _ => match self.peek()? {
                FALSE | TRUE | NULL => self.take(1).map(drop),
                _ => Err(self.fault(CborFault::Forbidden)),
            },
        }
    }

    /// A map below an unknown key: its keys may be of any type and ascend bytewise.
    fn skip_map(&mut self, depth: usize) -> Result<(), CborError> {
        let pairs = self.map()?.left;
        let mut before: Option<&'a [u8]> = None;
        for _ in 0..pairs {
            let start = self.at;
            self.skip_at(depth)?;
            let key = self.input.get(start..self.at).unwrap_or_default();
            if before.is_some_and(|before| before >= key) {
                return Err(CborError { at: start, reason: CborFault::KeyOrder });
            }
            before = Some(key);
            self.skip_at(depth)?;
        }
        Ok(())
    }
}

/// The keys of a map that is being read: integers, strictly ascending, negative ones critical.
///
/// After every key the caller reads its value, or [skips](Reader::skip) it when the key is unknown.
#[derive(Debug)]
pub struct Keys {
    left: usize,
    before: Option<u64>,
}

impl Keys {
    /// The next key, or `None` after the last.
    ///
    /// # Errors
    /// A key that is no integer, does not ascend, or is negative: version 1 knows no critical key.
    #[inline]
    pub fn next(&mut self, reader: &mut Reader<'_>) -> Result<Option<u64>, CborError> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        let start = reader.at;
        let (major, key) = reader.head()?;
        let fault = |reason| CborError { at: start, reason };
        match major {
            UINT if self.before.is_none_or(|before| before < key) => {
                self.before = Some(key);
                Ok(Some(key))
            }
            UINT => Err(fault(CborFault::KeyOrder)),
            NEGATIVE => Err(fault(CborFault::Critical(key))),
            _ => Err(fault(CborFault::Expected("an integer key"))),
        }
    }
}

#[cfg(test)]
mod tests;
