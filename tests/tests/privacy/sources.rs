//! What do the sources store? A plain reading of Rust text: types with their fields, calls that write, keyspaces that are opened.
//!
//! It knows the formatting of this workspace (rustfmt) and no more of the language. Text from `#[cfg(test)]` on is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// One source file without its tests.
pub struct Source {
    /// From the root of the workspace.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// Calls that make something durable.
const WRITES: [&str; 10] = [
    "fs::write(",
    "File::create(",
    "OpenOptions::new()",
    "File::options()",
    "write_atomically(",
    "write_private(",
    "write_new(",
    "fs::copy(",
    "hard_link(",
    "Database::builder(",
];

impl Source {
    /// Reads a file.
    pub fn read(root: &Path, path: &str) -> Self {
        let text = fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self { path: path.to_owned(), text: without_tests(&text).to_owned() }
    }

    /// Whether it writes to disk.
    pub fn writes(&self) -> bool {
        let code = self.text.lines().filter(|line| !line.trim_start().starts_with("//"));
        code.filter(|line| !line.contains("fn ")).any(|line| WRITES.iter().any(|call| line.contains(call)))
    }

    /// Fields of a struct, or variants of an enum; `None`: there is no such type.
    pub fn fields(&self, name: &str) -> Option<BTreeSet<String>> {
        self.types().remove(name).map(|(_, fields)| fields)
    }

    /// Types that can leave the process, with their fields.
    pub fn serialised(&self) -> BTreeMap<String, BTreeSet<String>> {
        let types = self.types().into_iter();
        types.filter(|(_, (serialised, _))| *serialised).map(|(name, (_, fields))| (name, fields)).collect()
    }

    /// Keyspaces that are opened here, as `folder/name`: the folder of this file names the store.
    pub fn keyspaces(&self) -> BTreeSet<String> {
        if !self.text.contains("Database::builder(") {
            return BTreeSet::new();
        }
        let calls = self.text.split("open(\"").skip(1).chain(self.text.split("keyspace(\"").skip(1));
        let store = self.path.rsplit('/').nth(1).unwrap();
        calls.filter_map(|rest| rest.split('"').next()).map(|name| format!("{store}/{name}")).collect()
    }

    fn types(&self) -> BTreeMap<String, (bool, BTreeSet<String>)> {
        let lines: Vec<&str> = self.text.lines().collect();
        let mut types = BTreeMap::new();
        for (at, line) in lines.iter().enumerate() {
            let Some(name) = type_name(line) else { continue };
            let before = lines[..at].iter().rev().take_while(|line| {
                let line = line.trim_start();
                line.starts_with('#') || line.starts_with("//")
            });
            let derives: Vec<_> = before.filter(|line| line.trim_start().starts_with("#[derive(")).collect();
            let serialised = derives.iter().any(|line| line.contains("Serialize"));
            types.insert(name.to_owned(), (serialised, members(&lines[at..])));
        }
        types
    }
}

fn type_name(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = line
        .strip_prefix("pub ")
        .or_else(|| line.strip_prefix("pub(").and_then(|rest| rest.split_once(") ").map(|(_, rest)| rest)))
        .unwrap_or(line);
    let name = line.strip_prefix("struct ").or_else(|| line.strip_prefix("enum "))?;
    name.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next().filter(|name| !name.is_empty())
}

/// Names of the members one level below the type's own braces.
fn members(lines: &[&str]) -> BTreeSet<String> {
    let mut members = BTreeSet::new();
    let mut depth = 0_i32;
    for line in lines {
        let code = line.split("//").next().unwrap();
        if depth == 1 {
            members.extend(member(code));
        }
        for letter in code.chars() {
            depth += i32::from("{([".contains(letter)) - i32::from("})]".contains(letter));
        }
        if depth == 0 {
            break;
        }
    }
    members
}

fn member(code: &str) -> Option<String> {
    let code = code.trim();
    let code = code
        .strip_prefix("pub ")
        .or_else(|| code.strip_prefix("pub(").and_then(|rest| rest.split_once(") ").map(|(_, rest)| rest)))
        .unwrap_or(code);
    let end = code.find(|letter: char| !letter.is_alphanumeric() && letter != '_')?;
    let (name, rest) = code.split_at(end);
    let variant = name.starts_with(char::is_uppercase);
    (!name.is_empty() && (variant || rest.starts_with(':'))).then(|| name.to_owned())
}

/// The text before its first test module.
pub fn without_tests(text: &str) -> &str {
    let test = text.find("\n#[cfg(test)]\nmod ").or_else(|| text.find("\n#[cfg(test)]\n#[allow"));
    test.map_or(text, |at| &text[..at])
}

/// All sources below a folder, without files of tests.
pub fn below(root: &Path, folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut entries: Vec<_> = fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap()).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().into_string().unwrap();
        let path = format!("{folder}/{name}");
        if entry.path().is_dir() {
            if name != "tests" {
                found.extend(below(root, &path));
            }
        } else if name.ends_with(".rs") && name != "tests.rs" {
            found.push(Source::read(root, &path));
        }
    }
    found
}
