//! How zones and endpoints of the demo are named: Land codes, and slugs of official names.

use std::collections::BTreeSet;

/// Code and ARS digits of each Land, by digits.
pub const LAENDER: [(&str, &str); 16] = [
    ("sh", "01"),
    ("hh", "02"),
    ("ni", "03"),
    ("hb", "04"),
    ("nw", "05"),
    ("he", "06"),
    ("rp", "07"),
    ("bw", "08"),
    ("by", "09"),
    ("sl", "10"),
    ("be", "11"),
    ("bb", "12"),
    ("mv", "13"),
    ("sn", "14"),
    ("st", "15"),
    ("th", "16"),
];

/// Longest slug: room for a suffix within the 40 characters of an endpoint's name (WIRE 1.6).
const LONGEST: usize = 28;

/// `Frankfurt am Main` as `frankfurt-am-main`, `Köln` as `koeln`.
pub fn slug(name: &str) -> String {
    let mut slug = String::new();
    for letter in name.chars().flat_map(char::to_lowercase) {
        match letter {
            'ä' => slug.push_str("ae"),
            'ö' => slug.push_str("oe"),
            'ü' => slug.push_str("ue"),
            'ß' => slug.push_str("ss"),
            'a'..='z' | '0'..='9' => slug.push(letter),
            _ if slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
    }
    let cut: String = slug.trim_matches('-').chars().take(LONGEST).collect();
    cut.trim_matches('-').to_owned()
}

/// Names given in one zone, so that the second Oldenburg gets its digits.
#[derive(Debug, Default)]
pub struct Names(BTreeSet<String>);

impl Names {
    /// The slug of `name`, with `digits` behind it when it is taken.
    pub fn unique(&mut self, name: &str, digits: &str) -> String {
        let plain = slug(name);
        if self.0.insert(plain.clone()) {
            return plain;
        }
        let longer = format!("{plain}-{digits}");
        self.0.insert(longer.clone());
        longer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_valid_endpoint_names() {
        assert_eq!(slug("Frankfurt am Main"), "frankfurt-am-main");
        assert_eq!(slug("Mülheim an der Ruhr"), "muelheim-an-der-ruhr");
        assert_eq!(slug("Offenbach (Main)"), "offenbach-main");
    }
}
