//! `kernpost directory key`: a private signing key in a file of its own, and its public half for a zone source.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use kernpost_codecs::key::{Algorithm, SigningKey};

use super::read_key;

#[derive(Debug, Args)]
pub struct KeyArgs {
    /// The key file (PKCS#8 PEM, readable by its owner only). It must not exist yet.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// ESP256, ESP384, Ed25519 or ML-DSA-65. For the hybrid profile make two keys, ESP256 and ML-DSA-65, and have the
    /// entry require both.
    #[arg(long, value_name = "NAME", default_value_t = Algorithm::Esp256, conflicts_with = "show")]
    pub algorithm: Algorithm,
    /// Show the public half of a key that exists already.
    #[arg(long)]
    pub show: bool,
}

/// Prints key id and public key.
pub fn run(args: &KeyArgs, out: &mut impl Write) -> Result<ExitCode> {
    let key = if args.show { read_key(&args.file)? } else { make(args)? };
    writeln!(out, "# {}, key id {}", key.algorithm(), key.public().id())?;
    writeln!(out, "key = \"{}\"", hex::encode(key.public().to_cose_key()))?;
    Ok(ExitCode::SUCCESS)
}

fn make(args: &KeyArgs) -> Result<SigningKey> {
    let key = SigningKey::generate(args.algorithm)?;
    let pem = key.to_pkcs8_pem()?;
    let cannot = || format!("cannot make {}", args.file.display());
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&args.file).with_context(cannot)?;
    file.write_all(pem.as_bytes()).and_then(|()| file.sync_all()).with_context(cannot)?;
    Ok(key)
}
