//! From a journal and the logs of a dead kernel to an outcome: what explains
//! an end, what does not, and that no end without an explanation is clean.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use modrace::bare::{
    Beat, Begin, FORMAT, Machine, RacingMark, Record, Recovery, SignRecord, TrialStart,
};
use modrace::kernel::pstore::FoundLog;
use modrace::model::{Interval, Outcome, TrialPhase};
use modrace::vm::protocol::Racing;
use proptest::prelude::*;

/// The race began at 10 s of the log's clock.
const LOG_START_S: f64 = 10.0;
const HEARTBEAT_S: f64 = 1.0;

fn begin(trials: u32) -> Record {
    let mut report = common::report("local", Vec::new(), 60.0);
    report.settings.trials = trials;
    Record::Begin(Box::new(Begin {
        format: FORMAT.to_owned(),
        report,
        report_path: None,
        module: "/m.ko".into(),
        dependencies: Vec::new(),
        loaded_before: Vec::new(),
        rearm: false,
        unit: false,
        stop_udev: false,
        heartbeat_s: HEARTBEAT_S,
        tunables: Vec::new(),
    }))
}

fn start(index: u32) -> Record {
    Record::Trial(TrialStart {
        index,
        seed: 1,
        boot_id: "a-boot".to_owned(),
        unix_ms: 1_000_000,
        taint: 0,
        old_logs: Vec::new(),
        crash_log: String::new(),
        worker: 7,
    })
}

fn racing() -> Record {
    Record::Racing(RacingMark {
        racing: Racing::default(),
        log_start_s: Some(LOG_START_S),
    })
}

fn beat(raced_s: f64, idle_s: f64) -> Beat {
    Beat {
        unix_ms: 1_000_000 + common::cycles(raced_s * 10.0),
        raced_s,
        cycles: common::cycles(raced_s),
        reads: 1,
        idle_s,
        ..Beat::default()
    }
}

/// A log of the crash, `at` seconds after boot.
fn log(mark_s: Option<f64>, at: Option<f64>) -> Vec<u8> {
    let stamp = |time: f64| format!("<4>[{time:12.6}] ");
    let mut text = String::new();
    if let Some(mark) = mark_s {
        text += &format!("{}modrace: the race starts at 9900000000\n", stamp(mark));
    }
    for line in common::crash(modrace::model::CrashClass::Target).excerpt {
        let (_, body) = line.split_once("] ").unwrap();
        text += &at.map_or(String::new(), stamp);
        text += body;
        text.push('\n');
    }
    text.into_bytes()
}

/// Decides the open trial of these records.
fn decide(records: Vec<Record>, logs: &[Vec<u8>], machine: Machine) -> modrace::model::Trial {
    let recovery = Recovery::read(records).expect("a recovery");
    let open = recovery.open.expect("an open trial");
    let logs: Vec<FoundLog> = logs
        .iter()
        .map(|bytes| FoundLog {
            source: "pstore: Panic#1".to_owned(),
            bytes: bytes.clone(),
            records: Vec::new(),
        })
        .collect();
    open.decide(HEARTBEAT_S, &logs, machine).0
}

fn raced(raced_s: f64, idle_s: f64) -> Vec<Record> {
    vec![
        begin(1),
        start(0),
        racing(),
        Record::Beat(beat(raced_s, idle_s)),
    ]
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-6
}

#[test]
fn a_log_with_our_mark_tells_the_time_exactly() {
    let logs = [log(Some(10.0), Some(13.25))];
    let trial = decide(raced(3.0, 0.0), &logs, Machine::Rebooted);
    assert_eq!(trial.outcome, Outcome::Crashed);
    assert!(close(trial.time_to_crash_s.unwrap(), 3.25), "{trial:?}");
    assert_eq!(trial.time_to_crash_bounds_s, None);
    // The counts are older than the crash: which cycle it was, nobody knows. At
    // 100 cycles a second so far, and a quarter of a second more, 50 is safe.
    assert_eq!(trial.cycles_to_crash, None);
    let bounds = trial.cycles_to_crash_bounds.unwrap();
    assert!(close(bounds.low, 301.0), "{bounds:?}");
    assert!(close(bounds.high.unwrap(), 351.0), "{bounds:?}");
}

