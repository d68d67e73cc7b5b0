//! Presence between routers (WIRE 3.3): tokens from neighbours, verified like one's own attachments, and what we tell them.
//!
//! A router tells its neighbours of its own attachments and, one step further, of those it learned directly from another
//! neighbour, so that a missing direct link can be bypassed by one relay. What was relayed to it, it does not pass on.

use bytes::Bytes;
use kernpost_codecs::attach::AttachToken;
use kernpost_codecs::{Attachment, ControlFrame, EndpointId, FrameFault, RouterId};

use super::attach::check_token;
use super::hello::only_routers;
use super::{Alarm, Control, ControlOutput, Timer, unexpected};
use crate::event::{Place, PresenceEvent};
use crate::link::{LinkId, Peer};
use crate::now::Now;

/// An attachment at another router.
#[derive(Debug, Clone)]
pub(super) struct Remote {
    pub attachment: Attachment,
    pub token: Bytes,
}

/// A token that this router's directory could not verify yet.
#[derive(Debug, Clone)]
pub(super) struct Unverified {
    pub link: LinkId,
    pub token: Bytes,
}

/// Bytes of tokens in one PRESENCE frame. A token has 200 to 8,192 bytes, so a frame carries 24 of the longest; the rest
/// of the 262,144 bytes is room for list heads and what detached.
const TOKEN_BYTES_PER_FRAME: usize = 196_608;
/// Tokens in one PRESENCE frame, well below the 4,096 of WIRE 3.6.
const TOKENS_PER_FRAME: usize = 1_024;
/// Tokens kept for another try with the next table.
const MOST_UNVERIFIED: usize = 4_096;

impl Control {
    /// Everything attached here and everything learned directly from other neighbours.
    pub(super) fn send_presence_full(&mut self, link: LinkId) {
        let Some(to) = self.router_of(link) else {
            return;
        };
        let mut tokens: Vec<Bytes> = self.local.values().map(|local| local.token.clone()).collect();
        for (from, held) in &self.remote {
            let direct = self.router_of(*from);
            let relayed =
                held.values().filter(|r| direct.as_ref() == Some(&r.attachment.router) && r.attachment.router != to);
            tokens.extend(relayed.map(|r| r.token.clone()));
        }
        tokens.sort();
        let chunks = in_frames(tokens);
        let last = chunks.len() - 1;
        for (at, tokens) in chunks.into_iter().enumerate() {
            let number = self.next_presence_number(link);
            self.send(link, &ControlFrame::PresenceFull { number, tokens, more: at < last });
        }
    }

    /// Tells every router neighbour; `except` is the one it came from.
    pub(super) fn tell_routers(
        &mut self,
        attached: Vec<Bytes>,
        detached: Vec<(EndpointId, u64)>,
        except: Option<LinkId>,
    ) {
        for (link, _) in self.ready_routers() {
            if Some(link) != except {
                let mut detached = detached.clone();
                for attached in in_frames(attached.clone()) {
                    let number = self.next_presence_number(link);
                    let detached = std::mem::take(&mut detached);
                    self.send(link, &ControlFrame::PresenceDelta { number, attached, detached });
                }
            }
        }
    }

    pub(super) fn on_presence_full(
        &mut self,
        now: Now,
        link: LinkId,
        number: u64,
        tokens: Vec<Bytes>,
        _more: bool,
    ) -> Result<(), FrameFault> {
        self.expect_number(link, number)?;
        self.take_in(now, link, tokens);
        Ok(())
    }

    pub(super) fn on_presence_delta(
        &mut self,
        now: Now,
        link: LinkId,
        number: u64,
        attached: Vec<Bytes>,
        detached: &[(EndpointId, u64)],
    ) -> Result<(), FrameFault> {
        self.expect_number(link, number)?;
        for (endpoint, epoch) in detached {
            self.forget_remote(link, endpoint, *epoch);
        }
        self.take_in(now, link, attached);
        Ok(())
    }

    /// Numbers are consecutive from 1; a gap means that presence here is wrong, so the link starts anew (WIRE 3.3).
    fn expect_number(&mut self, link: LinkId, number: u64) -> Result<(), FrameFault> {
        let Some(state) = self.links.get_mut(&link) else {
            return Ok(());
        };
        only_routers(&state.peer)?;
        if number != state.presence_received + 1 {
            let what = format!("presence number {number} after {}", state.presence_received);
            return Err(unexpected("WIRE 3.3", &what));
        }
        state.presence_received = number;
        Ok(())
    }

