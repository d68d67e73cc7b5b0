//! The demo's portals: one for the federation, which may send everywhere, and three Land portals for their own Land.

use anyhow::Result;
use kernpost_codecs::Assurance;

use super::{EndpointPlan, GrantPlan, Role, Site, ZonePlan};

/// Zone, name, and the jurisdiction each may send to.
const PORTALS: [(&str, &str, &str); 4] = [
    ("de", "portal-bund", ""),
    ("de.nw", "portal-nw", "05"),
    ("de.by", "portal-by", "09"),
    ("de.sn", "portal-sn", "14"),
];

/// Adds each portal to its zone. All portals dial the first router.
pub fn add(zones: &mut [ZonePlan]) -> Result<()> {
    for (zone, name, jurisdiction) in PORTALS {
        let owner = zones.iter_mut().filter(|plan| plan.zone.as_str() == zone);
        for plan in owner {
            plan.endpoints.push(portal(zone, name, jurisdiction)?);
        }
    }
    Ok(())
}

/// The portal that sends what is addressed to this jurisdiction, `zone/name`.
pub fn of(jurisdiction: &str) -> &'static str {
    match jurisdiction.get(..2) {
        Some("05") => "de.nw/portal-nw",
        Some("09") => "de.by/portal-by",
        Some("14") => "de.sn/portal-sn",
        _ => "de/portal-bund",
    }
}

fn portal(zone: &str, name: &str, jurisdiction: &str) -> Result<EndpointPlan> {
    let grant =
        GrantPlan { service: "99".parse()?, jurisdiction: jurisdiction.parse()?, assurance: Assurance::Substantial };
    Ok(EndpointPlan::new(format!("{zone}/{name}").parse()?, Site::new(name, Role::Portal, 0), vec![grant]))
}
