//! Who knocks without being known? Clients with certificates of a CA nobody trusts, from many networks, at a fixed rate.

use std::cell::RefCell;
use std::net::{Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use kernpost_router::config::TlsProfile;
use kernpost_router::tls::{self, SERVER_NAME};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, ConnectionError, Endpoint};
use serde_json::{Value, json};

use super::refuser::Files;

/// Whom to bother, and how.
#[derive(Debug, Args)]
pub struct Options {
    /// Whom.
    #[arg(long)]
    to: SocketAddr,
    /// Attempts a second.
    #[arg(long)]
    per_s: u32,
    /// For how long.
    #[arg(long)]
    seconds: u64,
    /// Networks (/64) to come from.
    #[arg(long)]
    networks: u16,
    /// Own chain and key, which nobody trusts, and the CA of those who are bothered.
    #[command(flatten)]
    files: Files,
}

/// The networks are below this one.
pub const NETWORKS: &str = "fd6b:8000::/32";

#[derive(Debug, Default)]
struct Ends {
    refused: u64,
    failed: u64,
    unanswered: u64,
}

/// How long an attempt may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Knocks, and says how it ended.
pub async fn run(options: &Options) -> Result<Value> {
    let (credentials, trust) = options.files.read()?;
    let tls = tls::client(&credentials, &trust, TlsProfile::Default, false)?;
    let client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    let endpoints = (0..options.networks).map(from_network).collect::<Result<Vec<_>>>()?;
    ensure!(!endpoints.is_empty(), "no network to come from");
    let ends = Rc::new(RefCell::new(Ends::default()));
    let (began, gap) = (Instant::now(), Duration::from_secs(1) / options.per_s);
    let attempts = u64::from(options.per_s) * options.seconds;
    let mut tasks = tokio::task::JoinSet::new();
    for (attempt, endpoint) in (0..attempts).zip(endpoints.iter().cycle()) {
        tokio::time::sleep_until((began + gap * u32::try_from(attempt)?).into()).await;
        let connecting = endpoint.connect_with(client.clone(), options.to, SERVER_NAME)?;
        let ends = Rc::clone(&ends);
        tasks.spawn_local(async move {
            let connected = async {
                // A client believes to be connected before the other side has looked at its certificate.
                match connecting.await {
                    Ok(connection) => connection.closed().await,
                    Err(error) => error,
                }
            };
            let end = tokio::time::timeout(PATIENCE, connected).await;
            let mut ends = ends.borrow_mut();
            match end {
                Ok(ConnectionError::ConnectionClosed(close)) if close.error_code == quinn_refused() => {
                    ends.refused += 1
                }
                Ok(ConnectionError::TimedOut) | Err(_) => ends.unanswered += 1,
                Ok(_) => ends.failed += 1,
            }
        });
        while tasks.try_join_next().is_some() {}
    }
    let knocked = began.elapsed().as_secs_f64();
    while tasks.join_next().await.is_some() {}
    let ends = ends.borrow();
    Ok(json!({
        "attempts": attempts,
        "per_s": attempts as f64 / knocked,
        "refused": ends.refused,
        "failed": ends.failed,
        "unanswered": ends.unanswered,
    }))
}

fn quinn_refused() -> quinn::TransportErrorCode {
    quinn::TransportErrorCode::CONNECTION_REFUSED
}

fn from_network(number: u16) -> Result<Endpoint> {
    let address = Ipv6Addr::new(0xfd6b, 0x8000, number, 0, 0, 0, 0, 1);
    Endpoint::client((address, 0).into()).with_context(|| format!("cannot come from {address}"))
}
