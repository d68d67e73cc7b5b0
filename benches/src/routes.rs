//! Which route keys does a benchmark ask for, and what does one of them cost?

use std::time::{Duration, Instant};

use kernpost_codecs::{Ars, ServiceKey};

/// Seed of the route keys asked for.
pub const KEYS_SEED: u64 = 42;
/// How many different route keys are asked for, in turn.
pub const KEYS: usize = 1 << 20;
/// Route keys of a full part.
pub const PART: usize = 256;

/// Route keys in turn, without end.
#[derive(Debug)]
pub struct Parts {
    keys: Vec<(ServiceKey, Ars)>,
    next: usize,
}

impl Parts {
    /// Takes at least [`PART`] keys.
    #[must_use]
    pub fn new(keys: Vec<(ServiceKey, Ars)>) -> Self {
        assert!(keys.len() >= PART, "there have to be {PART} keys");
        Self { keys, next: 0 }
    }

    /// The next key.
    pub fn next_key(&mut self) -> (ServiceKey, Ars) {
        self.next = if self.next + 1 < self.keys.len() { self.next + 1 } else { 0 };
        self.keys[self.next]
    }

    /// The next [`PART`] keys.
    pub fn next_part(&mut self) -> &[(ServiceKey, Ars)] {
        if self.next + PART > self.keys.len() {
            self.next = 0;
        }
        self.next += PART;
        &self.keys[self.next - PART..self.next]
    }
}

/// The time of `keys` keys, when `part` treats [`PART`] at once: for criterion's `iter_custom`, so that it reports the
/// time of one key.
pub fn per_key(keys: u64, mut part: impl FnMut()) -> Duration {
    let parts = keys.div_ceil(PART as u64);
    let started = Instant::now();
    for _ in 0..parts {
        part();
    }
    let scale = keys as f64 / (parts * PART as u64) as f64;
    started.elapsed().mul_f64(scale)
}
