//! How much may be in flight on a bundle lane? Cumulative limits of entries and bytes (WIRE 7.1, 7.2).
//!
//! [`Granted`] is the receiver's side of one class of one link, [`Allowance`] the sender's. Both only count. What an
//! entry costs is [`entry_cost`] on both sides: it includes the memory its settlement needs later.

use thiserror::Error;

/// Bytes every entry costs beyond statement and payload, for its settlement (WIRE 7.1).
pub const SETTLEMENT_RESERVE: u64 = 256;

/// The most one entry can cost: statement 1,024, inline payload 65,536, reserve. A window below it stops large entries.
pub const LARGEST_ENTRY_COST: u64 = 1_024 + 65_536 + SETTLEMENT_RESERVE;

/// What an entry costs in bytes of credit.
#[must_use]
pub const fn entry_cost(statement_length: usize, payload_length: usize) -> u64 {
    (statement_length as u64).saturating_add(payload_length as u64).saturating_add(SETTLEMENT_RESERVE)
}

/// The peer used more credit than it was granted: `credit-exceeded` (WIRE 7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{entries} entries and {bytes} bytes were sent, {entry_limit} and {byte_limit} are granted")]
pub struct Exceeded {
    /// Entries sent since the link came up, with the one too many.
    pub entries: u64,
    /// Bytes sent since the link came up, with the ones too many.
    pub bytes: u64,
    /// Entries granted since the link came up.
    pub entry_limit: u64,
    /// Bytes granted since the link came up.
    pub byte_limit: u64,
}

impl From<Exceeded> for crate::code::FrameFault {
    fn from(exceeded: Exceeded) -> Self {
        Self::new(crate::code::CloseCode::CreditExceeded, "WIRE 7.2", exceeded.to_string())
    }
}

/// One dimension of the receiver's side. `settled <= received <= limit` always holds.
#[derive(Debug, Clone, Copy, Default)]
struct Dimension {
    window: u64,
    limit: u64,
    received: u64,
    settled: u64,
}

impl Dimension {
    /// The limit that gives the sender its whole window beyond what is in use.
    const fn target(&self) -> u64 {
        self.settled.saturating_add(self.window)
    }

    /// How far the limit could be raised now.
    const fn freed(&self) -> u64 {
        self.target().saturating_sub(self.limit)
    }

    const fn in_use(&self) -> u64 {
        self.received.saturating_sub(self.settled)
    }

    /// What the sender may still send without an update.
    const fn left(&self) -> u64 {
        self.limit.saturating_sub(self.received)
    }

    /// Worth an update: an eighth of the window, or the sender may be unable to send its next entry of `largest`.
    const fn is_worth_update(&self, largest: u64) -> bool {
        let freed = self.freed();
        freed > 0 && (freed >= self.window / 8 || self.left() < largest)
    }

    fn raise(&mut self) {
        self.limit = self.limit.max(self.target());
    }
}

/// What the receiver of a bundle lane has granted and what of it is in use.
///
/// Memory for the windows has to be reserved by the owner. Limits start at 0: the first [`take_update`] grants the
/// windows. They never go down; a smaller window takes effect as entries settle.
///
/// [`take_update`]: Self::take_update
#[derive(Debug, Clone, Copy)]
pub struct Granted {
    entries: Dimension,
    bytes: Dimension,
}

impl Granted {
    /// Windows of so many entries and bytes in flight. Bytes below [`LARGEST_ENTRY_COST`] stop the largest entries.
    #[must_use]
    pub fn new(entry_window: u64, byte_window: u64) -> Self {
        let dimension = |window| Dimension { window, ..Dimension::default() };
        Self { entries: dimension(entry_window), bytes: dimension(byte_window) }
    }

    /// Changes the windows: a larger one with the next update, a smaller one as entries settle.
    pub const fn set_windows(&mut self, entry_window: u64, byte_window: u64) {
        self.entries.window = entry_window;
        self.bytes.window = byte_window;
    }

    /// Counts one entry that arrived; `bytes` is its [`entry_cost`].
    ///
    /// # Errors
    /// It exceeds a limit. Nothing is counted then; the link has to close.
    pub fn on_received(&mut self, bytes: u64) -> Result<(), Exceeded> {
        let total_entries = self.entries.received.saturating_add(1);
        let total_bytes = self.bytes.received.saturating_add(bytes);
        if total_entries > self.entries.limit || total_bytes > self.bytes.limit {
            return Err(Exceeded {
                entries: total_entries,
                bytes: total_bytes,
                entry_limit: self.entries.limit,
                byte_limit: self.bytes.limit,
            });
        }
        self.entries.received = total_entries;
        self.bytes.received = total_bytes;
        Ok(())
    }

    /// Counts one entry that settled; `bytes` is what it cost when it arrived. More than arrived is cut to that.
    pub fn on_settled(&mut self, bytes: u64) {
        debug_assert!(self.entries.in_use() > 0 && self.bytes.in_use() >= bytes, "settled more than arrived");
        self.entries.settled = self.entries.settled.saturating_add(1).min(self.entries.received);
        self.bytes.settled = self.bytes.settled.saturating_add(bytes).min(self.bytes.received);
    }

