//! Which municipalities and services exist: the shipped public lists, read and checked.
//!
//! The files and their licences are described in `ops/data/NOTICE.md`. Nothing here knows who is responsible for what.

use anyhow::{Context, Result};
use kernpost_codecs::{Ars, ServiceKey};
use rand::distr::weighted::WeightedIndex;
use serde::Deserialize;

/// Municipalities as of 2025-08-31: they make the directories of demo and load generator.
const MUNICIPALITIES: &str = include_str!("../../ops/data/municipalities-2025-08-31.csv");
/// The service catalogue.
const SERVICES: &str = include_str!("../../ops/data/services.csv");

/// One German municipality.
#[derive(Debug, Clone)]
pub struct Municipality {
    /// Its key (ARS), twelve digits, checked; prefixes are cut from it.
    pub digits: String,
    /// Official name with its kind: `Leipzig, Stadt`.
    pub name: String,
    /// Inhabitants; 0 for uninhabited areas.
    pub population: u64,
}

/// Who makes and who executes the law behind a service (the catalogue's `type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Execution {
    /// Type 1: federal law, federal execution.
    Federal,
    /// Types 2 and 3, and mixed ones: federal law, executed by Land or municipality.
    Delegated,
    /// Type 4: Land law.
    Land,
    /// Types 5 and 6: municipal matters.
    Municipal,
}

/// One service of the catalogue.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its key, fourteen digits, checked.
    pub digits: String,
    /// Who executes it.
    pub execution: Execution,
}

/// Both lists.
#[derive(Debug)]
pub struct Lists {
    /// In the file's order: by ARS.
    pub municipalities: Vec<Municipality>,
    /// In the file's order: by service key.
    pub services: Vec<Service>,
}

#[derive(Deserialize)]
struct MunicipalityRow {
    ars: String,
    name: String,
    population: u64,
}

#[derive(Deserialize)]
struct ServiceRow {
    service_key: String,
    #[serde(rename = "type")]
    execution: String,
}

impl Lists {
    /// Both lists as they ship: they are part of the program.
    ///
    /// # Errors
    /// A row is wrong; names its line.
    pub fn shipped() -> Result<Self> {
        Ok(Self {
            municipalities: rows("municipalities", MUNICIPALITIES, municipality)?,
            services: rows("services", SERVICES, service)?,
        })
    }

    /// Draws municipalities with the weight of their inhabitants.
    ///
    /// # Errors
    /// Nobody lives anywhere.
    pub fn by_population(&self) -> Result<WeightedIndex<u64>> {
        let weights = self.municipalities.iter().map(|municipality| municipality.population);
        WeightedIndex::new(weights).context("the list of municipalities has no inhabitants")
    }
}

impl Municipality {
    /// The name without its kind: `Leipzig` of `Leipzig, Stadt`.
    pub fn short_name(&self) -> &str {
        self.name.split(',').next().unwrap_or(&self.name).trim()
    }

    /// The two digits of its Land.
    pub fn land(&self) -> &str {
        self.prefix(2)
    }

    /// Its first `digits` digits; all of them when there are fewer.
    pub fn prefix(&self, digits: usize) -> &str {
        self.digits.get(..digits).unwrap_or(&self.digits)
    }
}

fn rows<R, T>(name: &str, text: &str, convert: fn(R) -> Result<T>) -> Result<Vec<T>>
where
    R: for<'de> Deserialize<'de>,
{
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let rows = reader.deserialize().enumerate().map(|(index, row)| {
        // Line 1 is the heading.
        row.map_err(anyhow::Error::from).and_then(convert).with_context(|| format!("{name} line {}", index + 2))
    });
    rows.collect()
}

fn municipality(row: MunicipalityRow) -> Result<Municipality> {
    row.ars.parse::<Ars>()?;
    Ok(Municipality { digits: row.ars, name: row.name, population: row.population })
}

fn service(row: ServiceRow) -> Result<Service> {
    let execution = match row.execution.as_str() {
        "1" => Execution::Federal,
        "4" => Execution::Land,
        "5" | "6" => Execution::Municipal,
        _ => Execution::Delegated,
    };
    row.service_key.parse::<ServiceKey>()?;
    Ok(Service { digits: row.service_key, execution })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn the_shipped_lists_are_complete() {
        let lists = Lists::shipped().unwrap();
        assert_eq!(lists.municipalities.len(), 10_952);
        assert_eq!(lists.services.len(), 4_813);
        let inhabitants: u64 = lists.municipalities.iter().map(|m| m.population).sum();
        assert!((83_000_000..84_500_000).contains(&inhabitants));
    }
}
