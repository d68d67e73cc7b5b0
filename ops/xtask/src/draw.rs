//! Which applications the demo sends: services and municipalities drawn by population, from a printed seed.
//!
//! A municipality is drawn with the weight of its inhabitants. Every eighth application is a business registration,
//! the rest are drawn evenly from the catalogue; a federal service goes to the federal level every second time.

use anyhow::{Context, Result};
use kernpost_loadgen::lists::{Execution, Lists};
use rand::distr::weighted::WeightedIndex;
use rand::prelude::*;
use rand::rngs::SmallRng;

/// One application to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    /// Its service key, fourteen digits.
    pub service: String,
    /// Its jurisdiction, twelve digits.
    pub jurisdiction: String,
    /// What it says; readable, so that a person can look at what arrived.
    pub payload: String,
}

/// Business registration.
const BUSINESS: &str = "99050012104000";
/// One application in this many is a business registration.
const BUSINESS_EVERY: u32 = 8;

/// Draws `count` applications.
pub fn applications(lists: &Lists, count: usize, seed: u64) -> Result<Vec<Application>> {
    let by_population = lists.by_population()?;
    let mut random = SmallRng::seed_from_u64(seed);
    (0..count).map(|number| one(lists, &by_population, &mut random, number)).collect()
}

fn one(lists: &Lists, by_population: &WeightedIndex<u64>, random: &mut SmallRng, number: usize) -> Result<Application> {
    let place = by_population.sample(random);
    let municipality = lists.municipalities.get(place).context("a drawn municipality is listed")?;
    let catalogue = lists.services.choose(random).context("the catalogue is empty")?;
    let business = random.random_ratio(1, BUSINESS_EVERY);
    let federal = !business && catalogue.execution == Execution::Federal && random.random();
    let service = if business { BUSINESS.to_owned() } else { catalogue.digits.clone() };
    let jurisdiction = if federal { "000000000000".to_owned() } else { municipality.digits.clone() };
    let payload = serde_json::json!({
        "application": number,
        "service": service,
        "municipality": municipality.name,
        "applicant": format!("Erika Mustermann {}", random.random_range(0..1_000_000)),
        "remarks": "x".repeat(random.random_range(100..900)),
    });
    Ok(Application { service, jurisdiction, payload: payload.to_string() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_applications() {
        let lists = Lists::shipped().unwrap();
        let first = applications(&lists, 50, 7).unwrap();
        assert_eq!(first, applications(&lists, 50, 7).unwrap());
        assert_ne!(first, applications(&lists, 50, 8).unwrap());
    }

    #[test]
    fn large_cities_are_drawn_by_population() {
        let lists = Lists::shipped().unwrap();
        let drawn = applications(&lists, 20_000, 1).unwrap();
        let berlin = drawn.iter().filter(|a| a.jurisdiction.starts_with("11")).count();
        // 3.7 of 83.6 million, less what goes to the federal level.
        assert!((700..1_000).contains(&berlin), "{berlin}");
    }
}
