//! A scenario as a network on paper: who sits on which link, which routes exist, which route keys are sent to.
//!
//! One zone, `de`. Senders are `de/portal-N`, recipients `de/authority-N`, slow ones `de/slow-N`, links that come and go
//! `de/bystander-N`. Messages name route keys, never recipients, so every one is routed by the table.

use anyhow::{Context, Result};
use kernpost_codecs::{Assurance, EndpointId};
use kernpost_routing_table::generate::Shape;
use rand::prelude::*;
use rand::rngs::SmallRng;

use crate::lists::Lists;
use crate::network::plan::{EndpointPlan, GrantPlan, Plan, Role, RoutePlan, RouterPlan, Site, ZonePlan};
use crate::scenario::{Jurisdictions, Scenario};

/// Route keys drawn ahead; sources draw from them.
const TARGETS: usize = 16_384;
/// Route keys drawn ahead by population: rare municipalities have to be among them.
const TARGETS_BY_POPULATION: usize = 65_536;

/// A route key as text: service, jurisdiction.
pub type RouteKey = (String, String);

/// A network on paper, and what is sent to in it.
#[derive(Debug)]
pub struct Layout {
    /// Zones, endpoints, routes.
    pub plan: Plan,
    /// Route keys of the ordinary recipients.
    pub targets: Vec<RouteKey>,
    /// Route keys of the slow ones.
    pub slow_targets: Vec<RouteKey>,
}

/// What a site of the layout is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Senders.
    Sender,
    /// Ordinary recipients.
    Recipient,
    /// A slow recipient.
    Slow,
    /// A link that comes and goes.
    Bystander,
    /// Who sends broken signatures.
    Forger,
}

impl Part {
    /// What the names of its sites begin with.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Sender => "senders-",
            Self::Recipient => "recipients-",
            Self::Slow => "slow-",
            Self::Bystander => "bystander-",
            Self::Forger => "forger-",
        }
    }
}

impl Layout {
    /// Lays a scenario out.
    ///
    /// # Errors
    /// The lists cannot be read, or the generator of routes refuses.
    pub fn of(scenario: &Scenario) -> Result<Self> {
        let lists = Lists::shipped()?;
        let mut random = SmallRng::seed_from_u64(scenario.load.seed);
        let network = &scenario.network;
        let last = network.routers - 1;
        let mut endpoints = Vec::new();
        let everywhere =
            GrantPlan { service: "99".parse()?, jurisdiction: "".parse()?, assurance: Assurance::Substantial };
        for number in 0..network.senders {
            let site = site(Part::Sender, number % network.sender_links, Role::Portal, 0);
            endpoints.push(EndpointPlan::new(id("portal", number)?, site, vec![everywhere.clone()]));
        }
        for number in 0..network.recipients {
            let site = site(Part::Recipient, number % network.recipient_links, Role::Authority, last);
            endpoints.push(EndpointPlan::new(id("authority", number)?, site, Vec::new()));
        }
        let slow = scenario.faults.slow.map_or(0, |slow| slow.recipients);
        for number in 0..slow {
            let site = site(Part::Slow, number, Role::Authority, last);
            endpoints.push(EndpointPlan::new(id("slow", number)?, site, Vec::new()));
        }
        for number in 0..scenario.faults.reconnect.map_or(0, |reconnect| reconnect.links) {
            let site = site(Part::Bystander, number, Role::Authority, number % network.routers);
            endpoints.push(EndpointPlan::new(id("bystander", number)?, site, Vec::new()));
        }
        if scenario.faults.bad_signatures > 0.0 {
            let site = site(Part::Forger, 0, Role::Portal, 0);
            endpoints.push(EndpointPlan::new(id("forger", 0)?, site, vec![everywhere]));
        }
        for (endpoint, algorithms) in endpoints.iter_mut().zip(network.algorithms.iter().cycle()) {
            endpoint.algorithms.clone_from(algorithms);
        }
        let services = services(scenario, &lists);
        let (mut routes, targets) = match (network.routes, network.jurisdictions) {
            (1.., _) => generated(scenario)?,
            (0, Jurisdictions::Uniform) => uniform(scenario, &lists, &services, &mut random)?,
            (0, Jurisdictions::Population) => by_population(scenario, &lists, &services, slow, &mut random)?,
        };
        let mut slow_targets = Vec::new();
        for (number, place) in lists.municipalities.iter().rev().take(slow).enumerate() {
            routes.push(route(format!("slow-{number}"), "99", &place.digits, id("slow", number)?)?);
            let drawn = (0..64).filter_map(|_| services.choose(&mut random));
            slow_targets.extend(drawn.map(|service| (service.clone(), place.digits.clone())));
        }
        let zone = ZonePlan { zone: "de".parse()?, delegated: None, endpoints, routes };
        let routers = ["a", "b"].iter().take(network.routers).map(|name| {
            let router = RouterPlan::new(name)?;
            Ok(router.with_custody(network.custody))
        });
        let plan = Plan { zones: vec![zone], routers: routers.collect::<Result<_>>()? };
        Ok(Self { plan, targets, slow_targets })
    }

