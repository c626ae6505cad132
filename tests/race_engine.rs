//! The engine on real kernels, in VMs: what a user sees of it. Needs the lab
//! kernels that `make test` builds.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::process::Command;
use std::sync::{Mutex, PoisonError};

use modrace::model::{DEFAULT_TARGET, Outcome, Report, Verdict};
use modrace::race::targets::TARGETS;

/// Two guests at once would measure each other.
static MACHINE: Mutex<()> = Mutex::new(());

fn race(arguments: &[&str]) -> Report {
    let _alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.json");
    Command::new(env!("CARGO_BIN_EXE_modrace"))
        .args(["vm", "--quiet", "--accel", "tcg", "--jobs", "1", "--report"])
        .arg(&file)
        .args(arguments)
        .output()
        .unwrap();
    serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap()
}

#[test]
fn a_vulnerable_kernel_crashes_within_few_cycles_and_the_arm_is_named() {
    let report = race(&[
        "--kernel",
        "lab:vulnerable",
        "--smp",
        "2",
        "--trials",
        "3",
        "--duration",
        "20s",
    ]);
    for trial in &report.trials {
        assert_eq!(trial.outcome, Outcome::Crashed, "{}", trial.reason);
        assert!(trial.cycles_to_crash.unwrap() <= 300, "{trial:?}");
        let arm = &trial.aim.as_ref().unwrap().arm;
        assert!(
            modrace::race::READ_POLICIES
                .iter()
                .any(|row| row.name == *arm)
        );
    }
    assert_eq!(report.trials.len(), 3);
}

#[test]
fn one_cpu_with_full_preemption_crashes_too() {
    let report = race(&[
        "--kernel",
        "lab:vulnerable-preempt",
        "--smp",
        "1",
        "--trials",
        "1",
        "--duration",
        "60s",
    ]);
    assert_eq!(report.trials[0].outcome, Outcome::Crashed);
}

#[test]
fn a_fixed_kernel_survives_and_gets_its_knobs_back() {
    let report = race(&[
        "--kernel",
        "lab:fixed",
        "--smp",
        "4",
        "--trials",
        "1",
        "--duration",
        "5s",
    ]);
    let trial = &report.trials[0];
    assert_eq!(trial.outcome, Outcome::Survived, "{}", trial.reason);
    assert!(trial.cycles >= 25, "the loader was starved: {trial:?}");
    assert!(
        trial.counters.sightings.unloading > 0,
        "the aim was off: {trial:?}"
    );
    let tunables = &report.environment.tunables;
    assert!(
        tunables.iter().all(|tunable| tunable.restored),
        "{tunables:?}"
    );
    for path in [
        "/sys/kernel/rcu_expedited",
        // Loader and reader sit on 0 and 3.
        "/sys/devices/system/cpu/cpu1/online",
        "/sys/devices/system/cpu/cpu2/online",
    ] {
        assert!(
            tunables.iter().any(|tunable| tunable.path == path),
            "{tunables:?}"
        );
    }
    assert_eq!(trial.chaos, ["rcu-expedited", "offline"]);
    // What is of no use here was not asked for, so nothing is said of it.
    assert!(trial.notes.is_empty(), "{:?}", trial.notes);
}

