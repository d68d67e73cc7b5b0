//! Can the directory be believed, and does it know this router and its peers?

use kernpost_codecs::{LinkIdentity, UnixMs};
use kernpost_routing_table::{CompiledRouter, Table};

use super::{Findings, Intent};
use crate::directory::{self, DirectoryPaths, DirectoryTrouble, Loaded};
use crate::problem::Problem;

/// Loads the directory; `own` are the identities of the own certificate, when it could be read.
pub(super) fn load(
    findings: &mut Findings<'_>,
    own: Option<&[LinkIdentity]>,
    now: UnixMs,
    intent: Intent,
) -> Option<Loaded> {
    let paths = DirectoryPaths::of(findings.config);
    let loaded = match directory::read(&paths, now, FIRST_GENERATION) {
        Ok(loaded) => loaded,
        Err(trouble) => match (intent, directory::read_last_good(&paths, now, FIRST_GENERATION)) {
            (Intent::Run, Ok(last_good)) => {
                for finding in trouble.findings() {
                    findings.warnings.push(format!("{finding}; the last good directory is used instead"));
                }
                last_good
            }
            _ => {
                report(findings, &paths, &trouble);
                return None;
            }
        },
    };
    for zone in loaded.table.degraded(now) {
        findings.warnings.push(format!("zone {zone} is past its not-after: still routed by, get a new snapshot"));
    }
    check_self(findings, &loaded.table, own);
    check_peers(findings, &loaded.table);
    Some(loaded)
}

/// The first table of a process.
pub(super) const FIRST_GENERATION: u64 = 1;

fn report(findings: &mut Findings<'_>, paths: &DirectoryPaths, trouble: &DirectoryTrouble) {
    let about_anchor = |text: &str| text.contains(&*paths.trust_anchor.to_string_lossy());
    let about_floor = |text: &str| text.contains(&*paths.floor().to_string_lossy());
    for finding in trouble.findings() {
        let (key, remedy) = if about_anchor(&finding) {
            ("directory.trust_anchor", "install the trust anchor you were given out of band")
        } else if about_floor(&finding) {
            ("router.state", "restore the file from a backup; removing it removes the protection against rollback")
        } else {
            (
                "directory.folder",
                "get a directory its maintainers have signed; `kernpost directory verify` shows the same",
            )
        };
        let problem = findings.config.problem(key, finding, remedy);
        findings.problems.push(problem);
    }
}

fn check_self(findings: &mut Findings<'_>, table: &Table, own: Option<&[LinkIdentity]>) {
    let id = &findings.config.router.id;
    let problem: Option<Problem> = match table.router(id.as_str()) {
        None => Some(findings.config.problem(
            "router.id",
            format!("the directory lists no router {id}"),
            format!("correct the id ({}), or have the zone's maintainers add the router", known(table.routers())),
        )),
        Some(entry) if entry.lost => Some(findings.config.problem(
            "router.id",
            format!("the directory marks router {id} as lost"),
            "give the new machine a new router id",
        )),
        Some(entry) => own.filter(|own| !own.iter().any(|identity| entry.identities.contains(identity))).map(|own| {
            findings.config.problem(
                "tls.certificates",
                format!(
                    "the directory binds router {id} to {}, the certificate gives {}",
                    list(&entry.identities),
                    list(own)
                ),
                "use the router's certificate, or have the zone's maintainers list this identity",
            )
        }),
    };
    findings.problems.extend(problem);
}

fn check_peers(findings: &mut Findings<'_>, table: &Table) {
    for (position, peer) in findings.config.peers.iter().enumerate() {
        let key = format!("peers[{position}].router");
        let id = &peer.router;
        let problem = match table.router(id.as_str()) {
            None => findings.config.problem(
                &key,
                format!("the directory lists no router {id}"),
                format!("correct the id ({}), or remove the peer", known(table.routers())),
            ),
            Some(entry) if entry.lost => {
                findings.config.problem(&key, format!("the directory marks router {id} as lost"), "remove the peer")
            }
            Some(_) => continue,
        };
        findings.problems.push(problem);
    }
}

/// The first few routers there are, for a remedy.
fn known(routers: &[CompiledRouter]) -> String {
    if routers.is_empty() {
        return "it lists no router at all".to_owned();
    }
    let first: Vec<&str> = routers.iter().take(8).map(|router| router.id.as_str()).collect();
    let more = if routers.len() > first.len() { ", …" } else { "" };
    format!("it lists {}{more}", first.join(", "))
}

fn list(identities: &[LinkIdentity]) -> String {
    let texts: Vec<String> = identities.iter().map(ToString::to_string).collect();
    if texts.is_empty() {
        return "no identity".to_owned();
    }
    texts.join(" or ")
}
