//! Which endpoints of the configuration receive here? A list on the command line, or a file with one id a line.

use std::path::Path;

use anyhow::{Context, Result, bail};
use kernpost_codecs::EndpointId;

/// Ids from a file when `text` names one, else from the text itself, separated by commas.
pub fn parse(text: &str) -> Result<Vec<EndpointId>> {
    let path = Path::new(text);
    let list = if path.is_file() {
        std::fs::read_to_string(path).with_context(|| format!("cannot read {text}"))?
    } else {
        text.replace(',', "\n")
    };
    let lines = list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let ids: Vec<EndpointId> =
        lines.map(|line| line.parse().with_context(|| format!("{line:?} is no endpoint id"))).collect::<Result<_>>()?;
    if ids.is_empty() {
        bail!("--endpoints {text:?} names no endpoint");
    }
    Ok(ids)
}
