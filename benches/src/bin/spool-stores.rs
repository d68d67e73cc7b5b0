//! Which storage library holds the spool? Measures one of them and prints one JSON object.
//!
//! `spool-stores --store fjall --folder /var/tmp/spool-bench`: see [`kernpost_benches::spool`] for what is done.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use kernpost_benches::spool::{StoreKind, run};

#[derive(Parser)]
#[command(about = "The spool's work over one storage library")]
struct CommandLine {
    /// Which library.
    #[arg(long)]
    store: StoreKind,
    /// An empty or new folder on the disk to measure; it is removed afterwards.
    #[arg(long)]
    folder: PathBuf,
    /// Bytes committed for each size of group, in MiB.
    #[arg(long, default_value_t = 256)]
    mib_per_group: u64,
    /// Records of the large spool, beside 1,000,000 index rows.
    #[arg(long, default_value_t = 20_000)]
    large_records: u64,
}

fn main() -> ExitCode {
    match measure(&CommandLine::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("spool-stores: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &CommandLine) -> Result<()> {
    std::fs::create_dir_all(options.folder.join("daily")).context("the folder cannot be made")?;
    let measured = run(options.store, &options.folder, options.mib_per_group << 20, options.large_records);
    std::fs::remove_dir_all(&options.folder)?;
    println!("{}", serde_json::to_string_pretty(&measured?)?);
    Ok(())
}
