//! Which municipalities and services exist: the shipped public lists, read and checked.
//!
//! The files and their licences are described in `ops/data/NOTICE.md`. Nothing here knows who is responsible for what.

use std::path::Path;

use anyhow::{Context, Result};
use kernpost_codecs::{Ars, ServiceKey};
use serde::Deserialize;

/// Municipalities of this date make the demo's directory.
pub const MUNICIPALITIES: &str = "ops/data/municipalities-2025-08-31.csv";
/// The service catalogue.
pub const SERVICES: &str = "ops/data/services.csv";

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
    /// Reads both files below `root`, the project's top folder.
    pub fn read(root: &Path) -> Result<Self> {
        Ok(Self {
            municipalities: rows(&root.join(MUNICIPALITIES), municipality)?,
            services: rows(&root.join(SERVICES), service)?,
        })
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

fn rows<R, T>(path: &Path, convert: fn(R) -> Result<T>) -> Result<Vec<T>>
where
    R: for<'de> Deserialize<'de>,
{
    let mut reader = csv::Reader::from_path(path).with_context(|| format!("cannot open {}", path.display()))?;
    let rows = reader.deserialize().enumerate().map(|(index, row)| {
        // Line 1 is the heading.
        row.map_err(anyhow::Error::from)
            .and_then(convert)
            .with_context(|| format!("{} line {}", path.display(), index + 2))
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
    use crate::workspace;

    #[test]
    fn the_shipped_lists_are_complete() {
        let lists = Lists::read(&workspace::root()).unwrap();
        assert_eq!(lists.municipalities.len(), 10_952);
        assert_eq!(lists.services.len(), 4_813);
        let inhabitants: u64 = lists.municipalities.iter().map(|m| m.population).sum();
        assert!((83_000_000..84_500_000).contains(&inhabitants));
    }
}