#[test]
fn a_log_whose_mark_was_cut_off_is_read_by_the_journals_clock() {
    let logs = [log(None, Some(13.5))];
    let trial = decide(raced(3.0, 0.0), &logs, Machine::Rebooted);
    assert_eq!(trial.outcome, Outcome::Crashed);
    assert!(close(trial.time_to_crash_s.unwrap(), 3.5), "{trial:?}");
}

#[test]
fn a_crash_before_the_first_record_of_the_race_is_timed_by_the_mark() {
    let logs = [log(Some(10.0), Some(10.02))];
    let trial = decide(vec![begin(1), start(0)], &logs, Machine::Rebooted);
    assert_eq!(trial.outcome, Outcome::Crashed);
    assert!(close(trial.time_to_crash_s.unwrap(), 0.02), "{trial:?}");
}

#[test]
fn without_a_clock_the_time_is_bounded_by_heartbeats_and_said_so() {
    let logs = [log(None, None)];
    let trial = decide(raced(3.0, 0.0), &logs, Machine::Rebooted);
    assert_eq!(trial.outcome, Outcome::Crashed);
    let bounds = Interval {
        low: 3.0,
        high: Some(5.0),
    };
    assert_eq!(trial.time_to_crash_bounds_s, Some(bounds));
    assert!(close(trial.time_to_crash_s.unwrap(), 4.0));
    assert!(
        trial
            .notes
            .iter()
            .any(|note| note.contains("interval-censored")),
        "{trial:?}"
    );
}

#[test]
fn the_crash_of_another_boot_explains_nothing() {
    for logs in [
        // Our mark, but set at another time: another trial's.
        log(Some(40.0), Some(43.0)),
        // No mark, and far from where we stopped.
        log(None, Some(500.0)),
        log(None, Some(2.0)),
        // Before our race.
        log(Some(10.0), Some(9.0)),
    ] {
        let trial = decide(raced(3.0, 0.0), &[logs], Machine::Rebooted);
        assert_eq!(trial.outcome, Outcome::Died, "{trial:?}");
        assert!(trial.reason.contains("nothing says why"), "{trial:?}");
        assert!(trial.crash.is_none());
    }
}

#[test]
fn the_journals_own_sign_is_enough() {
    let mut records = raced(3.0, 0.0);
    records.push(Record::Sign(SignRecord {
        line: "2,900,13125000,-;kernel BUG at kernel/module/main.c:2998!".to_owned(),
        log_time_s: Some(13.125),
        beat: beat(3.12, 0.0),
    }));
    let trial = decide(records, &[], Machine::Rebooted);
    assert_eq!(trial.outcome, Outcome::Crashed);
    assert!(close(trial.time_to_crash_s.unwrap(), 3.125), "{trial:?}");
    assert_eq!(trial.cycles_to_crash, Some(common::cycles(3.12) + 1));
}

#[test]
fn a_race_that_had_stopped_before_the_reboot_hung() {
    let trial = decide(raced(90.0, 45.0), &[], Machine::Rebooted);
    assert_eq!(trial.outcome, Outcome::Hung);
    assert!(trial.reason.contains("45 s"), "{trial:?}");
}

#[test]
fn a_kernel_that_died_unseen_by_any_log_crashed() {
    let died = Machine::SameBoot { taint: 1 << 7 };
    let trial = decide(raced(3.0, 0.0), &[], died);
    assert_eq!(trial.outcome, Outcome::Crashed, "{trial:?}");
    assert!(trial.reason.contains("tainted"), "{trial:?}");
    assert!(trial.time_to_crash_bounds_s.is_some());
}

