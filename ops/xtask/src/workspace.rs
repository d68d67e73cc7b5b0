//! Where the project lies, and how its programs are built and found.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The project's top folder.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// The folder cargo builds into.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The programs of one build.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `kernpost-router`.
    pub router: PathBuf,
    /// `kernpost`.
    pub kernpost: PathBuf,
}

impl Programs {
    /// Builds both programs as they ship and says where they are. Always both at once: built one by one they would ask
    /// for different features of what they share, and compile it twice.
    pub fn build_release() -> Result<Self> {
        let packages = ["--package", "kernpost-router", "--package", "kernpost-endpoint"];
        run(cargo().args(["build", "--release", "--bins"]).args(packages))?;
        let folder = target().join("release");
        let programs = Self { router: folder.join("kernpost-router"), kernpost: folder.join("kernpost") };
        for program in [&programs.router, &programs.kernpost] {
            ensure!(program.is_file(), "the build left no {}", program.display());
        }
        Ok(programs)
    }
}

/// The programs a load run needs, in one build.
#[derive(Debug, Clone)]
pub struct LoadPrograms {
    /// `kernpost-loadgen`; `kernpost-router` lies beside it.
    pub loadgen: PathBuf,
    /// `relay-floor`.
    pub relay: PathBuf,
}

impl LoadPrograms {
    /// Builds the load generator, the router and the relay floor as they ship and says where they are.
    pub fn build_release() -> Result<Self> {
        let packages = ["kernpost-router", "kernpost-endpoint", "kernpost-loadgen", "kernpost-benches"];
        let mut command = cargo();
        command.args(["build", "--release", "--bins"]);
        for package in packages {
            command.args(["--package", package]);
        }
        run(&mut command)?;
        let folder = target().join("release");
        let programs = Self { loadgen: folder.join("kernpost-loadgen"), relay: folder.join("relay-floor") };
        for program in [&programs.loadgen, &programs.relay] {
            ensure!(program.is_file(), "the build left no {}", program.display());
        }
        Ok(programs)
    }
}

/// `cargo`, started in the project's top folder.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// The compiler's own target triple.
pub fn host() -> Result<String> {
    let said = output(Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-vV"))?;
    let line = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(line.context("`rustc -vV` names no host")?.to_owned())
}

/// Runs `command` to its end with our own output, and fails when it fails.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", shown(command)))?;
    ensure!(status.success(), "{} ended with {status}", shown(command));
    Ok(())
}

/// Runs `command` to its end and returns what it printed; its errors stay on our stderr.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    ensure!(output.status.success(), "{} ended with {}", shown(command), output.status);
    String::from_utf8(output.stdout).with_context(|| format!("{} printed no text", shown(command)))
}

/// Whether `program` answers to `argument` without an error.
pub fn answers(program: &str, argument: &str) -> bool {
    let quiet = std::process::Stdio::null;
    Command::new(program)
        .arg(argument)
        .stdin(quiet())
        .stdout(quiet())
        .stderr(quiet())
        .status()
        .is_ok_and(|status| status.success())
}

/// The command line as a person would type it.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}
