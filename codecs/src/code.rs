//! What happened, in numbers: outcomes (WIRE 4.3), settlement codes (8.4), and why a link closes (2.5).
//!
//! The tables here are the ones of WIRE.md; nothing else in the project repeats a number.

use std::fmt;

use thiserror::Error;

use crate::varint::VarintError;

/// The outcome a receipt states. Outcomes 1 and 2 are the recipient's, 3 to 7 a router's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// Durable in the recipient's inbox; says nothing about the case.
    Delivered = 1,
    /// The recipient will not take it.
    Rejected = 2,
    /// The ingress router is durably responsible for it.
    Custody = 3,
    /// The router held it and had not delivered it by its expiry.
    Expired = 4,
    /// The router's stored copy is damaged: send it again.
    Damaged = 5,
    /// No longer routable or permitted; the router stops.
    Returned = 6,
    /// Discarded by two operators.
    Discarded = 7,
}

/// An outcome number outside 1..=7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("outcome {0} does not exist: 1 to 7 do")]
pub struct OutcomeError(pub u64);

impl Outcome {
    /// All outcomes in the order of their numbers.
    pub const ALL: [Self; 7] =
        [Self::Delivered, Self::Rejected, Self::Custody, Self::Expired, Self::Damaged, Self::Returned, Self::Discarded];

    /// The number on the wire.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self as u64
    }

    /// The name in the command line, metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Rejected => "rejected",
            Self::Custody => "custody",
            Self::Expired => "expired",
            Self::Damaged => "damaged",
            Self::Returned => "returned",
            Self::Discarded => "discarded",
        }
    }

    /// Whether the recipient states it (delivered, rejected); routers state the others.
    #[must_use]
    pub const fn is_by_recipient(self) -> bool {
        matches!(self, Self::Delivered | Self::Rejected)
    }

    /// Whether nothing else is to be expected after it: every outcome but custody.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Custody)
    }
}

impl TryFrom<u64> for Outcome {
    type Error = OutcomeError;

    fn try_from(value: u64) -> Result<Self, OutcomeError> {
        match value {
            1 => Ok(Self::Delivered),
            2 => Ok(Self::Rejected),
            3 => Ok(Self::Custody),
            4 => Ok(Self::Expired),
            5 => Ok(Self::Damaged),
            6 => Ok(Self::Returned),
            7 => Ok(Self::Discarded),
            other => Err(OutcomeError(other)),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Whose fault a settlement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Nobody's.
    None,
    /// Of who sent the entry.
    Peer,
    /// Of this router or network, just now.
    Local,
    /// The directory does not permit it.
    Policy,
}

impl Fault {
    /// The name in WIRE 8.4.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Peer => "peer",
            Self::Local => "local",
            Self::Policy => "policy",
        }
    }
}

/// Whether trying again makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retry {
    /// There is nothing to retry.
    None,
    /// Not without changing the message.
    Never,
    /// After some time or a change.
    After,
    /// At another router.
    Elsewhere,
}

impl Retry {
    /// The name in WIRE 8.4.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Never => "never",
            Self::After => "after",
            Self::Elsewhere => "elsewhere",
        }
    }
}

/// A settlement code (WIRE 8.4). Unknown codes keep their number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub u64);

