//! Who is responsible for what in a network started here: zones, routers, sites, endpoints, routes, on paper.
//!
//! Pure. Keys, signatures and files are made from it by [`super::directory`] and [`super::pki`].

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use kernpost_codecs::key::Algorithm;
use kernpost_codecs::{Assurance, EndpointId, JurisdictionPrefix, LinkIdentity, RouterId, ServicePrefix, ZoneId};

/// The trust domain of certificates made here.
pub const TRUST_DOMAIN: &str = "kernpost.demo";

/// The whole network on paper.
#[derive(Debug)]
pub struct Plan {
    /// The root zone first.
    pub zones: Vec<ZonePlan>,
    /// The routers, by id: each dials those behind it (WIRE 2.1), so the last is started first.
    pub routers: Vec<RouterPlan>,
}

/// One router.
#[derive(Debug, Clone)]
pub struct RouterPlan {
    /// Its id.
    pub id: RouterId,
    /// What its certificate says.
    pub identity: LinkIdentity,
    /// Whether it keeps what nobody can take now.
    pub custody: bool,
}

/// One zone.
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
    /// One key for each; two mean that every root carries both signatures (WIRE 5.4).
    pub algorithms: Vec<Algorithm>,
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

/// One computing site: one process or client, one certificate, one link, any number of endpoints.
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

impl EndpointPlan {
    /// An endpoint with one key of the default algorithm.
    pub fn new(id: EndpointId, site: Site, grants: Vec<GrantPlan>) -> Self {
        Self { id, site, grants, algorithms: vec![Algorithm::Esp256] }
    }
}

impl Site {
    /// A site that dials the router with this index.
    pub fn new(name: &str, role: Role, router: usize) -> Self {
        Self { name: name.to_owned(), role, router }
    }

    /// What its certificate says.
    ///
    /// # Errors
    /// The name cannot stand in a URI.
    pub fn identity(&self) -> Result<LinkIdentity> {
        identity(&self.certificate_name())
    }

    /// The path of the URI in its certificate.
    pub fn certificate_name(&self) -> String {
        format!("site/{}", self.name)
    }
}

impl RouterPlan {
    /// The router `de/router/<name>`.
    ///
    /// # Errors
    /// The name cannot stand in an id.
    pub fn new(name: &str) -> Result<Self> {
        let id: RouterId = format!("de/router/{name}").parse()?;
        let identity = identity(id.as_str())?;
        Ok(Self { id, identity, custody: false })
    }

    /// The same router with or without custody.
    #[must_use]
    pub fn with_custody(self, custody: bool) -> Self {
        Self { custody, ..self }
    }

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

fn identity(certificate_name: &str) -> Result<LinkIdentity> {
    Ok(format!("uri:spiffe://{TRUST_DOMAIN}/{certificate_name}").parse()?)
}
