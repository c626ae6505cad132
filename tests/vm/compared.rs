//! Two kernels set against each other: the fix confirmed, refuted, and left
//! open; and a control from an earlier run.

use std::fs;

use modrace::model::{Conclusion, Outcome, Verdict};

use crate::support::{Bench, bogus, modrace};

/// `modrace ab` with settings that need a minute, not an hour.
fn ab(bench: &Bench, baseline: &str, candidate: &str, more: &[&str]) -> crate::support::Ended {
    let report = bench.path("report.json");
    let mut command = modrace();
    command.args(["ab", "--baseline", baseline, "--candidate", candidate]);
    command.args([
        "--crashes",
        "3",
        "--confidence",
        "0.9",
        "--duration",
        "20s",
        "--seed",
        "11",
    ]);
    command.arg("--report").arg(report).args(more);
    bench.ended(&command.output().unwrap())
}

#[test]
fn the_fix_is_confirmed_once_the_needed_exposure_is_met() {
    let bench = Bench::new();
    let ended = ab(&bench, "lab:vulnerable", "lab:fixed", &[]);
    assert_eq!(ended.code, Some(0), "{} {}", ended.stdout, ended.stderr);
    let report = ended.report();
    assert_eq!(report.verdict, Verdict::Pass);
    let comparison = report.comparison.as_ref().unwrap();
    assert_eq!(comparison.conclusion, Conclusion::FixConfirmed);
    let baseline = report.baseline.as_ref().unwrap();
    assert!(baseline.stats.crashes >= 3);
    assert!(
        report
            .trials
            .iter()
            .all(|trial| trial.outcome == Outcome::Survived)
    );
    assert!(report.states.len() > 60 && report.states.iter().all(|check| check.ok));
    // Both kernels were raced with the same seeds.
    let pairs = report.trials.iter().zip(&baseline.trials);
    assert!(
        pairs
            .into_iter()
            .all(|(ours, theirs)| ours.seed == theirs.seed)
    );
    if comparison.extrapolated {
        let seconds = &comparison.seconds;
        assert!(seconds.candidate_exposure >= seconds.needed.unwrap());
    }
    let checked = modrace()
        .args(["report", "validate"])
        .arg(bench.path("report.json"))
        .output();
    let checked = checked.unwrap();
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stdout)
    );
}

#[test]
fn a_candidate_that_crashes_is_no_fix() {
    let bench = Bench::new();
    let ended = ab(&bench, "lab:vulnerable", "lab:vulnerable", &["--no-states"]);
    assert_eq!(ended.code, Some(1), "{} {}", ended.stdout, ended.stderr);
    let comparison = ended.report().comparison.as_ref().unwrap();
    assert_eq!(comparison.conclusion, Conclusion::CandidateCrashed);
}

#[test]
fn without_a_crash_of_the_baseline_nothing_is_shown() {
    let bench = Bench::new();
    let ended = ab(
        &bench,
        "lab:fixed",
        "lab:fixed",
        &["--no-states", "--max-exposure", "20s"],
    );
    assert_eq!(ended.code, Some(5), "{} {}", ended.stdout, ended.stderr);
    assert_eq!(ended.report().verdict, Verdict::Inconclusive);
    assert!(
        ended
            .report()
            .verdict_reason
            .contains("no positive control")
    );
}

#[test]
fn a_control_earns_a_pass_and_one_of_another_experiment_is_refused() {
    let bench = Bench::new();
    let settings = ["--duration", "10s", "--seed", "5"];
    let crashed = bench.vm(&[
        &["--kernel", "lab:vulnerable", "--trials", "3"],
        &settings[..],
    ]
    .concat());
    assert_eq!(crashed.code, Some(1), "{}", crashed.stderr);
    let control = bench.path("control.json");
    fs::rename(bench.path("report.json"), &control).unwrap();
    let control = control.to_str().unwrap();

    let with = [
        "--kernel",
        "lab:fixed",
        "--control",
        control,
        "--confidence",
        "0.5",
    ];
    let ended = bench.vm(&[&with[..], &["--trials", "2"], &settings[..]].concat());
    assert_eq!(ended.code, Some(0), "{} {}", ended.stdout, ended.stderr);
    assert_eq!(ended.report().verdict, Verdict::Pass);
    assert!(ended.report().baseline.as_ref().unwrap().source.is_some());
    assert!(
        !ended
            .report()
            .verdict_reason
            .contains("no positive control")
    );

    let ended = bench.vm(&[&with[..], &["--duration", "11s"]].concat());
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("duration_s"), "{}", ended.stderr);
}

#[test]
fn near_misses_tell_two_kernels_apart_where_nothing_crashes() {
    let bench = Bench::new();
    let ended = ab(
        &bench,
        "lab:vulnerable",
        "lab:fixed",
        &["--oracle", "near-miss", "--max-exposure", "120s"],
    );
    assert_eq!(ended.code, Some(0), "{} {}", ended.stdout, ended.stderr);
    let comparison = ended.report().comparison.as_ref().unwrap();
    let found = comparison.near_misses.unwrap();
    assert!(found.baseline >= 3 && found.candidate == 0, "{found:?}");
    assert!(found.candidate_cycles as f64 >= found.needed_cycles.unwrap());
    assert_eq!(ended.report().stats.crashes, 0);
}

/// A fix that forgets its lock once in 2000 unloads of one boot: no clone of a
/// young kernel ever meets it.
#[test]
#[ignore = "builds a kernel and races it for minutes"]
fn a_store_that_is_wrong_once_in_2000_unloads_is_found() {
    let bench = Bench::new();
    let candidate = bogus("once-in-2000");
    let report = bench.path("report.json");
    let mut command = modrace();
    command.args(["ab", "--baseline", "lab:vulnerable", "--candidate"]);
    command.args([&candidate, "--no-states", "--budget", "5m", "--report"]);
    let ended = bench.ended(&command.arg(report).output().unwrap());
    assert_eq!(ended.code, Some(1), "{} {}", ended.stdout, ended.stderr);
    let report = ended.report();
    assert_eq!(report.verdict, Verdict::Fail);
    let (last, clean) = report.trials.split_last().unwrap();
    assert_eq!(last.outcome, Outcome::Crashed);
    assert!(last.cycles > 1500, "{}", last.cycles);
    assert!(clean.iter().all(|trial| trial.outcome == Outcome::Survived));
}
