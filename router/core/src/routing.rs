//! Where does this entry go? The ingress router chooses the endpoint once; later routers only find the way to it.
//!
//! The rules, in order:
//! 1. Ingress: an explicit recipient must exist; otherwise the table names the endpoints in order, and the first that has an
//!    available attachment is chosen; if none has, the first that has any is reported `busy`, else `not-attached`.
//! 2. Among an endpoint's attachments: available before unavailable, then links that have granted credit before those that
//!    never did (a process that only sends), then the journal preferred by rendezvous hash of (journal, sender, case or
//!    message id), then this worker, this router, a direct neighbour, a relay.
//! 3. Transit and egress follow the hop header; egress checks its own table (`stale-route`).
//!
//! An (endpoint, router) that answered `busy` or `not-attached` counts as unavailable until retry-after, or until a newer
//! presence number (WIRE 8.7).

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use kernpost_codecs::settlement::Detail;
use kernpost_codecs::{Code, EndpointId, MessageRef, RouterId};
use kernpost_routing_table::{CompiledEndpoint, EndpointIndex, Route, Table};

use crate::collections::{Map, Set};
use crate::event::Place;
use crate::link::{LinkId, WorkerId};
use crate::now::Now;
use crate::presence::{Attached, PresenceView};

/// Where an entry goes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The worker that owns the link.
    pub worker: WorkerId,
    /// The link.
    pub link: LinkId,
    /// Hops until the recipient's link: 0 the recipient itself, 1 its router, 2 a relay.
    pub hops_left: u8,
}

impl Way {
    /// How long a label on this way may stay open, ms (WIRE 8.6).
    pub fn deadline_ms(&self, endpoint_ms: u64, hop_ms: u64) -> u64 {
        endpoint_ms + u64::from(self.hops_left) * hop_ms
    }
}

/// No way, and what to say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoWay {
    /// The refusal.
    pub code: Code,
    /// The endpoint it is about.
    pub endpoint: Option<EndpointId>,
    /// The router that reported it unavailable.
    pub router: Option<RouterId>,
    /// When to try again, ms.
    pub retry_after_ms: Option<u64>,
}

impl From<Code> for NoWay {
    fn from(code: Code) -> Self {
        Self { code, endpoint: None, router: None, retry_after_ms: None }
    }
}

/// (endpoint, router) pairs that are not worth trying just now. Bounded by presence: marks of what is not attached lapse.
#[derive(Debug, Default)]
pub struct Unavailable {
    marks: Map<(EndpointId, RouterId), Mark>,
}

#[derive(Debug)]
struct Mark {
    until_us: u64,
    number: u64,
    code: Code,
}

impl Unavailable {
    /// Marks what a settlement says of another router's attachment, so that the next entries look elsewhere (WIRE 8.7). `number`
    /// is our presence number now, `usual_ms` stands where the settlement states no retry-after.
    pub fn on_settled(&mut self, now: Now, own: &RouterId, code: Code, detail: &Detail, usual_ms: u64, number: u64) {
        if !matches!(code, Code::BUSY | Code::NOT_ATTACHED) {
            return;
        }
        if let (Some(endpoint), Some(router)) = (&detail.endpoint, &detail.router)
            && router != own
        {
            let ms = detail.retry_after_ms.unwrap_or(usual_ms);
            self.mark(now, endpoint.clone(), router.clone(), code, ms, number);
        }
    }

    /// A router said `busy` or `not-attached` for an endpoint; `number` is our presence number now.
    pub fn mark(
        &mut self,
        now: Now,
        endpoint: EndpointId,
        router: RouterId,
        code: Code,
        retry_after_ms: u64,
        number: u64,
    ) {
        if self.marks.len() >= MOST_MARKS {
            self.marks.retain(|_, mark| mark.until_us > now.mono_us);
        }
        if self.marks.len() < MOST_MARKS {
            let until_us = now.after_ms(retry_after_ms.min(LONGEST_MARK_MS));
            self.marks.insert((endpoint, router), Mark { until_us, number, code });
        }
    }

