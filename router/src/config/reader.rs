//! How is a TOML document read so that every fault in it is found in one pass?
//!
//! A [`Section`] hands out its keys one by one; a missing, mistyped or out-of-range value becomes a [`Problem`] with line,
//! column and key, and reading goes on with the default. What nobody asked for is an unknown key.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::problem::{Place, Problem};

/// What reading a document collects: problems, places of keys, and which keys exist.
#[derive(Debug)]
pub(crate) struct Notes<'t> {
    file: &'t Path,
    text: &'t str,
    /// Everything wrong so far.
    pub(crate) problems: Vec<Problem>,
    /// Where each key that was present stands.
    pub(crate) places: BTreeMap<String, Place>,
    /// Every key that was asked for, present or not.
    pub(crate) asked: Vec<String>,
}

impl<'t> Notes<'t> {
    /// Starts reading `text`; the root section is empty when it is not TOML at all.
    pub(crate) fn open(file: &'t Path, text: &'t str) -> (Self, Section<'t>) {
        let (root, errors) = DeTable::parse_recoverable(text);
        let mut notes = Self { file, text, problems: Vec::new(), places: BTreeMap::new(), asked: Vec::new() };
        for error in errors {
            let place = error.span().map(|span| Place::of(text, span.start));
            let mut problem = Problem::in_file(
                file,
                format!("not valid TOML: {}", error.message()),
                "correct the syntax; the reference configuration shows every key",
            );
            problem.place = place;
            notes.problems.push(problem);
        }
        notes.problems.sort_by_key(|problem| problem.place);
        let root = Section { table: root.into_inner(), path: String::new() };
        (notes, root)
    }

    /// Records a problem at a key, with the key's place when it was present.
    pub(crate) fn wrong(&mut self, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        let place = self.places.get(key).copied();
        self.problems.push(Problem::in_file(self.file, what, remedy).at(key, place));
    }

    fn place(&self, offset: usize) -> Place {
        Place::of(self.text, offset)
    }
}

/// One table of the document, emptied as its keys are read.
#[derive(Debug)]
pub(crate) struct Section<'t> {
    table: DeTable<'t>,
    path: String,
}

