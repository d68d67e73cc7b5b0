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
    /// `kernpost-loadgen`; it finds `kernpost-router` beside itself.
    pub loadgen: PathBuf,
    /// `relay-floor`.
    pub relay: PathBuf,
    /// `link-bench`.
    pub link_bench: PathBuf,
    /// `simulate`, without faults put in.
    pub simulate: PathBuf,
    /// `counts`.
    pub counts: PathBuf,
}

impl Programs {
    /// Builds every program as it ships and says where they are. Always all at once: each choice of packages asks for other
    /// features of what they share, down to tokio, and compiles the tree again.
    ///
    /// # Errors
    /// The build failed or left a program out.
    pub fn build_release() -> Result<Self> {
        run(cargo().args(["build", "--release", "--workspace", "--exclude", "xtask", "--bins"]))?;
        let program = |name: &str| {
            let file = target().join("release").join(name);
            ensure!(file.is_file(), "the build left no {}", file.display());
            Ok(file)
        };
        Ok(Self {
            router: program("kernpost-router")?,
            kernpost: program("kernpost")?,
            loadgen: program("kernpost-loadgen")?,
            relay: program("relay-floor")?,
            link_bench: program("link-bench")?,
            simulate: program("simulate")?,
            counts: program("counts")?,
        })
    }
}

/// `cargo`, started in the project's top folder.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs the ignored tests of `file` (in `tests`) whose names contain `word`, one after the other, with the programs as they ship,
/// and says what they printed and whether all were good. The tests themselves need not be release builds.
///
/// # Errors
/// Something cannot be built or started.
pub fn ignored_tests(file: &str, word: &str) -> Result<(String, bool)> {
    Programs::build_release()?;
    let mut command = cargo();
    command.env("KERNPOST_PROGRAMS", target().join("release"));
    // The whole workspace, as for `cargo test --workspace`: see `Programs::build_release`.
    command.args([
        "test",
        "--workspace",
        "--test",
        file,
        "--",
        "--ignored",
        "--show-output",
        "--test-threads",
        "1",
        word,
    ]);
    let output = command.output().with_context(|| format!("cannot start {}", shown(&command)))?;
    if !output.status.success() {
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok((String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success()))
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