    /// The refusal and how many ms it still stands, if the pair is marked.
    fn standing(&self, now: Now, endpoint: &EndpointId, at: &Attached) -> Option<(Code, u64)> {
        let Place::At { router, .. } = &at.place else {
            return None;
        };
        let mark = self.marks.get(&(endpoint.clone(), router.clone()))?;
        if mark.until_us <= now.mono_us || at.number > mark.number {
            return None;
        }
        Some((mark.code, (mark.until_us - now.mono_us).div_ceil(1_000)))
    }
}

/// What routing reads; all of it belongs to one snapshot and one turn.
pub struct Routing<'a> {
    /// This router's worker that asks.
    pub worker: WorkerId,
    /// When.
    pub now: Now,
    /// The table.
    pub table: &'a Table,
    /// Presence.
    pub presence: &'a PresenceView,
    /// What answered busy lately.
    pub unavailable: &'a Unavailable,
    /// Links of endpoint sides of this router that have granted credit.
    pub granted: &'a Set<LinkId>,
}

impl Routing<'_> {
    /// Ingress: chooses the recipient and the way to it. `route` is what the table says to the message's route key.
    pub fn choose(&self, message: &MessageRef<'_>, route: Option<&Route>) -> Result<(EndpointIndex, Way), NoWay> {
        let spread = spread_of(message);
        if let Some(recipient) = message.recipient {
            let index = self.table.endpoint(recipient).ok_or(Code::RECIPIENT_UNKNOWN)?;
            self.check_encryption(message, index)?;
            return self.way_to(index, spread).map(|way| (index, way));
        }
        let route = route.ok_or(Code::NO_ROUTE)?;
        if route.min_assurance.is_some_and(|least| message.assurance.is_none_or(|has| has < least)) {
            return Err(Code::ASSURANCE_TOO_LOW.into());
        }
        if route.encryption_required && message.encryption_key.is_none() {
            return Err(Code::ENCRYPTION_REQUIRED.into());
        }
        if message.encryption_key.is_some() {
            let index = route.endpoints.iter().copied().find(|index| self.check_encryption(message, *index).is_ok());
            let index = index.ok_or(Code::RE_RESOLVE)?;
            return self.way_to(index, spread).map(|way| (index, way));
        }
        self.first_available(&route.endpoints, spread)
    }

    /// Egress and transit: the way to the endpoint the ingress router chose.
    pub fn follow(
        &self,
        message: &MessageRef<'_>,
        recipient: &EndpointId,
        route: Option<&Route>,
    ) -> Result<Way, NoWay> {
        let index = self.table.endpoint(recipient.as_str()).ok_or(Code::STALE_ROUTE)?;
        let way = self.way_to(index, spread_of(message))?;
        let asked_for = message.recipient == Some(recipient.as_str());
        if way.hops_left == 0 && !asked_for && !route.is_some_and(|route| route.endpoints.contains(&index)) {
            return Err(Code::STALE_ROUTE.into());
        }
        Ok(way)
    }

    /// Endpoints of a route in its order. The first refusal that names somebody attached is the one reported.
    fn first_available(&self, endpoints: &[EndpointIndex], spread: u64) -> Result<(EndpointIndex, Way), NoWay> {
        let mut reported: Option<NoWay> = None;
        for index in endpoints {
            match self.way_to(*index, spread) {
                Ok(way) => return Ok((*index, way)),
                Err(no) if reported.is_none() || no.code == Code::BUSY => reported = Some(no),
                Err(_) => {}
            }
        }
        Err(reported.unwrap_or_else(|| Code::NO_ROUTE.into()))
    }

    fn check_encryption(&self, message: &MessageRef<'_>, index: EndpointIndex) -> Result<(), Code> {
        match message.encryption_key {
            Some(key) if !self.entry(index)?.encryption_keys.iter().any(|held| held.id().0 == key) => {
                Err(Code::RE_RESOLVE)
            }
            _ => Ok(()),
        }
    }

    /// The way to an endpoint by its id: for what has no route, like a late receipt.
    pub fn reach(&self, endpoint: &EndpointId, spread: u64) -> Result<Way, NoWay> {
        let index = self.table.endpoint(endpoint.as_str()).ok_or(Code::RECIPIENT_UNKNOWN)?;
        self.way_to(index, spread)
    }

    /// The best way to an endpoint (rule 2).
    fn way_to(&self, index: EndpointIndex, spread: u64) -> Result<Way, NoWay> {
        let endpoint = &self.entry(index)?.id;
        let attachments = self.presence.attachments(endpoint);
        if let [only] = attachments
            && let Place::Here { worker, link } = &only.place
        {
            return Ok(Way { worker: *worker, link: *link, hops_left: 0 });
        }
        let mut best: Option<(Rank, Way)> = None;
        let mut marked: Option<(Code, u64, RouterId)> = None;
        for at in attachments {
            let Some(way) = self.way_by(at) else { continue };
            if let Some((code, ms)) = self.unavailable.standing(self.now, endpoint, at) {
                if let Place::At { router, .. } = &at.place {
                    marked = Some((code, ms, router.clone()));
                }
                continue;
            }
            let takes = way.hops_left > 0 || self.granted.contains(&way.link);
            let rank = Rank { takes, journal: rendezvous(&at.journal, spread), near: u8::MAX - self.distance(&way) };
            if best.as_ref().is_none_or(|(held, _)| rank > *held) {
                best = Some((rank, way));
            }
        }
        match (best, marked) {
            (Some((_, way)), _) => Ok(way),
            (None, Some((code, ms, router))) => {
                Err(NoWay { code, endpoint: Some(endpoint.clone()), router: Some(router), retry_after_ms: Some(ms) })
            }
            (None, None) => Err(NoWay { endpoint: Some(endpoint.clone()), ..Code::NOT_ATTACHED.into() }),
        }
    }

    fn entry(&self, index: EndpointIndex) -> Result<&CompiledEndpoint, Code> {
        self.table.endpoint_entry(index).ok_or(Code::RECIPIENT_UNKNOWN)
    }

    fn way_by(&self, at: &Attached) -> Option<Way> {
        match &at.place {
            Place::Here { worker, link } => Some(Way { worker: *worker, link: *link, hops_left: 0 }),
            Place::At { router, via } => {
                let direct = self.presence.router_link(router);
                let (worker, link) = direct.or_else(|| self.presence.router_link(via))?;
                Some(Way { worker, link, hops_left: if direct.is_some() { 1 } else { 2 } })
            }
        }
    }

    fn distance(&self, way: &Way) -> u8 {
        way.hops_left * 2 + u8::from(way.worker != self.worker)
    }
}

/// Higher is better; the journal decides before nearness, so that all messages of a case meet the same journal.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    takes: bool,
    journal: u64,
    near: u8,
}

/// What spreads messages over journals: the case if there is one (its order must not split), else the message id.
fn spread_of(message: &MessageRef<'_>) -> u64 {
    let mut hasher = FixedState::with_seed(SPREAD_SEED).build_hasher();
    hasher.write(message.sender.as_bytes());
    hasher.write(message.case.unwrap_or(&message.id.0));
    hasher.finish()
}

fn rendezvous(journal: &[u8; 16], spread: u64) -> u64 {
    let mut hasher = FixedState::with_seed(spread).build_hasher();
    hasher.write(journal);
    hasher.finish()
}

/// Marks held at most; beyond it the pair is simply tried again.
const MOST_MARKS: usize = 65_536;
/// No mark stands longer than this, whatever a peer says.
const LONGEST_MARK_MS: u64 = 60_000;
/// Arbitrary, but the same in every router, so that all agree on a journal.
const SPREAD_SEED: u64 = 0x6b65_726e_706f_7374;
