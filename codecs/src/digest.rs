//! What is the SHA-256 of these bytes?
//!
//! The only hash of the protocol (WIRE 1.9). Everything goes through aws-lc, so that one crypto stack is measured and
//! replaced. Short input is hashed in one call from a stack buffer: an incremental context costs an allocation.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{self, SHA256};

/// A SHA-256 value: 32 bytes, shown as 64 lower-case hex digits (WIRE 1.9).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// The SHA-256 of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_aws(&digest::digest(&SHA256, bytes))
    }

    /// The SHA-256 of the concatenation of `parts`.
    #[must_use]
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        let total = parts.iter().map(|part| part.len()).sum::<usize>();
        let mut short = [0_u8; SHORT];
        match short.get_mut(..total) {
            Some(buffer) => {
                let mut rest = &mut *buffer;
                for part in parts {
                    let (head, tail) = rest.split_at_mut(part.len());
                    head.copy_from_slice(part);
                    rest = tail;
                }
                Self::of(buffer)
            }
            None => {
                let mut context = digest::Context::new(&SHA256);
                for part in parts {
                    context.update(part);
                }
                Self::from_aws(&context.finish())
            }
        }
    }

    /// The value as a slice of 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn from_aws(value: &digest::Digest) -> Self {
        let mut out = [0_u8; 32];
        out.copy_from_slice(value.as_ref());
        Self(out)
    }
}

/// Concatenations up to this many bytes are hashed from the stack; a usual statement has about 160.
const SHORT: usize = 512;

/// SHA-256 over bytes that arrive in pieces, for instance a large payload (WIRE 9).
#[derive(Clone)]
pub struct DigestStream(digest::Context);

impl DigestStream {
    /// Nothing hashed yet.
    #[must_use]
    pub fn new() -> Self {
        Self(digest::Context::new(&SHA256))
    }

    /// Appends `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of everything appended.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest::from_aws(&self.0.finish())
    }
}

impl Default for DigestStream {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for DigestStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestStream")
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl TryFrom<&[u8]> for Digest {
    type Error = DigestError;

    fn try_from(bytes: &[u8]) -> Result<Self, DigestError> {
        bytes.try_into().map(Self).map_err(|_| DigestError::Length { found: bytes.len(), unit: "bytes", wanted: 32 })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0_u8; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&[hex_digit(byte >> 4), hex_digit(byte & 15)]);
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        if text.len() != 64 {
            return Err(DigestError::Length { found: text.len(), unit: "characters", wanted: 64 });
        }
        let mut out = [0_u8; 32];
        for (at, (byte, pair)) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)).enumerate() {
            let value = |position: usize| {
                let digit = pair.get(position).copied().unwrap_or_default();
                hex_value(digit).ok_or(DigestError::Digit { at: 2 * at + position })
            };
            *byte = value(0)? << 4 | value(1)?;
        }
        Ok(Self(out))
    }
}

const fn hex_digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

const fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Why a text or byte string is not a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// Wrong length.
    #[error("a SHA-256 value has {wanted} {unit}, found {found}")]
    Length {
        /// Length found.
        found: usize,
        /// What was counted.
        unit: &'static str,
        /// Length required.
        wanted: usize,
    },
    /// A character that is not a lower-case hex digit.
    #[error("character {at} is not one of 0-9 a-f; write the hash in lower-case hex")]
    Digit {
        /// Position of the character, from 0.
        at: usize,
    },
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_empty_string_has_its_published_hash() {
        let expected = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), expected);
        assert_eq!(expected.parse::<Digest>().unwrap(), Digest::of(b""));
    }

    #[test]
    fn parts_hash_like_their_concatenation_below_and_above_the_stack_buffer() {
        for length in [0, 1, 64, SHORT - 1, SHORT, SHORT + 1, 5_000] {
            let bytes: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let (left, right) = bytes.split_at(length / 3);
            assert_eq!(Digest::of_parts(&[left, right]), Digest::of(&bytes), "{length}");
            let mut stream = DigestStream::new();
            stream.update(left);
            stream.update(right);
            assert_eq!(stream.finish(), Digest::of(&bytes), "{length}");
        }
    }

    #[test]
    fn a_bad_hash_text_names_the_position() {
        assert_eq!("ab".parse::<Digest>(), Err(DigestError::Length { found: 2, unit: "characters", wanted: 64 }));
        let text = format!("{}G{}", "0".repeat(10), "0".repeat(53));
        assert_eq!(text.parse::<Digest>(), Err(DigestError::Digit { at: 10 }));
    }
}
