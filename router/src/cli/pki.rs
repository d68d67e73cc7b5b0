//! `kernpost-router pki`: certificates for development, signing requests for production.

use std::io::Write;
use std::process::ExitCode;

use anyhow::bail;

use super::PkiCommand;
use crate::pki::{CsrRequest, DevPkiRequest, write_csr, write_dev_pki};

/// Writes the files and says what to do with them.
pub(super) fn run(command: PkiCommand, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    match command {
        PkiCommand::Dev(args) => {
            let routers = args.router.iter().map(ToString::to_string);
            let identities: Vec<String> = routers.chain(args.identity).collect();
            if identities.is_empty() {
                bail!("name at least one --router or --identity");
            }
            let files = write_dev_pki(&DevPkiRequest {
                out: args.out,
                trust_domain: args.trust_domain,
                identities,
                dns: args.names.dns,
                ips: args.names.ip,
            })?;
            writeln!(out, "DEVELOPMENT ONLY: routers refuse these certificates without --dev")?;
            writeln!(out, "root  {}", files.ca.display())?;
            for leaf in &files.leaves {
                writeln!(
                    out,
                    "{}\n  certificates  {}\n  key           {}\n  in the directory  \"uri:{}\"",
                    leaf.identity,
                    leaf.certificates.display(),
                    leaf.key.display(),
                    leaf.uri
                )?;
            }
        }
        PkiCommand::Csr(args) => {
            let uri = args.trust_domain.uri(&args.identity);
            let (key, csr) = write_csr(&CsrRequest {
                out: args.out,
                trust_domain: args.trust_domain,
                identity: args.identity,
                dns: args.names.dns,
                ips: args.names.ip,
                organisation: args.organisation,
            })?;
            writeln!(out, "key               {} (keep it here)", key.display())?;
            writeln!(out, "signing request   {} (send it to the CA)", csr.display())?;
            writeln!(out, "in the directory  \"uri:{uri}\"")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
