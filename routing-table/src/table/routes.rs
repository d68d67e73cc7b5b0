//! What does the table keep of each rule, and where does it lie?
//!
//! A route holds what routing reads and refers to its entry in the zone for the rest. Routes of one zone lie together in
//! chunks that tables share: a table compiled after another one copies those of changed zones only.

use std::sync::Arc;

use kernpost_codecs::statement::Assurance;
use kernpost_codecs::{UnixMs, ZoneId};
use smallvec::SmallVec;

use super::EndpointIndex;
use crate::directory::VerifiedZone;
use crate::model::{RouteEntry, Scope};

/// A rule of the table: who is responsible, and on which conditions.
#[derive(Debug, Clone)]
pub struct Route {
    /// Who is responsible, the preferred first; never empty.
    pub endpoints: SmallVec<[EndpointIndex; 4]>,
    /// Messages must assert at least this.
    pub min_assurance: Option<Assurance>,
    /// Messages must be encrypted for the recipient.
    pub encryption_required: bool,
    /// Its place among the routes of its zone; always one of them.
    place: u32,
    zone: Arc<VerifiedZone>,
}

impl Route {
    /// The zone's own entry.
    pub fn entry(&self) -> &RouteEntry {
        // Always there: the route was made from it.
        self.zone.route(self.place).unwrap_or(&NO_ENTRY)
    }

    /// Name of the rule, unique in its zone.
    pub fn rule(&self) -> &str {
        &self.entry().rule
    }

    /// The zone that states it.
    pub fn zone(&self) -> &ZoneId {
        self.zone.id()
    }

    /// The prefixes.
    pub fn scope(&self) -> Scope {
        self.entry().scope
    }

    /// True when the rule is in force at `at`.
    pub fn in_force(&self, at: UnixMs) -> bool {
        self.entry().in_force(at)
    }
}

/// Stands for an entry that cannot be missing, so that nothing panics.
static NO_ENTRY: RouteEntry = RouteEntry {
    rule: String::new(),
    scope: Scope::EVERYTHING,
    valid_from: UnixMs(u64::MAX),
    valid_until: Some(UnixMs(0)),
    endpoints: Vec::new(),
    min_assurance: None,
    encryption_required: false,
};

/// Bits of a reference that say where in its chunk a route lies.
const PLACE_BITS: u32 = 12;
/// Routes to a chunk, at most.
const CHUNK: usize = 1 << PLACE_BITS;
/// Bits of a reference; the leaves of `rows.rs` need one of 32.
const REFERENCE_BITS: u32 = 31;

/// All routes of a table, each found by a reference of 31 bits.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    /// An empty chunk is free.
    chunks: Vec<Arc<[Route]>>,
    /// In the order of the directory's zones.
    zones: Vec<ZoneChunks>,
}

/// A zone and the numbers of its chunks.
#[derive(Debug, Clone)]
struct ZoneChunks {
    zone: Arc<VerifiedZone>,
    chunks: Arc<[u32]>,
}

