//! Every way in which a trial on the machine itself can end, told to the
//! monitor in the records that a real kernel gives.

use super::monitor::{Ended, Monitor};
use crate::judge::conclusion::Conclusion;
use crate::judge::evidence::Taint;
use crate::judge::stall_detector::Stall;
use crate::model::{Counters, Outcome, Sightings};
use crate::recorder::{Phase, Snapshot};
use crate::vm::protocol::{Ending, Finished, GuestMessage, Racing};

const D: u64 = 1 << 7;
const START_NS: u64 = 9_500_000_000;

/// As `/dev/kmsg` gave them on a 6.1 without the fix; the times are ours.
const CRASH: &[&str] = &[
    "4,401,12100000,-;------------[ cut here ]------------",
    "2,402,12100100,-;kernel BUG at kernel/module/main.c:2998!",
    "4,403,12100200,-;invalid opcode: 0000 [#1] SMP",
    "4,404,12100300,-;CPU: 3 PID: 66 Comm: reader/1 Tainted: G           O       6.1.192 #1",
    "4,405,12100400,-;RIP: 0010:module_flags+0xa/0x9c",
    "4,406,12100500,-;Call Trace:",
    "4,407,12100600,-; <TASK>",
    "4,408,12100700,-; ? m_show+0x13b/0x16d",
    "4,409,12100800,-; seq_read_iter+0x159/0x30e",
    "4,410,12100900,-; </TASK>",
    "4,411,12101000,-;---[ end trace 0000000000000000 ]---",
];

fn counts(phase: Phase, raced_ns: u64) -> Snapshot {
    Snapshot {
        present: true,
        phase,
        heartbeat: 10,
        heartbeat_ns: START_NS + raced_ns,
        race_start_ns: START_NS,
        race_end_ns: 0,
        prepared_ns: 0,
        cycles: 40,
        last_cycle_ns: 0,
        reads: 900,
        counters: Counters {
            sightings: Sightings {
                live: 5,
                ..Sightings::default()
            },
            ..Counters::default()
        },
        stages: Vec::new(),
        aims: Vec::new(),
    }
}

fn racing() -> Monitor {
    let mut monitor = Monitor::default();
    // The log's clock is half a second ahead of the race's.
    let mark = format!("13,400,10000000,-;modrace: the race starts at {START_NS}");
    assert!(monitor.on_kmsg(mark.as_bytes()).sign.is_none());
    let racing = GuestMessage::Racing(Racing::default());
    assert_eq!(monitor.on_worker(racing.to_line().as_bytes()).len(), 1);
    monitor
}

fn finished(ending: Ending, raced_s: f64) -> Finished {
    let seen = counts(Phase::Done, 0);
    Finished {
        ending,
        reason: "as told".to_owned(),
        raced_s,
        cycles: seen.cycles,
        reads: seen.reads,
        counters: seen.counters,
        bad_lines: Vec::new(),
        leaks: Vec::new(),
        taint_before: 0,
        taint_after: 0,
        tunables: Vec::new(),
    }
}

fn word(monitor: &mut Monitor, finished: Finished) {
    let message = GuestMessage::Finished(Box::new(finished));
    monitor.on_worker(message.to_line().as_bytes());
}

fn crash(monitor: &mut Monitor) -> usize {
    let signs = CRASH
        .iter()
        .filter(|line| monitor.on_kmsg(line.as_bytes()).sign.is_some());
    signs.count()
}

fn conclude(monitor: Monitor, ended: &Ended, tainted: u64) -> Conclusion {
    let taint = Taint {
        before: 0,
        after: tainted,
    };
    monitor.conclude(ended, &counts(Phase::Race, 3_000_000_000), taint, 10.0)
}

#[test]
fn a_report_and_the_kernels_taint_are_a_crash_timed_by_the_log() {
    let mut monitor = racing();
    assert_eq!(crash(&mut monitor), 1);
    let conclusion = conclude(monitor, &Ended::Sign, D);
    assert_eq!(conclusion.outcome, Outcome::Crashed);
    let time_s = conclusion.time_to_crash_s.unwrap();
    assert!((time_s - 2.1001).abs() < 0.001, "{time_s}");
    assert_eq!(conclusion.signals.len(), 2, "{:?}", conclusion.signals);
}

#[test]
fn a_report_that_the_kernel_knows_nothing_of_is_broken() {
    let mut monitor = racing();
    crash(&mut monitor);
    let conclusion = conclude(monitor, &Ended::Sign, 0);
    assert_eq!(conclusion.outcome, Outcome::Broken);
    assert!(
        conclusion.reason.contains("does not confirm"),
        "{conclusion:?}"
    );
}

