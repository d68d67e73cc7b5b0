//! The commands of `kernpost` and what their exit status says.
//!
//! `send`, `reply` and `outcome`: 0 delivered, 2 rejected, 3 refused, 4 undecided (or another router's outcome), 5 in custody of a
//! router and not yet delivered, 1 anything else. `send --wait custody`, the default, ends with 0 in custody too.
//! `receipt verify`: 4 when it does not hold. `directory lookup`: 3 when nobody is responsible. Results go to standard output, everything else to standard error.

mod batch;
mod connect;
mod directory;
mod folder;
mod journal;
mod outbox;
mod outcome;
mod payload;
mod receipt;
mod receive;
mod recipients;
mod reply;
mod report;
mod resolve;
mod send;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Send and receive signed messages over Kernpost.
#[derive(Debug, Parser)]
#[command(name = "kernpost", version, about, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send a message, or a batch of them, and wait for the outcome.
    Send(Box<send::SendArgs>),
    /// Receive messages into a folder, into a command, or into the journal.
    Receive(Box<receive::ReceiveArgs>),
    /// Reply to a received message.
    Reply(Box<reply::ReplyArgs>),
    /// Say what became of a message: from the durable outbox, else by asking the network.
    Outcome(outcome::OutcomeArgs),
    /// Serve a journal to several processes of the same endpoints.
    #[command(subcommand)]
    Journal(journal::JournalCommand),
    /// Look into the durable outbox.
    #[command(subcommand)]
    Outbox(outbox::OutboxCommand),
    /// Ask a router who is responsible for a route key.
    Resolve(resolve::ResolveArgs),
    /// Work with receipts.
    #[command(subcommand)]
    Receipt(receipt::ReceiptCommand),
    /// Build, sign, verify and look up directories.
    #[command(subcommand)]
    Directory(directory::DirectoryCommand),
}

/// Parses the command line, runs the command and turns its end into an exit status.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no faults; a command line that cannot be read is no outcome either: not 2 but 1.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init();
    let end = match cli.command {
        Command::Send(args) => block_on(send::run(*args)),
        Command::Receive(args) => block_on(receive::run(*args)),
        Command::Reply(args) => block_on(reply::run(*args)),
        Command::Outcome(args) => block_on(outcome::run(args)),
        Command::Journal(command) => block_on(journal::run(command)),
        Command::Outbox(command) => outbox::run(command),
        Command::Resolve(args) => block_on(resolve::run(args)),
        Command::Receipt(command) => receipt::run(command),
        Command::Directory(command) => directory::run(command),
    };
    end.unwrap_or_else(|error| {
        eprintln!("kernpost: {error:#}");
        ExitCode::FAILURE
    })
}

fn block_on(task: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(task)
}
