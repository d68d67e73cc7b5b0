//! `kernpost resolve`: who is responsible for a route key, as a router sees it.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use kernpost_codecs::{Ars, EndpointId, ServiceKey};

use super::connect::{self, ConnectArgs};

#[derive(Debug, Args)]
pub struct ResolveArgs {
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// The endpoint that asks, when the configuration has several.
    #[arg(long, value_name = "ENDPOINT")]
    pub from: Option<EndpointId>,
    /// Service key, 14 digits.
    #[arg(long, value_name = "KEY")]
    pub service: ServiceKey,
    /// Jurisdiction (ARS), 12 digits.
    #[arg(long, value_name = "ARS")]
    pub jurisdiction: Ars,
    /// Answer as JSON.
    #[arg(long)]
    pub json: bool,
}

pub async fn run(args: ResolveArgs) -> Result<ExitCode> {
    let (client, _) = connect::sender(&args.connect, args.from.as_ref()).await?;
    let answer = client.resolve(args.service, args.jurisdiction).await;
    client.close(Duration::from_secs(5)).await;
    let answer = answer?;
    let found = answer.endpoint.as_ref().map(ToString::to_string);
    let key = answer.encryption_key.as_ref().map(hex::encode);
    if args.json {
        let code = answer.code.as_u64();
        let json = serde_json::json!({
            "code": code, "endpoint": found, "encryption_key_hex": key, "directory_version": answer.version.to_string(),
        });
        println!("{json}");
    } else {
        match &found {
            Some(endpoint) => println!("{endpoint}"),
            None => println!("nobody: {}", answer.code),
        }
        if let Some(key) = key {
            println!("encryption key (COSE_Key): {key}");
        }
        println!("directory {}", answer.version);
    }
    Ok(if found.is_some() { ExitCode::SUCCESS } else { ExitCode::from(3) })
}