    fn take_in(&mut self, now: Now, link: LinkId, tokens: Vec<Bytes>) {
        let Some(sender) = self.router_of(link) else {
            return;
        };
        if self.links.get(&link).is_some_and(|state| state.peer_drains) {
            return;
        }
        let mut relay = Vec::new();
        for token in tokens {
            match self.verify_remote(now, &token) {
                Ok(attachment) if attachment.router == self.config.router => {}
                Ok(attachment) => {
                    if attachment.router == sender {
                        relay.push(token.clone());
                    }
                    self.remember_remote(now, link, &sender, attachment, token);
                }
                Err(what) => self.set_aside(link, &sender, token, what),
            }
        }
        if !relay.is_empty() {
            self.tell_routers(relay, Vec::new(), Some(link));
        }
    }

    /// A token names the router it is for; that router must be in the directory and not marked lost.
    fn verify_remote(&self, now: Now, token: &Bytes) -> Result<Attachment, String> {
        let stated = AttachToken::parse(token).map_err(|e| e.to_string())?.attachment().clone();
        let known = self.table.router(stated.router.as_str()).is_some_and(|router| !router.lost);
        if !known {
            return Err(format!("{} is not a router of the directory", stated.router));
        }
        check_token(&self.table, now.wall, &stated.router, None, token)
            .map_err(|code| format!("{}: {code}", stated.endpoint))
    }

    /// Counted, alarmed, and tried again with the next table: this router's directory may be the older one.
    fn set_aside(&mut self, link: LinkId, sender: &RouterId, token: Bytes, what: String) {
        self.counts.presence_refused += 1;
        self.outputs.push_back(ControlOutput::Alarm(Alarm::PresenceRefused { router: sender.to_string(), what }));
        if self.unverified.len() < MOST_UNVERIFIED {
            self.unverified.push(Unverified { link, token });
        }
    }

    fn remember_remote(&mut self, now: Now, link: LinkId, sender: &RouterId, attachment: Attachment, token: Bytes) {
        let superseded: Vec<(EndpointId, u64)> = self
            .remote
            .get(&link)
            .into_iter()
            .flatten()
            .filter(|(_, held)| same_place(&held.attachment, &attachment))
            .map(|(key, _)| key.clone())
            .collect();
        if superseded.iter().any(|(_, epoch)| *epoch > attachment.epoch) {
            return;
        }
        for (endpoint, epoch) in superseded {
            self.forget_remote(link, &endpoint, epoch);
        }
        let expires_in_ms = attachment.expires.0.saturating_sub(now.wall.0);
        let timer = Timer::Expiry { endpoint: attachment.endpoint.clone(), epoch: attachment.epoch };
        self.arm(now.after_ms(expires_in_ms), timer);
        self.presence_number += 1;
        self.announce(PresenceEvent::Attached {
            endpoint: attachment.endpoint.clone(),
            identity: attachment.identity.clone(),
            place: Place::At { router: attachment.router.clone(), via: sender.clone() },
            journal: attachment.journal,
            number: self.presence_number,
        });
        let key = (attachment.endpoint.clone(), attachment.epoch);
        self.remote.entry(link).or_default().insert(key, Remote { attachment, token });
    }

    /// Forgets one attachment that this neighbour told of, and tells the others if it was the neighbour's own.
    fn forget_remote(&mut self, link: LinkId, endpoint: &EndpointId, epoch: u64) {
        self.unverified.retain(|held| held.link != link || !is_token_of(&held.token, endpoint, epoch));
        let Some(sender) = self.router_of(link) else {
            return;
        };
        self.forget_from(link, &sender, endpoint, epoch);
    }

    fn forget_from(&mut self, link: LinkId, sender: &RouterId, endpoint: &EndpointId, epoch: u64) {
        let removed = self.remote.get_mut(&link).and_then(|held| held.remove(&(endpoint.clone(), epoch)));
        let Some(Remote { attachment, .. }) = removed else {
            return;
        };
        self.presence_number += 1;
        let own = attachment.router == *sender;
        let place = Place::At { router: attachment.router, via: sender.clone() };
        let Attachment { identity, journal, .. } = attachment;
        let event = PresenceEvent::Detached { endpoint: endpoint.clone(), identity, place, journal };
        self.announce(event);
        if own {
            self.tell_routers(Vec::new(), vec![(endpoint.clone(), epoch)], Some(link));
        }
    }

