//! Attachments on links of this router: tokens checked (WIRE 3.2), superseded by epoch, expired, and judged again with every
//! new table.

use bytes::Bytes;
use kernpost_codecs::attach::AttachToken;
use kernpost_codecs::{
    Algorithm, Attachment, CloseCode, Code, ControlFrame, EndpointId, FrameFault, LinkIdentity, RouterId, UnixMs,
};
use kernpost_routing_table::{KeyOwner, Table};

use super::{Control, ControlOutput, Timer};
use crate::event::{EngineEvent, Place, PresenceEvent};
use crate::link::{LinkId, Peer, WorkerId};
use crate::now::Now;

/// What supersedes what: an endpoint by one link identity with one journal.
pub(super) type Instance = (EndpointId, LinkIdentity, [u8; 16]);

/// An endpoint attached on a link here.
#[derive(Debug, Clone)]
pub(super) struct Local {
    pub worker: WorkerId,
    pub link: LinkId,
    pub attachment: Attachment,
    pub token: Bytes,
}

/// Longest life of a token (WIRE 3.2), ms.
const LONGEST_TOKEN_MS: u64 = 24 * 3_600_000;

/// Checks a token against the directory: endpoint, router, identity, expiry, keys (WIRE 3.2 in its order).
pub(super) fn check_token(
    table: &Table,
    wall: UnixMs,
    router: &RouterId,
    identity: Option<&LinkIdentity>,
    token: &[u8],
) -> Result<Attachment, Code> {
    let token = AttachToken::parse(token).map_err(|_| Code::TOKEN_INVALID)?;
    let attachment = token.attachment();
    let index = table.endpoint(attachment.endpoint.as_str()).ok_or(Code::SENDER_UNKNOWN)?;
    let entry = table.endpoint_entry(index).ok_or(Code::SENDER_UNKNOWN)?;
    let same_identity = identity.is_none_or(|identity| *identity == attachment.identity);
    if !same_identity || !entry.identities.contains(&attachment.identity) {
        return Err(Code::IDENTITY_NOT_LISTED);
    }
    if attachment.router != *router || attachment.expires > wall.plus_ms(LONGEST_TOKEN_MS + kernpost_codecs::SKEW_MS) {
        return Err(Code::TOKEN_INVALID);
    }
    if attachment.expires <= wall {
        return Err(Code::EXPIRED);
    }
    let usable = |kid: &kernpost_codecs::key::KeyId| match table.key(kid) {
        Some((KeyOwner::Endpoint(owner), key))
            if owner == index
                && !key.revoked
                && wall < key.sign_until
                && wall.plus_ms(kernpost_codecs::SKEW_MS) >= key.not_before =>
        {
            Some(key.key.clone())
        }
        _ => None,
    };
    let signed_with = |algorithm: &Algorithm| token.signers().any(|(used, _)| used == *algorithm);
    if !entry.required_algorithms.iter().all(signed_with) {
        return Err(Code::BAD_SIGNATURE);
    }
    token.verify(usable).map_err(|_| Code::BAD_SIGNATURE)?;
    Ok(attachment.clone())
}

impl Control {
    pub(super) fn on_attach(&mut self, now: Now, link: LinkId, req: u64, token: &Bytes) -> Result<(), FrameFault> {
        let Some(state) = self.links.get(&link) else {
            return Ok(());
        };
        let Peer::Endpoints(identity) = state.peer.clone() else {
            return Err(super::unexpected("WIRE 3", "ATTACH from a router"));
        };
        if state.attachments >= self.config.attachments_per_link {
            let detail = format!("more than {} attachments", self.config.attachments_per_link);
            return Err(FrameFault::new(CloseCode::OverLimit, "WIRE 2.5", detail));
        }
        let refused = self.try_attach(now, link, &identity, token).err();
        if refused.is_some() {
            self.counts.attach_refused += 1;
        }
        let detail = refused.map(|code| format!("attach refused: {}", code.name())).unwrap_or_default();
        self.send(link, &ControlFrame::Attached { req, code: refused.unwrap_or(Code(0)), detail });
        Ok(())
    }

