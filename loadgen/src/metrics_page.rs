//! What does a router's page of metrics say? Samples of the Prometheus text format, as far as it is used here.

use std::collections::BTreeMap;

/// Labels by name.
pub type Labels = BTreeMap<String, String>;

/// Samples of one page.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// By name: labels and value.
    samples: BTreeMap<String, Vec<(Labels, f64)>>,
}

impl Page {
    /// Reads a page; lines that are no samples are left out.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut page = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some((name, labels, value)) = sample(line) {
                page.samples.entry(name.to_owned()).or_default().push((labels, value));
            }
        }
        page
    }

    /// The sum of all samples of a name; 0 when there are none.
    #[must_use]
    pub fn sum(&self, name: &str) -> f64 {
        self.sum_where(name, |_| true)
    }

    /// The sum of the samples whose labels fit.
    pub fn sum_where(&self, name: &str, fits: impl Fn(&Labels) -> bool) -> f64 {
        let samples = self.samples.get(name).into_iter().flatten();
        samples.filter(|(labels, _)| fits(labels)).map(|(_, value)| value).sum()
    }

    /// The largest sample of a name whose labels fit.
    pub fn largest(&self, name: &str, fits: impl Fn(&Labels) -> bool) -> Option<f64> {
        let samples = self.samples.get(name).into_iter().flatten();
        samples.filter(|(labels, _)| fits(labels)).map(|(_, value)| *value).reduce(f64::max)
    }
}

fn sample(line: &str) -> Option<(&str, Labels, f64)> {
    let (head, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, rest)) = head.split_once('{') else { return Some((head, BTreeMap::new(), value)) };
    let mut labels = BTreeMap::new();
    let mut rest = rest.strip_suffix('}')?;
    while let Some((key, after)) = rest.split_once("=\"") {
        let end = closing_quote(after)?;
        let (value, after) = after.split_at_checked(end)?;
        labels.insert(key.trim_start_matches(',').to_owned(), value.replace("\\\"", "\"").replace("\\\\", "\\"));
        rest = after.strip_prefix('"')?;
    }
    Some((name, labels, value))
}

/// Where the first quote stands that no backslash escapes.
fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        match letter {
            '"' if !escaped => return Some(at),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP kernpost_x Things.\n# TYPE kernpost_x counter\nkernpost_x{peer=\"uri:spiffe://a/site/senders-0\",link=\"1\"} 5\nkernpost_x{peer=\"b, \\\"c\\\"\",link=\"2\"} 7.5\nkernpost_y 1e3\nnonsense\n";

    #[test]
    fn samples_are_summed_by_name_and_label() {
        let page = Page::parse(PAGE);
        assert!((page.sum("kernpost_x") - 12.5).abs() < 1e-9);
        assert!((page.sum("kernpost_y") - 1_000.0).abs() < 1e-9);
        let senders = |labels: &Labels| labels.get("peer").is_some_and(|peer| peer.contains("senders-"));
        assert!((page.sum_where("kernpost_x", senders) - 5.0).abs() < 1e-9);
        assert!(
            (page.sum_where("kernpost_x", |labels| labels.get("peer").is_some_and(|p| p == "b, \"c\"")) - 7.5).abs()
                < 1e-9
        );
        assert_eq!(page.largest("kernpost_z", |_| true), None);
        assert!(page.sum("kernpost_z").abs() < 1e-9);
    }
}
