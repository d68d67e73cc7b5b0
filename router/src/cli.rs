//! Which commands are there? Parsing, dispatch and exit status; each command is a file under `cli/`.

use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::identity::TrustDomain;

mod ask;
mod check;
mod explain;
mod fetch;
mod pki;
mod run;
mod spool;
mod status;

/// Nobody is responsible for the route key asked for.
const EXIT_NOBODY: u8 = 3;

/// Routes signed application messages between portals and authorities.
#[derive(Debug, Parser)]
#[command(name = "kernpost-router", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Carry messages until SIGTERM or SIGINT, then finish what is in flight. SIGHUP looks for a new directory.
    Run(ConfigArgs),
    /// Say everything that is wrong with a configuration, without binding a port. Exit status 1 if anything is.
    Check(ConfigArgs),
    /// Say which rule answers for a route key, and why the others do not. Exit status 3 if nobody is responsible.
    Explain(ExplainArgs),
    /// Show what a running router is doing.
    Status(StatusArgs),
    /// Look at and act on what a running router keeps for others.
    #[command(subcommand)]
    Spool(spool::SpoolCommand),
    /// Make certificates and keys.
    #[command(subcommand)]
    Pki(PkiCommand),
}

#[derive(Debug, Args)]
struct ConfigArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Tolerate a development PKI. Never in production.
    #[arg(long)]
    dev: bool,
}

#[derive(Debug, Args)]
struct ExplainArgs {
    /// Service key, 14 digits.
    #[arg(long, value_name = "KEY")]
    service: String,
    /// Jurisdiction (ARS), 12 digits; 000000000000 is the federal level.
    #[arg(long, value_name = "ARS")]
    jurisdiction: String,
    /// Folder with the signed zones.
    #[arg(long, value_name = "DIR", required_unless_present = "admin", conflicts_with = "admin")]
    directory: Option<PathBuf>,
    /// Trust anchor; by default trust-anchor.toml in the folder.
    #[arg(long, value_name = "FILE", requires = "directory", conflicts_with = "admin")]
    trust_anchor: Option<PathBuf>,
    /// Ask a running router instead, for instance http://[::1]:9713
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct StatusArgs {
    /// The router's admin interface.
    #[arg(long, value_name = "URL", default_value = "http://[::1]:9713")]
    admin: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum PkiCommand {
    /// Make a development CA and certificates. Routers refuse them without --dev.
    Dev(DevArgs),
    /// Make a key and a signing request for a real CA.
    Csr(CsrArgs),
}

#[derive(Debug, Args)]
struct DevArgs {
    /// Folder to write to. A development CA that is there already is used again.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Trust domain of the URI identities.
    #[arg(long, value_name = "DOMAIN")]
    trust_domain: TrustDomain,
    /// A router id (zone/router/name); may be repeated.
    #[arg(long, value_name = "ID")]
    router: Vec<kernpost_codecs::RouterId>,
    /// Another identity, the path of its URI; may be repeated.
    #[arg(long, value_name = "NAME")]
    identity: Vec<String>,
    #[command(flatten)]
    names: NameArgs,
}

#[derive(Debug, Args)]
struct CsrArgs {
    /// Folder to write to.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Trust domain of the URI identity.
    #[arg(long, value_name = "DOMAIN")]
    trust_domain: TrustDomain,
    /// The identity, for instance a router id.
    #[arg(long, value_name = "NAME")]
    identity: String,
    /// Organisation in the subject.
    #[arg(long, value_name = "NAME")]
    organisation: Option<String>,
    #[command(flatten)]
    names: NameArgs,
}

#[derive(Debug, Args)]
struct NameArgs {
    /// A DNS name for the certificate; may be repeated.
    #[arg(long, value_name = "NAME")]
    dns: Vec<String>,
    /// An IP address for the certificate; may be repeated.
    #[arg(long, value_name = "ADDRESS")]
    ip: Vec<IpAddr>,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(&args, &mut std::io::stdout()),
        Command::Explain(args) => explain::run(&args, &mut std::io::stdout()),
        Command::Status(args) => status::run(&args, &mut std::io::stdout()),
        Command::Spool(command) => spool::run(command, &mut std::io::stdout()),
        Command::Pki(command) => pki::run(command, &mut std::io::stdout()),
    };
    match result {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to tell when standard error is gone too.
            let _ = writeln!(std::io::stderr(), "kernpost-router: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whoever read our output stopped: `… | head`.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests;
