//! Is this text a run of decimal digits of a permitted length, and if not, where does it go wrong?
//!
//! Shared by service keys and jurisdictions (WIRE 1.4, 1.5). Positions count characters from 1, as people do.

use thiserror::Error;

/// Why a text is not the expected run of digits.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DigitsError {
    /// A character that is not 0 to 9.
    #[error("character {at} is {found:?}: only the digits 0 to 9 are allowed")]
    NotADigit {
        /// Position of the character, counted from 1.
        at: usize,
        /// The character found there.
        found: char,
    },
    /// The number of digits is not one of those allowed.
    #[error("has {found} digits: give {allowed}")]
    Length {
        /// How many digits there are.
        found: usize,
        /// The lengths that are allowed, in words.
        allowed: &'static str,
    },
}

/// The number that `text` spells and how many digits it has.
///
/// `lengths` are the permitted lengths, at most 18; `allowed` says them in words for the error.
pub(crate) fn parse(text: &str, lengths: &[usize], allowed: &'static str) -> Result<(u64, usize), DigitsError> {
    let mut value = 0u64;
    let mut count = 0usize;
    for (position, found) in text.chars().enumerate() {
        let digit = found.to_digit(10).ok_or(DigitsError::NotADigit { at: position.saturating_add(1), found })?;
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        count = count.saturating_add(1);
    }
    if !lengths.contains(&count) {
        return Err(DigitsError::Length { found: count, allowed });
    }
    Ok((value, count))
}
