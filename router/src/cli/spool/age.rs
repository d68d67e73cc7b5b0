//! How does an operator write an age? A number with its unit: 45s, 30m, 12h, 3d.

use std::str::FromStr;

/// An age, ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Age(pub(super) u64);

impl FromStr for Age {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "write a number with its unit: 45s, 30m, 12h or 3d";
        let unit = [("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
        let read = |(unit, ms): (&str, u64)| text.strip_suffix(unit)?.parse::<u64>().ok()?.checked_mul(ms);
        unit.into_iter().find_map(read).map(Self).ok_or(EXPECTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_a_number_and_a_unit() {
        for (text, ms) in [("45s", 45_000), ("30m", 1_800_000), ("12h", 43_200_000), ("3d", 259_200_000)] {
            assert_eq!(text.parse(), Ok(Age(ms)));
        }
        for text in ["3", "d", "-1d", "3 days", "99999999999999999d"] {
            assert!(text.parse::<Age>().is_err(), "{text}");
        }
    }
}
