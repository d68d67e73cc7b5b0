//! Which service is asked for, and does a prefix cover it? (WIRE 1.4)
//!
//! A service key is 14 digits: `99`, then group, object, activity and detail of 3 digits each. Less specific keys
//! end in zero groups; a zero group ends the key, so a key is also its own prefix.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::digits::{self, DigitsError};

const LOWEST: u64 = 99_000_000_000_000;
const HIGHEST: u64 = 99_999_999_999_999;

/// How specific a service prefix is: how many of the four groups after `99` it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceLevel {
    /// No digits after `99`: every service.
    Any,
    /// 3 digits: the service group.
    Group,
    /// 6 digits: the object within the group.
    Object,
    /// 9 digits: the activity on the object.
    Activity,
    /// 12 digits: the detail of the activity.
    Detail,
}

impl ServiceLevel {
    /// All levels, the most specific first, which is the order of lookup.
    pub const MOST_SPECIFIC_FIRST: [Self; 5] = [Self::Detail, Self::Activity, Self::Object, Self::Group, Self::Any];

    /// Digits kept after `99`: 0, 3, 6, 9 or 12.
    #[must_use]
    pub const fn digits(self) -> usize {
        match self {
            Self::Any => 0,
            Self::Group => 3,
            Self::Object => 6,
            Self::Activity => 9,
            Self::Detail => 12,
        }
    }

    const fn divisor(self) -> u64 {
        match self {
            Self::Any => 1_000_000_000_000,
            Self::Group => 1_000_000_000,
            Self::Object => 1_000_000,
            Self::Activity => 1_000,
            Self::Detail => 1,
        }
    }

    /// The level at which `value` ends in zero groups, for a value without a gap.
    const fn natural(value: u64) -> Self {
        if !value.is_multiple_of(1_000) {
            Self::Detail
        } else if !value.is_multiple_of(1_000_000) {
            Self::Activity
        } else if !value.is_multiple_of(1_000_000_000) {
            Self::Object
        } else if !value.is_multiple_of(1_000_000_000_000) {
            Self::Group
        } else {
            Self::Any
        }
    }
}

/// Why something is not a service key or prefix. Positions count characters from 1.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ServiceKeyError {
    /// Wrong length or a character that is not a digit.
    #[error("service key {0}")]
    Digits(#[from] DigitsError),
    /// The key does not begin with `99`.
    #[error("service key begins with {found:?} at character 1: it has to begin with 99")]
    Start {
        /// The first two characters.
        found: String,
    },
    /// A group other than zero follows a zero group.
    #[error("service key has a group after the zero group at character {at}: a zero group ends the key")]
    Gap {
        /// Position of the first digit of the zero group, counted from 1.
        at: usize,
    },
    /// A number outside 99000000000000..=99999999999999.
    #[error("service key {0} is not a 14-digit number beginning with 99")]
    Range(u64),
}

/// Checks a 14-digit number; every key and prefix goes through here.
const fn check_value(value: u64) -> Result<u64, ServiceKeyError> {
    if value < LOWEST || value > HIGHEST {
        return Err(ServiceKeyError::Range(value));
    }
    let (detail, activity) = (value % 1_000, value / 1_000 % 1_000);
    let (object, group) = (value / 1_000_000 % 1_000, value / 1_000_000_000 % 1_000);
    if group == 0 && (object != 0 || activity != 0 || detail != 0) {
        return Err(ServiceKeyError::Gap { at: 3 });
    }
    if object == 0 && (activity != 0 || detail != 0) {
        return Err(ServiceKeyError::Gap { at: 6 });
    }
    if activity == 0 && detail != 0 {
        return Err(ServiceKeyError::Gap { at: 9 });
    }
    Ok(value)
}

fn parse_value(text: &str, lengths: &[usize], allowed: &'static str) -> Result<u64, ServiceKeyError> {
    let (value, digits) = digits::parse(text, lengths, allowed)?;
    if !text.starts_with("99") {
        return Err(ServiceKeyError::Start { found: text.chars().take(2).collect() });
    }
    let missing = u32::try_from(14usize.saturating_sub(digits)).unwrap_or(0);
    check_value(value.saturating_mul(10u64.saturating_pow(missing)))
}

/// A 14-digit service key (LeiKa).
///
/// Parsing is the only constructor: `99` + group + object + activity + detail, no group after a zero group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey(u64);

impl ServiceKey {
    /// The key as the 14-digit number that travels on the wire.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The prefix of this key at `level`, or the key's natural prefix where that is shorter.
    #[must_use]
    pub const fn prefix(self, level: ServiceLevel) -> ServicePrefix {
        ServicePrefix::canonical(self.0 / level.divisor() * level.divisor())
    }

    /// The key as a prefix: trailing zero groups cut, so it covers every more specific key.
    #[must_use]
    pub const fn natural_prefix(self) -> ServicePrefix {
        ServicePrefix::canonical(self.0)
    }
}

impl TryFrom<u64> for ServiceKey {
    type Error = ServiceKeyError;

    fn try_from(value: u64) -> Result<Self, ServiceKeyError> {
        check_value(value).map(Self)
    }
}

impl FromStr for ServiceKey {
    type Err = ServiceKeyError;

    fn from_str(text: &str) -> Result<Self, ServiceKeyError> {
        parse_value(text, &[14], "14").map(Self)
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:014}", self.0)
    }
}

