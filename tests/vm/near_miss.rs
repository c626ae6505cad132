//! The near-miss oracle on real kernels: hits where the fix is missing, none
//! where it is there, and a refusal where the kernel taints the twin.

use modrace::model::{LineFault, Verdict};

use crate::support::Bench;

fn race<'a>(kernel: &'a str, duration: &'a str) -> [&'a str; 10] {
    [
        "--kernel",
        kernel,
        "--oracle",
        "near-miss",
        "--trials",
        "1",
        "--strategy",
        "head",
        "--duration",
        duration,
    ]
}

#[test]
fn the_vulnerable_kernel_shows_near_misses_and_lives() {
    let bench = Bench::new();
    let ended = bench.vm(&race("lab:vulnerable", "45s"));
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let report = ended.report();
    assert_eq!(report.verdict, Verdict::Fail);
    assert_eq!(report.stats.crashes, 0);
    assert!(report.stats.near_misses > 0);
    assert_eq!(report.module.as_ref().unwrap().taints, "");
    let lines = &report.trials[0].counters.lines;
    assert_eq!(lines.total(), lines.near_misses, "{lines:?}");
    let example = &report.trials[0].bad_lines[0];
    assert_eq!(example.fault, LineFault::NearMiss);
    assert!(example.line.contains(" Live "), "{example:?}");
}

#[test]
fn the_fixed_kernel_shows_none_and_no_other_bad_line_however_it_is_read() {
    let bench = Bench::new();
    for strategy in ["head", "full"] {
        let mut arguments = race("lab:fixed", "8s");
        arguments[7] = strategy;
        let ended = bench.vm(&arguments);
        let report = ended.report();
        assert!(report.stats.cycles > 0);
        assert!(
            report.trials[0].counters.lines.is_clean(),
            "{:?}",
            report.trials[0].bad_lines
        );
        // Without a control it is no pass.
        assert_eq!(ended.code, Some(5), "{}", ended.stderr);
        assert_eq!(report.verdict, Verdict::Inconclusive);
    }
}

#[test]
fn a_kernel_that_taints_the_twin_is_no_kernel_for_near_misses() {
    let bench = Bench::new();
    let stock = crate::stock_kernel::stock_release();
    let ended = bench.vm(&race(&stock, "5s"));
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    let reason = &ended.report().verdict_reason;
    assert!(
        reason.contains("tainted (E)") && reason.contains("unsigned"),
        "{reason}"
    );
}
