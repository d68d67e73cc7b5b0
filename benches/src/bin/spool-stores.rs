//! Which storage library holds the spool, and how fast is the spool over it? Prints one JSON object.
//!
//! `spool-stores --store fjall --folder /var/tmp/spool-bench`, or without `--store` for the spool: see [`kernpost_benches::spool`] for what is done.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use kernpost_benches::spool::{StoreKind, measure_custody, run};

#[derive(Parser)]
#[command(about = "The spool's work over one storage library")]
struct CommandLine {
    /// Which library; without it the spool itself, sealed and indexed, over fjall.
    #[arg(long)]
    store: Option<StoreKind>,
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
    let measured = match options.store {
        Some(store) => run(store, &options.folder, options.mib_per_group << 20, options.large_records)
            .and_then(|measured| Ok(serde_json::to_string_pretty(&measured)?)),
        None => measure_custody(&options.folder.join("daily"), options.large_records)
            .and_then(|measured| Ok(serde_json::to_string_pretty(&measured)?)),
    };
    std::fs::remove_dir_all(&options.folder)?;
    println!("{}", measured?);
    Ok(())
}
