//! Format `html`: one file that needs no network. Light and dark by what the
//! reader prefers, and fit to be printed.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::at_panic;
use super::evidence;
use super::forced::{Forced, List, forced};
use super::metadata::{self, Rows, Side};
use super::{Format, RenderError, excerpt, plot, proof};
use crate::model::{Outcome, Proof, Report, ScheduleOutcome};
use crate::verdict::format::seconds;

/// The row of the format table.
pub(super) const FORMAT: Format = Format {
    name: "html",
    help: "one self-contained page with plots",
    extension: "html",
    render,
};

const CSS: &str = include_str!("html.css");

fn render(report: &Report) -> Result<String, RenderError> {
    let sides = metadata::sides(report);
    let title = format!(
        "{} race on Linux {}",
        report.settings.target,
        metadata::release(&report.environment)
    );
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (report.verdict.as_str()) ": " (title) }
                style { (PreEscaped(CSS)) (PreEscaped(plot::css())) }
            }
            body {
                h1 { (title) }
                div class=(format!("verdict {}", report.verdict.as_str())) {
                    b { (metadata::headline(report)) }
                    p { (report.verdict_reason) }
                }
                @if let Some(forced) = forced(report) {
                    (forced_sections(report, &forced))
                } @else {
                    h2 { "Time to crash" }
                    figure { (plot::figure(report, &html! {})) }
                    h2 { "Trials in order" }
                    @for side in &sides { (strip(side)) }
                    h2 { "Result" }
                    (results(&sides))
                }
                @if let Some(comparison) = &report.comparison {
                    h2 { "Evidence" }
                    (table(&evidence::rows(comparison)))
                }
                @let warnings = metadata::warning_lines(report);
                @if !warnings.is_empty() {
                    h2 { "Warnings" }
                    ul { @for line in &warnings { li { (line) } } }
                }
                h2 { "Not shown" }
                ul { @for line in not_shown(report) { li { (line) } } }
                (crash(report))
                @for side in &sides {
                    h2 { "Environment: " (side.name) }
                    (table(&metadata::kernel_rows(side.environment)))
                    (table(&metadata::machine_rows(side.environment)))
                }
                h2 { "Module and method" }
                @if let Some(module) = &report.module { (table(&metadata::module_rows(module))) }
                (table(&metadata::method_rows(report)))
                h2 { "To repeat it" }
                pre { (metadata::repeat(report)) }
            }
        }
    };
    Ok(page.into_string())
}

fn not_shown(report: &Report) -> Vec<String> {
    let limits = forced(report).map(|forced| forced.limits.to_vec());
    limits.unwrap_or_else(|| evidence::not_shown(report))
}

/// What was forced, and what was found.
fn forced_sections(report: &Report, forced: &Forced<'_>) -> Markup {
    let list = |(title, lines): &List| {
        html! {
            @if !lines.is_empty() {
                h2 { (title) }
                ul { @for line in lines { li { (line) } } }
            }
        }
    };
    html! {
        @if let Some(failure) = forced.failure {
            h2 { "What crashed" }
            @for line in proof::failure_head(report, failure) { p { (line) } }
            figure { (PreEscaped(proof::sequence(failure))) }
            @if let Some(crash) = &failure.crash {
                pre { (excerpt::trim(crash, usize::MAX).join("\n")) }
            }
        }
        h2 { "Result" }
        (table(&forced.rows))
        (list(&forced.waits))
        @if let Some(proved) = &report.prove { (schedules(proved)) }
        @for one in &forced.rest { (list(one)) }
    }
}

fn schedules(proved: &Proof) -> Markup {
    html! {
        h2 { "Schedules in order" }
        div.faint { "C crashed, H hung, P passed by, N not decided or not reached, empty: ran through or impossible" }
        div.strip {
            @for schedule in &proved.schedules {
                span class=(class_of(schedule.outcome)) title=(proof::schedule_line(schedule)) {
                    (letter_of(schedule.outcome))
                }
            }
        }
    }
}

fn class_of(outcome: ScheduleOutcome) -> &'static str {
    match outcome {
        ScheduleOutcome::Crashed => "crashed",
        ScheduleOutcome::Hung => "hung",
        ScheduleOutcome::NotDecided | ScheduleOutcome::NotReached => "broken",
        _ => "survived",
    }
}

fn letter_of(outcome: ScheduleOutcome) -> &'static str {
    match outcome {
        ScheduleOutcome::Crashed => "C",
        ScheduleOutcome::Hung => "H",
        ScheduleOutcome::PassedBy => "P",
        ScheduleOutcome::NotDecided | ScheduleOutcome::NotReached => "N",
        _ => "",
    }
}

fn table(rows: &Rows) -> Markup {
    html! {
        table { tbody {
            @for (label, value) in rows { tr { th scope="row" { (label) } td { (value) } } }
        } }
    }
}

/// All runs side by side.
fn results(sides: &[Side]) -> Markup {
    let columns: Vec<Rows> = sides.iter().map(metadata::result_rows).collect();
    html! {
        table {
            thead { tr { th {} @for side in sides { th scope="col" { (side.name) } } } }
            tbody {
                @for (i, (label, _)) in columns[0].iter().enumerate() {
                    tr {
                        th scope="row" { (label) }
                        @for rows in &columns { td { (rows[i].1) } }
                    }
                }
            }
        }
    }
}

/// A cell for each trial; a letter beside the colour, for who cannot tell it.
fn strip(side: &Side) -> Markup {
    let letter = |outcome| match outcome {
        Outcome::Crashed => "C",
        Outcome::Survived => "",
        Outcome::Hung => "H",
        Outcome::Died => "D",
        Outcome::Broken => "B",
        Outcome::Unsupported => "U",
    };
    html! {
        div.faint {
            (side.name) ", " (side.trials.len()) " trials. C crashed, H hung, empty survived"
            @if metadata::no_result(side) > 0 { ", D died unseen, B broken, U unsupported" }
        }
        div.strip {
            @for trial in side.trials {
                span class=(trial.outcome.as_str())
                    title=(format!("trial {}: {} after {}", trial.index, trial.outcome.as_str(), seconds(trial.exposure_s))) {
                    (letter(trial.outcome))
                }
            }
        }
    }
}

fn crash(report: &Report) -> Markup {
    let Some((who, trial, crash)) = metadata::first_crash(report) else {
        return html! {};
    };
    html! {
        h2 { "Crash of the " (who) ", trial " (trial.index) }
        p { (crash.title) }
        pre { (excerpt::trim(crash, usize::MAX).join("\n")) }
        @let at_panic = at_panic::of_trial(trial);
        @if !at_panic.is_empty() {
            h3 { "When the kernel panicked" }
            ul { @for line in &at_panic { li { code { (line) } } } }
        }
    }
}
