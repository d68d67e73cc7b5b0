//! What does the table keep of each rule, and where does it lie?
//!
//! A route holds what routing reads and refers to its entry in the zone for the rest. Routes of one zone lie together in
//! chunks that tables share: a table compiled after another one copies those of changed zones only. Within a changed zone
//! a route that covers what one before did, for the same time, lies where that did: rows refer to it as before and need
//! not be made again. Places of routes that are gone are taken by new ones, else stay empty.

use std::sync::{Arc, LazyLock};

use compact_str::CompactString;
use kernpost_codecs::statement::Assurance;
use kernpost_codecs::{UnixMs, ZoneId};
use smallvec::SmallVec;

use super::EndpointIndex;
use crate::directory::VerifiedZone;
use crate::model::{RouteEntry, Scope};
use crate::prefixes::Ordered;

/// A rule of the table: who is responsible, and on which conditions.
#[derive(Debug, Clone)]
pub struct Route {
    /// Who is responsible, the preferred first; never empty.
    pub endpoints: SmallVec<[EndpointIndex; 4]>,
    /// Messages must assert at least this.
    pub min_assurance: Option<Assurance>,
    /// Messages must be encrypted for the recipient.
    pub encryption_required: bool,
    /// Its place among the routes of its zone; always one of them, but for [`NOWHERE`].
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
static NO_ENTRY: LazyLock<RouteEntry> = LazyLock::new(|| RouteEntry {
    rule: CompactString::default(),
    scope: Scope::EVERYTHING,
    valid_from: UnixMs(u64::MAX),
    valid_until: Some(UnixMs(0)),
    endpoints: Arc::default(),
    min_assurance: None,
    encryption_required: false,
});

/// Bits of a reference that say where in its chunk a route lies.
const PLACE_BITS: u32 = 12;
/// Routes to a chunk, at most.
const CHUNK: usize = 1 << PLACE_BITS;
/// Bits of a reference; the leaves of `rows.rs` need one of 32.
const REFERENCE_BITS: u32 = 31;

/// Where in its zone the stand-in for an empty place of a chunk lies.
const NOWHERE: u32 = u32::MAX;

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
    laid: Laid,
}

/// Where in its chunks, counted through, each route of a zone lies.
#[derive(Debug, Clone, Default)]
enum Laid {
    /// In the order of the snapshot.
    #[default]
    InOrder,
    /// By place in the snapshot.
    At(Arc<[u32]>),
}

impl Laid {
    fn at(&self, place: u32) -> Option<u32> {
        match self {
            Self::InOrder => Some(place),
            Self::At(at) => at.get(place as usize).copied(),
        }
    }
}

/// What became of the routes of a zone with a new snapshot.
#[derive(Debug)]
pub(super) struct Moved {
    laid: Laid,
    /// By place in the new snapshot: true when a route is new.
    pub(super) came: Vec<bool>,
    /// References of routes that are gone.
    gone: Vec<u32>,
}

impl Routes {
    /// How many there are, also those not in force.
    pub fn len(&self) -> usize {
        self.zones.iter().map(|zone| zone.zone.snapshot().routes.len()).sum()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every route, also those not in force, in no stated order.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.chunks.iter().flat_map(|chunk| chunk.iter()).filter(|route| route.place != NOWHERE)
    }

    /// The route of a reference.
    #[inline]
    pub(super) fn get(&self, reference: u32) -> Option<&Route> {
        self.chunks.get((reference >> PLACE_BITS) as usize)?.get(reference as usize & (CHUNK - 1))
    }

    /// The reference of a zone's route, by the zone's place in the directory.
    pub(super) fn reference(&self, zone: usize, place: u32) -> Option<u32> {
        self.zones.get(zone)?.reference(place)
    }

    /// The zones, in the order of the directory.
    pub(super) fn zones(&self) -> impl ExactSizeIterator<Item = &Arc<VerifiedZone>> {
        self.zones.iter().map(|zone| &zone.zone)
    }

    /// The chunks of these zones, by their places.
    pub(super) fn chunks_of(&self, zones: impl Iterator<Item = usize>) -> Marked {
        let mut marked = Marked(vec![Mark::None; self.chunks.len()]);
        for chunk in zones.filter_map(|zone| self.zones.get(zone)).flat_map(|zone| zone.chunks.iter()) {
            if let Some(mark) = marked.0.get_mut(*chunk as usize) {
                *mark = Mark::All;
            }
        }
        marked
    }

