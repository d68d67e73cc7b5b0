//! How urgent is a message? The three priority classes, each with a lane and credit of its own (WIRE 1.8, 2.3).

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Priority class of a message. The default is interactive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Class {
    /// 0
    Urgent = 0,
    /// 1
    #[default]
    Interactive = 1,
    /// 2
    Bulk = 2,
}

/// A priority class that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("priority class {0:?} does not exist: use 0 (urgent), 1 (interactive) or 2 (bulk)")]
pub struct ClassError(String);

impl Class {
    /// All classes, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Urgent, Self::Interactive, Self::Bulk];

    /// 0, 1 or 2: for arrays with one place per class.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The number on the wire.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self as u64
    }

    /// The name in configuration, metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Urgent => "urgent",
            Self::Interactive => "interactive",
            Self::Bulk => "bulk",
        }
    }
}

impl TryFrom<u64> for Class {
    type Error = ClassError;

    fn try_from(value: u64) -> Result<Self, ClassError> {
        match value {
            0 => Ok(Self::Urgent),
            1 => Ok(Self::Interactive),
            2 => Ok(Self::Bulk),
            other => Err(ClassError(other.to_string())),
        }
    }
}

impl FromStr for Class {
    type Err = ClassError;

    fn from_str(text: &str) -> Result<Self, ClassError> {
        Self::ALL.into_iter().find(|class| class.name() == text).ok_or_else(|| ClassError(text.to_owned()))
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
