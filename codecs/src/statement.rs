//! What gets signed? The statements of messages, receipts and attachments (WIRE 3.2, 4).
//!
//! A statement is a deterministic CBOR map whose leaf hash stands in a signed tree, so it is kept and forwarded as the
//! bytes it arrived in. Here those bytes are read and first written; what they claim is judged elsewhere.

use std::fmt;

use thiserror::Error;

use crate::cbor::{CborError, CborFault, Keys, Reader};
use crate::code::Code;

mod attachment;
mod message;
mod receipt;
#[cfg(test)]
mod tests;

pub use attachment::{Attachment, LONGEST_ATTACHMENT_MS};
pub use message::{
    CONTENT_OCTET_STREAM, ContentType, ContentTypeRef, LONGEST_CASE, LONGEST_CONTENT_TYPE, LONGEST_LIFETIME_S,
    LONGEST_MAILBOX, LONGEST_PAYLOAD, Message, MessageRef,
};
pub(crate) use receipt::ReceiptRef;
pub use receipt::{LONGEST_PROBLEM, Receipt};

/// The longest message or attachment statement, in bytes (WIRE 4.1).
pub const LONGEST_STATEMENT: usize = 1_024;
/// The longest receipt statement, in bytes (WIRE 4.1).
pub const LONGEST_RECEIPT: usize = 2_048;

/// Asserted level of assurance of the sender's user (eIDAS).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Assurance {
    /// 1
    Low = 1,
    /// 2
    Substantial = 2,
    /// 3
    High = 3,
}

impl Assurance {
    /// All levels, the lowest first.
    pub const ALL: [Self; 3] = [Self::Low, Self::Substantial, Self::High];

    /// The number on the wire.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self as u64
    }

    /// The level with this number.
    #[must_use]
    pub const fn from_u64(value: u64) -> Option<Self> {
        match value {
            1 => Some(Self::Low),
            2 => Some(Self::Substantial),
            3 => Some(Self::High),
            _ => None,
        }
    }

    /// The name in configuration and the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Substantial => "substantial",
            Self::High => "high",
        }
    }
}

impl fmt::Display for Assurance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A level of assurance that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("level of assurance {0:?} does not exist: use low, substantial or high")]
pub struct AssuranceError(String);

impl std::str::FromStr for Assurance {
    type Err = AssuranceError;

    fn from_str(text: &str) -> Result<Self, AssuranceError> {
        Self::ALL.into_iter().find(|level| level.name() == text).ok_or_else(|| AssuranceError(text.to_owned()))
    }
}

/// What a statement is about: its key 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum StatementKind {
    /// 0
    Message = 0,
    /// 1
    Receipt = 1,
    /// 3
    Attachment = 3,
}

impl StatementKind {
    /// What a statement says it is, without reading more of it; `None`: nothing that is known. Deterministic CBOR has key 0
    /// and its small value in the two bytes behind the map's head.
    #[must_use]
    pub fn of(statement: &[u8]) -> Option<Self> {
        match statement {
            [head, 0, kind, ..] if head >> 5 == 5 => {
                [Self::Message, Self::Receipt, Self::Attachment].into_iter().find(|known| *known as u8 == *kind)
            }
            _ => None,
        }
    }
}

/// Why bytes are not the statement they should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StatementError {
    /// Longer than a statement of its kind may be.
    #[error("the statement has {found} bytes: at most {most} are allowed")]
    TooLong {
        /// Its length.
        found: usize,
        /// The most allowed.
        most: usize,
    },
    /// Not deterministic CBOR, or a value of the wrong type or out of range.
    #[error("{field}: {error}")]
    Field {
        /// The field being read, or "statement" between fields.
        field: &'static str,
        /// What is wrong and at which byte.
        error: CborError,
    },
    /// A field that has to be there is missing.
    #[error("key {key} ({field}) is missing")]
    Missing {
        /// The key of the field.
        key: u64,
        /// Its name.
        field: &'static str,
    },
    /// Another kind of statement than expected.
    #[error("statement kind is {found}, expected {expected}")]
    Kind {
        /// The value of key 0.
        found: u64,
        /// The kind expected, by number.
        expected: u64,
    },
    /// A key of the statement is critical and not known.
    #[error("critical key -1 - {0} is not known")]
    CriticalUnknown(u64),
}

