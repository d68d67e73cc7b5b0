//! Which endpoints are attached on this link, by which link identity, and when is each due again (WIRE 3.2)?
//!
//! A link's certificate may carry several identities, and the directory decides which one binds it. With a directory at
//! hand the right one is known; without one they are tried in the order of WIRE 2.2.

use kernpost_codecs::{Code, LinkIdentity};
use kernpost_routing_table::Table;

use crate::core::now::Now;

/// How an endpoint stands on this link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// To be asked for at this instant.
    Due {
        at_us: u64,
    },
    Asked,
    Attached {
        renew_us: u64,
    },
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
                State::Attached { renew_us } => renew_us,
                State::Asked => continue,
            };
            if at <= now.mono_us {
                one.state = State::Asked;
                due.push(position);
            }
        }
        due
    }

    /// The router's answer. A refusal tries the next identity at once, or all again after a while.
    pub fn on_answer(&mut self, now: Now, position: usize, code: Code, life_ms: u64, wait_ms: u64) {
        let identities = self.identities.len().max(1);
        let Some(one) = self.all.get_mut(position) else { return };
        if code.as_u64() == 0 {
            one.setbacks = 0;
            one.usable = true;
            one.state = State::Attached { renew_us: now.after_ms(life_ms / 2) };
            return;
        }
        one.usable = false;
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
                State::Attached { renew_us } => Some(renew_us),
                State::Asked => None,
            })
            .min()
    }
}