#[test]
fn a_crash_before_the_race_has_no_time_and_says_where() {
    let logs = [log(None, None)];
    let trial = decide(vec![begin(1), start(0)], &logs, Machine::Rebooted);
    assert_eq!(trial.outcome, Outcome::Crashed);
    assert_eq!(trial.phase, TrialPhase::Setup);
    assert_eq!(trial.time_to_crash_s, None);
}

#[test]
fn without_a_single_heartbeat_the_cycles_are_bounded_by_what_no_machine_reaches() {
    let logs = [log(Some(10.0), Some(10.02))];
    let trial = decide(vec![begin(1), start(0), racing()], &logs, Machine::Rebooted);
    let bounds = trial.cycles_to_crash_bounds.unwrap();
    assert!(
        close(bounds.low, 1.0) && bounds.high.unwrap() >= 21.0,
        "{bounds:?}"
    );
}

#[test]
fn a_run_that_was_killed_is_told_from_a_machine_that_died() {
    let alive = Machine::SameBoot { taint: 0 };
    let trial = decide(raced(3.0, 0.0), &[], alive);
    assert_eq!(trial.outcome, Outcome::Broken);
    assert!(trial.reason.contains("killed"), "{trial:?}");
    assert!(close(trial.exposure_s, 3.0));
}

#[test]
fn what_is_no_journal_tells_no_story() {
    assert!(Recovery::read(Vec::new()).is_none());
    assert!(Recovery::read(vec![start(0)]).is_none());
    let mut other = begin(1);
    if let Record::Begin(begin) = &mut other {
        begin.format = "modrace/journal/999".to_owned();
    }
    assert!(Recovery::read(vec![other]).is_none());
}

#[test]
fn a_second_trial_is_not_the_first() {
    let mut records = raced(3.0, 0.0);
    let first = common::clean(1, 60.0).remove(0);
    records.push(Record::Outcome(Box::new(first)));
    records.push(start(1));
    let recovery = Recovery::read(records).unwrap();
    assert_eq!(recovery.trials.len(), 1);
    let open = recovery.open.unwrap();
    assert_eq!((open.start.index, open.racing.is_none()), (1, true));
}

proptest! {
    /// Whatever was written and wherever it stops: a trial without its own
    /// outcome never survived.
    #[test]
    fn no_open_trial_ever_survives(
        kinds in proptest::collection::vec(0_u8..4, 0..12),
        mark in proptest::option::of(0.0..100.0_f64),
        crash_at in proptest::option::of(0.0..100.0_f64),
        has_log in any::<bool>(),
        rebooted in any::<bool>(),
        died in any::<bool>(),
    ) {
        let mut records = vec![begin(3), start(0)];
        for (index, kind) in kinds.into_iter().enumerate() {
            records.push(match kind {
                0 => racing(),
                1 => Record::Beat(beat(index as f64, index as f64 * 10.0)),
                2 => start(u32::try_from(index).unwrap()),
                _ => Record::Sign(SignRecord {
                    line: "2,1,5000000,-;kernel BUG at x.c:1!".to_owned(),
                    log_time_s: mark,
                    beat: beat(index as f64, 0.0),
                }),
            });
        }
        let logs = if has_log { vec![log(mark, crash_at)] } else { Vec::new() };
        let taint = if died { 1 << 7 } else { 0 };
        let machine = if rebooted { Machine::Rebooted } else { Machine::SameBoot { taint } };
        let trial = decide(records, &logs, machine);
        prop_assert_ne!(trial.outcome, Outcome::Survived);
        prop_assert_ne!(trial.outcome, Outcome::Unsupported);
        if trial.outcome == Outcome::Crashed {
            prop_assert!(trial.crash.is_some());
            prop_assert!(trial.time_to_crash_s.is_some() || trial.phase.is_before_race());
        }
    }
}
