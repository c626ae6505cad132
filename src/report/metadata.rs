//! What every format says of a report, as words: rows of label and value, the
//! headline. Formats decide how it looks, not what it says.

use crate::model::{
    Accel, ChaosChoice, Conclusion, Crash, Environment, Interval, ModuleRecord, Oracle, Report,
    RunStats, Settings, Summary, Trial, Verdict,
};
use crate::procfs::cpus::CpuList;
use crate::verdict::format::{percent, seconds, significant};
use crate::verdict::warnings;

/// Label and value.
pub(super) type Rows = Vec<(&'static str, String)>;

/// One run of a report: the candidate's, or the baseline's.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    pub(super) name: &'static str,
    pub(super) environment: &'a Environment,
    pub(super) trials: &'a [Trial],
    pub(super) stats: &'a RunStats,
    oracle: Oracle,
}

/// The runs of a report. Alone it is "kernel"; beside a baseline "candidate".
pub(super) fn sides(report: &Report) -> Vec<Side<'_>> {
    let name = if report.baseline.is_some() {
        "candidate"
    } else {
        "kernel"
    };
    let own = Side {
        name,
        environment: &report.environment,
        trials: &report.trials,
        stats: &report.stats,
        oracle: report.settings.oracle,
    };
    let baseline = report.baseline.as_ref().map(|run| Side {
        name: if run.source.is_some() {
            "control"
        } else {
            "baseline"
        },
        environment: &run.environment,
        trials: &run.trials,
        stats: &run.stats,
        oracle: report.settings.oracle,
    });
    std::iter::once(own).chain(baseline).collect()
}

/// The verdict in capitals, and what stands behind it. It follows the verdict:
/// what a comparison concluded is told only where the verdict is the same, and a
/// confidence only of a pass. It is often all that is read, so it names a target
/// that is not the default, a control that is missing, and warnings.
pub(super) fn headline(report: &Report) -> String {
    let behind = match (report.verdict, &report.comparison) {
        (Verdict::Pass, _) if report.prove.is_some() => " (every schedule decided)".to_owned(),
        (Verdict::Pass, None) => " (no positive control)".to_owned(),
        (Verdict::Pass, Some(made)) => format!(" (fix confirmed at {})", percent(made.confidence)),
        (Verdict::Fail, Some(made)) if made.conclusion == Conclusion::CandidateCrashed => {
            " (candidate crashed)".to_owned()
        }
        _ => String::new(),
    };
    let warned = if warnings(&report.trials).is_empty() {
        ""
    } else {
        ", with warnings"
    };
    let target = report.settings.other_target();
    let target = target.map_or(String::new(), |target| format!(", readers of {target}"));
    let verdict = report.verdict.as_str().to_uppercase();
    format!("{verdict}{behind}{warned}{target}")
}

/// The kernel's warnings, one line for each sort of each run.
pub(super) fn warning_lines(report: &Report) -> Vec<String> {
    let of_side = |side: &Side| {
        let lines = warnings(side.trials).into_iter().map(|sum| {
            format!(
                "{}: {}, {} in {} of {} trials; the first: {}",
                side.name,
                sum.title,
                sum.count,
                sum.trials,
                side.trials.len(),
                sum.line
            )
        });
        lines.collect::<Vec<_>>()
    };
    sides(report).iter().flat_map(of_side).collect()
}

/// The kernel's release, or the name that it was asked for by.
pub(super) fn release(environment: &Environment) -> &str {
    let kernel = &environment.kernel;
    kernel.release.as_deref().unwrap_or(&kernel.name)
}

/// Which kernel it was.
pub(super) fn kernel_rows(environment: &Environment) -> Rows {
    let kernel = &environment.kernel;
    let mut rows = vec![("kernel", kernel.name.clone())];
    let optional = [
        ("release", &kernel.release),
        ("version", &kernel.version),
        ("source", &kernel.provenance),
        ("config sha256", &kernel.config_sha256),
        ("image sha256", &kernel.image_sha256),
        ("compiler", &kernel.compiler),
        ("preemption", &environment.preemption),
    ];
    for (label, value) in optional {
        if let Some(value) = value {
            rows.push((label, value.clone()));
        }
    }
    rows
}

