//! Many links of one process: attaches every endpoint on a link of its own and holds them.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use kernpost_endpoint::Client;
use kernpost_endpoint::config::{Purpose, load};
use serde_json::json;

/// What the role is started with.
#[derive(Debug, Args)]
pub struct Options {
    /// The configuration with all links.
    #[arg(long)]
    config: PathBuf,
}

const PATIENCE: Duration = Duration::from_secs(300);

/// Says when all are attached, then waits until its standard input closes.
pub async fn run(options: &Options) -> Result<()> {
    let config = load(&options.config, &Purpose { receive: true, ..Purpose::default() })?;
    let client = Client::start(config)?;
    client.ready(PATIENCE).await?;
    println!("{}", json!({ "ready": true, "attached": client.status().attached.len() }));
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
    client.close(Duration::from_secs(2)).await;
    Ok(())
}
