//! What came of it, for people and for programs.

use std::path::Path;

use anyhow::{Context, Result};

use crate::measured::Measured;

pub mod text;

/// Writes the JSON form.
///
/// # Errors
/// The file cannot be written.
pub fn write_json(path: &Path, measured: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(measured)?;
    std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}

/// Prints a run for people.
pub fn print(measured: &Measured) {
    println!("{}", text::page(measured));
}
