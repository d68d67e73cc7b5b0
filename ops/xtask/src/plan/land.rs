//! One Land's zone: its catch-all, its own authorities, some Kreise and Bezirke, its large cities.
//!
//! The Land's IT provider runs one link for the catch-all, the Land's authorities, the Kreise and all but the largest
//! cities. What a small municipality has no endpoint for falls to the Kreis, the Bezirk or the Land, by longest prefix.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use kernpost_codecs::{EndpointId, ZoneId};

use super::names::Names;
use super::scopes::Scopes;
use super::{EndpointPlan, Role, RoutePlan, Site, ZonePlan};
use kernpost_loadgen::lists::{Execution, Lists, Municipality};

/// As many cities have an endpoint of their own.
const CITIES: usize = 100;
/// A city with more inhabitants runs a link of its own.
const OWN_LINK: u64 = 1_000_000;
/// Business registration, the best known example of a municipal service.
const BUSINESS: &str = "99050012";
/// Groups that the Land executes unless a longer jurisdiction prefix says otherwise.
const LAND_GROUPS: [&str; 5] = ["99018", "99050", "99065", "99105", "99135"];
/// Groups of a Regierungsbezirk, where a Land has them.
const BEZIRK_GROUPS: [&str; 2] = ["99018", "99063"];
/// Groups of a Kreis: health, driving licences, vehicles, water.
const KREIS_GROUPS: [&str; 4] = ["99003", "99023", "99036", "99129"];
/// Groups of a large city that would otherwise be the Kreis' (it is one itself).
const CITY_GROUPS: [&str; 4] = KREIS_GROUPS;
/// Land law on schools and universities has an authority of its own.
const SCHOOL_GROUPS: [&str; 4] = ["99019", "99061", "99088", "99127"];
/// Länder whose provider dials the first router, as the portals do; all others dial the second.
const AT_FIRST_ROUTER: [&str; 3] = ["hb", "he", "sl"];
/// Länder whose third ARS digit is an administration today.
const WITH_BEZIRKE: [&str; 4] = ["nw", "he", "bw", "by"];

/// The zone of the Land with this code and these ARS digits.
pub fn zone(lists: &Lists, scopes: &Scopes, code: &str, digits: &str) -> Result<ZonePlan> {
    let mut land = Land::new(code, digits)?;
    let municipalities: Vec<_> = lists.municipalities.iter().filter(|m| m.land() == digits).collect();
    land.catch_all()?;
    land.authorities(scopes)?;
    land.bezirke(&municipalities)?;
    land.kreise(&municipalities)?;
    land.cities(&lists.municipalities)?;
    Ok(land.plan)
}

/// A Land's zone while it is being drawn.
struct Land<'a> {
    code: &'a str,
    digits: &'a str,
    site: Site,
    names: Names,
    plan: ZonePlan,
}

impl<'a> Land<'a> {
    fn new(code: &'a str, digits: &'a str) -> Result<Self> {
        let zone: ZoneId = format!("de.{code}").parse()?;
        let router = usize::from(!AT_FIRST_ROUTER.contains(&code));
        Ok(Self {
            code,
            digits,
            site: Site::new(&format!("it-{code}"), Role::Authority, router),
            names: Names::default(),
            plan: ZonePlan { zone, delegated: Some(digits.parse()?), endpoints: Vec::new(), routes: Vec::new() },
        })
    }

    /// The IT provider takes whatever nobody else in the Land does.
    fn catch_all(&mut self) -> Result<()> {
        let id = self.endpoint("auffang", self.digits)?;
        self.route("auffang".to_owned(), "99", self.digits, &id)
    }

    fn authorities(&mut self, scopes: &Scopes) -> Result<()> {
        let administration = self.endpoint("landesverwaltung", self.digits)?;
        let schools = self.endpoint("bildung", self.digits)?;
        for group in LAND_GROUPS {
            self.route(format!("land-{group}"), group, self.digits, &administration)?;
        }
        for prefix in scopes.prefixes(Execution::Land) {
            let school = SCHOOL_GROUPS.iter().any(|group| prefix.starts_with(group));
            let id = if school { &schools } else { &administration };
            self.route(format!("landesrecht-{prefix}"), prefix, self.digits, id)?;
        }
        Ok(())
    }

