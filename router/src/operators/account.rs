//! Who asks? Accounts of this machine, as the kernel names the peer of a Unix socket.
//!
//! Names and groups are read from `/etc/passwd` and `/etc/group`; an account known to a directory service only is shown by its
//! number. Decisions are made by number alone.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its number; what counts.
    pub uid: u32,
    /// Its name, for people; the number again when none is known.
    pub user: String,
}

impl Account {
    /// The account of this number.
    #[must_use]
    pub fn of(uid: u32) -> Self {
        let name = read(PASSWORDS).and_then(|text| name_of(&text, uid).map(str::to_owned));
        Self { uid, user: name.unwrap_or_else(|| uid.to_string()) }
    }

    /// Whether the kernel can tell it apart from others: in a user namespace all foreign accounts look like this one.
    #[must_use]
    pub fn is_known(&self) -> bool {
        let foreign = read("/proc/sys/kernel/overflowuid").and_then(|text| text.trim().parse().ok());
        self.uid != foreign.unwrap_or(OVERFLOW_UID)
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (uid {})", self.user, self.uid)
    }
}

/// The number of a group of this machine, given its name or number.
#[must_use]
pub fn group_id(group: &str) -> Option<u32> {
    group.parse().ok().or_else(|| id_of(&read(GROUPS)?, group))
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// `name:password:uid:…`
fn name_of(passwords: &str, uid: u32) -> Option<&str> {
    passwords.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(uid) && !name.is_empty()).then_some(name)
    })
}

/// `name:password:gid:…`
fn id_of(groups: &str, group: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == group).then(|| fields.nth(1)?.parse().ok())?
    })
}

const PASSWORDS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";
/// What the kernel shows for accounts outside a user namespace, unless it was told otherwise.
const OVERFLOW_UID: u32 = 65_534;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn accounts_and_groups_are_found_by_their_lines() {
        let passwords = "root:x:0:0:root:/root:/bin/sh\n:x:7:7::/:\nanna:x:1001:1001:Anna:/home/anna:/bin/sh\nbroken\n";
        assert_eq!(name_of(passwords, 1001), Some("anna"));
        assert_eq!((name_of(passwords, 7), name_of(passwords, 8)), (None, None));
        assert_eq!(id_of("wheel:x:10:anna\nops:x:2000:\n", "ops"), Some(2000));
        assert_eq!(id_of("ops:x\n", "ops"), None);
        assert_eq!(group_id("2000"), Some(2000));
    }

    #[test]
    fn an_account_nobody_knows_is_shown_by_its_number() {
        let nobody_has_it = Account::of(4_000_000_123);
        assert_eq!(nobody_has_it.to_string(), "4000000123 (uid 4000000123)");
        assert!(nobody_has_it.is_known());
    }
}