impl<'t> Section<'t> {
    /// The table under `key`; empty when absent.
    pub(crate) fn section(&mut self, notes: &mut Notes<'t>, key: &str) -> Section<'t> {
        let path = self.dotted(key);
        let table = match self.take(notes, key) {
            None => DeTable::new(),
            Some(DeValue::Table(table)) => table,
            Some(other) => {
                notes.wrong(&path, format!("is {}, not a table", article(&other)), format!("write it as [{path}]"));
                DeTable::new()
            }
        };
        Section { table, path }
    }

    /// Whether there is anything under `key`.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The tables of the array `key` (`[[key]]`); empty when absent.
    pub(crate) fn sections(&mut self, notes: &mut Notes<'t>, key: &str) -> Vec<Section<'t>> {
        let path = self.dotted(key);
        let mut sections = Vec::new();
        for (position, item) in self.items(notes, key).into_iter().enumerate() {
            let item_path = format!("{path}[{position}]");
            notes.places.insert(item_path.clone(), notes.place(item.span().start));
            match item.into_inner() {
                DeValue::Table(table) => sections.push(Section { table, path: item_path }),
                other => notes.wrong(
                    &item_path,
                    format!("is {}, not a table", article(&other)),
                    format!("write each as [[{path}]]"),
                ),
            }
        }
        sections
    }

    /// A parsed text, or `None` when it is absent or wrong.
    pub(crate) fn optional<T: FromStr>(&mut self, notes: &mut Notes<'t>, key: &str, expected: &str) -> Option<T>
    where
        T::Err: Display,
    {
        let path = self.dotted(key);
        let value = self.take(notes, key)?;
        parse_text(notes, &path, &value, expected)
    }

    /// A parsed text that must be there.
    pub(crate) fn required<T: FromStr>(&mut self, notes: &mut Notes<'t>, key: &str, expected: &str) -> Option<T>
    where
        T::Err: Display,
    {
        let path = self.dotted(key);
        if !self.table.contains_key(key) {
            notes.asked.push(path.clone());
            notes.wrong(&path, "is missing", format!("set it to {expected}"));
            return None;
        }
        self.optional(notes, key, expected)
    }

    /// A list of parsed texts; empty when absent. Wrong items are reported and left out.
    pub(crate) fn list<T: FromStr>(&mut self, notes: &mut Notes<'t>, key: &str, expected: &str) -> Vec<T>
    where
        T::Err: Display,
    {
        let path = self.dotted(key);
        let mut list = Vec::new();
        for (position, item) in self.items(notes, key).into_iter().enumerate() {
            let item_path = format!("{path}[{position}]");
            notes.places.insert(item_path.clone(), notes.place(item.span().start));
            list.extend(parse_text(notes, &item_path, item.get_ref(), expected));
        }
        list
    }

    /// A whole number within `range`, else the default.
    pub(crate) fn number(
        &mut self,
        notes: &mut Notes<'t>,
        key: &str,
        default: u64,
        range: RangeInclusive<u64>,
        unit: &str,
    ) -> u64 {
        let path = self.dotted(key);
        let Some(value) = self.take(notes, key) else {
            return default;
        };
        let remedy =
            format!("write a whole number of {unit} from {} to {} (default {default})", range.start(), range.end());
        let DeValue::Integer(integer) = &value else {
            notes.wrong(&path, format!("is {}, not a whole number", article(&value)), remedy);
            return default;
        };
        match u64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if range.contains(&number) => number,
            _ => {
                notes.wrong(&path, format!("{integer} is out of range"), remedy);
                default
            }
        }
    }

    /// A boolean, else the default.
    pub(crate) fn flag(&mut self, notes: &mut Notes<'t>, key: &str, default: bool) -> bool {
        let path = self.dotted(key);
        match self.take(notes, key) {
            None => default,
            Some(DeValue::Boolean(flag)) => flag,
            Some(other) => {
                notes.wrong(&path, format!("is {}, not a boolean", article(&other)), "write true or false");
                default
            }
        }
    }

    /// One of a few named values, else the first.
    pub(crate) fn choice<T: Copy>(&mut self, notes: &mut Notes<'t>, key: &str, default: T, choices: &[(&str, T)]) -> T {
        let path = self.dotted(key);
        let Some(value) = self.take(notes, key) else {
            return default;
        };
        let chosen = value.as_str().and_then(|text| choices.iter().find(|(name, _)| *name == text));
        if let Some((_, choice)) = chosen {
            return *choice;
        }
        let names: Vec<String> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        notes.wrong(&path, "is none of the known values", format!("write one of {}", names.join(", ")));
        default
    }

    /// Reports every key nobody asked for.
    pub(crate) fn finish(self, notes: &mut Notes<'t>) {
        for (key, _) in self.table {
            let path = dotted(&self.path, key.get_ref());
            notes.places.insert(path.clone(), notes.place(key.span().start));
            let remedy = match nearest(&path, &notes.asked) {
                Some(known) => format!("did you mean {known}? else remove it"),
                None => "remove it; the reference configuration shows every key".to_owned(),
            };
            notes.wrong(&path, "is not a known key", remedy);
        }
    }

    /// The dotted path of a key of this section.
    pub(crate) fn dotted(&self, key: &str) -> String {
        dotted(&self.path, key)
    }

    fn items(&mut self, notes: &mut Notes<'t>, key: &str) -> Vec<Spanned<DeValue<'t>>> {
        let path = self.dotted(key);
        match self.take(notes, key) {
            None => Vec::new(),
            Some(DeValue::Array(items)) => items.into_iter().collect(),
            Some(other) => {
                notes.wrong(&path, format!("is {}, not a list", article(&other)), "write it in brackets: [ … ]");
                Vec::new()
            }
        }
    }

    fn take(&mut self, notes: &mut Notes<'t>, key: &str) -> Option<DeValue<'t>> {
        let path = self.dotted(key);
        notes.asked.push(path.clone());
        let value = self.table.remove(key)?;
        notes.places.insert(path, notes.place(value.span().start));
        Some(value.into_inner())
    }
}

/// A path in the configuration; relative ones are resolved against the configuration file's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FilePath(PathBuf);

impl FilePath {
    /// The path, resolved against the folder of `config_file`.
    pub(crate) fn resolve(self, config_file: &Path) -> PathBuf {
        match config_file.parent() {
            Some(folder) => folder.join(self.0),
            None => self.0,
        }
    }
}

impl FromStr for FilePath {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err("a path is not empty");
        }
        Ok(Self(PathBuf::from(text)))
    }
}

fn parse_text<T: FromStr>(notes: &mut Notes<'_>, path: &str, value: &DeValue<'_>, expected: &str) -> Option<T>
where
    T::Err: Display,
{
    let Some(text) = value.as_str() else {
        notes.wrong(path, format!("is {}, not a text", article(value)), format!("write {expected} in quotes"));
        return None;
    };
    match text.parse() {
        Ok(parsed) => Some(parsed),
        Err(error) => {
            notes.wrong(path, format!("\"{text}\": {error}"), format!("write {expected}"));
            None
        }
    }
}

fn dotted(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn article(value: &DeValue<'_>) -> Cow<'static, str> {
    match value.type_str() {
        kind @ ("integer" | "array") => format!("an {kind}").into(),
        kind => format!("a {kind}").into(),
    }
}

/// The known key that differs least from `path`, when it differs by at most a third of its length.
fn nearest<'k>(path: &str, known: &'k [String]) -> Option<&'k String> {
    known
        .iter()
        .map(|candidate| (edits(path, candidate), candidate))
        .filter(|(distance, candidate)| *distance > 0 && *distance * 3 <= candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance; both texts are configuration keys, so short.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row, vec![i + 1]);
        let mut previous = diagonal.drain(..);
        let mut corner = previous.next().unwrap_or(0);
        for (right, above) in b.chars().zip(previous) {
            let beside = row.last().copied().unwrap_or(0);
            let cost = usize::from(left != right);
            row.push((corner + cost).min(above + 1).min(beside + 1));
            corner = above;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_found_in_one_pass_with_its_place() {
        let text = "[a]\nn = 99\nflag = 1\nnmae = \"x\"\n";
        let (mut notes, mut root) = Notes::open(Path::new("f.toml"), text);
        let mut a = root.section(&mut notes, "a");
        assert_eq!(a.number(&mut notes, "n", 5, 1..=10, "things"), 5);
        assert!(!a.flag(&mut notes, "flag", false));
        let name: Option<String> = a.required(&mut notes, "name", "a name");
        assert_eq!(name, None);
        a.finish(&mut notes);
        root.finish(&mut notes);
        let found: Vec<String> = notes
            .problems
            .iter()
            .map(|p| format!("{} {:?}", p.key.clone().unwrap(), p.place.map(|p| (p.line, p.column))))
            .collect();
        assert_eq!(found, ["a.n Some((2, 5))", "a.flag Some((3, 8))", "a.name None", "a.nmae Some((4, 1))"]);
        assert_eq!(notes.problems[3].remedy, "did you mean a.name? else remove it");
    }

    #[test]
    fn several_syntax_errors_are_all_reported() {
        let (notes, _) = Notes::open(Path::new("f.toml"), "a = \nb = 1\nc = [1,\n");
        assert!(notes.problems.len() >= 2, "{:?}", notes.problems);
        assert_eq!(notes.problems[0].place.unwrap().line, 1);
    }

    #[test]
    fn edit_distance_counts_single_changes() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("same", "same"), 0);
    }
}
