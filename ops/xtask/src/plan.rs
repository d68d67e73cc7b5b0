//! Who is responsible for what in the demo's directory: zones, endpoints, routes, portals, drawn from the real lists.
//!
//! Pure and deterministic: the same lists give the same plan. Keys, signatures and files are made elsewhere
//! (`crate::directory`). Every (service, municipality) pair resolves, the federal level included.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use kernpost_codecs::{Assurance, EndpointId, JurisdictionPrefix, LinkIdentity, RouterId, ServicePrefix, ZoneId};

use crate::lists::Lists;

mod federal;
mod land;
mod names;
mod portals;
mod scopes;

pub use portals::of as portal_for;

/// The trust domain of the demo's certificates.
pub const TRUST_DOMAIN: &str = "kernpost.demo";

/// The whole demo network on paper.
#[derive(Debug)]
pub struct Plan {
    /// The root zone first, then one per Land.
    pub zones: Vec<ZonePlan>,
    /// The two routers, by id: the first dials the second (WIRE 2.1), so the second is started first.
    pub routers: [RouterPlan; 2],
}

/// One router of the demo.
#[derive(Debug, Clone)]
pub struct RouterPlan {
    /// Its id.
    pub id: RouterId,
    /// What its certificate says.
    pub identity: LinkIdentity,
}

/// One zone of the demo.
#[derive(Debug)]
pub struct ZonePlan {
    /// Its id.
    pub zone: ZoneId,
    /// What the zone above delegates to it; empty for the root zone.
    pub delegated: Option<JurisdictionPrefix>,
    /// Its endpoints: portals and authorities.
    pub endpoints: Vec<EndpointPlan>,
    /// Its routes.
    pub routes: Vec<RoutePlan>,
}

/// One endpoint.
#[derive(Debug)]
pub struct EndpointPlan {
    /// Its id.
    pub id: EndpointId,
    /// Who runs the link that attaches it.
    pub site: Site,
    /// What it may send; authorities have none beyond replies.
    pub grants: Vec<GrantPlan>,
}

/// Permission to send.
#[derive(Debug, Clone)]
pub struct GrantPlan {
    /// Which services.
    pub service: ServicePrefix,
    /// To where.
    pub jurisdiction: JurisdictionPrefix,
    /// The highest level of assurance it may assert.
    pub assurance: Assurance,
}

/// One route to one endpoint.
#[derive(Debug)]
pub struct RoutePlan {
    /// Its name in the zone.
    pub rule: String,
    /// Which services.
    pub service: ServicePrefix,
    /// For where.
    pub jurisdiction: JurisdictionPrefix,
    /// Who is responsible.
    pub endpoint: EndpointId,
    /// The lowest level of assurance a message must assert.
    pub assurance: Option<Assurance>,
}

/// One computing site: one process, one certificate, one link, any number of endpoints.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    /// Names its files: `it-sn`.
    pub name: String,
    /// Portals send, authorities receive.
    pub role: Role,
    /// Index of its router in [`Plan::routers`].
    pub router: usize,
}

/// What a site does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Sends applications.
    Portal,
    /// Receives them.
    Authority,
}

impl Plan {
    /// Draws the plan from the lists.
    pub fn draw(lists: &Lists) -> Result<Self> {
        let scopes = scopes::Scopes::of(&lists.services);
        let mut zones = vec![federal::zone(&scopes)?];
        for (code, digits) in names::LAENDER {
            zones.push(land::zone(lists, &scopes, code, digits)?);
        }
        portals::add(&mut zones)?;
        Ok(Self { zones, routers: [router("a")?, router("b")?] })
    }

    /// Every site with its endpoints, by name.
    pub fn sites(&self) -> BTreeMap<Site, Vec<EndpointId>> {
        let mut sites: BTreeMap<Site, Vec<EndpointId>> = BTreeMap::new();
        for endpoint in self.endpoints() {
            sites.entry(endpoint.site.clone()).or_default().push(endpoint.id.clone());
        }
        sites
    }

    /// Every endpoint of every zone.
    pub fn endpoints(&self) -> impl Iterator<Item = &EndpointPlan> {
        self.zones.iter().flat_map(|zone| &zone.endpoints)
    }

    /// Endpoints whose site dials the router with this index.
    pub fn attached_to(&self, router: usize) -> BTreeSet<EndpointId> {
        let there = self.endpoints().filter(|endpoint| endpoint.site.router == router);
        there.map(|endpoint| endpoint.id.clone()).collect()
    }
}

impl Site {
    fn new(name: &str, role: Role, router: usize) -> Self {
        Self { name: name.to_owned(), role, router }
    }

    /// What its certificate says.
    pub fn identity(&self) -> Result<LinkIdentity> {
        identity(&self.certificate_name())
    }

    /// The path of the URI in its certificate.
    pub fn certificate_name(&self) -> String {
        format!("site/{}", self.name)
    }
}

impl RouterPlan {
    /// The path of the URI in its certificate.
    pub fn certificate_name(&self) -> String {
        self.id.to_string()
    }

    /// The last part of its id.
    pub fn name(&self) -> &str {
        let id = self.id.as_str();
        id.rsplit('/').next().unwrap_or(id)
    }
}

fn router(name: &str) -> Result<RouterPlan> {
    let id: RouterId = format!("de/router/{name}").parse()?;
    let identity = identity(id.as_str())?;
    Ok(RouterPlan { id, identity })
}

fn identity(certificate_name: &str) -> Result<LinkIdentity> {
    Ok(format!("uri:spiffe://{TRUST_DOMAIN}/{certificate_name}").parse()?)
}

#[cfg(test)]
mod tests;
