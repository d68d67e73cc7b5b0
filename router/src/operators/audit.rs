//! What is written down of an act? One JSON object for the spool's log, and the same as a line of target `audit` in the process's log.

use bytes::Bytes;
use kernpost_codecs::UnixMs;
use kernpost_routing_table::instant_text;
use serde::{Deserialize, Serialize};

use super::account::Account;
use super::message_name::MessageName;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActName {
    /// A message was shown, without its payload.
    Show,
    /// A message was given out as files.
    Export,
    /// What waits was tried again.
    Redeliver,
    /// Giving messages up was proposed.
    ProposeDiscard,
    /// Messages were given up.
    Discard,
    /// Everything was wrapped by another master key.
    Rotate,
}

impl ActName {
    /// Its name in the log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Show => "show",
            Self::Export => "export",
            Self::Redeliver => "redeliver",
            Self::ProposeDiscard => "propose-discard",
            Self::Discard => "discard",
            Self::Rotate => "rotate",
        }
    }
}

/// One act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When, RFC 3339.
    pub at: String,
    /// Whose act: the account's number.
    pub uid: u32,
    /// The account's name at that time.
    pub user: String,
    /// What.
    pub act: ActName,
    /// Which messages; empty: all that wait, or none in particular.
    pub messages: Vec<MessageName>,
    /// Why, for what takes a reason.
    pub reason: Option<String>,
    /// Who agreed, for what takes two.
    pub confirmed_by: Option<Account>,
}

impl AuditEntry {
    /// An act of one person.
    #[must_use]
    pub fn new(at: UnixMs, by: &Account, act: ActName, messages: Vec<MessageName>) -> Self {
        let Account { uid, user } = by.clone();
        Self { at: instant_text(at), uid, user, act, messages, reason: None, confirmed_by: None }
    }

    /// Writes it to the process's log, and gives what the spool's log keeps.
    #[must_use]
    pub fn tell(&self) -> Bytes {
        let messages: Vec<String> = self.messages.iter().map(ToString::to_string).collect();
        tracing::info!(
            target: "audit",
            uid = self.uid,
            user = self.user,
            act = self.act.name(),
            messages = messages.join(" "),
            reason = self.reason.as_deref().unwrap_or_default(),
            confirmed_by = self.confirmed_by.as_ref().map(ToString::to_string).unwrap_or_default(),
            "an operator acts"
        );
        // Strings, numbers and lists of them: this cannot fail.
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn an_entry_says_who_what_which_why_and_when() {
        let by = Account { uid: 7, user: "anna".to_owned() };
        let message: MessageName = "de/portal:019a0000-0000-7000-8000-000000000001".parse().unwrap();
        let entry = AuditEntry {
            reason: Some("by order".to_owned()),
            confirmed_by: Some(Account { uid: 8, user: "ben".to_owned() }),
            ..AuditEntry::new(UnixMs(0), &by, ActName::Discard, vec![message])
        };
        let text = String::from_utf8(entry.tell().to_vec()).unwrap();
        let expected = "{\"at\":\"1970-01-01T00:00:00Z\",\"uid\":7,\"user\":\"anna\",\"act\":\"discard\",\"messages\":\
                        [\"de/portal:019a0000-0000-7000-8000-000000000001\"],\"reason\":\"by order\",\
                        \"confirmed_by\":{\"uid\":8,\"user\":\"ben\"}}";
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<AuditEntry>(&text).unwrap(), entry);
    }
}
