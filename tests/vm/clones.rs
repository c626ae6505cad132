//! Trials that start as clones: the same results as by boot, each with a seed
//! of its own, and nothing left behind.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use modrace::model::{CrashClass, Domain, Outcome, Start, StartedBy, Trial, derive};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Bench, contains, fixture_module, guests_of, wait_for};

fn start(trial: &Trial) -> &Start {
    trial
        .start
        .as_ref()
        .expect("a guest's trial says how it started")
}

fn how(trials: &[Trial]) -> Vec<StartedBy> {
    trials.iter().map(|trial| start(trial).how).collect()
}

#[test]
fn clones_of_a_vulnerable_kernel_crash_each_in_its_own_way() {
    let bench = Bench::new();
    let ended = bench.vm(&[
        "--kernel",
        "lab:vulnerable",
        "--start",
        "clone",
        "--renew",
        "3",
        "--trials",
        "6",
        "--duration",
        "60s",
        "--seed",
        "7",
    ]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let report = ended.report();
    for trial in &report.trials {
        assert_eq!(trial.outcome, Outcome::Crashed, "{}", trial.reason);
        assert_eq!(trial.crash.as_ref().unwrap().class, CrashClass::Target);
        assert_eq!(start(trial).how, StartedBy::Clone);
        assert_eq!(start(trial).template, Some(trial.index / 3));
        assert_eq!(trial.seed, derive(7, Domain::Trial, trial.index.into()));
        assert!(trial.signals.len() >= 2, "{:?}", trial.signals);
        assert!(trial.prepared_s.unwrap() > 0.0);
        // The console is that of the whole machine: its template's boot, too.
        let console = fs::read(bench.path(trial.console.as_ref().unwrap())).unwrap();
        assert!(contains(&console, b"Linux version"));
        assert!(contains(&console, b"kernel BUG at kernel/module/main.c"));
    }
    let ways: BTreeSet<(u64, u64)> = (report.trials.iter())
        .map(|trial| (trial.cycles, trial.reads))
        .collect();
    assert!(ways.len() > 1, "all clones raced alike: {ways:?}");
    let starts = report.stats.starts.as_ref().unwrap();
    assert_eq!((starts.boots, starts.clones), (0, 6));
    assert_eq!(starts.templates.len(), 2);
    assert!(
        ended.stdout.contains("6 clones of 2 templates"),
        "{}",
        ended.stdout
    );
}

#[test]
fn clones_of_the_fixed_kernel_survive_with_one_vcpu_and_with_eight() {
    let bench = Bench::new();
    for (kernel, smp) in [("lab:fixed-preempt", "1"), ("lab:fixed", "8")] {
        let ended = bench.vm(&[
            "--kernel",
            kernel,
            "--start",
            "clone",
            "--smp",
            smp,
            "--background-modules",
            "20",
            "--trials",
            "2",
            "--duration",
            "2s",
        ]);
        for trial in &ended.report().trials {
            assert_eq!(trial.outcome, Outcome::Survived, "{}", trial.reason);
            assert_eq!(
                start(trial),
                &Start {
                    private_mib: start(trial).private_mib,
                    ..Start::clone_of(0)
                }
            );
            assert!(trial.exposure_s >= 2.0 && trial.cycles > 5, "{trial:?}");
        }
    }
}

#[test]
fn auto_boots_first_and_clones_once_a_clone_ended_alike() {
    let bench = Bench::new();
    let ended = bench.vm(&[
        "--kernel",
        "lab:vulnerable",
        "--start",
        "auto",
        "--trials",
        "4",
        "--duration",
        "60s",
    ]);
    use StartedBy::{Boot, Clone};
    let trials = &ended.report().trials;
    assert_eq!(how(trials), [Boot, Clone, Clone, Clone], "{}", ended.stderr);
}

#[test]
fn near_misses_are_counted_in_clones_too() {
    let bench = Bench::new();
    let ended = bench.vm(&[
        "--kernel",
        "lab:vulnerable",
        "--oracle",
        "near-miss",
        "--start",
        "clone",
        "--trials",
        "2",
        "--duration",
        "20s",
    ]);
    let report = ended.report();
    assert_eq!(how(&report.trials), [StartedBy::Clone; 2]);
    assert!(report.stats.near_misses > 0, "{}", ended.stderr);
}

/// A run of three trials on a kernel with the fix, which is to fall back.
fn falls_back(bench: &Bench, mut command: Command, why: &str) {
    let ended = bench.ended(&command.output().unwrap());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let trials = &ended.report().trials;
    assert_eq!(how(trials), [StartedBy::Boot; 3]);
    for trial in trials {
        assert_eq!(trial.outcome, Outcome::Survived, "{}", trial.reason);
    }
    let reason = start(&trials[2])
        .reason
        .as_ref()
        .expect("why it is no clone");
    assert!(reason.contains(why), "{reason}");
    // Said once, when it is found out.
    assert_eq!(ended.stderr.matches(why).count(), 1, "{}", ended.stderr);
}

#[test]
fn where_a_file_may_not_be_as_large_as_the_guests_memory_trials_boot() {
    let bench = Bench::new();
    let run = |start: &str| {
        let modrace = bench.command(&[
            "--kernel",
            "lab:fixed",
            "--start",
            start,
            "--trials",
            "3",
            "--duration",
            "1s",
        ]);
        let mut command = Command::new("bash");
        command
            .args(["-c", "ulimit -f 200000; exec \"$0\" \"$@\""])
            .arg(modrace.get_program())
            .args(modrace.get_args());
        command
    };
    falls_back(&bench, run("auto"), "ulimit -f");
    // Who asks for clones and nothing else gets no boots.
    let ended = bench.ended(&run("clone").output().unwrap());
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    let trial = &ended.report().trials[0];
    assert_eq!(trial.outcome, Outcome::Broken);
    assert!(trial.reason.contains("ulimit -f"), "{}", trial.reason);
}

#[test]
fn where_qemu_cannot_save_a_guest_trials_boot() {
    let bench = Bench::new();
    // Without `master`, the recorder's device cannot be saved.
    let wrapper = bench.path("qemu");
    let script = "#!/bin/bash\nexec qemu-system-x86_64 \"${@/,master=on/}\"\n";
    fs::write(&wrapper, script).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let command = bench.command(&[
        "--kernel",
        "lab:fixed",
        "--qemu",
        wrapper.to_str().unwrap(),
        "--trials",
        "3",
        "--duration",
        "1s",
    ]);
    falls_back(&bench, command, "QEMU refuses migrate");
}

#[test]
fn a_kernel_that_crashes_before_the_gate_is_judged_as_by_boot() {
    let bench = Bench::new();
    fixture_module("provoke-module", bench.folder.path());
    let module = bench.path("provoke.ko");
    let mut bytes = fs::read(&module).unwrap();
    // What it provokes when nobody says what.
    let at = bytes.windows(5).position(|text| text == b"none\0").unwrap();
    bytes[at..at + 5].copy_from_slice(b"bug\0\0");
    fs::write(&module, bytes).unwrap();
    let judged = ["boot", "clone"].map(|start| {
        let ended = bench.vm(&[
            "--kernel",
            "lab:fixed",
            "--start",
            start,
            "--module",
            module.to_str().unwrap(),
            "--trials",
            "2",
        ]);
        let report = ended.report();
        assert_eq!(how(&report.trials), [StartedBy::Boot; 2]);
        let console = fs::read(bench.path(report.trials[1].console.as_ref().unwrap())).unwrap();
        assert!(contains(&console, b"kernel BUG at"));
        let trials = report.trials.iter();
        let kinds = trials.map(|trial| {
            let title = trial.crash.as_ref().map(|crash| crash.title.clone());
            (trial.outcome, trial.phase, title)
        });
        (ended.code, kinds.collect::<Vec<_>>())
    });
    assert_eq!(judged[0], judged[1]);
    assert_ne!(judged[0].1[0].0, Outcome::Survived);
}

#[test]
fn even_a_killed_modrace_leaves_no_clone_and_no_template() {
    let bench = Bench::new();
    let names = || -> BTreeSet<_> {
        let entries = fs::read_dir("/dev/shm").unwrap().flatten();
        entries.map(|entry| entry.file_name()).collect()
    };
    let before = names();
    let mut child = bench
        .command(&[
            "--kernel",
            "lab:fixed",
            "--start",
            "clone",
            "--renew",
            "1",
            "--trials",
            "3",
            "--duration",
            "300s",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // With a template for each clone, the second boots while the first races.
    let mut guests = Vec::new();
    wait_for("a clone and the next template", || {
        guests = guests_of(child.id());
        guests.len() == 2
    });
    assert_eq!(names(), before, "memory has no name");
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(pid, Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    for guest in guests {
        wait_for("QEMU to go with its parent", || {
            let stat = fs::read_to_string(format!("/proc/{guest}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        });
    }
    assert_eq!(names(), before);
}

#[test]
fn what_is_kept_of_a_trial_boots() {
    let bench = Bench::new();
    let arguments = ["--kernel", "lab:fixed", "--keep", "--duration", "1s"];
    let ended = bench.vm(&[&arguments[..], &["--trials", "2"]].concat());
    assert_eq!(how(&ended.report().trials), [StartedBy::Boot; 2]);
    let ended = bench.vm(&[&arguments[..], &["--start", "clone"]].concat());
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("--keep with --start clone"),
        "{}",
        ended.stderr
    );
}
