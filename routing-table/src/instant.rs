//! How do people write an instant? RFC 3339 with an offset, in directory sources and in messages.

use jiff::Timestamp;
use kernpost_codecs::UnixMs;

/// An instant as RFC 3339 in UTC, for instance `2026-01-01T00:00:00Z`; out of range (after the year 9999) in ms.
pub fn instant_text(at: UnixMs) -> String {
    i64::try_from(at.0)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| at.to_string(), |instant| instant.to_string())
}

/// Reads RFC 3339 with an offset: `2026-01-01T00:00:00+01:00`. Earlier than 1970 is refused.
///
/// # Errors
/// Says what is wrong.
pub fn parse_instant(text: &str) -> Result<UnixMs, InstantError> {
    let error = |reason: String| InstantError { text: text.to_owned(), reason };
    let instant: Timestamp = text.parse().map_err(|reason: jiff::Error| error(reason.to_string()))?;
    let ms = u64::try_from(instant.as_millisecond()).map_err(|_| error("it is before 1970".to_owned()))?;
    Ok(UnixMs(ms))
}

/// Why a text is not an instant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an instant: {reason}; write for instance 2026-01-01T00:00:00+01:00")]
pub struct InstantError {
    text: String,
    reason: String,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn instants_are_written_in_utc_and_read_with_any_offset() {
        let at = parse_instant("2026-01-01T00:00:00+01:00").unwrap();
        assert_eq!(instant_text(at), "2025-12-31T23:00:00Z");
        assert_eq!(parse_instant("2025-12-31T23:00:00.000Z").unwrap(), at);
        for bad in ["", "2026-01-01", "2026-01-01T00:00:00", "1969-01-01T00:00:00Z", "tomorrow"] {
            assert!(parse_instant(bad).is_err(), "{bad}");
        }
    }
}
