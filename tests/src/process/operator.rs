//! An operator at a router: `kernpost-router spool`, run under an account of this machine.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::program;

/// Who runs the commands.
#[derive(Debug, Clone)]
pub struct Operator {
    program: PathBuf,
    socket: PathBuf,
    /// User and group; `None`: whoever runs the tests.
    account: Option<(u32, u32)>,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    /// Its exit status.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Operator {
    /// Whoever runs the tests, at this socket.
    pub fn at(socket: &Path) -> Self {
        Self { program: program("kernpost-router", "kernpost-router"), socket: socket.to_owned(), account: None }
    }

    /// Somebody else, with a copy of the program in a folder they can reach. Only root can be somebody else.
    #[must_use]
    pub fn somebody_else(&self, user: u32, group: u32, folder: &Path) -> Self {
        let copy = folder.join("kernpost-router");
        if !copy.exists() && std::fs::hard_link(&self.program, &copy).is_err() {
            std::fs::copy(&self.program, &copy).unwrap();
        }
        Self { program: copy, account: Some((user, group)), ..self.clone() }
    }

    /// Runs `spool` with these arguments.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Said {
        let mut command = Command::new(&self.program);
        command.arg("spool").args(arguments).arg("--socket").arg(&self.socket);
        if let Some((user, group)) = self.account {
            command.uid(user).gid(group).current_dir("/");
        }
        let ran = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said { code: ran.status.code().unwrap(), out: text(ran.stdout), err: text(ran.stderr) }
    }

    /// The answer as JSON; panics unless the command succeeded.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let said = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
        serde_json::from_str(&said.out).unwrap()
    }
}
