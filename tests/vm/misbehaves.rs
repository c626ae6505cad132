//! Kernels that misbehave outside of the race under test: they die before it,
//! warn in it, stop getting on. Each fails, none is broken, none passes in
//! silence.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use modrace::model::{Outcome, StateSource, TrialPhase, Verdict};

use crate::support::{Bench, Ended, fixture_module, modrace};

/// A module of `fixtures/faulty-modules`, built for the fixed lab kernel.
fn faulty_module(bench: &Bench, name: &str) -> PathBuf {
    fixture_module("faulty-modules", bench.folder.path());
    bench.path(&format!("{name}.ko"))
}

/// One trial of the fixed kernel with a faulty module.
fn race_module(bench: &Bench, name: &str) -> Ended {
    let module = faulty_module(bench, name);
    let module = module.to_str().unwrap();
    bench.vm(&[
        "--kernel",
        "lab:fixed",
        "--module",
        module,
        "--trials",
        "1",
        "--duration",
        "60s",
    ])
}

/// The lab kernel that misbehaves as its command line says.
fn faulty_kernel() -> &'static str {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let patch =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/kernel/faulty-m-show.patch");
        let built = modrace()
            .args(["lab", "build", "--name", "faulty", "--patch"])
            .arg(patch)
            .output()
            .unwrap();
        assert!(built.status.success(), "{built:?}");
    });
    "lab:faulty"
}

/// One trial of that kernel, with plenty of reads.
fn race_kernel(bench: &Bench, fault: &str, duration: &str) -> Ended {
    let append = format!("m_show_fault={fault}");
    bench.vm(&[
        "--kernel",
        faulty_kernel(),
        "--append",
        &append,
        "--strategy",
        "head",
        "--chaos",
        "none",
        "--trials",
        "1",
        "--duration",
        duration,
    ])
}

#[test]
fn a_kernel_that_dies_before_the_race_fails_with_the_crashs_title() {
    for (name, title) in [
        ("bug_in_init", "kernel BUG in faulty_init"),
        ("bug_in_exit", "kernel BUG in faulty_exit"),
    ] {
        let bench = Bench::new();
        let ended = race_module(&bench, name);
        assert_eq!(ended.code, Some(1), "{name}: {}", ended.stderr);
        let report = ended.report();
        assert_eq!(report.verdict, Verdict::Fail);
        let trial = &report.trials[0];
        assert_eq!(trial.outcome, Outcome::Crashed, "{}", trial.reason);
        assert_eq!(trial.phase, TrialPhase::Setup, "{name}");
        assert_eq!(trial.crash.as_ref().unwrap().title, title);
        assert_eq!((trial.time_to_crash_s, trial.cycles_to_crash), (None, None));
        let reason = &report.verdict_reason;
        assert!(
            reason.contains(title) && reason.contains("not in the race under test"),
            "{reason}"
        );
    }
}

#[test]
fn a_module_that_never_comes_back_from_its_first_load_is_a_hang() {
    let bench = Bench::new();
    let ended = race_module(&bench, "sleep_in_init");
    let trial = &ended.report().trials[0];
    assert_eq!(trial.outcome, Outcome::Hung, "{}", trial.reason);
    assert_eq!(trial.phase, TrialPhase::Setup);
    assert!(
        trial.reason.contains("blocked") && trial.reason.contains("faulty_init"),
        "{}",
        trial.reason
    );
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
}

#[test]
fn a_kernel_that_dies_in_every_boot_crashed_in_boot() {
    let bench = Bench::new();
    let ended = race_kernel(&bench, "boot", "5s");
    let trial = &ended.report().trials[0];
    assert_eq!(trial.outcome, Outcome::Crashed, "{}", trial.reason);
    assert_eq!(trial.phase, TrialPhase::Boot);
    assert!(
        trial.reason.contains("kernel BUG in boot_fault") && trial.reason.contains("3 boots of 3"),
        "{}",
        trial.reason
    );
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
}

#[test]
fn a_warning_in_the_race_is_in_the_record() {
    let bench = Bench::new();
    let ended = race_kernel(&bench, "warn", "10s");
    let trial = &ended.report().trials[0];
    assert_eq!(trial.outcome, Outcome::Survived, "{}", trial.reason);
    let [warning] = &trial.warnings[..] else {
        panic!("{:?}", trial.warnings);
    };
    assert_eq!(warning.title, "WARNING in m_show_fault_now");
    assert_eq!(warning.count, 1);
    assert!(warning.first_line.contains("kernel/module/procfs.c"));
}

#[test]
fn a_deadlocked_module_mutex_is_a_hang_within_seconds_and_names_who_is_stuck() {
    let bench = Bench::new();
    let ended = race_kernel(&bench, "deadlock", "120s");
    let trial = &ended.report().trials[0];
    assert_eq!(trial.outcome, Outcome::Hung, "{}", trial.reason);
    assert!(
        trial.reason.contains("reader/") && trial.reason.contains("m_show"),
        "{}",
        trial.reason
    );
    // Long before the race's time was over, on the guest's clock.
    assert!(trial.exposure_s < 60.0, "{} s", trial.exposure_s);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
}

#[test]
fn a_breakpoint_left_in_the_kernel_is_the_emulators_and_told_as_broken() {
    let bench = Bench::new();
    let ended = race_kernel(&bench, "int3", "60s");
    let trial = &ended.report().trials[0];
    assert_eq!(trial.outcome, Outcome::Broken, "{}", trial.reason);
    assert!(trial.reason.contains("emulator"), "{}", trial.reason);
    assert!(trial.crash.is_some(), "it is not dropped");
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
}

#[test]
fn a_crash_of_another_cause_in_the_race_fails() {
    let bench = Bench::new();
    let ended = race_kernel(&bench, "bug", "60s");
    let trial = &ended.report().trials[0];
    assert_eq!(trial.outcome, Outcome::Crashed, "{}", trial.reason);
    assert_eq!(trial.phase, TrialPhase::Race);
    assert!(trial.time_to_crash_s.is_some());
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
}

#[test]
fn a_kernel_that_dies_while_its_states_are_looked_at_fails_the_check() {
    let bench = Bench::new();
    let module = faulty_module(&bench, "bug_in_init");
    let file = bench.path("states.json");
    let output = modrace()
        .args(["states", "--kernel", "lab:fixed", "--smp", "2", "--report"])
        .arg(&file)
        .arg("--module")
        .arg(module)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text} {told}");
    assert!(text.contains("kernel BUG in faulty_init"), "{text}");
    let report: modrace::model::Report =
        serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(report.verdict, Verdict::Fail);
    let failed: Vec<_> = report.states.iter().filter(|check| !check.ok).collect();
    assert!(!failed.is_empty());
    assert!(
        failed
            .iter()
            .all(|check| check.source == StateSource::Console)
    );
}

#[test]
fn a_module_that_does_not_load_is_told_at_once_by_states() {
    let bench = Bench::new();
    let mut bytes = std::fs::read(crate::support::dummy_module()).unwrap();
    let at = bytes
        .windows(11)
        .position(|tag| tag == b"vermagic=6.")
        .expect("a modinfo tag");
    bytes[at + 9] = b'9';
    let path = bench.path("foreign.ko");
    std::fs::write(&path, bytes).unwrap();
    let output = modrace()
        .args(["states", "--kernel", "lab:fixed", "--smp", "2", "--module"])
        .arg(&path)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("ENOEXEC"), "{told}");
    assert!(!told.contains("EAGAIN"), "{told}");
}