    /// For each of `zones` with a new snapshot what stays of the zone before; `None`: all of its routes come anew, because
    /// it is new itself, unchanged (`Some` place), or few of its routes stay.
    pub(super) fn moved<'z>(
        &self,
        zones: impl Iterator<Item = (&'z Arc<VerifiedZone>, Option<usize>)>,
    ) -> Vec<Option<(usize, Moved)>> {
        let find = |zone: &VerifiedZone| self.zones.iter().position(|before| before.zone.id() == zone.id());
        zones
            .map(|(zone, place)| {
                let before = if place.is_none() { find(zone) } else { None }?;
                Some((before, self.zones.get(before)?.moved(zone, &self.chunks)?))
            })
            .collect()
    }

    /// Of what these zones had, by their places, all that is gone: everything but what the zones in `moved` keep.
    pub(super) fn gone(&self, zones: impl Iterator<Item = usize>, moved: &[Option<(usize, Moved)>]) -> Marked {
        let moved = || moved.iter().flatten();
        let mut marked = self.chunks_of(zones.filter(|zone| moved().all(|(before, _)| before != zone)));
        for reference in moved().flat_map(|(_, moved)| &moved.gone) {
            if let Some(mark) = marked.0.get_mut((reference >> PLACE_BITS) as usize) {
                mark.add(*reference as usize & (CHUNK - 1));
            }
        }
        marked
    }

