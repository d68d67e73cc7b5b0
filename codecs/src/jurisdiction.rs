//! Where is it asked for, and does a prefix cover the place? (WIRE 1.5)
//!
//! An ARS is 12 digits: Land 2, Regierungsbezirk 1, Kreis 2, Gemeindeverband 4, Gemeinde 3. Unlike in a service key a
//! zero part is an ordinary value (Hamburg is `020000000000`), so a prefix carries its length.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::digits::{self, DigitsError};

const LAND: u64 = 10_000_000_000;
const HIGHEST: u64 = 16 * LAND + (LAND - 1);

/// How specific a jurisdiction prefix is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JurisdictionLevel {
    /// No digits: every place, and the federal level.
    Any,
    /// 2 digits.
    Land,
    /// 3 digits: Regierungsbezirk.
    Bezirk,
    /// 5 digits.
    Kreis,
    /// 9 digits: Gemeindeverband.
    Verband,
    /// 12 digits.
    Gemeinde,
}

impl JurisdictionLevel {
    /// All levels, the most specific first, which is the order of lookup.
    pub const MOST_SPECIFIC_FIRST: [Self; 6] =
        [Self::Gemeinde, Self::Verband, Self::Kreis, Self::Bezirk, Self::Land, Self::Any];

    /// Digits kept: 0, 2, 3, 5, 9 or 12.
    #[must_use]
    pub const fn digits(self) -> usize {
        match self {
            Self::Any => 0,
            Self::Land => 2,
            Self::Bezirk => 3,
            Self::Kreis => 5,
            Self::Verband => 9,
            Self::Gemeinde => 12,
        }
    }

    const fn from_digits(digits: usize) -> Self {
        match digits {
            0 => Self::Any,
            2 => Self::Land,
            3 => Self::Bezirk,
            5 => Self::Kreis,
            9 => Self::Verband,
            _ => Self::Gemeinde,
        }
    }

    const fn divisor(self) -> u64 {
        match self {
            Self::Any => 1_000_000_000_000,
            Self::Land => LAND,
            Self::Bezirk => 1_000_000_000,
            Self::Kreis => 10_000_000,
            Self::Verband => 1_000,
            Self::Gemeinde => 1,
        }
    }
}

/// Why something is not an ARS, an AGS or a jurisdiction prefix. Positions count characters from 1.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JurisdictionError {
    /// Wrong length or a character that is not a digit.
    #[error("jurisdiction {0}")]
    Digits(#[from] DigitsError),
    /// The first two digits name no Land.
    #[error("jurisdiction has Land {found:02} at character 1: give 01 to 16, or twelve zeros for the federal level")]
    Land {
        /// The number found there.
        found: u64,
    },
    /// A prefix given as a number has digits beyond its level.
    #[error("jurisdiction prefix {value} has digits other than zero beyond its {digits} digits")]
    BeyondLevel {
        /// The number given.
        value: u64,
        /// How many digits the level keeps.
        digits: usize,
    },
}

const fn check_value(value: u64) -> Result<u64, JurisdictionError> {
    if value == 0 || (value >= LAND && value <= HIGHEST) {
        Ok(value)
    } else {
        Err(JurisdictionError::Land { found: value / LAND })
    }
}

/// A 12-digit jurisdiction (Amtlicher Regionalschlüssel).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ars(u64);

impl Ars {
    /// The federal level, `000000000000`.
    pub const FEDERAL: Self = Self(0);

    /// The jurisdiction as the number that travels on the wire.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The prefix of this jurisdiction at `level`.
    ///
    /// The federal level has only the empty prefix and the 12-digit one: every level but `Any` gives the latter.
    #[must_use]
    pub const fn prefix(self, level: JurisdictionLevel) -> JurisdictionPrefix {
        match level {
            JurisdictionLevel::Any => JurisdictionPrefix::ANY,
            _ if self.0 == 0 => JurisdictionPrefix::FEDERAL,
            _ => JurisdictionPrefix { value: self.0 / level.divisor() * level.divisor(), level },
        }
    }

