//! What do log lines and metrics carry? The fields of every logging macro, and the words used in them.

use std::collections::BTreeSet;

const MACROS: [&str; 8] = [
    "tracing::error!(",
    "tracing::warn!(",
    "tracing::info!(",
    "tracing::debug!(",
    "tracing::trace!(",
    "tracing::event!(",
    "eprintln!(",
    "tracing::span!(",
];

/// The arguments of every logging call.
pub fn calls(text: &str) -> Vec<String> {
    let mut calls = Vec::new();
    for line_start in MACROS.iter().flat_map(|name| text.match_indices(name).map(|(at, found)| at + found.len())) {
        calls.push(arguments(&text[line_start..]).to_owned());
    }
    calls
}

/// Names of the fields of every logging call: given by name, by value, or captured in the message.
pub fn fields(text: &str) -> BTreeSet<String> {
    calls(text).iter().flat_map(|call| split(call)).flat_map(|argument| names(&argument)).collect()
}

/// Identifiers of a call outside of literals, and those captured in them.
pub fn words(call: &str) -> BTreeSet<String> {
    let mut words: BTreeSet<String> = split(call).iter().flat_map(|argument| captured(argument)).collect();
    let mut outside = String::new();
    for (at, piece) in literal_pieces(call).into_iter().enumerate() {
        if at % 2 == 0 {
            outside.push_str(piece);
            outside.push(' ');
        }
    }
    words.extend(outside.split(|letter: char| !letter.is_alphanumeric() && letter != '_').map(str::to_owned));
    words
}

/// Label names of the list of families.
pub fn labels(text: &str) -> BTreeSet<String> {
    let families = text.lines().filter(|line| line.contains(": Counter \"") || line.contains(": Gauge \""));
    let lists = families.filter_map(|line| Some(line.split_once('[')?.1.split_once(']')?.0));
    lists.flat_map(|list| list.split('"').skip(1).step_by(2)).map(str::to_owned).collect()
}

/// Up to the parenthesis that closes the call.
fn arguments(text: &str) -> &str {
    let mut depth = 1;
    let mut quoted = false;
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' | '{' | '[' if !quoted => depth += 1,
            ')' | '}' | ']' if !quoted => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[..at];
        }
    }
    text
}

/// Arguments, split at the commas between them.
fn split(call: &str) -> Vec<String> {
    let (mut parts, mut part, mut depth, mut quoted, mut escaped) = (Vec::new(), String::new(), 0, false, false);
    for letter in call.chars() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' | '{' | '[' if !quoted => depth += 1,
            ')' | '}' | ']' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            _ => {}
        }
        part.push(letter);
    }
    parts.push(part);
    parts.into_iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

fn names(argument: &str) -> Vec<String> {
    if argument.starts_with('"') {
        return captured(argument).into_iter().collect();
    }
    if argument.starts_with("target:") || argument.starts_with("tracing::Level") {
        return Vec::new();
    }
    let name = argument.split('=').next().unwrap().trim();
    let given = argument.contains('=');
    let name = name.trim_start_matches(['%', '?']);
    let plain = !name.is_empty() && name.chars().all(|letter| letter.is_alphanumeric() || "_.".contains(letter));
    // Arguments of a message stand in its text, or are names of fields too.
    (plain && (given || !name.chars().all(|letter| letter.is_ascii_digit())))
        .then(|| name.to_owned())
        .into_iter()
        .filter(|name| name.len() > 1)
        .collect()
}

/// Names captured in a literal: `{name}`, `{name:…}`.
fn captured(argument: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, piece) in literal_pieces(argument).into_iter().enumerate() {
        if at % 2 == 1 {
            let braces = piece.replace("{{", "");
            let names = braces.split('{').skip(1).filter_map(|rest| rest.split(['}', ':']).next()).map(str::to_owned);
            found.extend(names.filter(|name| name.starts_with(|letter: char| letter.is_ascii_lowercase())));
        }
    }
    found
}

/// Pieces between quotation marks at odd places.
fn literal_pieces(text: &str) -> Vec<&str> {
    let (mut pieces, mut start, mut escaped, mut quoted) = (Vec::new(), 0, false, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => {
                pieces.push(&text[start..at]);
                start = at + 1;
                quoted = !quoted;
            }
            _ => {}
        }
    }
    pieces.push(&text[start..]);
    pieces
}