/// A service prefix: `99` and 0, 3, 6, 9 or 12 digits, never ending in a zero group.
///
/// Written in its shortest form (`99`, `99050`, `99050012`, …); read in that form or as 14 digits with trailing
/// zero groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServicePrefix {
    value: u64,
    level: ServiceLevel,
}

impl ServicePrefix {
    /// The prefix that covers every service.
    pub const ANY: Self = Self { value: LOWEST, level: ServiceLevel::Any };

    const fn canonical(value: u64) -> Self {
        Self { value, level: ServiceLevel::natural(value) }
    }

    /// How many groups the prefix keeps.
    #[must_use]
    pub const fn level(self) -> ServiceLevel {
        self.level
    }

    /// The prefix as a 14-digit number with trailing zeros; unique, because a zero group ends a prefix.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.value
    }

    /// Whether `key` begins with this prefix.
    #[must_use]
    pub const fn covers(self, key: ServiceKey) -> bool {
        key.0 / self.level.divisor() == self.value / self.level.divisor()
    }

    /// Whether every key that `other` covers is covered by this prefix too.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        other.value / self.level.divisor() == self.value / self.level.divisor()
    }
}

impl TryFrom<u64> for ServicePrefix {
    type Error = ServiceKeyError;

    fn try_from(value: u64) -> Result<Self, ServiceKeyError> {
        check_value(value).map(Self::canonical)
    }
}

impl From<ServiceKey> for ServicePrefix {
    fn from(key: ServiceKey) -> Self {
        key.natural_prefix()
    }
}

impl FromStr for ServicePrefix {
    type Err = ServiceKeyError;

    fn from_str(text: &str) -> Result<Self, ServiceKeyError> {
        parse_value(text, &[2, 5, 8, 11, 14], "2, 5, 8, 11 or 14").map(Self::canonical)
    }
}

impl fmt::Display for ServicePrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.level.digits().saturating_add(2);
        write!(f, "{:0width$}", self.value / self.level.divisor())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(text: &str) -> ServiceKey {
        text.parse().unwrap()
    }

    fn prefix(text: &str) -> ServicePrefix {
        text.parse().unwrap()
    }

    #[test]
    fn a_key_has_four_prefixes_and_the_empty_one() {
        let detail = key("99050012104001");
        let texts = ServiceLevel::MOST_SPECIFIC_FIRST.map(|level| detail.prefix(level).to_string());
        assert_eq!(texts, ["99050012104001", "99050012104", "99050012", "99050", "99"]);
    }

    #[test]
    fn trailing_zero_groups_are_no_part_of_a_prefix() {
        assert_eq!(prefix("99050012000000"), prefix("99050012"));
        assert_eq!(key("99050012000000").natural_prefix().level(), ServiceLevel::Object);
        assert_eq!(key("99050012000000").prefix(ServiceLevel::Detail), prefix("99050012"));
        assert_eq!(prefix("99050000"), prefix("99050"));
        assert_eq!(prefix("99000000000000"), ServicePrefix::ANY);
    }

    #[test]
    fn a_prefix_covers_what_begins_with_it_and_nothing_else() {
        let object = prefix("99050012");
        assert!(object.covers(key("99050012104000")) && object.covers(key("99050012000000")));
        assert!(!object.covers(key("99050013000000")) && !object.covers(key("99050000000000")));
        assert!(prefix("99").contains(object) && prefix("99050").contains(object) && object.contains(object));
        assert!(!object.contains(prefix("99050")) && !object.contains(prefix("99051012")));
    }

    #[test]
    fn errors_name_the_position_and_the_reason() {
        let message = |text: &str| text.parse::<ServiceKey>().unwrap_err().to_string();
        assert_eq!(message("9905O012104000"), "service key character 5 is 'O': only the digits 0 to 9 are allowed");
        assert_eq!(message("9905"), "service key has 4 digits: give 14");
        assert_eq!(message("98050012104000"), "service key begins with \"98\" at character 1: it has to begin with 99");
        assert!(message("99050000104000").contains("zero group at character 6"));
        assert!(ServiceKey::try_from(5).unwrap_err().to_string().contains("14-digit"));
        assert!("990".parse::<ServicePrefix>().unwrap_err().to_string().contains("2, 5, 8, 11 or 14"));
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused_and_prints_back(text in "\\PC{0,20}|99[0-9]{12}|99[0-9]{3}") {
            if let Ok(key) = text.parse::<ServiceKey>() {
                prop_assert_eq!(key.to_string(), text.clone());
                prop_assert_eq!(ServiceKey::try_from(key.as_u64()), Ok(key));
                for level in ServiceLevel::MOST_SPECIFIC_FIRST {
                    prop_assert!(key.prefix(level).covers(key));
                    prop_assert!(key.prefix(level).level() <= level);
                }
            }
            if let Ok(prefix) = text.parse::<ServicePrefix>() {
                prop_assert_eq!(prefix.to_string().parse(), Ok(prefix));
                prop_assert_eq!(ServicePrefix::try_from(prefix.as_u64()), Ok(prefix));
            }
        }

        #[test]
        fn covering_is_beginning_with(a in "99[01]{12}", b in "99[01]{12}") {
            if let (Ok(a), Ok(b)) = (a.parse::<ServicePrefix>(), b.parse::<ServiceKey>()) {
                prop_assert_eq!(a.covers(b), b.to_string().starts_with(&a.to_string()));
                prop_assert_eq!(a.contains(b.natural_prefix()), a.covers(b));
            }
        }
    }
}
