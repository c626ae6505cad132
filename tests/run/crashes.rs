//! The kernel crashes: with a panic, and without.

use modrace::model::{CrashClass, Outcome, Verdict};

use crate::RUN;
use crate::machine::Machine;

/// Seconds that two readings of one clock may differ by.
const SAME_S: f64 = 0.02;
/// The gate opens after its mark is printed; on a loaded host that takes a while.
const GATE_OPENS_WITHIN_S: f64 = 0.3;

/// Whether a time to crash is that of the console, on which only the mark stands.
fn is_time_on_console(told: f64, on_console: f64) -> bool {
    (on_console - GATE_OPENS_WITHIN_S..on_console + SAME_S).contains(&told) && told > 0.0
}

#[test]
fn after_a_panic_recover_has_the_crash_from_pstore_with_its_time() {
    let machine = Machine::lab("vulnerable-disk");
    let first = machine.boot(&format!(
        "{RUN} --duration 120s --on-crash panic\necho EXIT=$?"
    ));
    // The machine was gone before anybody could say anything.
    first.says("Kernel panic - not syncing");
    first.does_not_say("EXIT=");
    let on_console = first.time_of("kernel BUG at") - first.time_of("modrace: the race starts");

    let second = machine.boot(
        "modrace recover\necho EXIT=$?\nmount -t pstore x /sys/fs/pstore\n\
         echo LEFT=$(ls /sys/fs/pstore) $(ls /var/lib)",
    );
    assert_eq!(second.value("EXIT="), Some("1"), "{}", second.console);
    // What was kept is removed where it was; nothing else is left either.
    assert_eq!(second.value("LEFT="), Some(""), "{}", second.console);

    let report = machine.report();
    assert_eq!(report.verdict, Verdict::Fail);
    let trial = &report.trials[0];
    assert_eq!(trial.outcome, Outcome::Crashed);
    let crash = trial.crash.as_ref().unwrap();
    assert_eq!(crash.class, CrashClass::Target, "{trial:?}");
    let faulting = crash.instructions.iter().find(|one| one.offset == 0);
    assert_eq!(faulting.unwrap().text, "ud2");
    assert!(trial.signals[0].starts_with("pstore: "), "{trial:?}");
    assert_eq!(trial.time_to_crash_bounds_s, None, "{trial:?}");
    let told = trial.time_to_crash_s.unwrap();
    assert!(
        is_time_on_console(told, on_console),
        "{told} by the report, {on_console} by the console"
    );
    let log = machine
        .disk
        .file("/report.logs/trial-0000.console.log")
        .unwrap();
    assert!(String::from_utf8_lossy(&log).contains("kernel BUG at"));
}

#[test]
fn without_a_panic_the_report_is_there_before_the_exit_and_the_process_leaves() {
    let machine = Machine::lab("vulnerable-disk");
    let boot = machine.boot(&format!(
        "{RUN} --duration 120s --on-crash stay\necho EXIT=$?\ncat /proc/uptime\n\
         echo LEFT=$(ls /var/lib)\necho PANIC=$(cat /proc/sys/kernel/panic_on_oops)\n\
         echo EXPEDITED=$(cat /sys/kernel/rcu_expedited)"
    ));
    assert_eq!(boot.value("EXIT="), Some("1"), "{}", boot.console);
    boot.says("reboot this machine");
    boot.says("GUEST-ENDED");
    assert_eq!(boot.value("LEFT="), Some(""), "{}", boot.console);
    assert_eq!(boot.value("EXPEDITED="), Some("0"), "{}", boot.console);

    let report = machine.report();
    assert_eq!(report.verdict, Verdict::Fail);
    assert!(report.complete);
    let trial = &report.trials[0];
    assert_eq!(trial.outcome, Outcome::Crashed);
    let crash = trial.crash.as_ref().unwrap();
    assert_eq!(crash.class, CrashClass::Target, "{trial:?}");
    assert!(
        crash
            .call_trace
            .iter()
            .any(|frame| frame.function == "m_show")
    );
    let faulting = crash.instructions.iter().find(|one| one.offset == 0);
    assert_eq!(faulting.unwrap().text, "ud2");
    assert!(
        trial.signals.iter().any(|signal| signal.contains("death")),
        "{trial:?}"
    );
    let on_console = boot.time_of("kernel BUG at") - boot.time_of("modrace: the race starts");
    let told = trial.time_to_crash_s.unwrap();
    assert!(is_time_on_console(told, on_console), "{told} {on_console}");
}

#[test]
fn a_kernel_that_stays_up_damaged_is_rebooted_for_the_next_trial() {
    let machine = Machine::lab("vulnerable-disk");
    let first = machine.boot(&format!(
        "{RUN} --trials 2 --duration 120s --on-crash stay --rearm\necho EXIT=$?"
    ));
    first.says("rebooting, to make the remaining trials");
    first.does_not_say("EXIT=");
    // The report did not wait for the recovery.
    assert_eq!(machine.report().trials[0].outcome, Outcome::Crashed);
    let resume = "modrace recover --resume\necho EXIT=$?\necho LEFT=$(ls /var/lib)";
    let second = machine.boot(resume);
    second.says("rebooting, to complete the report on a kernel that is in order");
    second.does_not_say("EXIT=");
    let third = machine.boot(resume);
    assert_eq!(third.value("EXIT="), Some("1"), "{}", third.console);
    assert_eq!(third.value("LEFT="), Some(""), "{}", third.console);
    let report = machine.report();
    assert_eq!(report.stats.crashes, 2, "{:?}", report.trials);
    assert!(report.complete);
}

#[test]
fn three_trials_on_one_machine_need_nobody() {
    let machine = Machine::lab("vulnerable-disk");
    let script = format!(
        "if [ -n \"$(ls /var/lib)\" ]; then modrace recover --resume; else\n\
         {RUN} --trials 3 --duration 120s --on-crash panic --rearm; fi\necho EXIT=$?"
    );
    let mut last = None;
    for _boot in 0..4 {
        let boot = machine.boot(&script);
        if boot.value("EXIT=").is_some() {
            last = Some(boot);
            break;
        }
    }
    let last = last.expect("the fourth boot completes the report");
    assert_eq!(last.value("EXIT="), Some("1"), "{}", last.console);
    let report = machine.report();
    let outcomes: Vec<Outcome> = report.trials.iter().map(|trial| trial.outcome).collect();
    assert_eq!(outcomes, [Outcome::Crashed; 3], "{:?}", report.trials);
    assert_eq!(report.stats.crashes, 3);
    assert!(report.complete);
    // Each crash was found in its own dump, not three times in the first.
    let mut times: Vec<String> = report
        .trials
        .iter()
        .map(|trial| format!("{:?}", trial.crash.as_ref().unwrap().log_time_s))
        .collect();
    times.sort();
    times.dedup();
    assert_eq!(times.len(), 3, "{times:?}");
}