    fn bezirke(&mut self, municipalities: &[&Municipality]) -> Result<()> {
        if !WITH_BEZIRKE.contains(&self.code) {
            return Ok(());
        }
        let bezirke: BTreeSet<&str> = municipalities.iter().map(|m| m.prefix(3)).collect();
        for bezirk in bezirke {
            let name = format!("bezirk-{bezirk}");
            let id = self.endpoint(&name, bezirk)?;
            self.groups(&name, &BEZIRK_GROUPS, bezirk, &id)?;
        }
        Ok(())
    }

    /// The two largest Kreise of several municipalities: the first registers businesses, the second does not.
    fn kreise(&mut self, municipalities: &[&Municipality]) -> Result<()> {
        for (rank, kreis) in largest_kreise(municipalities).into_iter().take(2).enumerate() {
            let name = format!("kreis-{kreis}");
            let id = self.endpoint(&name, kreis)?;
            self.groups(&name, &KREIS_GROUPS, kreis, &id)?;
            if rank == 0 {
                self.route(format!("{name}-gewerbe"), BUSINESS, kreis, &id)?;
            }
        }
        Ok(())
    }

    /// Those of the country's largest cities that lie in this Land.
    fn cities(&mut self, all: &[Municipality]) -> Result<()> {
        for city in largest(all) {
            if city.land() != self.digits {
                continue;
            }
            let name = self.names.unique(city.short_name(), city.prefix(5));
            let site = self.city_site(city, &name);
            let id = self.endpoint_at(&name, site)?;
            self.route(name.clone(), "99", &city.digits, &id)?;
            self.route(format!("{name}-gewerbe"), BUSINESS, &city.digits, &id)?;
            self.groups(&name, &CITY_GROUPS, &city.digits, &id)?;
        }
        Ok(())
    }

    fn city_site(&self, city: &Municipality, name: &str) -> Site {
        if city.population < OWN_LINK {
            return self.site.clone();
        }
        Site::new(&format!("stadt-{name}"), Role::Authority, self.site.router)
    }

    fn endpoint(&mut self, name: &str, digits: &str) -> Result<EndpointId> {
        let name = self.names.unique(name, digits);
        let site = self.site.clone();
        self.endpoint_at(&name, site)
    }

    fn endpoint_at(&mut self, name: &str, site: Site) -> Result<EndpointId> {
        let id: EndpointId = format!("{}/{name}", self.plan.zone).parse()?;
        self.plan.endpoints.push(EndpointPlan::new(id.clone(), site, Vec::new()));
        Ok(id)
    }

    fn groups(&mut self, name: &str, groups: &[&str], jurisdiction: &str, id: &EndpointId) -> Result<()> {
        let mut groups = groups.iter();
        groups.try_for_each(|group| self.route(format!("{name}-{group}"), group, jurisdiction, id))
    }

    fn route(&mut self, rule: String, service: &str, jurisdiction: &str, id: &EndpointId) -> Result<()> {
        self.plan.routes.push(RoutePlan {
            rule,
            service: service.parse()?,
            jurisdiction: jurisdiction.parse()?,
            endpoint: id.clone(),
            assurance: None,
        });
        Ok(())
    }
}

/// The country's largest municipalities, largest first; equal ones by ARS.
fn largest(all: &[Municipality]) -> Vec<&Municipality> {
    let mut sorted: Vec<_> = all.iter().collect();
    sorted.sort_by(|a, b| b.population.cmp(&a.population).then_with(|| a.digits.cmp(&b.digits)));
    sorted.truncate(CITIES);
    sorted
}

/// Kreise of more than one municipality, most inhabitants first; equal ones by key.
fn largest_kreise<'a>(municipalities: &[&'a Municipality]) -> Vec<&'a str> {
    let mut kreise: BTreeMap<&str, (u64, usize)> = BTreeMap::new();
    for municipality in municipalities {
        let (population, members) = kreise.entry(municipality.prefix(5)).or_default();
        *population += municipality.population;
        *members += 1;
    }
    kreise.retain(|_, (_, members)| *members > 1);
    let mut sorted: Vec<_> = kreise.into_iter().collect();
    sorted.sort_by(|(a, (more, _)), (b, (less, _))| less.cmp(more).then_with(|| a.cmp(b)));
    sorted.into_iter().map(|(kreis, _)| kreis).collect()
}
