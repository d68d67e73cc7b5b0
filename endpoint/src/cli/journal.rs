//! `kernpost journal serve`: one journal for several processes of the same endpoints.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use kernpost_endpoint::journal::serve;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// Serve a journal over a Unix socket until told to stop. Processes name it as socket in section journal of their configuration.
    Serve(ServeArgs),
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Folder of the journal; this process alone uses it.
    #[arg(long, value_name = "FOLDER")]
    pub folder: PathBuf,
    /// The socket, for processes of this user.
    #[arg(long, value_name = "PATH")]
    pub socket: PathBuf,
}

pub async fn run(command: JournalCommand) -> Result<ExitCode> {
    let JournalCommand::Serve(args) = command;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        end = serve(&args.folder, &args.socket) => end?,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(ExitCode::SUCCESS)
}
