//! The plot: survival curves with confidence bands above, each trial as a mark
//! below, both over one logarithmic axis of time. An SVG that stands alone.
//!
//! Elements are written with `{}`, never with `;`: in SVG they must be closed.

use maud::{Markup, PreEscaped, html};

use super::metadata::{self, Side};
use crate::model::{Outcome, Report, Trial};
use crate::stats::{KaplanMeier, mean_above};
use crate::verdict::format::seconds;
use crate::verdict::{Clock, Event, counts, observations};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 92.0;
const RIGHT: f64 = 740.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 254.0;
/// Height of the marks of one run.
const LANE: f64 = 54.0;
const CSS: &str = include_str!("plot.css");

/// The plot as an SVG file.
pub fn svg(report: &Report) -> String {
    let drawing = figure(report, &html! { style { (PreEscaped(CSS)) } });
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}\n",
        drawing.into_string()
    )
}

/// The plot's style, for a page that holds the figure.
pub(super) fn css() -> &'static str {
    CSS
}

/// The drawing, with `style` inside it.
pub(super) fn figure(report: &Report, style: &Markup) -> Markup {
    let sides = metadata::sides(report);
    let axis = Axis::over(&sides);
    let lanes = BOTTOM + 52.0;
    let end = lanes + LANE * sides.len() as f64;
    let height = end + 44.0;
    html! {
        svg.plot xmlns="http://www.w3.org/2000/svg" role="img"
            viewBox=(format!("0 0 {WIDTH} {height}"))
            aria-label="survival curves and times to crash" {
            (style)
            text.title x=(LEFT) y="18" {
                "Share of trials still running (95 % band"
                @if sides.iter().any(|side| side.stats.crashes == 0) {
                    "; of a clean run: 95 % bound on a constant crash rate"
                }
                ")"
            }
            @for (share, label) in [(0.0, "0 %"), (0.25, "25 %"), (0.5, "50 %"), (0.75, "75 %"), (1.0, "100 %")] {
                line.grid x1=(LEFT) x2=(RIGHT) y1=(num(y(share))) y2=(num(y(share))) {}
                text x=(LEFT - 8.0) y=(num(y(share) + 4.0)) text-anchor="end" { (label) }
            }
            @for (time, major) in axis.ticks() {
                @let x = axis.x(time);
                line.grid x1=(num(x)) x2=(num(x)) y1=(TOP) y2=(num(end)) {}
                @if major {
                    text x=(num(x)) y=(num(end + 18.0)) text-anchor="middle" { (tick_label(time)) }
                }
            }
            text x=(num(f64::midpoint(LEFT, RIGHT))) y=(num(end + 38.0)) text-anchor="middle" {
                "time raced in a trial (log scale)"
            }
            text.title x=(LEFT) y=(num(BOTTOM + 34.0)) {
                "Every trial: ● crashed, ○ ended without a crash, × hung"
            }
            @for (i, side) in sides.iter().enumerate() {
                (curve(side, class(i), &axis))
                (marks(side, class(i), &axis, lanes + LANE * i as f64))
            }
        }
    }
}

fn class(side: usize) -> &'static str {
    if side == 0 { "one" } else { "two" }
}

/// Two decimals are more than a screen has.
fn num(value: f64) -> String {
    format!("{value:.2}")
}

fn y(share: f64) -> f64 {
    BOTTOM - share * (BOTTOM - TOP)
}

/// The logarithmic axis of time.
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    fn over(sides: &[Side]) -> Self {
        let times: Vec<f64> = sides
            .iter()
            .flat_map(|side| side.trials.iter().filter(|trial| counts(trial)))
            .map(end_of)
            .filter(|&time| time > 0.0)
            .collect();
        let low = times.iter().copied().fold(f64::INFINITY, f64::min);
        let high = times.iter().copied().fold(0.0, f64::max);
        if times.is_empty() {
            return Self {
                low: 0.01,
                high: 10.0,
            };
        }
        // Some air, and at least half a decade.
        Self {
            low: low / 1.6,
            high: (high * 1.6).max(low * 3.0),
        }
    }

    fn x(&self, time: f64) -> f64 {
        let share = (time.clamp(self.low, self.high) / self.low).ln() / (self.high / self.low).ln();
        LEFT + share * (RIGHT - LEFT)
    }

    /// Decades; with 2 and 5 between them where those are few.
    fn ticks(&self) -> Vec<(f64, bool)> {
        let decades = (self.high / self.low).log10();
        let mut ticks = Vec::new();
        let mut decade = 10_f64.powf(self.low.log10().floor());
        while decade <= self.high {
            for (factor, major) in [(1.0, true), (2.0, decades < 3.5), (5.0, decades < 3.5)] {
                let time = decade * factor;
                if (self.low..=self.high).contains(&time) {
                    ticks.push((time, major));
                }
            }
            decade *= 10.0;
        }
        ticks
    }
}

fn tick_label(time: f64) -> String {
    // `seconds` keeps three digits; a tick is a round number.
    let text = seconds(time * (1.0 + 1e-9));
    match text.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            let number = number.trim_end_matches('0').trim_end_matches('.');
            format!("{number} {unit}")
        }
        _ => text,
    }
}