impl StatementError {
    /// The code an entry with such a statement is refused with.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::TooLong { .. } => Code::OVERSIZED,
            Self::CriticalUnknown(_) => Code::CRITICAL_UNKNOWN,
            Self::Field { .. } | Self::Missing { .. } | Self::Kind { .. } => Code::BAD_STATEMENT,
        }
    }
}

/// The kind of a statement, from its first bytes; the rest is not looked at.
///
/// # Errors
/// Not a map, no kind, or one that version 1 does not know.
pub fn kind(bytes: &[u8]) -> Result<StatementKind, StatementError> {
    let mut fields = Fields { reader: Reader::new(bytes), field: "kind" };
    let mut keys = fields.map()?;
    if fields.next(&mut keys)? != Some(0) {
        return Err(StatementError::Missing { key: 0, field: "kind" });
    }
    match fields.read("kind", Reader::uint)? {
        0 => Ok(StatementKind::Message),
        1 => Ok(StatementKind::Receipt),
        3 => Ok(StatementKind::Attachment),
        _ => Err(fields.range("kind")),
    }
}

/// A CBOR reader that names the field an error belongs to.
struct Fields<'a> {
    reader: Reader<'a>,
    field: &'static str,
}

impl<'a> Fields<'a> {
    /// Checks the length, opens the map and reads the kind.
    #[inline]
    fn open(bytes: &'a [u8], most: usize, kind: StatementKind) -> Result<(Self, Keys), StatementError> {
        if bytes.len() > most {
            return Err(StatementError::TooLong { found: bytes.len(), most });
        }
        let mut fields = Self { reader: Reader::new(bytes), field: "statement" };
        let mut keys = fields.map()?;
        if fields.next(&mut keys)? != Some(0) {
            return Err(StatementError::Missing { key: 0, field: "kind" });
        }
        let found = fields.read("kind", Reader::uint)?;
        if found != kind as u64 {
            return Err(StatementError::Kind { found, expected: kind as u64 });
        }
        Ok((fields, keys))
    }

    #[cold]
    fn error(&self, error: CborError) -> StatementError {
        match error.reason {
            CborFault::Critical(key) => StatementError::CriticalUnknown(key),
            _ => StatementError::Field { field: self.field, error },
        }
    }

    #[cold]
    fn range(&self, what: &'static str) -> StatementError {
        self.error(self.reader.fault(CborFault::Range(what)))
    }

    #[inline]
    fn map(&mut self) -> Result<Keys, StatementError> {
        self.reader.map().map_err(|error| self.error(error))
    }

    #[inline]
    fn next(&mut self, keys: &mut Keys) -> Result<Option<u64>, StatementError> {
        self.field = "statement";
        keys.next(&mut self.reader).map_err(|error| self.error(error))
    }

    #[inline]
    fn read<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, CborError>,
    ) -> Result<T, StatementError> {
        self.field = field;
        read(&mut self.reader).map_err(|error| self.error(error))
    }

    /// Reads a value that has a default, at which it must not be sent (WIRE 1.2).
    #[inline]
    fn read_unless<T: PartialEq>(
        &mut self,
        default: &T,
        field: &'static str,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, CborError>,
    ) -> Result<T, StatementError> {
        let value = self.read(field, read)?;
        if value == *default {
            return Err(self.error(self.reader.fault(CborFault::Default(field))));
        }
        Ok(value)
    }

    /// Reads a text that has to pass `check`, in place.
    #[inline]
    fn read_id<E>(
        &mut self,
        field: &'static str,
        check: impl FnOnce(&str) -> Result<(), E>,
    ) -> Result<&'a str, StatementError> {
        let text = self.read(field, Reader::text)?;
        check(text).map_err(|_| self.range(field))?;
        Ok(text)
    }

    /// Reads a text and parses it.
    fn read_parsed<T: std::str::FromStr>(&mut self, field: &'static str) -> Result<T, StatementError> {
        let text = self.read(field, Reader::text)?;
        text.parse().map_err(|_| self.range(field))
    }

    #[inline]
    fn finish(&mut self) -> Result<(), StatementError> {
        self.field = "statement";
        self.reader.finish().map_err(|error| self.error(error))
    }
}

/// The value of a required field.
#[inline]
fn required<T>(value: Option<T>, key: u64, field: &'static str) -> Result<T, StatementError> {
    value.ok_or(StatementError::Missing { key, field })
}