    /// New limits (entries, bytes) for a CREDIT frame, when an update is worth its bytes.
    pub fn take_update(&mut self) -> Option<(u64, u64)> {
        if !self.entries.is_worth_update(1) && !self.bytes.is_worth_update(LARGEST_ENTRY_COST) {
            return None;
        }
        self.entries.raise();
        self.bytes.raise();
        Some((self.entries.limit, self.bytes.limit))
    }

    /// Entries and bytes that arrived and have not settled.
    #[must_use]
    pub const fn in_use(&self) -> (u64, u64) {
        (self.entries.in_use(), self.bytes.in_use())
    }

    /// The windows, in entries and bytes.
    #[must_use]
    pub const fn windows(&self) -> (u64, u64) {
        (self.entries.window, self.bytes.window)
    }
}

/// What the sender of a bundle lane may still send.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allowance {
    entry_limit: u64,
    byte_limit: u64,
    entries: u64,
    bytes: u64,
}

impl Allowance {
    /// Nothing granted yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the limits of a CREDIT frame. A limit below an earlier one changes nothing: limits never go down.
    pub fn on_credit(&mut self, entries: u64, bytes: u64) {
        self.entry_limit = self.entry_limit.max(entries);
        self.byte_limit = self.byte_limit.max(bytes);
    }

    /// Spends credit for so many entries that cost so many bytes together, or nothing when it does not suffice.
    #[must_use = "without credit the entries must not be sent"]
    pub fn try_spend(&mut self, entries: u64, bytes: u64) -> bool {
        let (entries_left, bytes_left) = self.available();
        if entries > entries_left || bytes > bytes_left {
            return false;
        }
        self.entries = self.entries.saturating_add(entries);
        self.bytes = self.bytes.saturating_add(bytes);
        true
    }

    /// Entries and bytes that may be sent now.
    #[must_use]
    pub const fn available(&self) -> (u64, u64) {
        (self.entry_limit.saturating_sub(self.entries), self.byte_limit.saturating_sub(self.bytes))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pair(entries: u64, bytes: u64) -> (Granted, Allowance) {
        let (mut granted, mut allowance) = (Granted::new(entries, bytes), Allowance::new());
        let (entries, bytes) = granted.take_update().unwrap();
        allowance.on_credit(entries, bytes);
        (granted, allowance)
    }

    #[test]
    fn nothing_may_be_sent_before_the_first_grant() {
        assert!(!Allowance::new().try_spend(1, 256));
        assert!(Granted::new(8, 100_000).on_received(256).is_err());
    }

    #[test]
    fn an_entry_too_many_is_credit_exceeded() {
        let (mut granted, mut allowance) = pair(2, 1_000_000);
        for _ in 0..2 {
            assert!(allowance.try_spend(1, 300) && granted.on_received(300).is_ok());
        }
        assert!(!allowance.try_spend(1, 300));
        let exceeded = granted.on_received(300).unwrap_err();
        assert_eq!((exceeded.entries, exceeded.entry_limit), (3, 2));
        assert_eq!(granted.in_use(), (2, 600));
    }

    #[test]
    fn an_update_waits_until_an_eighth_of_the_window_is_free() {
        let (mut granted, _) = pair(80, 10_000_000);
        (0..20).for_each(|_| granted.on_received(300).unwrap());
        (0..9).for_each(|_| granted.on_settled(300));
        assert_eq!(granted.take_update(), None);
        granted.on_settled(300);
        assert_eq!(granted.take_update(), Some((90, 10_003_000)));
        assert_eq!(granted.take_update(), None);
    }

    #[test]
    fn a_sender_whose_next_entry_may_not_fit_is_updated_at_once() {
        let (mut granted, _) = pair(1_000, LARGEST_ENTRY_COST);
        granted.on_received(300).unwrap();
        granted.on_settled(300);
        assert_eq!(granted.take_update(), Some((1_001, LARGEST_ENTRY_COST + 300)));
    }

    #[test]
    fn limits_never_go_down() {
        let (mut granted, mut allowance) = pair(8, 800_000);
        granted.set_windows(2, 200_000);
        assert_eq!(granted.take_update(), None);
        allowance.on_credit(1, 1);
        assert_eq!(allowance.available(), (8, 800_000));
    }

    proptest! {
        #[test]
        fn a_sender_within_its_allowance_never_faults_and_never_starves(
            entries in 1u64..20,
            extra in 0u64..200_000,
            steps in proptest::collection::vec((any::<bool>(), 0usize..66_560), 0..200),
        ) {
            let window = LARGEST_ENTRY_COST + extra;
            let (mut granted, mut allowance) = pair(entries, window);
            let mut in_flight = std::collections::VecDeque::new();
            for (send, length) in steps {
                let cost = entry_cost(0, length);
                if send && allowance.try_spend(1, cost) {
                    prop_assert!(granted.on_received(cost).is_ok());
                    in_flight.push_back(cost);
                } else if let Some(cost) = in_flight.pop_front() {
                    granted.on_settled(cost);
                }
                if let Some((entries, bytes)) = granted.take_update() {
                    allowance.on_credit(entries, bytes);
                }
                let used: u64 = in_flight.iter().sum();
                prop_assert_eq!(granted.in_use(), (in_flight.len() as u64, used));
                prop_assert!(granted.in_use().0 <= entries && used <= window);
                if in_flight.is_empty() {
                    prop_assert!(allowance.available() >= (1, 0) && allowance.available().1 >= LARGEST_ENTRY_COST);
                }
            }
        }
    }
}