    /// The municipality key without the Gemeindeverband: digits 1 to 5 and 10 to 12. The way back needs a list.
    #[must_use]
    pub fn to_ags(self) -> Ags {
        let value = self.0 / JurisdictionLevel::Kreis.divisor() * 1_000 + self.0 % 1_000;
        Ags(u32::try_from(value).unwrap_or(u32::MAX))
    }
}

impl TryFrom<u64> for Ars {
    type Error = JurisdictionError;

    fn try_from(value: u64) -> Result<Self, JurisdictionError> {
        check_value(value).map(Self)
    }
}

impl FromStr for Ars {
    type Err = JurisdictionError;

    fn from_str(text: &str) -> Result<Self, JurisdictionError> {
        let (value, _) = digits::parse(text, &[12], "12")?;
        Self::try_from(value)
    }
}

impl fmt::Display for Ars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012}", self.0)
    }
}

/// An 8-digit municipality key (Amtlicher Gemeindeschlüssel): Land 2, Regierungsbezirk 1, Kreis 2, Gemeinde 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ags(u32);

impl Ags {
    /// The key as a number.
    #[must_use]
    pub const fn as_u32(self) -> u32 {
        self.0
    }
}

impl FromStr for Ags {
    type Err = JurisdictionError;

    fn from_str(text: &str) -> Result<Self, JurisdictionError> {
        let (value, _) = digits::parse(text, &[8], "8")?;
        check_value(value.saturating_mul(10_000))?;
        Ok(Self(u32::try_from(value).unwrap_or(u32::MAX)))
    }
}

impl fmt::Display for Ags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08}", self.0)
    }
}

/// A jurisdiction prefix of 0, 2, 3, 5, 9 or 12 digits.
///
/// The empty prefix is written `*` and read as `*` or the empty text. No prefix but the empty one and the 12-digit
/// `000000000000` covers the federal level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JurisdictionPrefix {
    value: u64,
    level: JurisdictionLevel,
}

impl JurisdictionPrefix {
    /// The empty prefix: every place and the federal level.
    pub const ANY: Self = Self { value: 0, level: JurisdictionLevel::Any };
    /// The 12-digit prefix of the federal level, `000000000000`.
    pub const FEDERAL: Self = Self { value: 0, level: JurisdictionLevel::Gemeinde };

    /// The prefix whose 12-digit form with trailing zeros is `value`.
    ///
    /// # Errors
    /// The Land is not 01 to 16 (or the whole not the federal level), or `value` has digits beyond `level`.
    pub const fn from_parts(value: u64, level: JurisdictionLevel) -> Result<Self, JurisdictionError> {
        if value == 0 && matches!(level, JurisdictionLevel::Any | JurisdictionLevel::Gemeinde) {
            return Ok(Self { value, level });
        }
        if value < LAND || value > HIGHEST {
            return Err(JurisdictionError::Land { found: value / LAND });
        }
        if !value.is_multiple_of(level.divisor()) {
            return Err(JurisdictionError::BeyondLevel { value, digits: level.digits() });
        }
        Ok(Self { value, level })
    }

    /// How many digits the prefix keeps, as a level.
    #[must_use]
    pub const fn level(self) -> JurisdictionLevel {
        self.level
    }

    /// The prefix as a 12-digit number with trailing zeros; unique only together with the level.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.value
    }

    /// Whether this prefix covers the place.
    #[must_use]
    pub const fn covers(self, place: Ars) -> bool {
        place.0 / self.level.divisor() == self.value / self.level.divisor()
    }

    /// Whether every place that `other` covers is covered by this prefix too.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        other.level >= self.level && other.value / self.level.divisor() == self.value / self.level.divisor()
    }
}

impl From<Ars> for JurisdictionPrefix {
    fn from(place: Ars) -> Self {
        place.prefix(JurisdictionLevel::Gemeinde)
    }
}

impl FromStr for JurisdictionPrefix {
    type Err = JurisdictionError;

    fn from_str(text: &str) -> Result<Self, JurisdictionError> {
        if text == "*" {
            return Ok(Self::ANY);
        }
        let (value, digits) = digits::parse(text, &[0, 2, 3, 5, 9, 12], "none (or *), 2, 3, 5, 9 or 12")?;
        let level = JurisdictionLevel::from_digits(digits);
        Self::from_parts(value.saturating_mul(level.divisor()), level)
    }
}