/// What it ran on.
pub(super) fn machine_rows(environment: &Environment) -> Rows {
    let mut rows = Rows::new();
    let mut put = |label, value: Option<String>| {
        if let Some(value) = value {
            rows.push((label, value));
        }
    };
    put("accel", environment.accel.clone());
    put("CPU", environment.cpu_model.clone());
    put("CPUs", environment.cpus.map(|n| n.to_string()));
    put("memory", environment.mem_mib.map(|n| format!("{n} MiB")));
    put("command line", environment.cmdline.clone());
    put("QEMU", environment.qemu.clone());
    put("host kernel", environment.host_release.clone());
    put("host CPUs", environment.host_cpus.map(|n| n.to_string()));
    for tunable in &environment.tunables {
        put(
            "knob",
            Some(format!(
                "{} {} -> {}",
                tunable.path, tunable.before, tunable.during
            )),
        );
    }
    rows
}

/// The module that was loaded and unloaded.
pub(super) fn module_rows(module: &ModuleRecord) -> Rows {
    let mut rows = vec![("module", module.name.clone())];
    if let Some(srcversion) = &module.srcversion {
        rows.push(("srcversion", srcversion.clone()));
    }
    if let Some(vermagic) = &module.vermagic {
        rows.push(("vermagic", vermagic.trim().to_owned()));
    }
    rows.push(("module sha256", module.sha256.clone()));
    let taints = if module.taints.is_empty() {
        "none (cannot hit the BUG)".to_owned()
    } else {
        module.taints.clone()
    };
    rows.push(("taints", taints));
    if module.rewritten {
        let told = "PLT32 rewritten to PC32 in memory, as this kernel refuses the former";
        rows.push(("relocations", told.to_owned()));
    }
    rows
}

/// How it was tested.
pub(super) fn method_rows(report: &Report) -> Rows {
    let mut rows = vec![
        ("command", quoted(&report.command)),
        ("settings", settings(&report.settings)),
        (
            "seed",
            format!("{}, each trial's derives from it", report.seed),
        ),
    ];
    if let Some(crowding) = report.settings.crowding() {
        rows.push(("note", crowding));
    }
    if let Some(rule) = &report.stop_rule {
        rows.push(("stop rule", rule.clone()));
    }
    if let Some(source) = report.baseline.as_ref().and_then(|run| run.source.as_ref()) {
        rows.push((
            "control",
            format!("run of {}, report sha256 {}", source.started, source.sha256),
        ));
    }
    rows.push(("assurance", report.assurance.as_str().to_owned()));
    if report.terms.allow_warnings {
        rows.push(("warnings", "allowed".to_owned()));
    }
    rows.push(("began", report.started.clone()));
    rows.push((
        "tool",
        format!("{} {}", report.tool.name, report.tool.version),
    ));
    rows
}

fn settings(settings: &Settings) -> String {
    let chaos = match &settings.chaos {
        ChaosChoice::Auto => "auto".to_owned(),
        ChaosChoice::None => "none".to_owned(),
        ChaosChoice::These(names) => names.join(","),
    };
    let mut words = vec![
        format!("up to {} a trial", seconds(settings.duration_s)),
        format!("loaders {}", settings.loaders),
        format!("readers {}", settings.readers),
        format!("strategy {}", settings.strategy.as_str()),
        format!("chaos {chaos}"),
        format!("CPUs {}", settings.smp),
        format!("at once {}", settings.jobs),
    ];
    if !settings.cpus.is_empty() {
        words.push(format!(
            "workers on CPUs {}",
            CpuList::from(&*settings.cpus)
        ));
    }
    if settings.accel != Accel::None {
        words.push(format!("accel {}", settings.accel.as_str()));
        words.push(format!("{} MiB", settings.mem_mib));
    }
    if settings.oracle != Oracle::Crash {
        words.push(format!("oracle {}", settings.oracle.as_str()));
    }
    if let Some(target) = settings.other_target() {
        words.push(format!("target {target}"));
    }
    if settings.background_modules > 0 {
        words.push(format!("other modules {}", settings.background_modules));
    }
    if !settings.append.is_empty() {
        words.push(format!("append \"{}\"", settings.append));
    }
    words.join(", ")
}

/// The command that repeats the run: as typed, and with the seed if that was
/// left to chance.
pub(super) fn repeat(report: &Report) -> String {
    let mut command = quoted(&report.command);
    let seeded = |word: &String| word == "--seed" || word.starts_with("--seed=");
    let races = report
        .command
        .get(1)
        .is_some_and(|word| ["run", "vm", "ab"].contains(&word.as_str()));
    if races && !report.command.iter().any(seeded) {
        command.push_str(&format!(" --seed {}", report.seed));
    }
    command
}

