//! Who is responsible for what in the demo's directory: zones, endpoints, routes, portals, drawn from the real lists.
//!
//! Pure and deterministic: the same lists give the same plan. Keys, signatures and files are made elsewhere
//! (`kernpost_loadgen::network`). Every (service, municipality) pair resolves, the federal level included.

use anyhow::Result;
use kernpost_loadgen::lists::Lists;
use kernpost_loadgen::network::plan::{EndpointPlan, GrantPlan, Plan, Role, RoutePlan, RouterPlan, Site, ZonePlan};

mod federal;
mod land;
mod names;
mod portals;
mod scopes;

pub use portals::of as portal_for;

/// Draws the plan from the lists.
pub fn draw(lists: &Lists) -> Result<Plan> {
    let scopes = scopes::Scopes::of(&lists.services);
    let mut zones = vec![federal::zone(&scopes)?];
    for (code, digits) in names::LAENDER {
        zones.push(land::zone(lists, &scopes, code, digits)?);
    }
    portals::add(&mut zones)?;
    Ok(Plan { zones, routers: vec![RouterPlan::new("a")?, RouterPlan::new("b")?] })
}

#[cfg(test)]
mod tests;
