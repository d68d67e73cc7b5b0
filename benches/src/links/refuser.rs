//! What does a plain QUIC endpoint make of strangers? The router's TLS configuration and nothing else: every connection is
//! tried, those without a good certificate fail.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use kernpost_router::config::TlsProfile;
use kernpost_router::tls::{self, Credentials, Trust};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, ServerConfig};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;

/// Whom to be and whom to trust.
#[derive(Debug, Args)]
pub struct Options {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// Own chain and key, and the trusted CA; PEM.
    #[command(flatten)]
    pub files: Files,
}

/// Credentials in files.
#[derive(Debug, Args)]
pub struct Files {
    /// Own chain.
    #[arg(long)]
    certificates: PathBuf,
    /// Own key.
    #[arg(long)]
    key: PathBuf,
    /// The CA that peers must chain to.
    #[arg(long)]
    ca: PathBuf,
}

impl Files {
    /// As command line arguments.
    pub fn arguments(certificates: &str, key: &str, ca: &std::path::Path) -> Vec<String> {
        let ca = ca.display().to_string();
        ["--certificates", certificates, "--key", key, "--ca", &ca].map(str::to_owned).to_vec()
    }

    /// Read.
    pub fn read(&self) -> Result<(Credentials, Arc<Trust>)> {
        let chain = CertificateDer::pem_file_iter(&self.certificates)?.collect::<Result<_, _>>()?;
        let credentials = Credentials { chain, key: PrivateKeyDer::from_pem_file(&self.key)? };
        let roots: Vec<_> = CertificateDer::pem_file_iter(&self.ca)?.collect::<Result<_, _>>()?;
        Ok((credentials, Arc::new(Trust::new(&roots, vec![])?)))
    }
}

/// Says where it listens, then refuses until it is ended.
pub async fn run(options: &Options) -> Result<()> {
    let (credentials, trust) = options.files.read()?;
    let tls = tls::server(&credentials, &trust, TlsProfile::Default, false)?;
    let server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    let endpoint = Endpoint::server(server, options.listen)?;
    println!("{}", json!({ "listens": endpoint.local_addr()?.to_string() }));
    while let Some(incoming) = endpoint.accept().await {
        tokio::task::spawn_local(async move {
            // Nobody here has a good certificate; whoever has one is sent away, too.
            if let Ok(connection) = incoming.await {
                connection.close(0u32.into(), b"");
            }
        });
    }
    Ok(())
}
