//! Which fault was found in what an operator gave us, where, and what to do about it?
//!
//! Everything that reads operator input (configuration, certificates, directory) collects [`Problem`]s instead of
//! stopping at the first, so that one `check` names all of them.

use std::fmt;
use std::path::{Path, PathBuf};

/// One fault: the file, the place in it, the key, what is wrong, and the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file the operator edits to repair it.
    pub file: PathBuf,
    /// Line and column, both from 1, when the fault has a place.
    pub place: Option<Place>,
    /// The dotted configuration key, when one is at fault.
    pub key: Option<String>,
    /// What is wrong, as a sentence without full stop.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// A line and a column, both counted from 1; the column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
}

impl Place {
    /// The place of a byte offset in `text`; an offset past the end is the end.
    #[must_use]
    pub fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: before.bytes().filter(|&b| b == b'\n').count() + 1,
            column: before.get(line_start..).unwrap_or("").chars().count() + 1,
        }
    }
}

impl Problem {
    /// A problem with a whole file.
    #[must_use]
    pub fn in_file(file: &Path, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { file: file.to_owned(), place: None, key: None, what: what.into(), remedy: remedy.into() }
    }

    /// The same problem, at a configuration key and its place.
    #[must_use]
    pub fn at(mut self, key: &str, place: Option<Place>) -> Self {
        self.key = Some(key.to_owned());
        self.place = place;
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(place) = self.place {
            write!(f, ":{}:{}", place.line, place.column)?;
        }
        if let Some(key) = &self.key {
            write!(f, ": {key}")?;
        }
        write!(f, ": {}\n    do: {}", self.what, self.remedy)
    }
}

/// Everything that was found wrong; never empty when returned as an error.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.0.iter().enumerate() {
            if position > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_lines_and_characters_from_one() {
        let text = "a = 1\nü = 2\n";
        assert_eq!(Place::of(text, 0), Place { line: 1, column: 1 });
        assert_eq!(Place::of(text, 8), Place { line: 2, column: 2 });
        assert_eq!(Place::of(text, 999), Place { line: 3, column: 1 });
    }

    #[test]
    fn a_problem_names_file_place_key_and_remedy() {
        let problem = Problem::in_file(Path::new("/etc/r.toml"), "must be at most 7", "lower it")
            .at("router.workers", Some(Place { line: 3, column: 11 }));
        assert_eq!(problem.to_string(), "/etc/r.toml:3:11: router.workers: must be at most 7\n    do: lower it");
    }
}
