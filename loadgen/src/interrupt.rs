//! Was the task told to stop? SIGTERM and SIGINT are remembered, and whoever waits asks.
//!
//! Without this a signal would end us at once and leave routers and authorities behind; with it the wait fails, and what
//! was started here is stopped on the way out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use tokio::signal::unix::{SignalKind, signal};

static TOLD_TO_STOP: AtomicBool = AtomicBool::new(false);

/// Takes the signals from now on. A second one ends the process at once.
///
/// # Errors
/// The signals cannot be taken.
pub fn watch() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot watch signals")?;
    let (mut terminate, mut interrupt) = {
        let _inside = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
                if TOLD_TO_STOP.swap(true, Ordering::Relaxed) {
                    std::process::exit(130);
                }
            }
        });
    });
    Ok(())
}

/// Whether a signal has come.
pub fn told() -> bool {
    TOLD_TO_STOP.load(Ordering::Relaxed)
}

/// Fails once a signal has come.
///
/// # Errors
/// A signal has come.
pub fn check() -> Result<()> {
    ensure!(!told(), "told to stop by a signal");
    Ok(())
}
