//! What time is it on the wire? Unix milliseconds, UTC (WIRE 1.3). This crate never reads a clock.

use std::fmt;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixMs(pub u64);

/// Clock skew tolerated between any two parties, in milliseconds.
pub const SKEW_MS: u64 = 60_000;

impl UnixMs {
    /// The latest time that can travel: a time is also sent as a varint, so it stays below 2^62 (WIRE 1.3).
    pub const MAX: Self = Self(crate::varint::MAX);

    /// This time and `ms` more, at most the end of the range.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// This time and `s` seconds more, at most the end of the range.
    #[must_use]
    pub const fn plus_s(self, s: u64) -> Self {
        self.plus_ms(s.saturating_mul(1_000))
    }

    /// This time and `ms` less, at least the epoch.
    #[must_use]
    pub const fn minus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_sub(ms))
    }

    /// Milliseconds from `earlier` to this time, 0 when `earlier` is later.
    #[must_use]
    pub const fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for UnixMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}