    fn try_attach(&mut self, now: Now, link: LinkId, identity: &LinkIdentity, token: &Bytes) -> Result<(), Code> {
        if self.draining_until.is_some() {
            return Err(Code::DRAINING);
        }
        if self.holds(link, token) {
            return Ok(());
        }
        let attachment = check_token(&self.table, now.wall, &self.config.router, Some(identity), token)?;
        let key = (attachment.endpoint.clone(), attachment.identity.clone(), attachment.journal);
        // (endpoint, epoch) names a token in presence, so no two may share it.
        let named_alike =
            |held: &Local| held.attachment.endpoint == attachment.endpoint && held.attachment.epoch == attachment.epoch;
        if self.local.values().any(|held| named_alike(held) && held.token != *token) {
            return Err(Code::STALE_EPOCH);
        }
        match self.local.get(&key) {
            Some(held) if held.attachment.epoch > attachment.epoch => return Err(Code::STALE_EPOCH),
            Some(held) if held.link != link => self.supersede(&key),
            Some(held) if held.attachment.epoch != attachment.epoch => self.detach(&key),
            _ => {}
        }
        let endpoint = attachment.endpoint.clone();
        self.detach_where(|local| {
            local.link == link && local.attachment.endpoint == endpoint && local.attachment.journal != key.2
        });
        let expires_in_ms = attachment.expires.0.saturating_sub(now.wall.0);
        let timer = Timer::Expiry { endpoint: attachment.endpoint.clone(), epoch: attachment.epoch };
        self.arm(now.after_ms(expires_in_ms), timer);
        self.presence_number += 1;
        let worker = match self.links.get_mut(&link) {
            Some(state) => {
                state.attachments += 1;
                state.worker
            }
            None => return Ok(()),
        };
        self.announce(PresenceEvent::Attached {
            endpoint: attachment.endpoint.clone(),
            identity: attachment.identity.clone(),
            place: Place::Here { worker, link },
            journal: attachment.journal,
            number: self.presence_number,
        });
        self.local.insert(key, Local { worker, link, attachment, token: token.clone() });
        self.tell_routers(vec![token.clone()], Vec::new(), None);
        Ok(())
    }

    /// The very same token is in force on this link: endpoints repeat it to be sure, and need not cost a signature check.
    fn holds(&self, link: LinkId, token: &Bytes) -> bool {
        let Ok(stated) = AttachToken::parse(token) else { return false };
        let Attachment { endpoint, identity, journal, .. } = stated.attachment();
        let held = self.local.get(&(endpoint.clone(), identity.clone(), *journal));
        held.is_some_and(|held| held.link == link && held.token == *token)
    }

    pub(super) fn on_detach(&mut self, link: LinkId, endpoint: &EndpointId, epoch: u64) {
        self.detach_where(|local| {
            local.link == link && local.attachment.endpoint == *endpoint && local.attachment.epoch == epoch
        });
    }

    pub(super) fn on_expiry(&mut self, endpoint: &EndpointId, epoch: u64) {
        self.detach_where(|local| local.attachment.endpoint == *endpoint && local.attachment.epoch == epoch);
        self.forget_remote_token(endpoint, epoch);
    }

    pub(super) fn detach_all_of(&mut self, link: LinkId) {
        self.detach_where(|local| local.link == link);
    }

    /// With a new table: tokens that no longer verify end their attachment.
    pub(super) fn recheck_local(&mut self, now: Now) {
        let (table, router) = (self.table.clone(), self.config.router.clone());
        self.detach_where(|local| check_token(&table, now.wall, &router, None, &local.token).is_err());
    }

    fn detach_where(&mut self, gone: impl Fn(&Local) -> bool) {
        let mut keys: Vec<_> = self.local.iter().filter(|(_, local)| gone(local)).map(|(key, _)| key.clone()).collect();
        keys.sort();
        for key in keys {
            self.detach(&key);
        }
    }

    /// The same instance (endpoint, identity, journal) attached on a newer link: the older one is told by its close when
    /// nothing is left attached on it, so that nobody believes in an attachment that is gone.
    fn supersede(&mut self, key: &Instance) {
        let Some(old) = self.local.get(key).map(|held| held.link) else { return };
        self.detach(key);
        if self.links.get(&old).is_some_and(|state| state.attachments == 0) {
            self.drop_link(old);
            let detail = "the same journal attached everything of this link on a newer one".to_owned();
            self.close(old, FrameFault::new(CloseCode::Superseded, "WIRE 3.2", detail));
        }
    }

    fn detach(&mut self, key: &Instance) {
        let Some(local) = self.local.remove(key) else {
            return;
        };
        if let Some(state) = self.links.get_mut(&local.link) {
            state.attachments = state.attachments.saturating_sub(1);
        }
        self.presence_number += 1;
        let Attachment { endpoint, identity, epoch, journal, .. } = local.attachment;
        let place = Place::Here { worker: local.worker, link: local.link };
        self.announce(PresenceEvent::Detached { endpoint: endpoint.clone(), identity, place, journal });
        self.tell_routers(Vec::new(), vec![(endpoint, epoch)], None);
    }

    pub(super) fn announce(&mut self, event: PresenceEvent) {
        self.outputs.push_back(ControlOutput::Engine { worker: None, event: EngineEvent::Presence(event) });
    }
}
