//! Lines over an axis, as SVG that takes its colours from the page.

use std::fmt::Write as _;

/// Size of a plot, and the room around it, in its own units.
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 250.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 40.0;

/// One axis.
pub(super) struct Axis {
    pub label: &'static str,
    pub from: f64,
    pub to: f64,
    pub log: bool,
    /// Where marks stand, and what they say.
    pub ticks: Vec<(f64, String)>,
}

/// One line.
pub(super) struct Line {
    pub name: &'static str,
    /// Its colour in the page's style.
    pub class: &'static str,
    pub points: Vec<(f64, f64)>,
}

impl Axis {
    /// From `from` to a little above `to`, with marks at round numbers.
    pub fn linear(label: &'static str, from: f64, to: f64) -> Self {
        let span = (to - from).max(1e-9);
        let raw = span / 5.0;
        let power = 10_f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= raw);
        let step = step.unwrap_or(power);
        let mut ticks = Vec::new();
        let mut at = (from / step).ceil() * step;
        while at <= to + step * 0.001 && ticks.len() < 20 {
            ticks.push((at, number(at)));
            at += step;
        }
        Self { label, from, to: from + span * 1.04, log: false, ticks }
    }

    /// Around all values, with marks at powers of ten, and between them when there are few.
    pub fn logarithmic(label: &'static str, values: impl Iterator<Item = f64>) -> Self {
        let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
        for value in values.filter(|value| *value > 0.0) {
            (low, high) = (low.min(value), high.max(value));
        }
        if high <= 0.0 {
            (low, high) = (0.1, 10.0);
        }
        let (from, to) = (low / 1.25, high * 1.25);
        let mut ticks = Vec::new();
        let factors: &[f64] = if to / from < 200.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let mut power = 10_f64.powf(from.log10().floor());
        while power <= to && ticks.len() < 20 {
            ticks.extend(factors.iter().map(|factor| factor * power).map(|at| (at, number(at))));
            power *= 10.0;
        }
        ticks.retain(|(at, _)| (from..=to).contains(at));
        Self { label, from, to, log: true, ticks }
    }

    /// Where a value lies between both ends, 0..=1.
    fn share(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(self.from).ln() - self.from.ln()) / (self.to.ln() - self.from.ln())
        } else {
            (value - self.from) / (self.to - self.from)
        };
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// A number as short as it can be read.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{}M", trimmed(value / 1e6)),
        size if size >= 10_000.0 => format!("{}k", trimmed(value / 1e3)),
        _ => trimmed(value),
    }
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.is_empty() || text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// The figure: caption with legend, and the plot. `shade` marks a time that is not measured.
pub(super) fn lines(title: &str, x: &Axis, y: &Axis, drawn: &[Line], shade: Option<(f64, f64)>) -> String {
    let mut out = String::new();
    // Writing into a string cannot fail.
    let _ = write_lines(&mut out, title, x, y, drawn, shade);
    out
}

fn write_lines(
    out: &mut String,
    title: &str,
    x: &Axis,
    y: &Axis,
    drawn: &[Line],
    shade: Option<(f64, f64)>,
) -> std::fmt::Result {
    let across = |value: f64| LEFT + x.share(value) * (WIDTH - LEFT - RIGHT);
    let up = |value: f64| HEIGHT - BOTTOM - y.share(value) * (HEIGHT - TOP - BOTTOM);
    write!(out, "<figure><figcaption>{title}")?;
    if drawn.len() > 1 {
        for line in drawn {
            write!(out, "<span class=\"{}\">{}</span>", line.class, line.name)?;
        }
    }
    write!(out, "</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">")?;
    if let Some((from, to)) = shade {
        let (left, right) = (across(from), across(to));
        write!(
            out,
            "<rect class=\"shade\" x=\"{left:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\">warm-up</text>",
            right - left,
            HEIGHT - TOP - BOTTOM,
            left + 6.0,
            TOP + 14.0
        )?;
    }
    for (at, text) in &y.ticks {
        let height = up(*at);
        write!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{height:.1}\" y2=\"{height:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            height + 4.0
        )?;
    }
    for (at, text) in &x.ticks {
        let place = across(*at);
        write!(
            out,
            "<line class=\"axis\" x1=\"{place:.1}\" x2=\"{place:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/><text x=\"{place:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>",
            HEIGHT - BOTTOM,
            HEIGHT - BOTTOM + 5.0,
            HEIGHT - BOTTOM + 19.0
        )?;
    }
    let middle = (HEIGHT - BOTTOM + TOP) / 2.0;
    write!(
        out,
        "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text><text transform=\"translate(14 {middle:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        WIDTH - RIGHT,
        HEIGHT - BOTTOM,
        HEIGHT - BOTTOM,
        f64::midpoint(LEFT, WIDTH - RIGHT),
        HEIGHT - 5.0,
        x.label,
        y.label
    )?;
    for line in drawn {
        write!(out, "<polyline class=\"{}\" points=\"", line.class)?;
        for (at, value) in &line.points {
            write!(out, "{:.1},{:.1} ", across(*at), up(*value))?;
        }
        out.push_str("\"/>");
    }
    out.push_str("</svg></figure>\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stand_at_round_numbers() {
        let texts = |axis: &Axis| axis.ticks.iter().map(|(_, text)| text.clone()).collect::<Vec<_>>();
        assert_eq!(texts(&Axis::linear("x", 0.0, 30.0)), ["0", "10", "20", "30"]);
        assert_eq!(texts(&Axis::linear("x", 0.0, 120_000.0)), ["0", "50k", "100k"]);
        assert_eq!(texts(&Axis::logarithmic("x", [0.3, 900.0].into_iter())), ["1", "10", "100", "1000"]);
        assert_eq!(texts(&Axis::logarithmic("x", [0.9, 4.0].into_iter())), ["1", "2", "5"]);
    }

    #[test]
    fn nothing_leaves_the_plot() {
        let axis = Axis::linear("x", 0.0, 10.0);
        for value in [-5.0, 0.0, 11.0, f64::NAN] {
            assert!((0.0..=1.0).contains(&axis.share(value)), "{value}");
        }
    }
}
