//! Kernels that misbehave outside of the race under test, and machines that are
//! taken away.

use super::*;
use crate::model::TrialPhase;

/// A watch that has heard so much: the kernel's boot, our first process.
fn at(phase: TrialPhase) -> Watch {
    let mut watch = Watch::new(BUDGETS);
    watch.on_console(b"[    0.000000] Linux version 6.1.192\r\n", 1.0);
    if phase >= TrialPhase::Setup {
        let hello = GuestMessage::Hello {
            environment: Box::default(),
            recorder: true,
        };
        watch.on_agent(hello.to_line().as_bytes(), 2.0);
        watch.on_snapshot(snapshot(Phase::Setup, 5), 2.5);
    }
    watch
}

#[test]
fn a_kernel_that_dies_before_the_race_crashed_and_the_phase_says_where() {
    let bug = PANIC.replace("modrace: the race starts", "something else");
    for (phase, recorder) in [
        (TrialPhase::Boot, Phase::Boot),
        (TrialPhase::Setup, Phase::Setup),
    ] {
        let mut watch = at(phase);
        watch.on_console(bug.as_bytes(), 3.0);
        watch.on_qmp(&QmpEvent::Shutdown(Shutdown::GuestReset));
        watch.on_exit("exit status: 0".to_owned());
        let end = watch.conclude(&snapshot(recorder, 5), "");
        assert_eq!((end.outcome, end.phase), (Outcome::Crashed, phase));
        assert!(
            end.reason.contains("kernel BUG in module_flags")
                && end.reason.contains("before the race"),
            "{}",
            end.reason
        );
        assert_eq!((end.time_to_crash_s, end.exposure_s), (None, 0.0));
    }
}

#[test]
fn a_kernel_without_an_initramfs_is_unsupported_and_a_dead_init_is_broken() {
    for (panic, outcome, words) in [
        (
            "VFS: Unable to mount root fs on unknown-block(0,0)",
            Outcome::Unsupported,
            "CONFIG_BLK_DEV_INITRD",
        ),
        (
            "Attempted to kill init! exitcode=0x00000100",
            Outcome::Broken,
            "before the race",
        ),
        (
            "System is deadlocked on memory",
            Outcome::Broken,
            "--mem-mib",
        ),
    ] {
        let mut watch = at(TrialPhase::Boot);
        let line = format!("[    1.000000] Kernel panic - not syncing: {panic}\r\n");
        watch.on_console(line.as_bytes(), 2.0);
        watch.on_qmp(&QmpEvent::Shutdown(Shutdown::GuestReset));
        watch.on_exit("exit status: 0".to_owned());
        let end = watch.conclude(&snapshot(Phase::Boot, 0), "");
        assert_eq!(end.outcome, outcome, "{}", end.reason);
        assert!(end.reason.contains(words), "{}", end.reason);
    }
}

#[test]
fn a_reset_or_a_panic_without_a_report_is_the_kernels_death() {
    for (event, words) in [
        (QmpEvent::Shutdown(Shutdown::GuestReset), "reset"),
        (QmpEvent::GuestPanicked, "pvpanic"),
    ] {
        let mut watch = racing();
        watch.on_qmp(&event);
        watch.on_exit("exit status: 0".to_owned());
        let end = watch.conclude(&snapshot(Phase::Race, 30), "");
        assert_eq!(end.outcome, Outcome::Crashed, "{}", end.reason);
        assert!(end.reason.contains(words), "{}", end.reason);
        assert!(end.time_to_crash_s.is_some() && end.crash.is_some());
    }
}

#[test]
fn a_whole_report_outranks_a_qemu_that_was_killed_and_a_cut_one_is_told() {
    for (report, outcome) in [(PANIC, Outcome::Crashed), (&PANIC[..250], Outcome::Broken)] {
        let mut watch = racing();
        watch.on_console(report.as_bytes(), 4.1);
        watch.on_exit("signal: 9 (SIGKILL)".to_owned());
        watch.on_console_closed();
        assert_eq!(watch.next(4.2), Step::End);
        let end = watch.conclude(&snapshot(Phase::Race, 30), "");
        assert_eq!(end.outcome, outcome, "{}", end.reason);
        assert!(end.crash.is_some());
        let told = format!("{} {:?}", end.reason, end.notes);
        assert!(told.contains("SIGKILL"), "{told}");
    }
}

