//! One table of logs, told as a guest's console, as records of the machine that
//! it is made on, and as the log that a dead machine left: the same log gets the
//! same outcome from all three.

use crate::bare::monitor::{Ended, Monitor};
use crate::bare::{Beat, Begin, FORMAT, Machine, RacingMark, Record, Recovery, TrialStart};
use crate::judge::conclusion::Conclusion;
use crate::judge::evidence::Taint;
use crate::judge::stall_detector::Stall;
use crate::kernel::pstore::FoundLog;
use crate::model::{Accel, Counters, Outcome, Report, Trial, TrialPhase};
use crate::recorder::{Phase, Snapshot};
use crate::trial::{Budgets, Watch};
use crate::vm::protocol::{GuestMessage, Racing};
use crate::vm::{QmpEvent, RunState, Shutdown};

/// Monotonic clock at the race's start, ns; the log is half a second ahead.
const START_NS: u64 = 9_500_000_000;
const BUG: &[&str] = &[
    "------------[ cut here ]------------",
    "kernel BUG at kernel/module/main.c:2998!",
    "invalid opcode: 0000 [#1] SMP",
    "CPU: 3 PID: 66 Comm: reader/1 Tainted: G           O       6.1.192 #1",
    "RIP: 0010:module_flags+0xa/0x9c",
    "Call Trace:",
    " <TASK>",
    " m_show+0x13b/0x16d",
    " seq_read_iter+0x159/0x30e",
    " </TASK>",
    "---[ end trace 0000000000000000 ]---",
];
const KASAN: &[&str] = &[
    "==================================================================",
    "BUG: KASAN: slab-use-after-free in m_show+0x6f/0x16d",
    "Read of size 8 at addr ffff888004d3a018 by task reader/1/44",
    "CPU: 3 PID: 44 Comm: reader/1 Tainted: G           O       6.1.192 #1",
    "Call Trace:",
    " m_show+0x6f/0x16d",
    " seq_read_iter+0x159/0x30e",
    "==================================================================",
];
const WARNING: &[&str] = &[
    "------------[ cut here ]------------",
    "WARNING: CPU: 1 PID: 44 at kernel/module/main.c:2990 m_show+0x1/0x16d",
    "CPU: 1 PID: 44 Comm: reader/1 Tainted: G           O       6.1.192 #1",
    "RIP: 0010:m_show+0x1/0x16d",
    "Call Trace:",
    " seq_read_iter+0x159/0x30e",
    "---[ end trace 0000000000000000 ]---",
];
const STALL: &[&str] = &[
    "rcu: INFO: rcu_sched self-detected stall on CPU",
    "rcu: \t1-....: (5249 ticks this GP) idle=8d4/1/0x4000000000000000",
    "CPU: 1 PID: 44 Comm: loader/0 Tainted: G           O       6.1.192 #1",
    "RIP: 0010:delete_module+0x1/0x16d",
    "Call Trace:",
    " do_syscall_64+0x159/0x30e",
];
const QUIET: &[&str] = &["dummy_module: loading out-of-tree module taints kernel."];

/// How the kernel ended, in the terms of each watcher.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// It died: the machine reset; the taint word says D.
    Died,
    /// It stood still.
    Stalled,
    /// The watcher was killed, or the machine taken away; the kernel is as its
    /// taint word says.
    TakenAway { taint: u64 },
}

/// A log and an end, and what they come to.
const TABLE: &[(&str, &[&str], End, Outcome, usize)] = &[
    ("a BUG and a death", BUG, End::Died, Outcome::Crashed, 0),
    (
        "a BUG and a standstill",
        BUG,
        End::Stalled,
        Outcome::Crashed,
        0,
    ),
    ("KASAN and a death", KASAN, End::Died, Outcome::Crashed, 0),
    ("a standstill alone", QUIET, End::Stalled, Outcome::Hung, 0),
    (
        "a stall, and a standstill",
        STALL,
        End::Stalled,
        Outcome::Hung,
        0,
    ),
    (
        "a warning, and a standstill",
        WARNING,
        End::Stalled,
        Outcome::Hung,
        1,
    ),
    (
        "nothing, taken away",
        QUIET,
        End::TakenAway { taint: 0 },
        Outcome::Broken,
        0,
    ),
    (
        "a warning, taken away",
        WARNING,
        End::TakenAway { taint: 1 << 9 },
        Outcome::Broken,
        1,
    ),
];

/// What the three must agree on.
type Said = (Outcome, Option<String>, TrialPhase, usize);

fn said(conclusion: &Conclusion) -> Said {
    let title = conclusion.crash.as_ref().map(|crash| crash.title.clone());
    let warnings = conclusion.warnings.len();
    (conclusion.outcome, title, conclusion.phase, warnings)
}

fn mark() -> String {
    format!("modrace: the race starts at {START_NS}")
}

