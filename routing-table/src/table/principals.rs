//! Who is that? Endpoints, routers, their keys and their link identities, found by id, key id or identity.
//!
//! What a directory says about a principal, in the form the engine asks for it. Validity at an instant is asked with
//! the instant: keys begin and end without a new table.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use kernpost_codecs::key::{Algorithm, KeyId, PublicKey};
use kernpost_codecs::{EndpointId, LinkIdentity, RouterId, UnixMs};

use super::{EndpointIndex, RouterIndex, Table};
use crate::directory::Directory;
use crate::encryption_key::EncryptionKey;
use crate::model::{Budgets, Grant, KeyEntry};

/// A signing key of an endpoint or router.
#[derive(Debug, Clone)]
pub struct CompiledKey {
    /// Its thumbprint.
    pub id: KeyId,
    /// The key.
    pub key: PublicKey,
    /// Signs nothing before.
    pub not_before: UnixMs,
    /// Last instant at which ingress takes new signatures.
    pub sign_until: UnixMs,
    /// Last instant at which signatures count.
    pub verify_until: UnixMs,
    /// Ends both at once.
    pub revoked: bool,
}

impl CompiledKey {
    /// May new signatures of this key enter at `at`? (No skew is added: the caller knows whose clock `at` is.)
    pub fn signs_at(&self, at: UnixMs) -> bool {
        !self.revoked && self.not_before <= at && at <= self.sign_until
    }

    /// Do signatures of this key count at `at`?
    pub fn verifies_at(&self, at: UnixMs) -> bool {
        !self.revoked && self.not_before <= at && at <= self.verify_until
    }
}

impl From<&KeyEntry> for CompiledKey {
    fn from(entry: &KeyEntry) -> Self {
        Self {
            id: entry.key.id(),
            key: entry.key.clone(),
            not_before: entry.not_before,
            sign_until: entry.sign_until,
            verify_until: entry.verify_until,
            revoked: entry.revoked,
        }
    }
}

/// An endpoint as the engine sees it.
#[derive(Debug, Clone)]
pub struct CompiledEndpoint {
    /// Its id.
    pub id: EndpointId,
    /// Signing keys.
    pub keys: Vec<CompiledKey>,
    /// Algorithms that must all be present on its signatures; empty: any one of its keys.
    pub required_algorithms: Vec<Algorithm>,
    /// Keys others may encrypt for, the preferred first.
    pub encryption_keys: Vec<EncryptionKey>,
    /// Link identities that may attach it.
    pub identities: Vec<LinkIdentity>,
    /// What it may send to.
    pub grants: Vec<Grant>,
    /// May it send to an explicit recipient in reply?
    pub may_reply: bool,
    /// Admission budgets.
    pub budgets: Budgets,
}

impl CompiledEndpoint {
    /// Its key with this id.
    pub fn key(&self, id: &KeyId) -> Option<&CompiledKey> {
        self.keys.iter().find(|key| key.id == *id)
    }

    /// The key to encrypt for; `None`: it takes plaintext only.
    pub fn encryption_key(&self) -> Option<&EncryptionKey> {
        self.encryption_keys.first()
    }
}

/// A router as its peers see it.
#[derive(Debug, Clone)]
pub struct CompiledRouter {
    /// Its id.
    pub id: RouterId,
    /// Link identities its certificates carry.
    pub identities: Vec<LinkIdentity>,
    /// Where to reach it, `host:port`.
    pub addresses: Vec<String>,
    /// Keys that sign custody receipts.
    pub keys: Vec<CompiledKey>,
    /// Custody receipts of it no longer count.
    pub lost: bool,
}

/// Whose key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyOwner {
    /// An endpoint's.
    Endpoint(EndpointIndex),
    /// A router's.
    Router(RouterIndex),
}

/// What a link identity may be used for; never for both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityUse {
    /// It is this router.
    Router(RouterId),
    /// It may attach these endpoints, in id order.
    Endpoints(Vec<EndpointIndex>),
}

/// Everybody in one table. Maps are seeded per process: ids and key ids come from the network.
#[derive(Debug, Default)]
pub(super) struct Principals {
    endpoints: Vec<CompiledEndpoint>,
    routers: Vec<CompiledRouter>,
    endpoint_by_id: HashMap<EndpointId, EndpointIndex, RandomState>,
    router_by_id: HashMap<RouterId, RouterIndex, RandomState>,
    /// Owner and place among the owner's keys.
    keys: HashMap<KeyId, (KeyOwner, u32), RandomState>,
    identities: HashMap<LinkIdentity, IdentityUse, RandomState>,
}

