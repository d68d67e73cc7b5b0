//! With which of its keys does an endpoint sign now? With one per algorithm its directory entry requires, each between
//! not-before and sign-until (WIRE 5.4, 10.3). Without a directory: with one key per algorithm given, at most two.

use kernpost_codecs::key::{KeyId, SigningKey};
use kernpost_codecs::{EndpointId, UnixMs};
use kernpost_routing_table::Table;
use smallvec::SmallVec;

/// The signing keys of one endpoint of this process; at most 8 are kept.
#[derive(Debug)]
pub struct Signer {
    id: EndpointId,
    keys: Vec<(KeyId, SigningKey)>,
}

impl Signer {
    /// An endpoint with its keys, the preferred first.
    pub fn new(id: EndpointId, keys: Vec<SigningKey>) -> Self {
        let keys = keys.into_iter().take(8).map(|key| (key.public().id(), key)).collect();
        Self { id, keys }
    }

    /// The endpoint's id.
    pub fn id(&self) -> &EndpointId {
        &self.id
    }

    /// The keys to sign with at `now`: one, or two when the entry requires two algorithms. When the directory lists
    /// none of ours, the first is used and the router's refusal says so. Before there is a directory only attach tokens are
    /// signed; a hybrid endpoint is then attached at once, and one that only keeps a second key ready tries again later.
    pub fn current(&self, table: Option<&Table>, now: UnixMs) -> SmallVec<[&SigningKey; 2]> {
        let listed = table.and_then(|table| table.endpoint_entry(table.endpoint(self.id.as_str())?));
        let Some(entry) = listed else { return self.unlisted(table.is_none()) };
        let usable = |id: &KeyId| entry.keys.iter().any(|key| key.id == *id && key.signs_at(now));
        let mut chosen: SmallVec<[&SigningKey; 2]> = SmallVec::new();
        for (_, key) in self.keys.iter().filter(|(id, _)| usable(id)) {
            let wanted = entry.required_algorithms.is_empty() || entry.required_algorithms.contains(&key.algorithm());
            let another = chosen.iter().all(|have| have.algorithm() != key.algorithm());
            if wanted && another && chosen.len() < entry.required_algorithms.len().clamp(1, 2) {
                chosen.push(key);
            }
        }
        if chosen.is_empty() { self.unlisted(false) } else { chosen }
    }

    /// The preferred key, or the preferred ones of two algorithms.
    fn unlisted(&self, two: bool) -> SmallVec<[&SigningKey; 2]> {
        let mut chosen: SmallVec<[&SigningKey; 2]> = SmallVec::new();
        for (_, key) in &self.keys {
            let another = chosen.iter().all(|have| have.algorithm() != key.algorithm());
            if chosen.is_empty() || (two && another && chosen.len() < 2) {
                chosen.push(key);
            }
        }
        chosen
    }
}