#[test]
fn what_a_program_writes_to_the_log_is_no_crash() {
    let mut monitor = racing();
    // Facility 1: user space.
    for line in CRASH {
        let (priority, rest) = line.split_once(',').unwrap();
        let user = priority.parse::<u32>().unwrap() + 8;
        let glance = monitor.on_kmsg(format!("{user},{rest}").as_bytes());
        assert!(glance.sign.is_none() && glance.show.is_none(), "{line}");
    }
    word(&mut monitor, finished(Ending::Survived, 10.0));
    let conclusion = conclude(monitor, &Ended::Result, 0);
    assert_eq!(conclusion.outcome, Outcome::Survived);
}

#[test]
fn survival_needs_the_word_the_counts_and_an_untainted_kernel() {
    let told = |finished: Finished, tainted: u64| {
        let mut monitor = racing();
        word(&mut monitor, finished);
        conclude(monitor, &Ended::Result, tainted).outcome
    };
    assert_eq!(told(finished(Ending::Survived, 10.0), 0), Outcome::Survived);
    // The kernel's own word outranks that of who raced on it.
    assert_eq!(told(finished(Ending::Survived, 10.0), D), Outcome::Crashed);
    assert_eq!(told(finished(Ending::Survived, 5.0), 0), Outcome::Broken);
    assert_eq!(told(finished(Ending::Hung, 10.0), 0), Outcome::Hung);
    let miscounted = Finished {
        cycles: 41,
        ..finished(Ending::Survived, 10.0)
    };
    assert_eq!(told(miscounted, 0), Outcome::Broken);
    assert_eq!(
        conclude(racing(), &Ended::Gone("no word".to_owned()), 0).outcome,
        Outcome::Broken
    );
}

#[test]
fn a_race_that_stands_still_hung_and_a_slow_set_up_is_broken() {
    let stalled = Ended::Stalled(Stall::Kernel("no cycle for 30 s".to_owned()));
    let conclusion = conclude(racing(), &stalled, 0);
    assert_eq!(conclusion.outcome, Outcome::Hung);
    let never = Snapshot {
        race_start_ns: 0,
        ..counts(Phase::Setup, 0)
    };
    let clean = Taint {
        before: 0,
        after: 0,
    };
    let slow = Ended::Stalled(Stall::Setup("not ready in 90 s".to_owned()));
    let conclusion = Monitor::default().conclude(&slow, &never, clean, 10.0);
    assert_eq!(conclusion.outcome, Outcome::Broken);
    let conclusion = Monitor::default().conclude(&stalled, &never, clean, 10.0);
    assert_eq!(conclusion.outcome, Outcome::Hung);
    assert!(conclusion.reason.contains("before the race"));
}

#[test]
fn an_rcu_stall_ends_no_trial() {
    let mut monitor = racing();
    for line in [
        "3,401,12100000,-;rcu: INFO: rcu_sched self-detected stall on CPU",
        "3,402,12100100,-;rcu: \t1-....: (5249 ticks this GP) idle=8d4/1/0x4000000000000000",
    ] {
        assert!(monitor.on_kmsg(line.as_bytes()).sign.is_none(), "{line}");
    }
    word(&mut monitor, finished(Ending::Survived, 10.0));
    let conclusion = conclude(monitor, &Ended::Result, 0);
    assert_eq!(conclusion.outcome, Outcome::Survived);
    assert_eq!(conclusion.warnings.len(), 1, "{conclusion:?}");
}

#[test]
fn an_interrupted_trial_keeps_its_exposure_and_is_no_pass() {
    let mut monitor = racing();
    word(&mut monitor, finished(Ending::Survived, 3.0));
    let conclusion = conclude(monitor, &Ended::Interrupted, 0);
    assert_eq!(conclusion.outcome, Outcome::Broken);
    assert!((conclusion.exposure_s - 3.0).abs() < 1e-9);
    assert!(conclusion.reason.contains("interrupted"), "{conclusion:?}");
}

#[test]
fn lost_messages_are_told() {
    let mut monitor = racing();
    monitor.on_lost(17);
    word(&mut monitor, finished(Ending::Survived, 10.0));
    let conclusion = conclude(monitor, &Ended::Result, 0);
    assert!(conclusion.notes.iter().any(|note| note.starts_with("17 ")));
}