macro_rules! codes {
    ($($constant:ident = $number:literal, $name:literal, $fault:ident, $retry:ident;)*) => {
        impl Code {
            $(#[doc = concat!("`", $name, "`, ", stringify!($number), " (WIRE 8.4).")]
            pub const $constant: Self = Self($number);)*

            /// Every code of WIRE 8.4, in the order of its table.
            pub const ALL: &'static [Self] = &[$(Self($number)),*];

            const fn row(self) -> Option<(&'static str, Fault, Retry)> {
                match self.0 {
                    $($number => Some(($name, Fault::$fault, Retry::$retry)),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    NOTED = 0, "noted", None, None;
    UNDECIDED_LINK_LOST = 1, "undecided-link-lost", Local, After;
    UNDECIDED_DEADLINE = 2, "undecided-deadline", Local, After;
    UNDECIDED_STORAGE = 3, "undecided-storage", Local, After;
    UNDECIDED_DRAINING = 4, "undecided-draining", Local, After;
    UNDECIDED_UNCLEAR = 5, "undecided-unclear", Peer, After;
    BAD_STATEMENT = 100, "bad-statement", Peer, Never;
    CRITICAL_UNKNOWN = 101, "critical-unknown", Peer, Never;
    SENDER_NOT_ATTACHED = 102, "sender-not-attached", Peer, After;
    SENDER_UNKNOWN = 103, "sender-unknown", Peer, Never;
    KEY_NOT_OWNED = 104, "key-not-owned", Peer, Never;
    KEY_EXPIRED = 105, "key-expired", Peer, After;
    KEY_REVOKED = 106, "key-revoked", Peer, After;
    BAD_SIGNATURE = 107, "bad-signature", Peer, Never;
    BAD_PROOF = 108, "bad-proof", Peer, Never;
    DIGEST_MISMATCH = 109, "digest-mismatch", Peer, Never;
    EXPIRED = 110, "expired", Peer, Never;
    NOT_YET_VALID = 111, "not-yet-valid", Peer, After;
    ID_REUSED = 112, "id-reused", Peer, Never;
    OVERSIZED = 113, "oversized", Peer, Never;
    GRANT_MISSING = 114, "grant-missing", Policy, Never;
    ASSURANCE_NOT_GRANTED = 115, "assurance-not-granted", Policy, Never;
    ASSURANCE_TOO_LOW = 116, "assurance-too-low", Policy, Never;
    ENCRYPTION_REQUIRED = 117, "encryption-required", Policy, Never;
    NO_ROUTE = 118, "no-route", Policy, Never;
    RECIPIENT_UNKNOWN = 119, "recipient-unknown", Policy, Never;
    NOT_ATTACHED = 120, "not-attached", Local, After;
    BUSY = 121, "busy", Local, After;
    STALE_ROUTE = 122, "stale-route", Local, Elsewhere;
    RE_RESOLVE = 123, "re-resolve", Policy, After;
    HOP_LIMIT = 124, "hop-limit", Local, After;
    OVER_BUDGET = 125, "over-budget", Policy, After;
    DRAINING = 126, "draining", Local, Elsewhere;
    NOT_READY = 127, "not-ready", Local, Elsewhere;
    UNKNOWN_MESSAGE = 128, "unknown-message", Local, After;
    WRONG_RECIPIENT = 129, "wrong-recipient", Peer, After;
    IDENTITY_NOT_LISTED = 130, "identity-not-listed", Policy, Never;
    TOKEN_INVALID = 131, "token-invalid", Peer, Never;
    STALE_EPOCH = 132, "stale-epoch", Peer, After;
    PAYLOAD_NOT_WANTED = 133, "payload-not-wanted", Local, After;
    UNSOLICITED_REPLY = 134, "unsolicited-reply", Policy, Never;
    CASE_ORDER = 135, "case-order", Peer, After;
    DIRECTORY_EXPIRED = 136, "directory-expired", Local, Elsewhere;
}

impl Code {
    /// Where the codes of applications begin, in receipts only.
    pub const FIRST_APPLICATION: Self = Self(1_000);

    /// The number on the wire.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The name of WIRE 8.4; unknown codes are called by what they count as.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.row() {
            Some((name, _, _)) => name,
            None if self.0 < 100 => "undecided",
            None if self.0 >= Self::FIRST_APPLICATION.0 => "application",
            None => "refused",
        }
    }

    /// Whose fault it is; an unknown code says nothing about that and counts as local.
    #[must_use]
    pub const fn fault(self) -> Fault {
        match self.row() {
            Some((_, fault, _)) => fault,
            None => Fault::Local,
        }
    }

    /// Whether trying again makes sense; unknown codes: after.
    #[must_use]
    pub const fn retry(self) -> Retry {
        match self.row() {
            Some((_, _, retry)) => retry,
            None => Retry::After,
        }
    }

    /// Whether a late receipt was noted.
    #[must_use]
    pub const fn is_noted(self) -> bool {
        self.0 == 0
    }

    /// Whether the entry may have been handed on: every code from 1 to 99, known or not.
    #[must_use]
    pub const fn is_undecided(self) -> bool {
        self.0 > 0 && self.0 < 100
    }

    /// Whether it is certain that the entry was not handed on: every code from 100 on, known or not.
    #[must_use]
    pub const fn is_refused(self) -> bool {
        self.0 >= 100
    }

    /// The code with this name, when WIRE 8.4 has it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.name() == name)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.0)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code({self})")
    }
}

macro_rules! close_codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal;)*) => {
        /// Why a link closes: the application error code of its connection (WIRE 2.5).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum CloseCode {
            $($(#[$doc])* $variant = $number,)*
        }

        impl CloseCode {
            /// Every code of WIRE 2.5.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name of WIRE 2.5.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The code with this number, or `None` for one that version 1 does not know.
            #[must_use]
            pub const fn from_u64(number: u64) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

close_codes! {
    /// Orderly, after drain.
    Closed = 0x00, "closed";
    /// A body that does not parse.
    FrameMalformed = 0x01, "frame-malformed";
    /// A frame body above 262,144 bytes.
    FrameTooLarge = 0x02, "frame-too-large";
    /// Wrong stream, wrong order, or before hello.
    UnexpectedFrame = 0x03, "unexpected-frame";
    /// A second lane of a kind.
    LaneDuplicate = 0x04, "lane-duplicate";
    /// More entries or bytes than granted.
    CreditExceeded = 0x05, "credit-exceeded";
    /// No common version.
    VersionMismatch = 0x06, "version-mismatch";
    /// The certificate is good, but no directory entry lists it.
    IdentityUnknown = 0x07, "identity-unknown";
    /// No hello within 10 s.
    HelloTimeout = 0x08, "hello-timeout";
    /// A settlement for a label never used.
    LabelUnknown = 0x09, "label-unknown";
    /// The same link identity and instance attached again.
    Superseded = 0x0a, "superseded";
    /// The directory no longer lists the identity.
    Revoked = 0x0b, "revoked";
    /// Too many links, attachments or requests.
    OverLimit = 0x0c, "over-limit";
    /// Reserved for alarms; not sent by version 1.
    Equivocation = 0x0d, "equivocation";
    /// A mistake of the closing side.
    Internal = 0x0e, "internal";
}

impl CloseCode {
    /// The number on the wire.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self as u64
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:#04x})", self.name(), self.as_u64())
    }
}

/// A fault that closes the link with a named code; its text is the reason phrase.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{code}: {clause}: {detail}")]
pub struct FrameFault {
    /// The application error code to close with.
    pub code: CloseCode,
    /// The violated clause, for instance `WIRE 2.4`.
    pub clause: &'static str,
    /// What was wrong; names fields and numbers, never content.
    pub detail: String,
}

impl FrameFault {
    /// A fault with any code.
    #[must_use]
    pub fn new(code: CloseCode, clause: &'static str, detail: impl Into<String>) -> Self {
        Self { code, clause, detail: detail.into() }
    }

    /// A body that does not parse.
    #[must_use]
    pub fn malformed(clause: &'static str, detail: impl Into<String>) -> Self {
        Self::new(CloseCode::FrameMalformed, clause, detail)
    }

    /// A frame or stream that has no place here.
    #[must_use]
    pub fn unexpected(clause: &'static str, detail: impl Into<String>) -> Self {
        Self::new(CloseCode::UnexpectedFrame, clause, detail)
    }
}

impl From<VarintError> for FrameFault {
    fn from(error: VarintError) -> Self {
        Self::malformed("WIRE 1.1", error.to_string())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_noted_or_undecided_or_refused_and_nothing_else() {
        for number in (0..200).chain([1_000, u64::MAX]) {
            let code = Code(number);
            let kinds = [code.is_noted(), code.is_undecided(), code.is_refused()];
            assert_eq!(kinds.iter().filter(|kind| **kind).count(), 1, "{code}");
        }
    }

    #[test]
    fn unknown_codes_count_as_undecided_below_100_and_as_refused_from_there_on() {
        assert_eq!((Code(50).name(), Code(50).retry()), ("undecided", Retry::After));
        assert_eq!((Code(500).name(), Code(500).retry()), ("refused", Retry::After));
        assert_eq!(Code(1_000).name(), "application");
    }

    #[test]
    fn names_and_numbers_are_unique_and_lead_back() {
        for code in Code::ALL {
            assert_eq!(Code::from_name(code.name()), Some(*code));
        }
        for code in CloseCode::ALL {
            assert_eq!(CloseCode::from_u64(code.as_u64()), Some(*code));
        }
        for outcome in Outcome::ALL {
            assert_eq!(Outcome::try_from(outcome.as_u64()), Ok(outcome));
        }
        assert_eq!(Code::BUSY.to_string(), "busy (121)");
        assert_eq!(CloseCode::Revoked.to_string(), "revoked (0x0b)");
        assert_eq!(Outcome::try_from(8), Err(OutcomeError(8)));
    }

    #[test]
    fn the_tables_are_those_of_the_wire_page() {
        let page = include_str!("../WIRE.md");
        for code in Code::ALL {
            let fault = if code.fault() == Fault::None { "–" } else { code.fault().name() };
            let retry = if code.retry() == Retry::None { "–" } else { code.retry().name() };
            let row = format!("| {} | {} | {fault} | {retry} |", code.0, code.name());
            assert!(page.contains(&row), "{row}");
        }
        for code in CloseCode::ALL {
            let row = format!("| 0x{:02x} | {} |", code.as_u64(), code.name());
            assert!(page.contains(&row), "{row}");
        }
    }
}
