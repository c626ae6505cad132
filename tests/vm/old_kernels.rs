//! What kernels before 4.10 and 4.16 do to readers and to modules, on a kernel
//! that is made to do the same.

use modrace::model::{Outcome, Verdict};

use crate::support::Bench;

/// Cycles in which the race is lost where no reader is blind for long. A blind
/// one opened its file anew after 256 unloads.
const SOON: u64 = 60;

#[test]
fn a_reader_of_an_old_kernel_looks_again_at_once() {
    for smp in ["2", "4"] {
        let bench = Bench::new();
        let kernel = ["--kernel", "lab:vulnerable-old", "--smp", smp];
        let ended = bench.vm(&[&kernel[..], &["--trials", "5", "--duration", "60s"]].concat());
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        let report = ended.report();
        // The module of this host's assembler is refused as it is.
        assert!(report.module.as_ref().unwrap().rewritten);
        for trial in &report.trials {
            assert_eq!(trial.outcome, Outcome::Crashed, "{}", trial.reason);
            assert!(trial.cycles_to_crash.unwrap() <= SOON, "{trial:?}");
        }
    }
}

#[test]
fn cycles_of_an_old_kernel_are_watched_and_show_near_misses() {
    let bench = Bench::new();
    let ended = bench.vm(&[
        "--kernel",
        "lab:vulnerable-old",
        "--oracle",
        "near-miss",
        "--trials",
        "1",
        "--duration",
        "5s",
    ]);
    let trial = &ended.report().trials[0];
    let watched = trial.counters.watched_cycles.unwrap();
    assert!(watched as f64 > 0.9 * trial.cycles as f64, "{trial:?}");
    let near_misses = trial.counters.lines.near_misses;
    assert!(near_misses as f64 > 0.05 * trial.cycles as f64, "{trial:?}");
}

#[test]
fn one_cpu_without_preemption_in_the_kernel_is_no_pass() {
    let bench = Bench::new();
    let kernel = ["--kernel", "lab:vulnerable", "--smp", "1"];
    let ended = bench.vm(&[&kernel[..], &["--trials", "1", "--duration", "3s"]].concat());
    assert_eq!(ended.code, Some(5), "{} {}", ended.stdout, ended.stderr);
    let report = ended.report();
    assert_eq!(report.verdict, Verdict::Inconclusive);
    assert!(
        report.verdict_reason.contains("one CPU"),
        "{}",
        report.verdict_reason
    );
}
