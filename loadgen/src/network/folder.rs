//! Where everything of one demo lies: certificates, directory, configurations, logs, state, and what sites write.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::directory::Files;
use super::plan::RouterPlan;

/// The network's folder.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes the parts of `path`.
    pub fn make(path: &Path) -> Result<Self> {
        let folder = Self(path.to_path_buf());
        for part in ["pki", "config", "log", "state", "work"] {
            made(path.join(part))?;
        }
        Ok(folder)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Certificates and their keys.
    pub fn pki(&self) -> PathBuf {
        self.0.join("pki")
    }

    /// The signed directory and the endpoints' keys.
    pub fn files(&self) -> Files {
        Files::below(&self.0)
    }

    /// A router's state folder.
    pub fn state(&self, router: &RouterPlan) -> PathBuf {
        self.0.join("state").join(router.name())
    }

    /// What a router with custody holds, and nothing else.
    pub fn spool(&self, router: &RouterPlan) -> PathBuf {
        self.0.join("spool").join(router.name())
    }

    /// The configuration of a router or site.
    pub fn config(&self, name: &str) -> PathBuf {
        self.0.join("config").join(format!("{name}.toml"))
    }

    /// The output of a program.
    pub fn log(&self, name: &str) -> PathBuf {
        self.0.join("log").join(format!("{name}.log"))
    }

    /// What a site reads and writes besides: batches, journals, summaries, receipts.
    pub fn work(&self, name: &str) -> Result<PathBuf> {
        made(self.0.join("work").join(name))
    }
}

fn made(path: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(path)
}