#[test]
fn an_int3_trap_in_the_kernel_under_tcg_is_the_emulators() {
    let int3 = PANIC
        .replace("kernel BUG at kernel/module/main.c:2998!", "nothing")
        .replace("invalid opcode: 0000", "Oops: int3: 0000");
    let conclude = |accel, console: &str| {
        let mut watch = racing();
        watch.budgets.accel = accel;
        watch.on_console(console.as_bytes(), 5.0);
        watch.on_qmp(&QmpEvent::Shutdown(Shutdown::GuestReset));
        watch.on_exit("exit status: 0".to_owned());
        watch.conclude(&snapshot(Phase::Race, 30), "")
    };
    let end = conclude(Accel::Tcg, &int3);
    assert_eq!(end.outcome, Outcome::Broken, "{}", end.reason);
    assert!(end.reason.contains("emulator"), "{}", end.reason);
    assert!(end.crash.is_some());
    assert_eq!(conclude(Accel::Kvm, &int3).outcome, Outcome::Crashed);
    // In a module's text it is a call into freed memory.
    let freed = int3.replace("module_flags+0xa/0x9c", "gone+0xa/0x9c [dummy_module]");
    assert_eq!(conclude(Accel::Tcg, &freed).outcome, Outcome::Crashed);
}

/// What a kernel prints of a warning.
const WARNING: &str = "\
[    2.750000] ------------[ cut here ]------------\r
[    2.750100] WARNING: CPU: 1 PID: 44 at kernel/module/main.c:2990 m_show+0x1/0x16d\r
[    2.750200] CPU: 1 PID: 44 Comm: reader/1 Tainted: G           O       6.1.192 #1\r
[    2.750300] RIP: 0010:m_show+0x1/0x16d\r
[    2.750400] Call Trace:\r
[    2.750500]  seq_read_iter+0x159/0x30e\r
[    2.750600] ---[ end trace 0000000000000000 ]---\r
";

#[test]
fn warnings_are_counted_and_the_race_goes_on() {
    let last = snapshot(Phase::Done, 600);
    let mut watch = racing();
    let mark = PANIC.lines().next().unwrap();
    watch.on_console(format!("{mark}\n").as_bytes(), 4.0);
    for second in [5, 6, 7] {
        // The same text at the same time would be one report printed twice.
        let warning = WARNING.replace("[    2.", &format!("[    {second}."));
        assert_ne!(warning, WARNING);
        watch.on_console(warning.as_bytes(), f64::from(second));
        assert_eq!(watch.next(f64::from(second)), Step::Wait);
    }
    watch.on_snapshot(last.clone(), 13.0);
    let finished = Finished {
        taint_after: 1 << 12 | 1 << 9,
        ..survivor(&last)
    };
    let line = GuestMessage::Finished(Box::new(finished)).to_line();
    watch.on_agent(line.as_bytes(), 13.5);
    watch.on_qmp(&QmpEvent::Shutdown(Shutdown::GuestPowerOff));
    let end = watch.conclude(&last, "");
    assert_eq!(end.outcome, Outcome::Survived, "{}", end.reason);
    assert_eq!(end.warnings.len(), 1, "{:?}", end.warnings);
    assert_eq!(end.warnings[0].title, "WARNING in m_show");
    assert_eq!(end.warnings[0].count, 3);
    assert!(end.warnings[0].first_line.contains("main.c:2990"));
}

#[test]
fn blocked_tasks_are_a_hang_as_soon_as_the_guest_says_so() {
    let mut watch = racing();
    let line = "[    9.000000] modrace: blocked: loader/0 for 5 s in delete_module\r\n";
    watch.on_console(line.as_bytes(), 10.0);
    watch.on_snapshot(snapshot(Phase::Race, 300), 10.0);
    assert_eq!(watch.next(10.5), Step::Wait);
    assert_eq!(watch.next(12.0), Step::AskStatus);
    watch.on_qmp(&QmpEvent::Status(RunState::Running));
    assert_eq!(watch.next(12.1), Step::End);
    let end = watch.conclude(&snapshot(Phase::Race, 310), "");
    assert_eq!(end.outcome, Outcome::Hung, "{}", end.reason);
    assert!(end.reason.contains("loader/0 for 5 s in delete_module"));

    // In the set-up as well, though the guest itself only failed.
    let mut watch = at(TrialPhase::Setup);
    watch.on_console(line.as_bytes(), 10.0);
    let failed = Finished {
        ending: Ending::Broken,
        reason: "only some of the workers reached the gate".to_owned(),
        ..survivor(&snapshot(Phase::Setup, 5))
    };
    let said = GuestMessage::Finished(Box::new(failed)).to_line();
    watch.on_agent(said.as_bytes(), 10.2);
    let end = watch.conclude(&snapshot(Phase::Setup, 10), "");
    assert_eq!((end.outcome, end.phase), (Outcome::Hung, TrialPhase::Setup));
}