    /// The routes of `zones`. A zone with `Some(place)` is the one at that place here, unchanged, and keeps its chunks when
    /// its endpoints have kept their indexes (`same`); `moved` says the same of those that have changed, `index` finds an
    /// endpoint.
    ///
    /// # Errors
    /// What `index` refuses; `None` within: there are 2^31 routes or more.
    pub(super) fn with_zones<'z, E>(
        &self,
        zones: impl Iterator<Item = (&'z Arc<VerifiedZone>, Option<usize>)> + Clone,
        moved: &[Option<(usize, Moved)>],
        same: impl Fn(&VerifiedZone) -> bool,
        mut index: impl FnMut(&VerifiedZone, &RouteEntry) -> Result<SmallVec<[EndpointIndex; 4]>, E>,
    ) -> Result<Option<Self>, E> {
        let kept =
            zones.clone().filter_map(|(_, place)| place).chain(moved.iter().flatten().map(|(before, _)| *before));
        let held = self.chunks_of(kept);
        let mut routes = Self { chunks: self.chunks.clone(), zones: Vec::new() };
        let mut free: Vec<u32> = Vec::new();
        for (number, chunk) in (0..).zip(&mut routes.chunks) {
            if !held.holds(number << PLACE_BITS) {
                *chunk = Arc::default();
                free.push(number);
            }
        }
        for ((zone, place), moved) in zones.zip(moved) {
            let moved = moved.as_ref();
            let before = place.or(moved.map(|(before, _)| *before)).and_then(|place| self.zones.get(place));
            if let Some(before) = before
                && moved.is_none()
                && same(zone)
            {
                routes.zones.push(before.clone());
                continue;
            }
            let laid = moved.map(|(_, moved)| &moved.laid).or(before.map(|before| &before.laid)).cloned();
            let laid = laid.unwrap_or_default();
            let mut made = Vec::with_capacity(zone.snapshot().routes.len());
            for (place, entry) in (0..).zip(&zone.snapshot().routes) {
                let endpoints = index(zone, entry)?;
                let (min_assurance, encryption_required) = (entry.min_assurance, entry.encryption_required);
                made.push(Route { endpoints, min_assurance, encryption_required, place, zone: zone.clone() });
            }
            let made = match &laid {
                Laid::InOrder => made,
                Laid::At(at) => laid_out(made, at, zone),
            };
            let mut numbers = before.map_or_else(Vec::new, |before| before.chunks.to_vec()).into_iter();
            let mut used = Vec::new();
            let mut made = made.into_iter().peekable();
            while made.peek().is_some() {
                let chunk: Arc<[Route]> = made.by_ref().take(CHUNK).collect();
                let Some(number) = routes.place(chunk, numbers.next().or_else(|| free.pop())) else { return Ok(None) };
                used.push(number);
            }
            for number in numbers {
                if let Some(chunk) = routes.chunks.get_mut(number as usize) {
                    *chunk = Arc::default();
                }
                free.push(number);
            }
            routes.zones.push(ZoneChunks { zone: zone.clone(), chunks: used.into(), laid });
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

/// Routes by where they lie, with stand-ins at places that are empty.
fn laid_out(made: Vec<Route>, at: &[u32], zone: &Arc<VerifiedZone>) -> Vec<Route> {
    let nobody = || Route {
        endpoints: SmallVec::new(),
        min_assurance: None,
        encryption_required: false,
        place: NOWHERE,
        zone: zone.clone(),
    };
    let length = at.iter().max().map_or(0, |last| *last as usize + 1);
    let mut laid: Vec<Route> = std::iter::repeat_with(nobody).take(length).collect();
    for (route, at) in made.into_iter().zip(at) {
        if let Some(place) = laid.get_mut(*at as usize) {
            *place = route;
        }
    }
    laid
}

impl ZoneChunks {
    fn reference(&self, place: u32) -> Option<u32> {
        let at = self.laid.at(place)?;
        let chunk = self.chunks.get((at >> PLACE_BITS) as usize)?;
        Some(chunk << PLACE_BITS | at & (CHUNK as u32 - 1))
    }

    /// What of this zone stays in its new snapshot. `None` when less than half does, or half of the places would be empty.
    fn moved(&self, new: &VerifiedZone, chunks: &[Arc<[Route]>]) -> Option<Moved> {
        const FREE: u32 = u32::MAX;
        let held = self.chunks.iter().filter_map(|chunk| chunks.get(*chunk as usize)).map(|chunk| chunk.len()).sum();
        let count = new.snapshot().routes.len();
        let (mut at, mut taken, mut gone) = (vec![FREE; count], vec![false; held], Vec::new());
        let mut before = self.zone.order().iter().peekable();
        let mut stays = 0;
        for route in new.order() {
            let new_entry = new.route(route.route())?;
            let begins = |zone: &VerifiedZone, one: &Ordered| {
                (one.prefixes(), zone.route(one.route()).map(|entry| entry.valid_from))
            };
            let key = begins(new, route);
            while let Some(old) = before.next_if(|old| begins(&self.zone, old) < key) {
                gone.push(self.reference(old.route())?);
            }
            // Of the same prefixes and beginning there is one: another would be in force together with it.
            let Some(old) = before.next_if(|old| begins(&self.zone, old) == key) else { continue };
            if self.zone.route(old.route())?.valid_until == new_entry.valid_until {
                let place = self.laid.at(old.route())?;
                *at.get_mut(route.route() as usize)? = place;
                *taken.get_mut(place as usize)? = true;
                stays += 1;
            } else {
                gone.push(self.reference(old.route())?);
            }
        }
        for old in before {
            gone.push(self.reference(old.route())?);
        }
        if stays < count / 2 || count < held / 2 {
            return None;
        }
        let empty = (0..).zip(&taken).filter(|(_, taken)| !**taken).map(|(place, _)| place);
        let mut places = empty.chain(u32::try_from(held).ok()?..FREE);
        let mut came = vec![false; count];
        for (at, came) in at.iter_mut().zip(&mut came).filter(|(at, _)| **at == FREE) {
            (*at, *came) = (places.next()?, true);
        }
        Some(Moved { laid: Laid::At(at.into()), came, gone })
    }
}

/// Some routes of a table.
#[derive(Debug)]
pub(super) struct Marked(Vec<Mark>);

/// Which routes of a chunk.
#[derive(Debug, Clone)]
enum Mark {
    None,
    All,
    /// A bit for each.
    Some(Box<[u64; CHUNK / 64]>),
}

impl Mark {
    fn add(&mut self, place: usize) {
        if let Self::None = self {
            *self = Self::Some(Box::new([0; CHUNK / 64]));
        }
        if let Self::Some(bits) = self
            && let Some(bits) = bits.get_mut(place / 64)
        {
            *bits |= 1 << (place % 64);
        }
    }
}

impl Marked {
    /// True when the route of this reference is one of them.
    pub(super) fn holds(&self, reference: u32) -> bool {
        match self.0.get((reference >> PLACE_BITS) as usize) {
            Some(Mark::All) => true,
            Some(Mark::Some(bits)) => {
                let place = reference as usize & (CHUNK - 1);
                bits.get(place / 64).is_some_and(|bits| bits & 1 << (place % 64) != 0)
            }
            Some(Mark::None) | None => false,
        }
    }

    /// True when there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|mark| matches!(mark, Mark::None))
    }
}