/// Where a trial's mark stands.
fn end_of(trial: &Trial) -> f64 {
    trial.time_to_crash_s.unwrap_or(trial.exposure_s)
}

fn curve(side: &Side, class: &str, axis: &Axis) -> Markup {
    let observed = observations(side.trials, Clock::Seconds, Event::Crash).unwrap_or_default();
    let Ok(estimate) = KaplanMeier::new(&observed, 0.95) else {
        return html! {};
    };
    let mut line = format!("M{} {}", num(LEFT), num(y(1.0)));
    let (mut upper, mut lower) = (Vec::new(), Vec::new());
    let steps = estimate.steps();
    for (i, step) in steps.iter().enumerate() {
        let x = axis.x(step.time);
        line.push_str(&format!("H{}V{}", num(x), num(y(step.survival))));
        if let Some((low, high)) = step.limits {
            let until = steps.get(i + 1).map_or(estimate.end(), |next| next.time);
            for x in [x, axis.x(until)] {
                upper.push((x, y(high)));
                lower.push((x, y(low)));
            }
        }
    }
    line.push_str(&format!("H{}", num(axis.x(estimate.end()))));
    if steps.is_empty() {
        (upper, lower) = bound(&observed, axis, estimate.end());
    }
    let label_at = steps.iter().find(|step| step.survival <= 0.5).map_or(
        (
            axis.x(estimate.end()) - 6.0,
            y(estimate.survival_at(f64::INFINITY)) + 15.0,
            "end",
        ),
        |step| (axis.x(step.time) + 7.0, y(0.5) - 8.0, "start"),
    );
    html! {
        path class=(format!("{class} band")) d=(outline(&upper, &lower)) {}
        path class=(format!("{class} curve")) d=(line) {}
        text class=(class) x=(num(label_at.0)) y=(num(label_at.1)) text-anchor=(label_at.2) { (side.name) }
    }
}

type Points = Vec<(f64, f64)>;

/// Without a crash Greenwood has nothing to say. What can be said is the 95 %
/// bound on a constant rate: survival is above exp(−t/θ) for θ = S/−ln 0.05.
fn bound(observed: &[crate::stats::Observation], axis: &Axis, end: f64) -> (Points, Points) {
    const PIECES: u32 = 60;
    let exposure = observed
        .iter()
        .map(crate::stats::Observation::exposure)
        .sum();
    let Some(mean) = mean_above(exposure, 0.05).ok().filter(|&mean| mean > 0.0) else {
        return (Vec::new(), Vec::new());
    };
    let ratio = (end / axis.low).max(1.0);
    let times = (0..=PIECES).map(|i| axis.low * ratio.powf(f64::from(i) / f64::from(PIECES)));
    times
        .map(|time| {
            let x = axis.x(time);
            ((x, y(1.0)), (x, y((-time / mean).exp())))
        })
        .unzip()
}

fn outline(upper: &[(f64, f64)], lower: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (i, (x, y)) in upper.iter().chain(lower.iter().rev()).enumerate() {
        let command = if i == 0 { 'M' } else { 'L' };
        path.push_str(&format!("{command}{} {}", num(*x), num(*y)));
    }
    path
}

fn marks(side: &Side, class: &str, axis: &Axis, top: f64) -> Markup {
    let shown: Vec<&Trial> = side.trials.iter().filter(|trial| counts(trial)).collect();
    // Spread over the lane in order, so that equal times do not hide each other.
    let rows = 7;
    html! {
        text class=(class) x=(LEFT - 8.0) y=(num(top + LANE / 2.0 + 4.0)) text-anchor="end" { (side.name) }
        @for (i, trial) in shown.iter().enumerate() {
            @let x = num(axis.x(end_of(trial)));
            @let at = top + 8.0 + (i % rows) as f64 * (LANE - 16.0) / (rows - 1) as f64;
            @let told = format!("trial {}: {} after {}", trial.index, trial.outcome.as_str(), seconds(end_of(trial)));
            @if trial.outcome == Outcome::Hung {
                path class=(format!("{class} mark")) d=(format!("M{x} {}m-4 -4l8 8m0 -8l-8 8", num(at))) { title { (told) } }
            } @else if trial.outcome == Outcome::Crashed {
                circle class=(format!("{class} mark crashed")) cx=(x) cy=(num(at)) r="3.5" { title { (told) } }
            } @else {
                circle class=(format!("{class} mark")) cx=(x) cy=(num(at)) r="3.5" { title { (told) } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_stand_on_round_times_inside_the_axis() {
        let axis = Axis {
            low: 0.03,
            high: 4000.0,
        };
        let labels: Vec<_> = axis
            .ticks()
            .into_iter()
            .filter(|(_, major)| *major)
            .map(|(time, _)| tick_label(time))
            .collect();
        assert_eq!(labels, ["100 ms", "1 s", "10 s", "100 s", "16.7 min"]);
        assert!((axis.x(0.03) - LEFT).abs() < 1e-9 && (axis.x(4000.0) - RIGHT).abs() < 1e-9);
    }
}