/// The verdict with its reason, after an empty line.
pub(super) fn verdict_line(report: &Report) -> String {
    format!(
        "\n{}: {}\n",
        report.verdict.as_str().to_uppercase(),
        report.verdict_reason
    )
}

/// A command line that a shell reads back as these words.
fn quoted(command: &[String]) -> String {
    shlex::try_join(command.iter().map(String::as_str))
        // Only a NUL byte cannot be quoted, and no argument holds one.
        .unwrap_or_else(|_| command.join(" "))
}

/// What a run's trials came to.
pub(super) fn result_rows(side: &Side) -> Rows {
    let stats = side.stats;
    let mut rows = vec![
        ("trials", side.trials.len().to_string()),
        ("crashed", stats.crashes.to_string()),
        ("hung", stats.hangs.to_string()),
        ("survived", stats.survived.to_string()),
        ("no result", no_result(side).to_string()),
        ("exposure", seconds(stats.exposure_s)),
        ("cycles", stats.cycles.to_string()),
        ("reads", stats.reads.to_string()),
        ("warnings", warned(side).to_string()),
    ];
    if side.oracle == Oracle::NearMiss {
        let misses = |trial: &Trial| trial.counters.lines.near_misses;
        let misses: u64 = side.trials.iter().map(misses).sum();
        rows.push(("near misses", misses.to_string()));
    }
    rows.push(("mean time to crash", mean(stats)));
    let median = stats.time_to_crash_s.as_ref();
    rows.push(("  median", quantile(median, |s| (s.median, s.median_ci95))));
    rows.push((
        "  95th percentile",
        quantile(median, |s| (s.p95, s.p95_ci95)),
    ));
    let range = median.map(|s| format!("{} .. {}", seconds(s.min), seconds(s.max)));
    rows.push(("  fastest .. slowest", range.unwrap_or_else(none)));
    let cycles = stats.cycles_to_crash.as_ref().map(|s| {
        let high = s.ci95.high.map_or_else(none, |high| significant(high, 3));
        let low = significant(s.ci95.low, 3);
        format!("{} ({low} .. {high})", significant(s.mean, 3))
    });
    rows.push(("mean cycles to crash", cycles.unwrap_or_else(none)));
    rows
}

/// Warnings of the kernel in all trials.
fn warned(side: &Side) -> u64 {
    let counts = warnings(side.trials).into_iter().map(|sum| sum.count);
    counts.fold(0, u64::saturating_add)
}

/// Trials that say nothing about the kernel.
pub(super) fn no_result(side: &Side) -> usize {
    let counted = side.stats.crashes + side.stats.hangs + side.stats.survived;
    side.trials.len().saturating_sub(counted as usize)
}

fn none() -> String {
    "-".to_owned()
}

fn mean(stats: &RunStats) -> String {
    match (&stats.time_to_crash_s, stats.mean_above_s) {
        (Some(summary), _) => format!("{} ({})", seconds(summary.mean), limits(summary.ci95)),
        (None, Some(bound)) => format!("> {} (95 %)", seconds(bound)),
        (None, None) => none(),
    }
}

fn quantile(
    summary: Option<&Summary>,
    of: impl Fn(&Summary) -> (Option<f64>, Option<Interval>),
) -> String {
    let Some((value, interval)) = summary.map(of) else {
        return none();
    };
    let value = value.map_or_else(|| "not reached".to_owned(), seconds);
    match interval {
        Some(interval) => format!("{value} ({})", limits(interval)),
        None => value,
    }
}

fn limits(interval: Interval) -> String {
    let high = interval.high.map_or_else(|| "?".to_owned(), seconds);
    format!("{} .. {high}", seconds(interval.low))
}

/// The first crash worth showing, the candidate's before the baseline's.
pub(super) fn first_crash(report: &Report) -> Option<(&'static str, &Trial, &Crash)> {
    sides(report).into_iter().find_map(|side| {
        let mut trials = side.trials.iter();
        trials.find_map(|trial| Some((side.name, trial, trial.crash.as_ref()?)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_do_not_exist_are_not_printed_as_numbers() {
        let open = Interval {
            low: 2.0,
            high: None,
        };
        assert_eq!(limits(open), "2.00 s .. ?");
        assert_eq!(quantile(None, |s| (s.median, None)), "-");
    }
}
