//! How does a command ask a running router? One GET with short time limits.

use std::time::Duration;

use anyhow::{Context, bail};

/// The status and body of a page of the admin interface.
pub(super) fn page(admin: &str, path_and_query: &str) -> anyhow::Result<(u16, String)> {
    let url = format!("{}{path_and_query}", admin.trim_end_matches('/'));
    if !url.starts_with("http://") {
        bail!("--admin {admin}: write it as http://[::1]:PORT");
    }
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(3)))
        .timeout_global(Some(Duration::from_secs(30)))
        .http_status_as_error(false)
        .proxy(None)
        .build()
        .into();
    let mut response = agent
        .get(&url)
        .call()
        .with_context(|| format!("{url}: no answer; is the router running, is this its admin.listen?"))?;
    let body = response
        .body_mut()
        .with_config()
        .limit(LARGEST_PAGE)
        .read_to_string()
        .with_context(|| format!("{url}: the answer broke off"))?;
    Ok((response.status().as_u16(), body))
}

/// A status page with every attachment of a large mesh stays far below.
const LARGEST_PAGE: u64 = 256 << 20;
