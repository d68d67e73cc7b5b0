//! The live view in a terminal: progress, rates and latencies over time, outcomes.
//!
//! It draws on the alternate screen without raw mode, so that Ctrl-C stays a signal, and leaves the screen as it was.

use std::io::{Stdout, stdout};

use anyhow::Result;
use ratatui::Frame;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Chart, Dataset, Gauge, GraphType, Paragraph, Wrap};

use super::Now;
use crate::measured::{Moment, float};
use crate::units::{shown_count, shown_us};

/// Moments kept for the charts: at five a second, two minutes.
const MOMENTS: usize = 600;

/// The view.
pub struct View {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    moments: Vec<Moment>,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("moments", &self.moments.len()).finish_non_exhaustive()
    }
}

impl View {
    /// Takes the screen.
    ///
    /// # Errors
    /// It is no terminal.
    pub fn open() -> Result<Self> {
        execute!(stdout(), EnterAlternateScreen, Hide)?;
        Ok(Self { terminal: Terminal::new(CrosstermBackend::new(stdout()))?, moments: Vec::new() })
    }

    /// Draws a moment.
    ///
    /// # Errors
    /// The terminal cannot be written.
    pub fn show(&mut self, now: &Now) -> Result<()> {
        if self.moments.last().is_some_and(|last| last.at_s > now.moment.at_s) {
            self.moments.clear();
        }
        if self.moments.len() >= MOMENTS {
            self.moments.remove(0);
        }
        self.moments.push(now.moment);
        self.terminal.draw(|frame| draw(frame, now, &self.moments))?;
        Ok(())
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let _ = execute!(stdout(), Show, LeaveAlternateScreen);
    }
}

/// Draws everything; also what the tests look at.
fn draw(frame: &mut Frame<'_>, now: &Now, moments: &[Moment]) {
    let [top, numbers, charts, outcomes] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(3), Constraint::Min(6), Constraint::Length(4)])
            .areas(frame.area());
    let done = (now.moment.at_s / now.length_s.max(0.001)).clamp(0.0, 1.0);
    let phase = if now.moment.at_s < now.warm_up_s { "warm-up" } else { "measuring" };
    let label = format!("{}  {phase}  {:.0} of {:.0} s", now.name, now.moment.at_s.min(now.length_s), now.length_s);
    let gauge = Gauge::default().ratio(done).label(label).gauge_style(Style::new().fg(Color::Blue).bg(Color::Black));
    frame.render_widget(gauge, top);
    frame.render_widget(Paragraph::new(figures(now)).block(Block::bordered()), numbers);
    let [left, right] = Layout::horizontal([Constraint::Percentage(50), Constraint::Percentage(50)]).areas(charts);
    rates(frame, left, moments);
    latencies(frame, right, moments);
    // Two lines where one is too narrow: no outcome may be cut off.
    let ends = Paragraph::new(ends(now)).wrap(Wrap { trim: true });
    frame.render_widget(ends.block(Block::bordered().title("outcomes")), outcomes);
}

fn figures(now: &Now) -> Line<'static> {
    let us = |us: u64| shown_us(float(us));
    let moment = &now.moment;
    let pairs = [
        ("done", format!("{:.0}/s", moment.ended_per_s)),
        ("under way", shown_count(moment.open)),
        ("p50", us(moment.p50_us)),
        ("p99", us(moment.p99_us)),
        ("max", us(moment.max_us)),
        ("bundle fill", format!("{:.1}", moment.bundle_fill)),
        ("routers", format!("{:.2} cores", moment.router_cores)),
    ];
    spans(pairs)
}

fn ends(now: &Now) -> Line<'static> {
    let counts = &now.counts;
    let pairs = [
        ("delivered", shown_count(counts.delivered)),
        ("rejected", shown_count(counts.rejected)),
        ("refused", shown_count(counts.refused)),
        ("undecided", shown_count(counts.undecided)),
        ("expired", shown_count(counts.expired)),
        ("custody", shown_count(counts.custody)),
        ("other", shown_count(counts.other)),
        ("not taken", shown_count(counts.not_taken)),
        ("not started", shown_count(now.not_started)),
    ];
    spans(pairs)
}

