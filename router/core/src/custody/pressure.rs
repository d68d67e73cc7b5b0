//! How much less should be taken now? Credit shrinks before the disk is full or what waits is too old; then nothing is taken.

use super::{Custody, CustodyAlarm, CustodyOutput};
use crate::crossing::Crossing;
use crate::link::WorkerId;

/// Nothing is taken.
pub(super) const CLOSED: u8 = 100;
/// Most that age alone shrinks credit: see [`crate::CustodyConfig::old_ms`] for why it never closes custody.
const OLD: u8 = 50;

impl Custody {
    /// Whether another message may be taken.
    pub(super) fn takes(&self) -> bool {
        self.started && !self.stopped && !self.draining && self.pressure_now() < CLOSED
    }

    /// Tells the workers when it changed.
    pub(super) fn tell_pressure(&mut self) {
        let pressure = if self.takes() { self.pressure_now() } else { CLOSED };
        if self.pressure == Some(pressure) {
            return;
        }
        if self.started && self.signer.current(&self.table, self.now).is_none() {
            self.outputs.push_back(CustodyOutput::Alarm(CustodyAlarm::NoKey));
        }
        self.pressure = Some(pressure);
        for worker in (0..self.config.workers).map(WorkerId) {
            let crossing = Crossing::Pressure { percent: pressure };
            self.outputs.push_back(CustodyOutput::Cross { worker, crossing });
        }
    }

    /// The worst of what waits, what the disk has left, and age, 0..=100; in steps of 10, so that it is not told at every turn.
    fn pressure_now(&self) -> u8 {
        if self.signer.current(&self.table, self.now).is_none() {
            return CLOSED;
        }
        let (totals, config) = (&self.totals, &self.config);
        let bytes = share(totals.bytes, config.low_bytes, config.high_bytes);
        let least = config.least_free_bytes;
        let disk = CLOSED - share(totals.free_bytes, least, least.saturating_mul(2));
        let old = totals.oldest.is_some_and(|taken| self.now.wall.ms_since(taken) > config.old_ms);
        bytes.max(disk).max(if old { OLD } else { 0 })
    }
}

/// Where `value` lies between `from` (0) and `to` (100), in steps of 10.
fn share(value: u64, from: u64, to: u64) -> u8 {
    let width = to.saturating_sub(from).max(1);
    let within = value.saturating_sub(from).min(width);
    let tenths = u128::from(within) * 10 / u128::from(width);
    u8::try_from(tenths).unwrap_or(10).saturating_mul(10).min(CLOSED)
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn credit_shrinks_between_the_marks_in_steps() {
        for (value, expected) in [(0, 0), (8, 0), (9, 50), (10, 100), (11, 100)] {
            assert_eq!(share(value, 8, 10), expected, "{value}");
        }
    }
}
