//! From a configuration file to a client that is attached.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use kernpost_codecs::EndpointId;
use kernpost_endpoint::Client;
use kernpost_endpoint::client::ClientConfig;
use kernpost_endpoint::config::{Purpose, load};

/// Which process this is.
#[derive(Debug, Args)]
pub struct ConnectArgs {
    /// Configuration file (TOML); every key is in kernpost.example.toml.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Give up when not attached after this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub connect_timeout: u64,
}

/// A client that only sends, as `from` or as the only endpoint of the configuration, once it is attached.
pub async fn sender(args: &ConnectArgs, from: Option<&EndpointId>) -> Result<(Client, EndpointId)> {
    let purpose = Purpose { only: from.map(|id| vec![id.clone()]), send: true, ..Purpose::default() };
    let config = load(&args.config, &purpose)?;
    let from = only_endpoint(&config, &args.config)?;
    let client = start(config, args).await?;
    Ok((client, from))
}

/// Starts a client and waits until it is attached.
pub async fn start(config: ClientConfig, args: &ConnectArgs) -> Result<Client> {
    let client = Client::start(config).with_context(|| format!("with {}", args.config.display()))?;
    client.ready(Duration::from_secs(args.connect_timeout)).await?;
    Ok(client)
}

fn only_endpoint(config: &ClientConfig, file: &Path) -> Result<EndpointId> {
    match config.endpoints.as_slice() {
        [one] => Ok(one.id.clone()),
        several => bail!(
            "{} has {} endpoints; say with --from which one sends (for instance {})",
            file.display(),
            several.len(),
            several.first().map_or("none", |endpoint| endpoint.id.as_str())
        ),
    }
}
