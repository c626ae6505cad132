//! `modrace prove` on real kernels: what crashes is found and told, what cannot
//! is proved, what was not seen is neither, and trouble is none of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command};

use modrace::model::{ProofFailure, Report, ScheduleOutcome, Verdict, Who};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Bench, Ended, bogus, guests_of};

fn command(bench: &Bench, arguments: &[&str]) -> Command {
    bench.command_of("prove", arguments)
}

fn prove(bench: &Bench, arguments: &[&str]) -> Ended {
    bench.ended(&command(bench, arguments).output().unwrap())
}

fn failure(report: &Report) -> &ProofFailure {
    let proof = report.prove.as_ref().unwrap();
    proof.failure.as_ref().unwrap()
}

#[test]
fn the_vulnerable_kernel_fails_with_its_story_and_the_schedule_repeats_it() {
    let bench = Bench::new();
    let ended = prove(&bench, &["--kernel", "lab:vulnerable", "--smp", "2"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let report = ended.report();
    assert_eq!(report.verdict, Verdict::Fail);
    let failed = failure(report);
    assert!(failed.repeated && failed.stops == 2, "{failed:?}");
    let crash = failed.crash.as_ref().unwrap();
    assert!(crash.title.contains("module_flags"), "{}", crash.title);
    let sides: Vec<Who> = failed.steps.iter().map(|step| step.side).collect();
    assert_eq!(
        sides,
        [Who::Loader, Who::Reader, Who::Loader, Who::Reader],
        "{failed:#?}"
    );
    assert_eq!(failed.steps[0].state.as_deref(), Some("GOING"));
    assert_eq!(failed.steps[1].holder.as_deref(), Some("the reader"));
    assert_eq!(failed.steps[2].state.as_deref(), Some("UNFORMED"));
    assert!(bench.validates());
    assert!(
        ended.stdout.contains("CPU 1 (/proc/modules reader)"),
        "{}",
        ended.stdout
    );

    let schedule = failed.schedule.clone();
    let again = prove(
        &bench,
        &[
            "--kernel",
            "lab:vulnerable",
            "--smp",
            "2",
            "--schedule",
            &schedule,
        ],
    );
    assert_eq!(again.code, Some(1), "{}", again.stderr);
    assert_eq!(again.report().prove.as_ref().unwrap().schedules.len(), 1);
}

#[test]
fn the_fixed_kernel_passes_with_every_schedule_decided() {
    let bench = Bench::new();
    let ended = prove(&bench, &["--kernel", "lab:fixed"]);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    let report = ended.report();
    let proof = report.prove.as_ref().unwrap();
    assert_eq!(proof.schedules.len() as u64, proof.schedules_planned);
    assert!(proof.count(ScheduleOutcome::RanThrough) > 0);
    let by_the_mutex = proof
        .schedules
        .iter()
        .filter_map(|schedule| schedule.blocked.as_ref()?.lock.as_deref())
        .filter(|lock| *lock == "module_mutex");
    assert!(by_the_mutex.count() > 100);
    assert!(bench.validates());

    let text = fs::read_to_string(bench.path("report.json")).unwrap();
    let edited = text.replacen(
        "\"outcome\": \"ran_through\"",
        "\"outcome\": \"crashed\"",
        1,
    );
    assert_ne!(edited, text);
    fs::write(bench.path("report.json"), edited).unwrap();
    assert!(!bench.validates(), "an edited schedule is found");
}

#[test]
fn a_fix_that_tries_the_lock_a_hundred_times_fails() {
    let bench = Bench::new();
    let kernel = bogus("trylock-hundred");
    let ended = prove(&bench, &["--kernel", &kernel]);
    assert_eq!(ended.code, Some(1), "{}\n{}", ended.stdout, ended.stderr);
    assert!(failure(ended.report()).repeated);
}

#[test]
fn a_fix_for_the_first_minute_is_inconclusive_and_names_the_other_store() {
    let bench = Bench::new();
    let kernel = bogus("only-in-the-first-minute");
    // One schedule: all of them could take the guest past its first minute.
    let ended = prove(&bench, &["--kernel", &kernel, "--schedule", "L1,R1"]);
    assert_eq!(ended.code, Some(5), "{}\n{}", ended.stdout, ended.stderr);
    let reason = &ended.report().verdict_reason;
    assert!(
        reason.starts_with("free_module+") && reason.contains("a store of the module's state"),
        "{reason}"
    );
}

#[test]
fn a_qemu_without_plugins_is_unsupported_by_name_before_anything_boots() {
    let bench = Bench::new();
    let wrapper = bench.path("qemu");
    let script = "#!/bin/sh\n\
                  case \"$*\" in *-plugin*) echo 'qemu: -plugin: invalid option' >&2; exit 1;; esac\n\
                  exec qemu-system-x86_64 \"$@\"\n";
    fs::write(&wrapper, script).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let ended = prove(
        &bench,
        &["--kernel", "lab:fixed", "--qemu", wrapper.to_str().unwrap()],
    );
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("loads no plugins"),
        "{}",
        ended.stderr
    );
    assert!(ended.report.is_none());
}

/// A run that forces schedules now.
fn under_way(bench: &Bench) -> Child {
    let command = command(bench, &["--kernel", "lab:fixed"]);
    bench.under_way(command, "points of the unload")
}

fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

#[test]
fn an_interrupt_leaves_a_partial_report_that_is_no_pass_and_no_qemu() {
    let bench = Bench::new();
    let child = under_way(&bench);
    let guests = guests_of(child.id());
    signal(i32::try_from(child.id()).unwrap(), Signal::SIGINT);
    let ended = bench.ended(&child.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(130));
    assert!(!ended.report().complete);
    assert_eq!(ended.report().verdict, Verdict::Inconclusive);
    for guest in guests {
        assert!(!fs::exists(format!("/proc/{guest}")).unwrap());
    }
}

#[test]
fn a_qemu_that_dies_is_broken_and_no_verdict() {
    let bench = Bench::new();
    let child = under_way(&bench);
    for guest in guests_of(child.id()) {
        // What a plugin that crashes does to it.
        signal(guest, Signal::SIGSEGV);
    }
    let ended = bench.ended(&child.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(3));
    assert!(ended.report.is_none());
    let words = fs::read_to_string(bench.path("words")).unwrap();
    assert!(words.contains("QEMU ended (signal: 11"), "{words}");
}
