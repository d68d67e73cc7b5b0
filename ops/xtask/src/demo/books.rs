//! Do the books balance? Each router's ledger, and what the authorities handed to their applications.

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::network::Network;
use kernpost_loadgen::network::plan::{Plan, Role};

/// What an authority's process writes when it ends.
#[derive(Debug, Deserialize)]
struct AuthoritySummary {
    duplicates: u64,
}

/// Whether every router says that its ledger balances and that nothing is in flight any more.
pub fn balanced(network: &Network) -> Result<bool> {
    let mut all = true;
    for ledger in network.ledgers()? {
        if !ledger.balanced {
            println!("a router's ledger does not balance: {}", ledger.shown);
            all = false;
        }
    }
    Ok(all)
}

/// Messages handed to an application more than once, by the authorities' own summaries.
pub fn handed_twice(network: &Network, plan: &Plan) -> Result<u64> {
    let sites = plan.sites().into_keys().filter(|site| site.role == Role::Authority);
    sites.map(|site| Ok(summary(network, &site.name)?.duplicates)).sum()
}

fn summary(network: &Network, site: &str) -> Result<AuthoritySummary> {
    let path = network.folder.work(site)?.join("summary.json");
    let text = std::fs::read_to_string(&path);
    let text =
        text.with_context(|| format!("{site} left no summary; its log is {}", network.folder.log(site).display()))?;
    serde_json::from_str(&text).with_context(|| format!("cannot read {}", path.display()))
}
