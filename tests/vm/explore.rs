//! `modrace explore` on real kernels: what is lost in some order of calls or of
//! instructions is found without being told where, and repeats; where nothing is
//! found, that is said, and is no pass.

use modrace::model::{Exploration, LevelKind, ProofFailure, Report, ScheduleOutcome, Verdict};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Bench, Ended, guests_of};

fn explore(bench: &Bench, arguments: &[&str]) -> Ended {
    let mut command = bench.command_of("explore", arguments);
    bench.ended(&command.output().unwrap())
}

fn explored(report: &Report) -> &Exploration {
    report.explore.as_ref().unwrap()
}

fn finding(report: &Report) -> &ProofFailure {
    explored(report).finding.as_ref().unwrap()
}

/// It failed, again on another guest, by this many stops; the schedule.
fn found(bench: &Bench, ended: &Ended, stops: u32, words: &str) -> String {
    assert_eq!(ended.code, Some(1), "{} {}", ended.stdout, ended.stderr);
    let report = ended.report();
    assert_eq!(report.verdict, Verdict::Fail);
    let finding = finding(report);
    assert!(finding.repeated, "{finding:?}");
    assert_eq!(finding.stops, stops, "{}", finding.schedule);
    assert!(
        report.verdict_reason.contains(words),
        "{}",
        report.verdict_reason
    );
    assert!(bench.validates());
    finding.schedule.clone()
}

#[test]
fn a_missing_owner_is_found_by_whole_calls() {
    let bench = Bench::new();
    let ended = explore(&bench, &["--kernel", "lab:fixed", "--race", "no-owner"]);
    let schedule = found(&bench, &ended, 0, "vfs_read");
    assert_eq!(schedule, "load,open,unload,read");
    assert!(
        ended.stdout.contains("open /dev/no_owner: comes back"),
        "{}",
        ended.stdout
    );
}

#[test]
fn the_race_is_found_by_two_stops_and_its_schedule_repeats_it() {
    let bench = Bench::new();
    let ended = explore(&bench, &["--kernel", "lab:vulnerable"]);
    let schedule = found(&bench, &ended, 2, "module_flags");
    assert!(schedule.starts_with("unload@free_module+"), "{schedule}");

    let again = explore(
        &bench,
        &["--kernel", "lab:vulnerable", "--schedule", &schedule],
    );
    assert_eq!(again.code, Some(1), "{}", again.stderr);
    assert_eq!(explored(again.report()).forced(), 1);
}

#[test]
fn nothing_found_is_no_pass_and_says_what_was_forced() {
    let bench = Bench::new();
    let ended = explore(&bench, &["--kernel", "lab:fixed", "--budget", "45s"]);
    assert_eq!(ended.code, Some(5), "{} {}", ended.stdout, ended.stderr);
    let report = ended.report();
    assert_eq!(report.verdict, Verdict::Inconclusive);
    let levels = &explored(report).levels;
    let level = |kind| levels.iter().find(|level| level.kind == kind);
    let whole = level(LevelKind::WholeCalls).unwrap();
    assert_eq!(whole.forced, whole.planned);
    let one = level(LevelKind::OneStop).unwrap();
    assert!(one.count(ScheduleOutcome::RanThrough) > 50, "{one:?}");
    let preempted = level(LevelKind::OnePreemption).unwrap();
    assert!(preempted.forced > 0, "{preempted:?}");
    assert!(level(LevelKind::TwoStops).unwrap().planned > 0);
    let locks = one
        .blocked
        .iter()
        .filter_map(|row| row.blocked.lock.as_deref());
    assert!(
        locks.collect::<Vec<_>>().contains(&"module_mutex"),
        "{one:?}"
    );
    assert!(bench.validates());
}

#[test]
#[ignore = "needs lab:fixed-debugfs, whose slub debug tells what is read after it was freed"]
fn what_is_shown_after_it_was_freed_is_found_by_one_stop_and_not_in_the_mended_twin() {
    let bench = Bench::new();
    let race = ["--kernel", "lab:fixed-debugfs", "--race", "proc-after-free"];
    let ended = explore(&bench, &race);
    let schedule = found(&bench, &ended, 1, "seq_vprintf");
    assert!(schedule.contains("@mod:"), "{schedule}");

    let mended = [&race[..], &["--mended", "--budget", "60s"]].concat();
    let ended = explore(&bench, &mended);
    assert_eq!(ended.code, Some(5), "{} {}", ended.stdout, ended.stderr);
    assert!(explored(ended.report()).forced() > 500);
}

#[test]
fn what_cannot_be_searched_is_refused_by_name() {
    let bench = Bench::new();
    for (arguments, named) in [
        (
            &["--schedule", "unload@no_such_function+0x3,read"][..],
            "no_such_function",
        ),
        (&["--schedule", "unload,dance"][..], "dance"),
        (&["--race", "timer-left"][..], "timer-left"),
    ] {
        let all = [&["--kernel", "lab:fixed"], arguments].concat();
        let ended = explore(&bench, &all);
        assert_eq!(ended.code, Some(2), "{} {}", ended.stdout, ended.stderr);
        assert!(ended.stderr.contains(named), "{}", ended.stderr);
        assert!(!bench.path("report.json").exists());
    }
}

#[test]
fn a_qemu_that_dies_in_a_search_is_broken_and_no_verdict() {
    let bench = Bench::new();
    let command = bench.command_of("explore", &["--kernel", "lab:fixed"]);
    let child = bench.under_way(command, "whole calls");
    for guest in guests_of(child.id()) {
        kill(Pid::from_raw(guest), Signal::SIGKILL).unwrap();
    }
    let ended = bench.ended(&child.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(3));
    assert!(ended.report.is_none());
}

#[test]
fn an_interrupt_ends_a_search_with_what_it_has() {
    let bench = Bench::new();
    let command = bench.command_of("explore", &["--kernel", "lab:fixed"]);
    let child = bench.under_way(command, "recording");
    let guests = guests_of(child.id());
    kill(
        Pid::from_raw(i32::try_from(child.id()).unwrap()),
        Signal::SIGINT,
    )
    .unwrap();
    let ended = bench.ended(&child.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(130));
    assert_eq!(ended.report().verdict, Verdict::Inconclusive);
    assert!(!ended.report().complete);
    for guest in guests {
        assert!(!std::fs::exists(format!("/proc/{guest}")).unwrap());
    }
}