impl Routes {
    /// How many there are, also those not in force.
    pub fn len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.len()).sum()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every route, also those not in force, in no stated order.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// The route of a reference.
    #[inline]
    pub(super) fn get(&self, reference: u32) -> Option<&Route> {
        self.chunks.get((reference >> PLACE_BITS) as usize)?.get(reference as usize & (CHUNK - 1))
    }

    /// The reference of a zone's route, by the zone's place in the directory.
    pub(super) fn reference(&self, zone: usize, place: u32) -> Option<u32> {
        let chunk = self.zones.get(zone)?.chunks.get((place >> PLACE_BITS) as usize)?;
        Some(chunk << PLACE_BITS | place & (CHUNK as u32 - 1))
    }

    /// The zones, in the order of the directory.
    pub(super) fn zones(&self) -> impl ExactSizeIterator<Item = &Arc<VerifiedZone>> {
        self.zones.iter().map(|zone| &zone.zone)
    }

    /// True for the chunks of these zones, by their places.
    pub(super) fn chunks_of(&self, zones: impl Iterator<Item = usize>) -> Marked {
        let mut marked = vec![false; self.chunks.len()];
        for chunk in zones.filter_map(|zone| self.zones.get(zone)).flat_map(|zone| zone.chunks.iter()) {
            if let Some(mark) = marked.get_mut(*chunk as usize) {
                *mark = true;
            }
        }
        Marked(marked)
    }

    /// The routes of `zones`. A zone with `Some(place)` is the one at that place here, unchanged, and keeps its chunks when
    /// its endpoints have kept their indexes (`same`); `index` finds an endpoint.
    ///
    /// # Errors
    /// What `index` refuses; `None` within: there are 2^31 routes or more.
    pub(super) fn with_zones<'z, E>(
        &self,
        zones: impl Iterator<Item = (&'z Arc<VerifiedZone>, Option<usize>)> + Clone,
        same: impl Fn(&VerifiedZone) -> bool,
        mut index: impl FnMut(&VerifiedZone, &RouteEntry) -> Result<SmallVec<[EndpointIndex; 4]>, E>,
    ) -> Result<Option<Self>, E> {
        let kept: Vec<usize> = zones.clone().filter_map(|(_, place)| place).collect();
        let held = self.chunks_of(kept.into_iter());
        let mut routes = Self { chunks: self.chunks.clone(), zones: Vec::new() };
        let mut free: Vec<u32> = Vec::new();
        for (number, chunk) in (0..).zip(&mut routes.chunks) {
            if !held.holds(number << PLACE_BITS) {
                *chunk = Arc::default();
                free.push(number);
            }
        }
        for (zone, place) in zones {
            let before = place.and_then(|place| self.zones.get(place));
            if let Some(before) = before
                && same(zone)
            {
                routes.zones.push(before.clone());
                continue;
            }
            let mut numbers = before.map_or_else(Vec::new, |before| before.chunks.to_vec()).into_iter();
            let mut used = Vec::new();
            for (first, entries) in (0u32..).step_by(CHUNK).zip(zone.snapshot().routes.chunks(CHUNK)) {
                let route = |(place, entry)| {
                    let endpoints = index(zone, entry)?;
                    let (min_assurance, encryption_required) = (entry.min_assurance, entry.encryption_required);
                    Ok(Route { endpoints, min_assurance, encryption_required, place, zone: zone.clone() })
                };
                let chunk = (first..).zip(entries).map(route).collect::<Result<Arc<[Route]>, E>>()?;
                let Some(number) = routes.place(chunk, numbers.next().or_else(|| free.pop())) else { return Ok(None) };
                used.push(number);
            }
            routes.zones.push(ZoneChunks { zone: zone.clone(), chunks: used.into() });
        }
        Ok(Some(routes))
    }

    /// Stores a chunk at this number, else at the end; `None` when there are too many.
    fn place(&mut self, chunk: Arc<[Route]>, number: Option<u32>) -> Option<u32> {
        let number = match number {
            Some(number) => number,
            None => {
                self.chunks.push(Arc::default());
                u32::try_from(self.chunks.len() - 1)
                    .ok()
                    .filter(|number| *number < 1 << (REFERENCE_BITS - PLACE_BITS))?
            }
        };
        *self.chunks.get_mut(number as usize)? = chunk;
        Some(number)
    }

    /// Bytes held by the routes themselves; what zones say is not counted.
    pub(super) fn bytes(&self) -> usize {
        self.len() * size_of::<Route>() + self.chunks.len() * size_of::<Arc<[Route]>>()
    }
}

/// Some chunks of a table.
#[derive(Debug)]
pub(super) struct Marked(Vec<bool>);

impl Marked {
    /// True when the route of this reference lies in one of them.
    pub(super) fn holds(&self, reference: u32) -> bool {
        self.0.get((reference >> PLACE_BITS) as usize).copied().unwrap_or(false)
    }
}
