//! The outcomes that say something about a kernel: crashed, survived, hung,
//! unsupported.

use std::fs;

use modrace::model::{CrashClass, Domain, Outcome, Verdict, derive};

use crate::support::{Bench, contains, dummy_module, fixture_module};

#[test]
fn the_vulnerable_kernel_crashes_in_every_trial_and_the_report_says_how() {
    let bench = Bench::new();
    let ended = bench.vm(&[
        "--kernel",
        "lab:vulnerable",
        "--trials",
        "3",
        "--duration",
        "60s",
        "--seed",
        "7",
    ]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let report = ended.report();
    assert_eq!(report.verdict, Verdict::Fail);
    assert!(report.complete);
    assert_eq!(report.trials.len(), 3);
    for trial in &report.trials {
        assert_eq!(trial.outcome, Outcome::Crashed, "{}", trial.reason);
        assert_eq!(trial.seed, derive(7, Domain::Trial, trial.index.into()));
        let crash = trial.crash.as_ref().unwrap();
        assert_eq!(crash.function.as_deref(), Some("module_flags"));
        assert_eq!(crash.class, CrashClass::Target);
        assert!(
            crash
                .call_trace
                .iter()
                .any(|frame| frame.function == "m_show")
        );
        let time_s = trial.time_to_crash_s.unwrap();
        assert!(time_s >= 0.0 && (time_s - trial.exposure_s).abs() < 1e-9);
        assert_eq!(trial.cycles_to_crash, Some(trial.cycles + 1));
        assert!(
            trial.signals.len() >= 2,
            "one signal is none: {:?}",
            trial.signals
        );
        // Both sides: the reader on its CPU, the loader on its CPU or asleep.
        let is_in = |function: &str| {
            let called = |frame: &String| frame.starts_with(&format!("{function}+"));
            let mut seen = trial.at_panic.iter();
            seen.any(|one| one.sure && one.frames.iter().any(called))
        };
        assert!(is_in("m_show") && is_in("free_module"), "{trial:?}");
        let console = fs::read(bench.path(trial.console.as_ref().unwrap())).unwrap();
        assert!(contains(&console, b"kernel BUG at kernel/module/main.c"));
    }
    assert_eq!(report.stats.crashes, 3);
    assert_eq!(report.module.as_ref().unwrap().taints, "O");
    assert!(ended.stdout.contains("FAIL"), "{}", ended.stdout);
}

#[test]
fn the_fixed_kernel_survives_and_its_counts_are_the_flight_recorders() {
    let bench = Bench::new();
    let ended = bench.vm(&["--kernel", "lab:fixed", "--trials", "2", "--duration", "5s"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let report = ended.report();
    assert_eq!(report.verdict, Verdict::Pass);
    assert!(
        report.verdict_reason.contains("no positive control"),
        "{}",
        report.verdict_reason
    );
    for trial in &report.trials {
        assert_eq!(trial.outcome, Outcome::Survived, "{}", trial.reason);
        assert!(
            trial.exposure_s >= 5.0 && trial.exposure_s < 10.0,
            "{}",
            trial.exposure_s
        );
        assert!(
            trial.cycles > 10 && trial.reads > 100,
            "{} {}",
            trial.cycles,
            trial.reads
        );
        let seen = &trial.counters.sightings;
        // `auto` strikes at unloads only: that is where the window is.
        assert!(seen.unloading > 0, "{seen:?}");
    }
    // The tunables of the race were put back.
    assert!(
        report
            .environment
            .tunables
            .iter()
            .all(|tunable| tunable.restored)
    );
    assert!(!report.environment.tunables.is_empty());
}

#[test]
fn the_bug_reports_own_recipe_crashes_the_vulnerable_kernel_too() {
    let bench = Bench::new();
    let ended = bench.vm(&[
        "--kernel",
        "lab:vulnerable",
        "--strategy",
        "as-reported",
        "--trials",
        "2",
        "--duration",
        "120s",
    ]);
    let report = ended.report();
    let crashed = report
        .trials
        .iter()
        .filter(|trial| trial.outcome == Outcome::Crashed)
        .count();
    assert!(crashed >= 1, "{}", ended.stderr);
    let crash = report
        .trials
        .iter()
        .find_map(|trial| trial.crash.as_ref())
        .unwrap();
    assert_eq!(crash.comm.as_deref(), Some("cat"));
}

#[test]
fn without_a_flight_recorder_the_guest_counts_aloud() {
    let bench = Bench::new();
    // No PCI, so no ivshmem device.
    let ended = bench.vm(&[
        "--kernel",
        "lab:fixed",
        "--trials",
        "1",
        "--duration",
        "3s",
        "--append",
        "pci=off",
    ]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let trial = &ended.report().trials[0];
    assert!(
        trial.cycles > 10 && trial.exposure_s >= 3.0,
        "{} {}",
        trial.cycles,
        trial.exposure_s
    );

    let ended = bench.vm(&[
        "--kernel",
        "lab:vulnerable",
        "--trials",
        "1",
        "--duration",
        "60s",
        "--append",
        "pci=off",
    ]);
    let trial = &ended.report().trials[0];
    assert_eq!(trial.outcome, Outcome::Crashed, "{}", trial.reason);
}

#[test]
fn a_loader_that_never_comes_back_is_a_hang() {
    let bench = Bench::new();
    let module = fixture_module("hang-module", bench.folder.path());
    let module = module.to_str().unwrap();
    let ended = bench.vm(&[
        "--kernel",
        "lab:fixed",
        "--module",
        module,
        "--trials",
        "1",
        "--duration",
        "300s",
    ]);
    let trial = &ended.report().trials[0];
    assert_eq!(trial.outcome, Outcome::Hung, "{}", trial.reason);
    assert!(
        trial.reason.contains("unloading the module"),
        "{}",
        trial.reason
    );
    assert_eq!(ended.code, Some(1), "a hung kernel fails");
}

#[test]
fn a_kernel_that_stops_without_a_word_is_a_hang() {
    let bench = Bench::new();
    let module = fixture_module("hang-module", bench.folder.path());
    let module = module.to_str().unwrap();
    let ended = bench.vm(&[
        "--kernel",
        "lab:fixed",
        "--module",
        module,
        "--trials",
        "1",
        "--duration",
        "300s",
        "--smp",
        "1",
    ]);
    let trial = &ended.report().trials[0];
    assert_eq!(trial.outcome, Outcome::Hung, "{}", trial.reason);
    assert!(trial.reason.contains("no heartbeat"), "{}", trial.reason);
}

#[test]
fn a_module_that_can_never_hit_the_bug_is_unsupported_not_survived() {
    let bench = Bench::new();
    let mut bytes = fs::read(dummy_module()).unwrap();
    // `intree=Y` has as many letters as the tag `depends=`, which may go.
    let at = bytes
        .windows(9)
        .position(|tag| tag == b"depends=\0")
        .expect("a modinfo tag");
    bytes[at..at + 8].copy_from_slice(b"intree=Y");
    let path = bench.path("untainted.ko");
    fs::write(&path, bytes).unwrap();
    let ended = bench.vm(&[
        "--kernel",
        "lab:vulnerable",
        "--module",
        path.to_str().unwrap(),
        "--trials",
        "1",
    ]);
    let trial = &ended.report().trials[0];
    assert_eq!(trial.outcome, Outcome::Unsupported, "{}", trial.reason);
    assert!(trial.reason.contains("not tainted"), "{}", trial.reason);
    assert_eq!(ended.code, Some(4));
}

#[test]
fn a_module_for_another_kernel_is_unsupported_and_the_reason_names_both() {
    let bench = Bench::new();
    let mut bytes = fs::read(dummy_module()).unwrap();
    let at = bytes
        .windows(11)
        .position(|tag| tag == b"vermagic=6.")
        .expect("a modinfo tag");
    bytes[at + 9] = b'9';
    let path = bench.path("foreign.ko");
    fs::write(&path, bytes).unwrap();
    let ended = bench.vm(&[
        "--kernel",
        "lab:fixed",
        "--module",
        path.to_str().unwrap(),
        "--trials",
        "1",
    ]);
    let trial = &ended.report().trials[0];
    assert_eq!(trial.outcome, Outcome::Unsupported, "{}", trial.reason);
    assert!(trial.reason.contains("built for: 9."), "{}", trial.reason);
    let (_, logged) = trial.reason.split_once("the kernel says: ").unwrap();
    assert!(logged.contains("version magic '9."), "{}", trial.reason);
}
