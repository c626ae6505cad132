//! Cases told to the watch: what comes out of a machine, at which host time,
//! and what it must conclude.

mod misbehaving;

use super::*;
use crate::model::{Counters, Outcome};
use crate::recorder::Phase;
use crate::vm::protocol::Ending;

const BUDGETS: Budgets = Budgets {
    accel: Accel::Tcg,
    boot_s: 60.0,
    setup_s: 30.0,
    duration_s: 10.0,
    stall_s: 20.0,
    settle_s: 15.0,
    linger_s: 5.0,
    answer_s: 3.0,
};

/// The console of a real panic, from the race's start on.
const PANIC: &str = "\
[    1.250000] modrace: the race starts at 1200000000\r
[    1.750000] ------------[ cut here ]------------\r
[    1.750100] kernel BUG at kernel/module/main.c:2998!\r
[    1.750200] invalid opcode: 0000 [#1] SMP NOPTI\r
[    1.750300] CPU: 3 PID: 44 Comm: reader/1 Tainted: G           O       6.1.192 #1\r
[    1.750400] RIP: 0010:module_flags+0xa/0x9c\r
[    1.750500] Call Trace:\r
[    1.750600]  <TASK>\r
[    1.750700]  m_show+0x13b/0x16d\r
[    1.750800]  seq_read_iter+0x159/0x30e\r
[    1.750900]  </TASK>\r
[    1.751000] ---[ end trace 0000000000000000 ]---\r
[    1.752000] Kernel panic - not syncing: Fatal exception\r
";

fn snapshot(phase: Phase, heartbeat: u64) -> Snapshot {
    Snapshot {
        present: true,
        prepared_ns: 0,
        phase,
        heartbeat,
        heartbeat_ns: 1_200_000_000 + heartbeat * 20_000_000,
        race_start_ns: if phase >= Phase::Race {
            1_201_000_000
        } else {
            0
        },
        race_end_ns: if phase > Phase::Race {
            11_201_000_000
        } else {
            0
        },
        cycles: heartbeat,
        last_cycle_ns: 0,
        reads: heartbeat * 100,
        counters: Counters::default(),
        stages: Vec::new(),
        aims: Vec::new(),
    }
}

/// A watch whose guest races since host time 3, with its heart beating at 4.
fn racing() -> Watch {
    let mut watch = Watch::new(BUDGETS);
    watch.on_console(b"[    0.000000] Linux version 6.1.192\r\n", 1.0);
    let hello = GuestMessage::Hello {
        environment: Box::default(),
        recorder: true,
    };
    watch.on_agent(hello.to_line().as_bytes(), 2.0);
    watch.on_agent(
        GuestMessage::Racing(Racing::default()).to_line().as_bytes(),
        3.0,
    );
    watch.on_snapshot(snapshot(Phase::Race, 30), 4.0);
    assert_eq!(watch.next(4.0), Step::Wait);
    watch
}

fn survivor(seen: &Snapshot) -> Finished {
    let mut counters = seen.counters.clone();
    counters.sightings.live = 5;
    Finished {
        ending: Ending::Survived,
        reason: String::new(),
        raced_s: 10.0,
        cycles: seen.cycles,
        reads: seen.reads,
        counters,
        taint_before: 0,
        taint_after: 1 << 12,
        tunables: Vec::new(),
        bad_lines: Vec::new(),
        leaks: Vec::new(),
    }
}

/// Plays a guest that says this at its end and powers off.
fn ends_with(finished: Finished, last: &Snapshot) -> Conclusion {
    let mut watch = racing();
    watch.on_snapshot(last.clone(), 13.0);
    watch.on_agent(
        GuestMessage::Finished(Box::new(finished))
            .to_line()
            .as_bytes(),
        13.5,
    );
    watch.on_qmp(&QmpEvent::Shutdown(Shutdown::GuestPowerOff));
    watch.on_exit("exit status: 0".to_owned());
    watch.on_console_closed();
    assert_eq!(watch.next(14.0), Step::End);
    watch.conclude(last, "")
}

fn crashed(console: &str, signals: impl FnOnce(&mut Watch)) -> Conclusion {
    let mut watch = racing();
    watch.on_console(console.as_bytes(), 5.0);
    signals(&mut watch);
    watch.on_console_closed();
    watch.conclude(&snapshot(Phase::Race, 30), "")
}

#[test]
fn a_report_and_a_reset_are_a_crash_timed_by_the_logs_clock() {
    let end = crashed(PANIC, |watch| {
        watch.on_qmp(&QmpEvent::GuestPanicked);
        watch.on_qmp(&QmpEvent::Shutdown(Shutdown::GuestReset));
        watch.on_exit("exit status: 0".to_owned());
    });
    assert_eq!(end.outcome, Outcome::Crashed, "{}", end.reason);
    assert_eq!(end.reason, "kernel BUG in module_flags");
    // The log is 50 ms ahead of the race's clock; the race started at 1.201.
    let time_s = end.time_to_crash_s.unwrap();
    assert!((time_s - 0.4991).abs() < 1e-6, "{time_s}");
    assert!(end.signals.len() >= 3, "{:?}", end.signals);
}

#[test]
fn a_report_that_nothing_confirms_is_broken() {
    let mut watch = racing();
    watch.on_console(PANIC.as_bytes(), 5.0);
    let last = snapshot(Phase::Done, 600);
    watch.on_snapshot(last.clone(), 6.0);
    watch.on_agent(
        GuestMessage::Finished(Box::new(survivor(&last)))
            .to_line()
            .as_bytes(),
        13.5,
    );
    watch.on_qmp(&QmpEvent::Shutdown(Shutdown::GuestPowerOff));
    let end = watch.conclude(&last, "");
    assert_eq!(end.outcome, Outcome::Broken, "{}", end.reason);
    assert!(end.reason.contains("nothing else agrees"), "{}", end.reason);
}

#[test]
fn a_report_and_a_heart_that_stopped_behind_it_are_a_crash() {
    let mut watch = racing();
    watch.on_console(PANIC.as_bytes(), 5.0);
    assert_eq!(watch.next(10.2), Step::End);
    let end = watch.conclude(&snapshot(Phase::Race, 30), "");
    assert_eq!(end.outcome, Outcome::Crashed, "{}", end.reason);

    // The heart beats on: nothing confirms the report.
    let mut watch = racing();
    watch.on_console(PANIC.as_bytes(), 5.0);
    watch.on_snapshot(snapshot(Phase::Race, 300), 10.0);
    assert_eq!(watch.next(10.2), Step::End);
    let end = watch.conclude(&snapshot(Phase::Race, 310), "");
    assert_eq!(end.outcome, Outcome::Broken, "{}", end.reason);
}

#[test]
fn a_panic_that_resets_nothing_is_not_waited_for() {
    let mut watch = Watch::new(BUDGETS);
    watch.on_console(b"[    0.000000] Linux version 3.10.17\r\n", 1.0);
    assert_eq!(watch.next(2.0), Step::Wait);
    watch.on_qmp(&QmpEvent::GuestPanicked);
    watch.on_console(b"[    0.500000] more\r\n", 4.0);
    let quiet = BUDGETS.linger_s * QUIET_AFTER_PANIC;
    assert_eq!(watch.next(3.9 + quiet), Step::Wait);
    assert_eq!(watch.next(4.1 + quiet), Step::End);
    let end = watch.conclude(&snapshot(Phase::Boot, 0), "");
    assert_eq!(end.outcome, Outcome::Crashed, "{}", end.reason);
    assert!(end.reason.contains("pvpanic"), "{}", end.reason);
}

#[test]
fn a_guest_that_does_not_get_to_its_init_says_how_far_it_came() {
    let mut watch = Watch::new(BUDGETS);
    watch.on_console(b"Linux version 3.10.17\r\nMounting root\r\nhalf a l", 1.0);
    assert_eq!(watch.next(61.0), Step::End);
    let end = watch.conclude(&snapshot(Phase::Boot, 0), "");
    assert_eq!(end.outcome, Outcome::Broken);
    assert!(
        end.reason.contains("last line: `Mounting root`"),
        "{}",
        end.reason
    );
}

#[test]
fn a_panic_event_without_a_report_is_broken_not_survived() {
    let mut watch = racing();
    watch.on_qmp(&QmpEvent::GuestPanicked);
    let last = snapshot(Phase::Done, 600);
    watch.on_agent(
        GuestMessage::Finished(Box::new(survivor(&last)))
            .to_line()
            .as_bytes(),
        13.5,
    );
    let end = watch.conclude(&last, "");
    assert_eq!(end.outcome, Outcome::Broken);
    assert!(end.reason.contains("pvpanic"), "{}", end.reason);
}

#[test]
fn a_survivor_needs_counts_that_agree() {
    let last = snapshot(Phase::Done, 600);
    let end = ends_with(survivor(&last), &last);
    assert_eq!(end.outcome, Outcome::Survived, "{}", end.reason);
    assert!((end.exposure_s - 10.0).abs() < 1e-9);

    let mut lies = survivor(&last);
    lies.cycles += 1;
    let end = ends_with(lies, &last);
    assert_eq!(end.outcome, Outcome::Broken);
    assert!(end.reason.contains("flight recorder"), "{}", end.reason);
}

#[test]
fn a_race_that_was_none_is_broken() {
    let last = snapshot(Phase::Done, 600);
    let blind = Finished {
        counters: Counters::default(),
        ..survivor(&last)
    };
    assert!(
        ends_with(blind, &last)
            .reason
            .contains("no reader ever saw")
    );

    let short = Finished {
        raced_s: 4.0,
        ..survivor(&last)
    };
    assert_eq!(ends_with(short, &last).outcome, Outcome::Broken);

    let dead = Finished {
        taint_after: 1 << 7,
        ..survivor(&last)
    };
    assert!(ends_with(dead, &last).reason.contains("newly tainted"));

    let idle = Snapshot {
        cycles: 0,
        ..last.clone()
    };
    assert!(
        ends_with(survivor(&idle), &idle)
            .reason
            .contains("not one load/unload cycle")
    );
}

#[test]
fn a_heart_that_stops_while_the_cpus_run_is_a_hang() {
    let mut watch = racing();
    assert_eq!(watch.next(23.0), Step::Wait);
    assert_eq!(watch.next(25.0), Step::AskStatus);
    assert_eq!(watch.next(25.1), Step::Wait);
    watch.on_qmp(&QmpEvent::Status(RunState::Running));
    assert_eq!(watch.next(25.2), Step::End);
    let end = watch.conclude(&snapshot(Phase::Race, 30), "");
    assert_eq!(end.outcome, Outcome::Hung, "{}", end.reason);
    assert!(end.reason.contains("no heartbeat"), "{}", end.reason);
}

#[test]
fn a_loader_that_does_not_come_back_is_a_hang_though_the_heart_beats() {
    let mut watch = racing();
    for second in 5..30 {
        let beat = Snapshot {
            cycles: 30,
            ..snapshot(Phase::Race, 30 + second)
        };
        watch.on_snapshot(beat, second as f64);
        let step = watch.next(second as f64);
        if step == Step::AskStatus {
            break;
        }
    }
    watch.on_qmp(&QmpEvent::Status(RunState::Running));
    let end = watch.conclude(&snapshot(Phase::Race, 60), "");
    assert_eq!(end.outcome, Outcome::Hung, "{}", end.reason);
}

#[test]
fn a_qemu_that_does_not_answer_is_broken_not_hung() {
    let mut watch = racing();
    assert_eq!(watch.next(25.0), Step::AskStatus);
    assert_eq!(watch.next(28.5), Step::End);
    let end = watch.conclude(&snapshot(Phase::Race, 30), "");
    assert_eq!(end.outcome, Outcome::Broken);
    assert!(end.reason.contains("does not answer"), "{}", end.reason);
}

#[test]
fn stopped_cpus_are_broken_not_hung() {
    let mut watch = racing();
    assert_eq!(watch.next(25.0), Step::AskStatus);
    watch.on_qmp(&QmpEvent::Status(RunState::Stopped));
    let end = watch.conclude(&snapshot(Phase::Race, 30), "");
    assert_eq!(end.outcome, Outcome::Broken, "{}", end.reason);
}

#[test]
fn a_killed_qemu_is_broken_and_its_last_words_are_told() {
    let mut watch = racing();
    watch.on_exit("signal: 9 (SIGKILL)".to_owned());
    watch.on_console_closed();
    assert_eq!(watch.next(5.0), Step::End);
    let end = watch.conclude(&snapshot(Phase::Race, 30), "qemu: something");
    assert_eq!(end.outcome, Outcome::Broken);
    assert!(end.reason.contains("SIGKILL") && end.reason.contains("qemu: something"));
}

#[test]
fn a_guest_that_never_speaks_is_broken() {
    let mut watch = Watch::new(BUDGETS);
    assert_eq!(watch.next(59.0), Step::Wait);
    assert_eq!(watch.next(61.0), Step::End);
    let end = watch.conclude(&snapshot(Phase::Boot, 0), "");
    assert_eq!(end.outcome, Outcome::Broken);
    assert!(end.reason.contains("printed nothing"), "{}", end.reason);
}

#[test]
fn a_crash_is_listened_to_until_its_report_is_whole() {
    let mut watch = racing();
    watch.on_console(&PANIC.as_bytes()[..200], 5.0);
    // The heart has stopped for long, but the report is still coming.
    assert_eq!(watch.next(9.9), Step::Wait);
    watch.on_console(&PANIC.as_bytes()[200..], 9.95);
    assert_eq!(watch.next(10.2), Step::End);
}

/// What a kernel with KASAN prints, and lives on.
const KASAN: &str = "\
[    1.750000] ==================================================================\r
[    1.750100] BUG: KASAN: slab-use-after-free in m_show+0x6f/0x16d\r
[    1.750200] Read of size 8 at addr ffff888004d3a018 by task reader/1/44\r
[    1.750300] CPU: 3 PID: 44 Comm: reader/1 Tainted: G           O       6.1.192 #1\r
[    1.750500] Call Trace:\r
[    1.750600]  <TASK>\r
[    1.750700]  m_show+0x6f/0x16d\r
[    1.750800]  seq_read_iter+0x159/0x30e\r
[    1.750900]  </TASK>\r
[    1.751000] ==================================================================\r
";

#[test]
fn a_report_that_the_kernel_outlives_is_confirmed_by_its_taint() {
    let last = snapshot(Phase::Done, 600);
    for (taint_after, outcome) in [(1 << 5, Outcome::Crashed), (0, Outcome::Broken)] {
        let mut watch = racing();
        watch.on_console(KASAN.as_bytes(), 5.0);
        watch.on_snapshot(last.clone(), 13.0);
        // Nobody ends a guest that goes on.
        assert_eq!(watch.next(13.2), Step::Wait);
        let finished = Finished {
            taint_after,
            ..survivor(&last)
        };
        watch.on_agent(
            GuestMessage::Finished(Box::new(finished))
                .to_line()
                .as_bytes(),
            13.5,
        );
        watch.on_qmp(&QmpEvent::Shutdown(Shutdown::GuestPowerOff));
        let end = watch.conclude(&last, "");
        assert_eq!(end.outcome, outcome, "{}", end.reason);
    }
}

#[test]
fn a_taint_without_a_report_is_the_kernels_own_word() {
    let last = snapshot(Phase::Done, 600);
    let end = |taint_after| {
        let hurt = Finished {
            taint_after,
            ..survivor(&last)
        };
        ends_with(hurt, &last)
    };
    let warned = end(1 << 9);
    assert_eq!(warned.outcome, Outcome::Survived, "{}", warned.reason);
    assert!(warned.warnings[0].first_line.contains("newly tainted"));
    let died = end(1 << 7);
    assert_eq!(died.outcome, Outcome::Crashed, "{}", died.reason);
    assert!(died.reason.contains("newly tainted"), "{}", died.reason);
}

#[test]
fn a_hostile_console_neither_panics_nor_passes_for_a_result() {
    let mut noise: Vec<u8> = (0..=255u8).cycle().take(100_000).collect();
    noise.extend_from_slice(b"\nmodrace-agent: {\"say\":\"finished\"\n");
    let mut watch = racing();
    watch.on_console(&noise, 5.0);
    watch.on_agent(&noise, 5.0);
    watch.on_exit("exit status: 0".to_owned());
    watch.on_console_closed();
    let end = watch.conclude(&snapshot(Phase::Race, 30), "");
    assert_eq!(end.outcome, Outcome::Broken, "{}", end.reason);
}
