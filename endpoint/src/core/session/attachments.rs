//! Which endpoints are attached on this link, by which link identity, and when is each due again (WIRE 3.2)?
//!
//! A link's certificate may carry several identities, and the directory decides which one binds it. With a directory at
//! hand the right one is known; without one they are tried in the order of WIRE 2.2.
//!
//! A router ends an attachment without a word: when a key of its token ends, or when another process attaches the same
//! endpoint with the same identity. So the token is sent again from time to time: the answer tells, and mends it.

use bytes::Bytes;
use kernpost_codecs::key::KeyId;
use kernpost_codecs::{Code, LinkIdentity};
use kernpost_routing_table::Table;
use smallvec::SmallVec;

use crate::core::now::Now;

/// How an endpoint stands on this link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// To be asked for at this instant.
    Due {
        at_us: u64,
    },
    Asked,
    /// To be sent again at this instant.
    Attached {
        check_us: u64,
    },
}

/// A signed token, to be sent again as it is until it has to be replaced.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub bytes: Bytes,
    /// The keys that signed it.
    pub kids: SmallVec<[KeyId; 2]>,
    /// From this instant on another one is signed.
    pub renew_us: u64,
    /// Whether the router took it at some time.
    pub confirmed: bool,
}

#[derive(Debug)]
pub(crate) struct Attachment {
    /// The endpoint's number in this process.
    pub endpoint: usize,
    pub state: State,
    /// Which of the link's identities is used.
    pub identity: usize,
    pub epoch: u64,
    pub setbacks: u32,
    /// Whether the router accepted it at some time and it has not been withdrawn.
    pub usable: bool,
    /// The last token, unless the router refused it.
    pub token: Option<Token>,
}

/// The attachments of one link, one for each configured endpoint.
#[derive(Debug)]
pub(crate) struct Attachments {
    pub all: Vec<Attachment>,
    identities: Vec<LinkIdentity>,
}

impl Attachments {
    pub fn new(endpoints: &[usize], identities: Vec<LinkIdentity>, table: Option<&Table>) -> Self {
        let listed = table.and_then(|table| identities.iter().position(|identity| table.identity(identity).is_some()));
        let attachment = |endpoint: &usize| Attachment {
            endpoint: *endpoint,
            state: State::Due { at_us: 0 },
            identity: listed.unwrap_or(0),
            epoch: 0,
            setbacks: 0,
            usable: false,
            token: None,
        };
        Self { all: endpoints.iter().map(attachment).collect(), identities }
    }

    pub fn identity(&self, attachment: &Attachment) -> Option<&LinkIdentity> {
        self.identities.get(attachment.identity)
    }

    pub fn usable(&self, endpoint: usize) -> bool {
        self.all.iter().any(|one| one.endpoint == endpoint && one.usable)
    }

    /// Positions of at most `most` attachments to be asked for now; they count as asked.
    pub fn take_due(&mut self, now: Now, most: usize) -> Vec<usize> {
        let mut due = Vec::new();
        for (position, one) in self.all.iter_mut().enumerate() {
            if due.len() >= most {
                break;
            }
            let at = match one.state {
                State::Due { at_us } => at_us,
                State::Attached { check_us } => check_us,
                State::Asked => continue,
            };
            if at <= now.mono_us {
                one.state = State::Asked;
                due.push(position);
            }
        }
        due
    }

    /// Attachments of this endpoint, or of all, are to be sent again now.
    pub fn check(&mut self, now: Now, endpoint: Option<usize>) {
        for one in self.all.iter_mut().filter(|one| endpoint.is_none_or(|endpoint| one.endpoint == endpoint)) {
            if matches!(one.state, State::Attached { .. }) {
                one.state = State::Attached { check_us: now.mono_us };
            }
        }
    }

    /// The router's answer. A refusal tries the next identity at once, or all again after a while. A token that was good
    /// before and is stale now has been followed by that of another process: it waits until that one is gone.
    pub fn on_answer(&mut self, now: Now, position: usize, code: Code, check_ms: u64, wait_ms: u64) {
        let identities = self.identities.len().max(1);
        let Some(one) = self.all.get_mut(position) else { return };
        if code.as_u64() == 0 {
            one.setbacks = 0;
            one.usable = true;
            one.state = State::Attached { check_us: now.after_ms(check_ms) };
            if let Some(token) = one.token.as_mut() {
                token.confirmed = true;
            }
            return;
        }
        one.usable = false;
        if code == Code::STALE_EPOCH && one.token.as_ref().is_some_and(|token| token.confirmed) {
            one.state = State::Due { at_us: now.after_ms(check_ms) };
            return;
        }
        one.token = None;
        let other_identity = matches!(code, Code::IDENTITY_NOT_LISTED | Code::TOKEN_INVALID);
        if other_identity && one.identity + 1 < identities {
            one.identity += 1;
            one.state = State::Due { at_us: now.mono_us };
            return;
        }
        one.setbacks = one.setbacks.saturating_add(1);
        if other_identity {
            one.identity = 0;
        }
        one.state = State::Due { at_us: now.after_ms(wait_ms) };
    }

    pub fn poll_deadline(&self) -> Option<u64> {
        self.all
            .iter()
            .filter_map(|one| match one.state {
                State::Due { at_us } => Some(at_us),
                State::Attached { check_us } => Some(check_us),
                State::Asked => None,
            })
            .min()
    }
}