    /// The sites of one part, with their endpoints.
    #[must_use]
    pub fn sites(&self, part: Part) -> Vec<(Site, Vec<EndpointId>)> {
        self.plan.sites().into_iter().filter(|(site, _)| site.name.starts_with(part.prefix())).collect()
    }

    /// Links of all parts together.
    #[must_use]
    pub fn links(&self) -> usize {
        self.plan.sites().len()
    }
}

fn site(part: Part, number: usize, role: Role, router: usize) -> Site {
    Site::new(&format!("{}{number}", part.prefix()), role, router)
}

fn id(name: &str, number: usize) -> Result<EndpointId> {
    Ok(format!("de/{name}-{number}").parse()?)
}

fn route(rule: String, service: &str, jurisdiction: &str, endpoint: EndpointId) -> Result<RoutePlan> {
    Ok(RoutePlan { rule, service: service.parse()?, jurisdiction: jurisdiction.parse()?, endpoint, assurance: None })
}

fn services(scenario: &Scenario, lists: &Lists) -> Vec<String> {
    if scenario.network.services.is_empty() {
        return lists.services.iter().map(|service| service.digits.clone()).collect();
    }
    scenario.network.services.clone()
}

/// Recipient N answers for the Nth municipality of the list; each is sent to equally often.
fn uniform(
    scenario: &Scenario,
    lists: &Lists,
    services: &[String],
    random: &mut SmallRng,
) -> Result<(Vec<RoutePlan>, Vec<RouteKey>)> {
    let recipients = scenario.network.recipients;
    let place =
        |number: usize| Ok::<_, anyhow::Error>(&lists.municipalities.get(number).context("enough places")?.digits);
    let routes = (0..recipients)
        .map(|number| route(format!("recipient-{number}"), "99", place(number)?, id("authority", number)?));
    let routes = routes.collect::<Result<_>>()?;
    // Whole rounds, so that no recipient has one route key more than another.
    let rounds = TARGETS.div_ceil(recipients);
    let targets = (0..rounds * recipients).map(|number| {
        let service = services.choose(random).context("there is a service")?;
        Ok((service.clone(), place(number % recipients)?.clone()))
    });
    Ok((routes, targets.collect::<Result<_>>()?))
}

/// Every municipality has a recipient; each is sent to as often as people live there.
fn by_population(
    scenario: &Scenario,
    lists: &Lists,
    services: &[String],
    slow: usize,
    random: &mut SmallRng,
) -> Result<(Vec<RoutePlan>, Vec<RouteKey>)> {
    let recipients = scenario.network.recipients;
    let ordinary = lists.municipalities.len() - slow;
    let routes = lists.municipalities.iter().take(ordinary).enumerate().map(|(number, place)| {
        route(format!("place-{}", place.digits), "99", &place.digits, id("authority", number % recipients)?)
    });
    let routes = routes.collect::<Result<_>>()?;
    let weights = lists.by_population()?;
    let mut targets = Vec::with_capacity(TARGETS_BY_POPULATION);
    while targets.len() < TARGETS_BY_POPULATION {
        let drawn = weights.sample(random);
        let place = lists.municipalities.get(drawn).context("a drawn place is listed")?;
        if drawn < ordinary {
            let service = services.choose(random).context("there is a service")?;
            targets.push((service.clone(), place.digits.clone()));
        }
    }
    Ok((routes, targets))
}