impl fmt::Display for JurisdictionPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.level == JurisdictionLevel::Any {
            return f.write_str("*");
        }
        let width = self.level.digits();
        write!(f, "{:0width$}", self.value / self.level.divisor())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ars(text: &str) -> Ars {
        text.parse().unwrap()
    }

    fn prefix(text: &str) -> JurisdictionPrefix {
        text.parse().unwrap()
    }

    #[test]
    fn a_municipality_has_five_prefixes_and_the_empty_one() {
        let place = ars("147295202030");
        let texts = JurisdictionLevel::MOST_SPECIFIC_FIRST.map(|level| place.prefix(level).to_string());
        assert_eq!(texts, ["147295202030", "147295202", "14729", "147", "14", "*"]);
    }

    #[test]
    fn the_ags_leaves_out_the_verband() {
        assert_eq!(ars("147295202030").to_ags().to_string(), "14729030");
        assert_eq!(ars("010010000000").to_ags(), "01001000".parse().unwrap());
    }

    #[test]
    fn the_federal_level_is_covered_by_the_empty_prefix_and_its_own_only() {
        assert!(JurisdictionPrefix::ANY.covers(Ars::FEDERAL) && JurisdictionPrefix::FEDERAL.covers(Ars::FEDERAL));
        assert!(!prefix("01").covers(Ars::FEDERAL) && !JurisdictionPrefix::FEDERAL.covers(ars("010010000000")));
        assert!(JurisdictionPrefix::ANY.contains(JurisdictionPrefix::FEDERAL));
        assert!(!JurisdictionPrefix::FEDERAL.contains(JurisdictionPrefix::ANY));
        assert_eq!(Ars::FEDERAL.prefix(JurisdictionLevel::Land), JurisdictionPrefix::FEDERAL);
        assert!("00".parse::<JurisdictionPrefix>().is_err());
    }

    #[test]
    fn a_zero_part_is_an_ordinary_value() {
        assert!(prefix("020").covers(ars("020000000000")));
        assert!(prefix("02").contains(prefix("020")) && !prefix("020").contains(prefix("02")));
    }

    #[test]
    fn errors_name_the_position_and_the_reason() {
        let message = |text: &str| text.parse::<Ars>().unwrap_err().to_string();
        assert_eq!(message("14713000000x"), "jurisdiction character 12 is 'x': only the digits 0 to 9 are allowed");
        assert_eq!(message("1471300"), "jurisdiction has 7 digits: give 12");
        assert!(message("170000000000").starts_with("jurisdiction has Land 17 at character 1"));
        assert!(message("000000000001").starts_with("jurisdiction has Land 00 at character 1"));
        assert!("1471".parse::<JurisdictionPrefix>().unwrap_err().to_string().contains("2, 3, 5, 9 or 12"));
        assert!("17001000".parse::<Ags>().is_err());
        assert!(JurisdictionPrefix::from_parts(147_130_000_000, JurisdictionLevel::Land).is_err());
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused_and_prints_back(text in "\\PC{0,20}|[01][0-9]{11}|[01][0-9]{1,8}") {
            if let Ok(place) = text.parse::<Ars>() {
                prop_assert_eq!(place.to_string(), text.clone());
                prop_assert_eq!(Ars::try_from(place.as_u64()), Ok(place));
                let ags = place.to_ags().to_string();
                prop_assert_eq!(ags, format!("{}{}", &text[0..5], &text[9..12]));
            }
            if let Ok(prefix) = text.parse::<JurisdictionPrefix>() {
                prop_assert_eq!(prefix.to_string().parse(), Ok(prefix));
                prop_assert_eq!(JurisdictionPrefix::from_parts(prefix.as_u64(), prefix.level()), Ok(prefix));
            }
        }

        #[test]
        fn covering_is_beginning_with(a in "0[1-2]([01]([01]{2}([01]{4}([01]{3})?)?)?)?", b in "0[1-2][01]{10}") {
            let (a, b) = (prefix(&a), ars(&b));
            prop_assert_eq!(a.covers(b), b.to_string().starts_with(&a.to_string()));
            prop_assert_eq!(a.contains(JurisdictionPrefix::from(b)), a.covers(b));
        }
    }
}