fn snapshot(phase: Phase) -> Snapshot {
    Snapshot {
        prepared_ns: 0,
        present: true,
        phase,
        heartbeat: 10,
        heartbeat_ns: START_NS + 3_000_000_000,
        race_start_ns: START_NS,
        race_end_ns: 0,
        cycles: 40,
        last_cycle_ns: 0,
        reads: 900,
        counters: Counters::default(),
        stages: Vec::new(),
        aims: Vec::new(),
    }
}

/// As lines of a console, or of pstore: with printk's time.
fn stamped(lines: &[&str]) -> String {
    let mut text = format!("[   10.000000] {}\n", mark());
    for (index, line) in lines.iter().enumerate() {
        text += &format!("[   12.{:06}] {line}\n", 100 + index);
    }
    text
}

fn on_vm(lines: &[&str], end: End) -> Said {
    let mut watch = Watch::new(Budgets {
        accel: Accel::Tcg,
        boot_s: 60.0,
        setup_s: 30.0,
        duration_s: 60.0,
        stall_s: 20.0,
        settle_s: 15.0,
        linger_s: 5.0,
        answer_s: 3.0,
    });
    let hello = GuestMessage::Hello {
        environment: Box::default(),
        recorder: true,
    };
    watch.on_agent(hello.to_line().as_bytes(), 1.0);
    watch.on_snapshot(snapshot(Phase::Race), 2.0);
    watch.on_console(stamped(lines).as_bytes(), 4.0);
    match end {
        End::Died => {
            watch.on_qmp(&QmpEvent::Shutdown(Shutdown::GuestReset));
            watch.on_exit("exit status: 0".to_owned());
        }
        End::Stalled => {
            watch.next(30.0);
            watch.on_qmp(&QmpEvent::Status(RunState::Running));
        }
        End::TakenAway { .. } => watch.on_exit("signal: 9 (SIGKILL)".to_owned()),
    }
    said(&watch.conclude(&snapshot(Phase::Race), ""))
}

fn on_bare(lines: &[&str], end: End) -> Said {
    let mut monitor = Monitor::default();
    monitor.on_kmsg(format!("13,400,10000000,-;{}", mark()).as_bytes());
    let mut signs = 0;
    for (index, line) in lines.iter().enumerate() {
        let record = format!("4,{},{},-;{line}", 401 + index, 12_000_100 + index);
        signs += usize::from(monitor.on_kmsg(record.as_bytes()).sign.is_some());
    }
    let (ended, after) = match end {
        End::Died => (Ended::Sign, 1 << 7),
        End::Stalled => (Ended::Stalled(Stall::Kernel("no cycle".to_owned())), 0),
        End::TakenAway { taint } => (Ended::Gone("killed".to_owned()), taint),
    };
    assert!(
        end != End::Died || signs == 1,
        "{lines:?}: the sign of a crash"
    );
    let taint = Taint { before: 0, after };
    said(&monitor.conclude(&ended, &snapshot(Phase::Race), taint, 60.0))
}

fn in_recovery(lines: &[&str], end: End) -> Said {
    let report: Report =
        serde_json::from_str(include_str!("../../fixtures/reports/crashed.json")).unwrap();
    let beat = Beat {
        unix_ms: 1_003_000,
        raced_s: 2.0,
        cycles: 40,
        idle_s: if end == End::Stalled { 45.0 } else { 0.0 },
        ..Beat::default()
    };
    let records = vec![
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
            heartbeat_s: 1.0,
            tunables: Vec::new(),
        })),
        Record::Trial(TrialStart {
            index: 0,
            seed: 1,
            boot_id: "a-boot".to_owned(),
            unix_ms: 1_000_000,
            taint: 0,
            old_logs: Vec::new(),
            crash_log: String::new(),
            worker: 7,
        }),
        Record::Racing(RacingMark {
            racing: Racing::default(),
            log_start_s: Some(10.0),
        }),
        Record::Beat(beat),
    ];
    let machine = match end {
        End::Died | End::Stalled => Machine::Rebooted,
        End::TakenAway { taint } => Machine::SameBoot { taint },
    };
    let log = FoundLog {
        source: "pstore: Panic#1".to_owned(),
        bytes: stamped(lines).into_bytes(),
        records: Vec::new(),
    };
    let open = Recovery::read(records).unwrap().open.unwrap();
    let trial: Trial = open.decide(1.0, &[log], machine).0;
    let title = trial.crash.map(|crash| crash.title);
    (trial.outcome, title, trial.phase, trial.warnings.len())
}

#[test]
fn the_same_log_gets_the_same_outcome_on_a_vm_on_the_machine_and_in_recovery() {
    for &(name, lines, end, outcome, warnings) in TABLE {
        let vm = on_vm(lines, end);
        assert_eq!((vm.0, vm.3), (outcome, warnings), "{name}, on a VM: {vm:?}");
        assert_eq!(vm, on_bare(lines, end), "{name}: VM and machine differ");
        assert_eq!(
            vm,
            in_recovery(lines, end),
            "{name}: VM and recovery differ"
        );
    }
}