impl Principals {
    /// Collects everybody; `None` when there are 2^32 endpoints or routers.
    pub(super) fn new(directory: &Directory) -> Option<Self> {
        let mut principals = Self::default();
        let routed: std::collections::HashSet<&str> =
            directory.verified().iter().flat_map(|zone| zone.named()).map(|id| id.as_str()).collect();
        for entry in directory.zones().flat_map(|zone| &zone.endpoints) {
            principals.endpoints.push(CompiledEndpoint {
                id: entry.id.clone(),
                keys: entry.keys.iter().map(CompiledKey::from).collect(),
                required_algorithms: entry.required_algorithms.clone(),
                encryption_keys: entry.encryption_keys.clone(),
                identities: entry.identities.clone(),
                grants: entry.grants.clone(),
                may_reply: entry.reply_grant.unwrap_or_else(|| routed.contains(entry.id.as_str())),
                budgets: entry.budgets,
            });
        }
        for entry in directory.zones().flat_map(|zone| &zone.routers) {
            principals.routers.push(CompiledRouter {
                id: entry.id.clone(),
                identities: entry.identities.clone(),
                addresses: entry.addresses.clone(),
                keys: entry.keys.iter().map(CompiledKey::from).collect(),
                lost: entry.lost,
            });
        }
        principals.endpoints.sort_by(|a, b| a.id.cmp(&b.id));
        principals.routers.sort_by(|a, b| a.id.cmp(&b.id));
        principals.index()?;
        Some(principals)
    }

    fn index(&mut self) -> Option<()> {
        for (place, endpoint) in self.endpoints.iter().enumerate() {
            let index = EndpointIndex(u32::try_from(place).ok()?);
            self.endpoint_by_id.insert(endpoint.id.clone(), index);
            for (key, place) in endpoint.keys.iter().zip(0..) {
                self.keys.insert(key.id, (KeyOwner::Endpoint(index), place));
            }
            for identity in &endpoint.identities {
                let used = self.identities.entry(identity.clone());
                if let IdentityUse::Endpoints(attachable) = used.or_insert_with(|| IdentityUse::Endpoints(Vec::new())) {
                    attachable.push(index);
                }
            }
        }
        for (place, router) in self.routers.iter().enumerate() {
            let index = RouterIndex(u32::try_from(place).ok()?);
            self.router_by_id.insert(router.id.clone(), index);
            for (key, place) in router.keys.iter().zip(0..) {
                self.keys.insert(key.id, (KeyOwner::Router(index), place));
            }
            for identity in &router.identities {
                self.identities.insert(identity.clone(), IdentityUse::Router(router.id.clone()));
            }
        }
        Some(())
    }

    pub(super) fn endpoint(&self, index: EndpointIndex) -> Option<&CompiledEndpoint> {
        self.endpoints.get(index.0 as usize)
    }

    pub(super) fn endpoint_index(&self, id: &str) -> Option<EndpointIndex> {
        self.endpoint_by_id.get(id).copied()
    }
}

impl Table {
    /// The endpoint with this id.
    pub fn endpoint(&self, id: &str) -> Option<EndpointIndex> {
        self.principals.endpoint_index(id)
    }

    /// What the directory says about an endpoint; `None` for an index of another table that is out of range here.
    pub fn endpoint_entry(&self, index: EndpointIndex) -> Option<&CompiledEndpoint> {
        self.principals.endpoint(index)
    }

    /// All endpoints in id order, the first having index 0.
    pub fn endpoints(&self) -> &[CompiledEndpoint] {
        &self.principals.endpoints
    }

    /// The router with this id.
    pub fn router(&self, id: &str) -> Option<&CompiledRouter> {
        self.router_entry(*self.principals.router_by_id.get(id)?)
    }

    /// What the directory says about a router.
    pub fn router_entry(&self, index: RouterIndex) -> Option<&CompiledRouter> {
        self.principals.routers.get(index.0 as usize)
    }

    /// All routers in id order, the first having index 0.
    pub fn routers(&self) -> &[CompiledRouter] {
        &self.principals.routers
    }

    /// Whose key it is, and its validity.
    pub fn key(&self, id: &KeyId) -> Option<(KeyOwner, &CompiledKey)> {
        let (owner, place) = *self.principals.keys.get(id)?;
        let keys = match owner {
            KeyOwner::Endpoint(index) => &self.endpoint_entry(index)?.keys,
            KeyOwner::Router(index) => &self.router_entry(index)?.keys,
        };
        Some((owner, keys.get(place as usize)?))
    }

    /// What a link identity may be used for; `None`: no entry lists it.
    pub fn identity(&self, identity: &LinkIdentity) -> Option<&IdentityUse> {
        self.principals.identities.get(identity)
    }
}
