//! The instant at which an input happened, as the shell or a simulation saw it: the core reads no clock.

use kernpost_codecs::UnixMs;

/// An instant: a monotonic reading for deadlines and a wall-clock reading for expiry and key validity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Microseconds since an arbitrary start; never goes back.
    pub mono_us: u64,
    /// Wall clock, Unix milliseconds; may step.
    pub wall: UnixMs,
}

impl Now {
    /// This instant's monotonic reading plus `ms` milliseconds.
    pub fn after_ms(&self, ms: u64) -> u64 {
        self.mono_us.saturating_add(ms.saturating_mul(1_000))
    }
}
