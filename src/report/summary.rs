//! The summary of a run, for the terminal: short enough for a mail.

use std::fmt::Write;

use super::at_panic;
use super::exploration;
use super::proof::proof_text;
use crate::model::{Environment, Outcome, Report, Summary, Trial};
use crate::verdict::format::seconds;
use crate::verdict::{starts_sentence, warnings};

/// The summary of a run of one kernel.
pub fn summary(report: &Report) -> String {
    if report.prove.is_some() {
        return proof_text(report);
    }
    if let Some(explored) = &report.explore {
        return exploration::text(report, explored);
    }
    let mut out = String::new();
    let mut row = |name: &str, value: String| {
        // Into memory: it cannot fail.
        let _ = writeln!(out, "{name:<16} {value}");
    };
    row("kernel", kernel(&report.environment));
    row("machine", machine(report));
    if let Some(module) = &report.module {
        let taints = if module.taints.is_empty() {
            "none"
        } else {
            module.taints.as_str()
        };
        row("module", format!("{} (taints: {taints})", module.name));
    }
    row("race", race(report));
    row("trials", outcomes(report));
    if let Some(starts) = &report.stats.starts {
        row("started by", starts_sentence(starts));
    }
    let stats = &report.stats;
    row(
        "exposure",
        format!(
            "{} raced, {} load/unload cycles, {} reads",
            seconds(stats.exposure_s),
            stats.cycles,
            stats.reads
        ),
    );
    if let Some(times) = &stats.time_to_crash_s {
        row("time to crash", spread(times, seconds));
    }
    if let Some(cycles) = &stats.cycles_to_crash {
        let known = spread(cycles, whole_or_half);
        row("cycles to crash", known + &bounded(&report.trials));
    }
    let seen = report
        .trials
        .iter()
        .find(|trial| !trial.at_panic.is_empty());
    if let Some(trial) = seen {
        for line in at_panic::of_trial(trial) {
            row(&format!("in trial {}", trial.index + 1), line);
        }
    }
    for warning in warnings(&report.trials) {
        row(
            "warning",
            format!(
                "{}, {} in {} trials",
                warning.title, warning.count, warning.trials
            ),
        );
    }
    row(
        "verdict",
        format!(
            "{}: {}",
            report.verdict.as_str().to_uppercase(),
            report.verdict_reason
        ),
    );
    out
}

fn kernel(environment: &Environment) -> String {
    let kernel = &environment.kernel;
    let release = kernel.release.as_deref().unwrap_or("its init never spoke");
    let version = kernel.version.as_deref().unwrap_or_default();
    format!("{} ({release} {version})", kernel.name).replace(" )", ")")
}

fn machine(report: &Report) -> String {
    let environment = &report.environment;
    format!(
        "{} CPUs, {} MiB, {}, preemption {}",
        environment.cpus.unwrap_or(report.settings.smp),
        environment.mem_mib.unwrap_or(report.settings.mem_mib),
        environment.accel.as_deref().unwrap_or("no guest"),
        environment.preemption.as_deref().unwrap_or("unknown"),
    )
}

fn race(report: &Report) -> String {
    let settings = &report.settings;
    format!(
        "{}, {} loader{}, {} reader{}{}, {} other modules, chaos {}, seed {}",
        settings.strategy.as_str(),
        settings.loaders,
        plural(settings.loaders),
        settings.readers,
        plural(settings.readers),
        settings
            .other_target()
            .map_or(String::new(), |target| format!(" of {target}")),
        settings.background_modules,
        at_work(report),
        report.seed
    )
}

/// In how many trials the cycle of the crash is known within bounds only.
fn bounded(trials: &[Trial]) -> String {
    let bounds: Vec<_> = trials
        .iter()
        .filter_map(|trial| trial.cycles_to_crash_bounds)
        .collect();
    let highest = bounds
        .iter()
        .filter_map(|bounds| bounds.high)
        .fold(0.0, f64::max);
    match bounds.len() {
        0 => String::new(),
        some => format!(
            " (lower bounds in {some} of {} trials, whose last cycles did not reach the disk: at \
             most {highest:.0})",
            trials.len()
        ),
    }
}

fn plural(count: u32) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn outcomes(report: &Report) -> String {
    let counts = Outcome::ALL.map(|outcome| {
        (
            outcome,
            report
                .trials
                .iter()
                .filter(|trial| trial.outcome == outcome)
                .count(),
        )
    });
    let told: Vec<String> = counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(outcome, count)| format!("{count} {}", outcome.as_str()))
        .collect();
    let told = if told.is_empty() {
        "none ended".to_owned()
    } else {
        told.join(", ")
    };
    format!(
        "{told} (of {} at most {} s each)",
        report.settings.trials, report.settings.duration_s
    )
}

/// The median of an even number of cycles may lie between two of them.
fn whole_or_half(cycles: f64) -> String {
    let digits = usize::from(cycles.fract() != 0.0);
    format!("{cycles:.digits$}")
}

fn spread(summary: &Summary, figure: fn(f64) -> String) -> String {
    // A quantile that the trials did not reach, censored ones counted.
    let quantile = |value: Option<f64>| value.map_or_else(|| "not reached".to_owned(), figure);
    format!(
        "min {}, median {}, p95 {}, max {}",
        figure(summary.min),
        quantile(summary.median),
        quantile(summary.p95),
        figure(summary.max)
    )
}

/// The chaos techniques at work: the same in all trials that raced.
fn at_work(report: &Report) -> String {
    let raced = report.trials.iter().find(|trial| !trial.chaos.is_empty());
    raced.map_or("none".to_owned(), |trial| trial.chaos.join(" and "))
}