fn spans<const N: usize>(pairs: [(&'static str, String); N]) -> Line<'static> {
    let soft = Style::new().add_modifier(Modifier::DIM);
    let strong = Style::new().add_modifier(Modifier::BOLD);
    // A name stays with its value where lines are broken.
    let together = |text: String| text.replace(' ', "\u{a0}");
    let one = |(name, value): (&'static str, String)| {
        [Span::styled(together(format!("{name} ")), soft), Span::styled(together(value), strong), Span::raw("   ")]
    };
    Line::from(pairs.into_iter().flat_map(one).collect::<Vec<_>>())
}

fn rates(frame: &mut Frame<'_>, area: Rect, moments: &[Moment]) {
    let points = |value: fn(&Moment) -> f64| -> Vec<(f64, f64)> {
        moments.iter().map(|moment| (moment.at_s, value(moment))).collect()
    };
    let (offered, done) = (points(|moment| moment.offered_per_s), points(|moment| moment.ended_per_s));
    let most = offered.iter().chain(&done).map(|point| point.1).fold(1.0, f64::max) * 1.1;
    let labels = ["0".to_owned(), format!("{:.0}", most / 2.0), format!("{most:.0}")];
    let lines = [("offered", Color::Yellow, offered.as_slice()), ("done", Color::Cyan, done.as_slice())];
    chart(frame, area, "messages/s", lines, [0.0, most], labels, moments);
}

fn latencies(frame: &mut Frame<'_>, area: Rect, moments: &[Moment]) {
    // The axis is the logarithm of µs: from 10 µs on, so that a tail of seconds and a median below 1 ms are both seen.
    let points = |value: fn(&Moment) -> u64| -> Vec<(f64, f64)> {
        moments.iter().map(|moment| (moment.at_s, float(value(moment).max(1)).log10())).collect()
    };
    let (p99, p50) = (points(|moment| moment.p99_us), points(|moment| moment.p50_us));
    let all = || p99.iter().chain(&p50).map(|point| point.1).filter(|height| *height > 0.0);
    let low = all().fold(f64::INFINITY, f64::min).min(6.0).floor();
    let high = all().fold(low + 1.0, f64::max).ceil();
    let label = |height: f64| shown_us(10_f64.powf(height));
    let labels = [label(low), label(f64::midpoint(low, high)), label(high)];
    let lines = [("p99", Color::Yellow, p99.as_slice()), ("p50", Color::Cyan, p50.as_slice())];
    chart(frame, area, "latency from the intended start", lines, [low, high], labels, moments);
}

/// A line's name, colour and points.
type Drawn<'a> = (&'static str, Color, &'a [(f64, f64)]);

fn chart(
    frame: &mut Frame<'_>,
    area: Rect,
    title: &'static str,
    lines: [Drawn<'_>; 2],
    bounds: [f64; 2],
    labels: [String; 3],
    moments: &[Moment],
) {
    let first = moments.first().map_or(0.0, |moment| moment.at_s);
    let last = moments.last().map_or(1.0, |moment| moment.at_s).max(first + 1.0);
    let sets = lines.map(|(name, color, points)| {
        let set = Dataset::default().name(name).marker(Marker::Braille).graph_type(GraphType::Line);
        set.style(Style::new().fg(color)).data(points)
    });
    let x = Axis::default().bounds([first, last]).labels([format!("{first:.0} s"), format!("{last:.0} s")]);
    let chart = Chart::new(sets.to_vec())
        .block(Block::bordered().title(title))
        .x_axis(x)
        .y_axis(Axis::default().bounds(bounds).labels(labels));
    frame.render_widget(chart, area);
}

#[cfg(test)]
mod tests {
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::accounting::Counts;

    fn now(at_s: f64) -> Now {
        let moment = Moment {
            at_s,
            offered_per_s: 1_000.0,
            ended_per_s: 998.0,
            open: 12,
            p50_us: 310,
            p99_us: 4_200,
            max_us: 9_000,
            bundle_fill: 7.5,
            router_cores: 0.31,
        };
        let counts =
            Counts { delivered: 12_345, rejected: 6, refused: 7, other: 81, not_taken: 92, ..Counts::default() };
        Now {
            name: "baseline".to_owned(),
            length_s: 30.0,
            warm_up_s: 5.0,
            moment,
            counts,
            not_started: 43,
            latency: Default::default(),
        }
    }

    fn screen(width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let moments = [now(9.8).moment, now(10.0).moment];
        terminal.draw(|frame| draw(frame, &now(10.0), &moments)).unwrap();
        terminal.backend().to_string().replace('\u{a0}', " ")
    }

    #[test]
    fn everything_an_operator_watches_is_on_one_screen() {
        let screen = screen(120, 24);
        for part in [
            "baseline",
            "measuring",
            "998/s",
            "310 µs",
            "4.20 ms",
            "7.5",
            "0.31 cores",
            "under way",
            "refused 7",
            "other 81",
            "not taken 92",
            "not started 43",
            "messages/s",
        ] {
            assert!(screen.contains(part), "{part} is missing:\n{screen}");
        }
    }

    #[test]
    fn a_tiny_terminal_does_not_break_it() {
        for (width, height) in [(1, 1), (20, 5), (40, 10)] {
            screen(width, height);
        }
    }
}