    pub(super) fn forget_remote_token(&mut self, endpoint: &EndpointId, epoch: u64) {
        let mut links: Vec<LinkId> = self.remote.keys().copied().collect();
        links.sort();
        for link in links {
            self.forget_remote(link, endpoint, epoch);
        }
    }

    /// Everything this neighbour told of; also called when its link is already forgotten.
    pub(super) fn forget_remote_of(&mut self, link: LinkId, peer: &Peer) {
        self.unverified.retain(|held| held.link != link);
        let Peer::Router(sender) = peer else { return };
        let mut keys: Vec<_> = self.remote.get(&link).into_iter().flat_map(|held| held.keys().cloned()).collect();
        keys.sort();
        for (endpoint, epoch) in keys {
            self.forget_from(link, sender, &endpoint, epoch);
        }
        self.remote.remove(&link);
    }

    /// With a new table: what no longer verifies is forgotten, what was set aside gets another try.
    pub(super) fn recheck_remote(&mut self, now: Now) {
        let mut stale = Vec::new();
        for (link, held) in &self.remote {
            for (key, remote) in held {
                if self.verify_remote(now, &remote.token).is_err() {
                    stale.push((*link, key.clone()));
                }
            }
        }
        stale.sort();
        for (link, (endpoint, epoch)) in stale {
            self.forget_remote(link, &endpoint, epoch);
        }
        for held in std::mem::take(&mut self.unverified) {
            self.take_in(now, held.link, vec![held.token]);
        }
    }

    fn router_of(&self, link: LinkId) -> Option<RouterId> {
        match &self.links.get(&link)?.peer {
            Peer::Router(router) => Some(router.clone()),
            Peer::Endpoints(_) => None,
        }
    }

    fn next_presence_number(&mut self, link: LinkId) -> u64 {
        let Some(state) = self.links.get_mut(&link) else {
            return 0;
        };
        state.presence_sent += 1;
        state.presence_sent
    }
}

/// Tokens in the order given, as many as a frame takes; one frame without any when there are none.
fn in_frames(tokens: Vec<Bytes>) -> Vec<Vec<Bytes>> {
    let mut frames = vec![Vec::new()];
    let mut bytes = 0;
    for token in tokens {
        bytes += token.len();
        match frames.last_mut() {
            Some(frame) if frame.is_empty() || (bytes <= TOKEN_BYTES_PER_FRAME && frame.len() < TOKENS_PER_FRAME) => {
                frame.push(token);
            }
            _ => {
                bytes = token.len();
                frames.push(vec![token]);
            }
        }
    }
    frames
}

fn same_place(one: &Attachment, other: &Attachment) -> bool {
    let whose = |a: &Attachment| (a.endpoint.clone(), a.identity.clone(), a.journal);
    whose(one) == whose(other) && one.router == other.router
}

fn is_token_of(token: &Bytes, endpoint: &EndpointId, epoch: u64) -> bool {
    AttachToken::parse(token).is_ok_and(|token| {
        let attachment = token.attachment();
        attachment.endpoint == *endpoint && attachment.epoch == epoch
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_any_length_are_spread_over_frames_in_their_order() {
        for (count, length) in [(0, 300), (1, 8_192), (4_000, 300), (400, 4_600), (1_000, 8_192)] {
            let tokens: Vec<Bytes> =
                (0..count).map(|at: usize| Bytes::from(vec![at.to_le_bytes()[0]; length])).collect();
            let frames = in_frames(tokens.clone());
            assert_eq!(frames.concat(), tokens);
            for (at, frame) in frames.iter().enumerate() {
                assert!(count == 0 || !frame.is_empty());
                let frame = ControlFrame::PresenceFull { number: at as u64, tokens: frame.clone(), more: true };
                let mut out = bytes::BytesMut::new();
                frame.encode(&mut out);
                assert!(out.len() <= kernpost_codecs::frame::LONGEST_BODY, "{}", out.len());
            }
        }
    }
}
