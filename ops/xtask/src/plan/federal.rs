//! The root zone `de`: federal authorities for services under federal execution, and the federal catch-all.
//!
//! A federal service reaches its authority at the federal level (`000000000000`) and from any municipality alike.

use anyhow::Result;
use kernpost_codecs::EndpointId;

use super::scopes::Scopes;
use super::{EndpointPlan, Role, RoutePlan, Site, ZonePlan};
use kernpost_loadgen::lists::Execution;

/// Federal authorities and the service groups they execute.
const AUTHORITIES: [(&str, &[&str]); 13] = [
    ("arbeitsagentur", &["99006", "99007", "99017", "99038", "99117", "99131"]),
    ("rentenversicherung", &["99107", "99111", "99114"]),
    ("bundesnetzagentur", &["99109", "99138", "99151"]),
    ("bafa", &["99050", "99077", "99089", "99092", "99122"]),
    ("luftfahrt-bundesamt", &["99080"]),
    ("kraftfahrt-bundesamt", &["99023", "99024", "99029", "99036"]),
    ("entsorgungssicherheit", &["99009"]),
    ("verbraucherschutz", &["99003", "99005", "99093", "99110"]),
    ("landwirtschaft", &["99042", "99078", "99100"]),
    ("kfw", &["99148"]),
    ("wirtschaftspruefung", &["99132"]),
    ("zoll", &["99001", "99096", "99102"]),
    ("bundesverwaltungsamt", &[]),
];
/// Executes what no other federal authority is listed for.
const OTHERS: &str = "bundesverwaltungsamt";
/// Takes what is asked at the federal level and nobody there executes.
const CATCH_ALL: &str = "auffang";
/// The federal level's own key.
const FEDERAL: &str = "000000000000";

/// The root zone.
pub fn zone(scopes: &Scopes) -> Result<ZonePlan> {
    let site = Site::new("it-bund", Role::Authority, 0);
    let names = AUTHORITIES.iter().map(|(name, _)| *name).chain([CATCH_ALL]);
    let endpoints = names.map(|name| Ok(EndpointPlan::new(id(name)?, site.clone(), Vec::new())));
    let mut routes = vec![route("auffang", "99", FEDERAL, CATCH_ALL)?];
    for prefix in scopes.prefixes(Execution::Federal) {
        let name = authority(prefix);
        routes.push(route(&format!("bund-{prefix}"), prefix, FEDERAL, name)?);
        routes.push(route(&format!("ueberall-{prefix}"), prefix, "", name)?);
    }
    Ok(ZonePlan { zone: "de".parse()?, delegated: None, endpoints: endpoints.collect::<Result<_>>()?, routes })
}

fn authority(prefix: &str) -> &'static str {
    let listed = AUTHORITIES.iter().find(|(_, groups)| groups.iter().any(|group| prefix.starts_with(group)));
    listed.map_or(OTHERS, |(name, _)| name)
}

fn route(rule: &str, service: &str, jurisdiction: &str, endpoint: &str) -> Result<RoutePlan> {
    Ok(RoutePlan {
        rule: rule.to_owned(),
        service: service.parse()?,
        jurisdiction: jurisdiction.parse()?,
        endpoint: id(endpoint)?,
        assurance: None,
    })
}

fn id(name: &str) -> Result<EndpointId> {
    Ok(format!("de/{name}").parse()?)
}