/// A directory of generated routes whose endpoints are our recipients.
fn generated(scenario: &Scenario) -> Result<(Vec<RoutePlan>, Vec<RouteKey>)> {
    let shape = Shape {
        routes: scenario.network.routes.max(16),
        endpoints: scenario.network.recipients,
        zones: 1,
        ..Shape::MILLION
    };
    let generated = shape.generate()?;
    let targets = generated.route_keys(scenario.load.seed, TARGETS_BY_POPULATION);
    let targets = targets.into_iter().map(|(service, place)| (service.to_string(), place.to_string())).collect();
    let routes = generated.zones.into_iter().flat_map(|zone| zone.routes).map(|route| {
        Ok(RoutePlan {
            rule: route.rule.into(),
            service: route.scope.service,
            jurisdiction: route.scope.jurisdiction,
            endpoint: route.endpoints.first().cloned().context("every generated route names an endpoint")?,
            assurance: None,
        })
    });
    Ok((routes.collect::<Result<_>>()?, targets))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::scenario::Slow;

    fn scenario() -> Scenario {
        let mut scenario = Scenario::default();
        (scenario.network.senders, scenario.network.sender_links) = (6, 2);
        (scenario.network.recipients, scenario.network.recipient_links) = (10, 5);
        scenario
    }

    #[test]
    fn endpoints_are_spread_evenly_over_the_links_asked_for() {
        let layout = Layout::of(&scenario()).unwrap();
        let of = |part| layout.sites(part).iter().map(|(_, ids)| ids.len()).collect::<Vec<_>>();
        assert_eq!(of(Part::Sender), [3, 3]);
        assert_eq!(of(Part::Recipient), [2; 5]);
        assert_eq!(layout.links(), 7);
    }

    #[test]
    fn uniform_targets_name_every_recipients_place_equally_often() {
        let layout = Layout::of(&scenario()).unwrap();
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, place) in &layout.targets {
            *places.entry(place).or_default() += 1;
        }
        let counts: BTreeSet<_> = places.values().collect();
        assert_eq!((places.len(), counts.len()), (10, 1));
    }

    #[test]
    fn by_population_berlin_gets_more_than_a_village() {
        let mut scenario = scenario();
        scenario.network.jurisdictions = Jurisdictions::Population;
        let layout = Layout::of(&scenario).unwrap();
        let berlin = layout.targets.iter().filter(|(_, place)| place == "110000000000").count();
        assert!((2_300..3_600).contains(&berlin), "{berlin} of 65,536; 3.7 of 83.6 million live there");
        assert_eq!(layout.plan.zones[0].routes.len(), 10_952);
    }

    #[test]
    fn slow_recipients_have_links_and_route_keys_of_their_own() {
        let mut scenario = scenario();
        scenario.faults.slow = Some(Slow { recipients: 2, rate: 5.0, share: 0.1 });
        let layout = Layout::of(&scenario).unwrap();
        assert_eq!(layout.sites(Part::Slow).len(), 2);
        let slow: BTreeSet<_> = layout.slow_targets.iter().map(|(_, place)| place).collect();
        assert_eq!(slow.len(), 2);
        assert!(layout.targets.iter().all(|(_, place)| !slow.contains(place)));
    }

    #[test]
    fn generated_routes_lead_to_our_recipients() {
        let mut scenario = scenario();
        scenario.network.routes = 2_000;
        let layout = Layout::of(&scenario).unwrap();
        let zone = &layout.plan.zones[0];
        assert_eq!(zone.routes.len(), 2_000);
        let known: BTreeSet<_> = zone.endpoints.iter().map(|endpoint| &endpoint.id).collect();
        assert!(zone.routes.iter().all(|route| known.contains(&route.endpoint)));
    }

    #[test]
    fn two_routers_have_senders_at_the_first_and_recipients_at_the_second() {
        let mut scenario = scenario();
        scenario.network.routers = 2;
        let layout = Layout::of(&scenario).unwrap();
        assert!(layout.sites(Part::Sender).iter().all(|(site, _)| site.router == 0));
        assert!(layout.sites(Part::Recipient).iter().all(|(site, _)| site.router == 1));
    }
}