/// Races lab:fixed once through every target.
fn race_every_target(strategy: &str, duration: &str, check: impl Fn(&'static str, &Report)) {
    for row in TARGETS {
        let report = race(&[
            "--kernel",
            "lab:fixed",
            "--trials",
            "1",
            "--duration",
            duration,
            "--strategy",
            strategy,
            "--target",
            row.name,
        ]);
        let trial = &report.trials[0];
        assert_eq!(report.settings.target, row.name);
        assert_eq!(trial.outcome, Outcome::Survived, "{}", trial.reason);
        assert!(trial.cycles > 0 && trial.reads > 0, "{trial:?}");
        let seen = &trial.counters.sightings;
        assert!(seen.live + seen.loading + seen.unloading > 0, "{trial:?}");
        assert!(trial.counters.lines.is_clean(), "{:?}", trial.bad_lines);
        check(row.name, &report);
    }
}

#[test]
fn workers_sit_on_the_cpus_asked_for() {
    let report = race(&[
        "--kernel",
        "lab:vulnerable",
        "--smp",
        "4",
        "--cpus",
        "0-1",
        "--readers",
        "2",
        "--trials",
        "1",
        "--duration",
        "30s",
    ]);
    let trial = &report.trials[0];
    assert_eq!(trial.outcome, Outcome::Crashed, "{}", trial.reason);
    // A reader dies; with all CPUs theirs, readers would sit on 2 and 3.
    let cpu = trial.crash.as_ref().unwrap().cpu;
    assert!(matches!(cpu, Some(0 | 1)), "{trial:?}");
    assert_eq!(report.settings.cpus, [0, 1]);
    let crowded = "3 workers on 2 CPUs: not all of them run at the same time";
    assert!(trial.notes.iter().any(|note| note == crowded), "{trial:?}");
}

#[test]
fn cpus_that_the_guest_has_not_are_refused_with_those_that_it_has() {
    for kernels in [
        &["vm", "--kernel", "lab:nonsense"][..],
        &[
            "ab",
            "--baseline",
            "lab:nonsense",
            "--candidate",
            "nonsense",
        ],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_modrace"))
            .args(kernels)
            .args(["--smp", "4", "--cpus", "0-99"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("--cpus 0-99: there is no CPU 4"), "{text}");
        assert!(text.contains("the guest has CPUs 0-3"), "{text}");
    }
}

#[test]
fn every_target_is_read_and_only_the_default_passes() {
    race_every_target("auto", "3s", |name, report| {
        let reasons = [&report.verdict_reason, &report.trials[0].reason];
        if name == DEFAULT_TARGET {
            assert_eq!(report.verdict, Verdict::Pass);
        } else {
            assert_eq!(report.verdict, Verdict::Inconclusive);
            let named = reasons.iter().all(|reason| reason.contains(name));
            assert!(named, "{reasons:?}");
        }
    });
}

#[test]
#[ignore = "a few minutes: free readers seldom come to kallsyms' end while the module is there"]
fn every_target_is_read_at_its_head_as_a_whole_and_by_cat() {
    for strategy in ["head", "full", "as-reported"] {
        race_every_target(strategy, "15s", |_, _| {});
    }
}

/// What a run that is not to be says.
fn refusal(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_modrace"))
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    text
}

#[test]
fn an_unknown_target_lists_the_known_ones_and_so_does_list() {
    let known = Command::new(env!("CARGO_BIN_EXE_modrace"))
        .args(["list", "targets"])
        .output()
        .unwrap();
    let known = String::from_utf8_lossy(&known.stdout).into_owned();
    for command in [
        &["run"][..],
        &["vm", "--kernel", "lab:fixed"],
        &[
            "ab",
            "--baseline",
            "lab:vulnerable",
            "--candidate",
            "lab:fixed",
        ],
    ] {
        // An absolute path is a target of its own: whether it is there shows in the guest.
        let text = refusal(&[command, &["--target", "nonsense"]].concat());
        for row in TARGETS {
            assert!(text.contains(row.name), "{text}");
            assert!(
                known.contains(row.name) && known.contains(row.help),
                "{known}"
            );
        }
    }
}

#[test]
fn near_misses_are_read_off_proc_modules_only() {
    for row in TARGETS.iter().filter(|row| row.name != DEFAULT_TARGET) {
        let text = refusal(&[
            "vm",
            "--kernel",
            "lab:fixed",
            "--oracle",
            "near-miss",
            "--target",
            row.name,
        ]);
        assert!(
            text.contains(row.name) && text.contains("m_show()"),
            "{text}"
        );
    }
}

#[test]
fn an_unknown_arm_lists_the_known_ones() {
    let text = refusal(&["vm", "--kernel", "lab:fixed", "--arms", "nonsense"]);
    assert!(text.contains("head-at-once"), "{text}");
}
