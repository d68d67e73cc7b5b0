//! How is a private key wrapped as PEM text?
//!
//! RFC 7468, label `PRIVATE KEY` only. Small enough not to bring a library.

use super::KeyError;

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Characters per line (RFC 7468 §2).
const LINE: usize = 64;

pub(super) fn encode(der: &[u8]) -> String {
    let mut base64 = Vec::with_capacity(der.len().div_ceil(3) * 4);
    for chunk in der.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for position in 0..4 {
            let six = (bits >> (18 - 6 * position)) & 63;
            let digit = ALPHABET.get(six as usize).copied().unwrap_or(b'=');
            base64.push(if position > chunk.len() { b'=' } else { digit });
        }
    }
    let mut text = format!("{BEGIN}\n");
    for line in base64.chunks(LINE) {
        text.extend(line.iter().map(|digit| char::from(*digit)));
        text.push('\n');
    }
    text + END + "\n"
}

pub(super) fn decode(text: &str) -> Result<Vec<u8>, KeyError> {
    let body = text
        .split_once(BEGIN)
        .and_then(|(_, rest)| rest.split_once(END))
        .map(|(body, _)| body)
        .ok_or(KeyError::PrivateKey("no -----BEGIN PRIVATE KEY----- block"))?;
    let digits: Vec<u8> = body.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let padding = digits.iter().rev().take_while(|digit| **digit == b'=').count();
    if !digits.len().is_multiple_of(4) || padding > 2 {
        return Err(KeyError::PrivateKey("the base64 in the PEM block is cut short"));
    }
    let mut der = Vec::with_capacity(digits.len() / 4 * 3);
    for group in digits.chunks_exact(4) {
        let mut bits = 0_u32;
        for digit in group {
            let value = match digit {
                b'=' => Some(0),
                digit => ALPHABET.iter().position(|known| known == digit).and_then(|at| u32::try_from(at).ok()),
            };
            bits = bits << 6 | value.ok_or(KeyError::PrivateKey("the PEM block holds a character outside base64"))?;
        }
        der.extend(bits.to_be_bytes().get(1..).unwrap_or_default());
    }
    der.truncate(der.len() - padding.min(der.len()));
    Ok(der)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_length_survives() {
        for length in 0..200_u8 {
            let der: Vec<u8> = (0..length).map(|at| at.wrapping_mul(37)).collect();
            assert_eq!(decode(&encode(&der)).unwrap(), der, "{length}");
        }
    }

    #[test]
    fn base64_is_the_published_one() {
        assert!(encode(b"foobar").contains("\nZm9vYmFy\n"));
        assert!(encode(b"foob").contains("\nZm9vYg==\n"));
    }

    #[test]
    fn text_without_a_key_is_refused() {
        assert!(decode("-----BEGIN CERTIFICATE-----").is_err());
        assert!(decode(&format!("{BEGIN}\nZm9vY\n{END}")).is_err());
        assert!(decode(&format!("{BEGIN}\nZm9v!mFy\n{END}")).is_err());
    }
}
