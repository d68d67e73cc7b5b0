//! Which message of which run is this, when was it intended to start, and is it to be rejected? All of it stands in the
//! message's id, so that payloads can be plain slices of one random buffer and the sink keeps one bit a message.
//!
//! A UUIDv7 has 74 bits of free choice behind its milliseconds: 8 for the run, 1 for *reject me*, 33 for the number, 32
//! for the intended start in µs after the start of the run.

use kernpost_codecs::{MessageId, UnixMs};

/// What an id says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// Which run of this generator, modulo 256.
    pub run: u8,
    /// Whether the sink is to reject it.
    pub reject: bool,
    /// Its number in the run, from 0; at most [`MOST`].
    pub number: u64,
    /// Intended start after the start of the run, µs; at most 4,294 s.
    pub intended_us: u32,
}

/// Messages of one run at most.
pub const MOST: u64 = 1 << 33;

impl Marks {
    /// The id; `at` is the wall clock.
    #[must_use]
    pub fn id(self, at: UnixMs) -> MessageId {
        let bits: u128 = u128::from(self.run) << 66
            | u128::from(self.reject) << 65
            | u128::from(self.number & (MOST - 1)) << 32
            | u128::from(self.intended_us);
        // The 74 bits lie as 4 + 8 + 6 + 56 in the ten bytes.
        let low = (bits & ((1 << 56) - 1)).to_be_bytes();
        let byte = |shift: u32, mask: u128| u8::try_from((bits >> shift) & mask).unwrap_or(0);
        let [.., b1, b2, b3, b4, b5, b6, b7] = low;
        MessageId::from_parts(at, [byte(70, 0x0f), byte(62, 0xff), byte(56, 0x3f), b1, b2, b3, b4, b5, b6, b7])
    }

    /// What this id says. Every id says something: ask only of messages that a generator sent.
    #[must_use]
    pub fn of(id: MessageId) -> Self {
        let [_, _, _, _, _, _, a0, a1, b0, b1, b2, b3, b4, b5, b6, b7] = *id.as_bytes();
        let low = u64::from_be_bytes([0, b1, b2, b3, b4, b5, b6, b7]);
        let bits = u128::from(a0 & 0x0f) << 70 | u128::from(a1) << 62 | u128::from(b0 & 0x3f) << 56 | u128::from(low);
        Self {
            run: u8::try_from((bits >> 66) & 0xff).unwrap_or(0),
            reject: (bits >> 65) & 1 == 1,
            number: u64::try_from((bits >> 32) & u128::from(MOST - 1)).unwrap_or(0),
            intended_us: u32::try_from(bits & 0xffff_ffff).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_what_was_put_into_it() {
        let corners = [
            Marks { run: 0, reject: false, number: 0, intended_us: 0 },
            Marks { run: 255, reject: true, number: MOST - 1, intended_us: u32::MAX },
            Marks { run: 7, reject: false, number: 123_456_789, intended_us: 59_999_999 },
            Marks { run: 128, reject: true, number: 1 << 32, intended_us: 1 },
        ];
        for marks in corners {
            let id = marks.id(UnixMs(1_790_000_000_000));
            assert_eq!(Marks::of(id), marks);
            let text = id.to_string();
            assert_eq!(text.as_bytes().get(14), Some(&b'7'), "{text} is a UUIDv7");
        }
    }

    #[test]
    fn different_messages_have_different_ids() {
        let id = |number| Marks { run: 1, reject: false, number, intended_us: 5 }.id(UnixMs(1));
        assert_ne!(id(1), id(2));
    }
}
