//! The run is killed, or the machine loses its power: nothing that reached the
//! disk is lost, and nobody calls it a pass.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use modrace::bare::{Beat, Journal, Record};
use modrace::model::{Outcome, Verdict};

use crate::RUN;
use crate::machine::Machine;

/// A heartbeat may be late on a loaded host, ms.
const LATE_MS: u64 = 6_000;

#[test]
fn after_kill_nine_cleanup_puts_everything_back() {
    let machine = Machine::lab("fixed-disk");
    let boot = machine.boot(&format!(
        "{RUN} --duration 10m --background-modules 3 --on-crash panic \
         --chaos rcu-expedited,offline &\n\
         while ! dmesg | grep -q 'the race starts'; do sleep 1; done; sleep 2\n\
         kill -9 $!; wait $!; echo KILLED=$?; sleep 1\n\
         echo LOADED=$(grep -c modrace_background /proc/modules)\n\
         echo OFF=$(cat /sys/devices/system/cpu/cpu?/online)\n\
         {RUN} --duration 5s; echo AGAIN=$?\n\
         modrace run --cleanup; echo EXIT=$?\n\
         echo MODULES=$(cat /proc/modules)\n\
         echo KNOBS=$(cat /proc/sys/kernel/panic_on_oops /sys/kernel/rcu_expedited)\n\
         echo ONLINE=$(cat /sys/devices/system/cpu/cpu?/online)\n\
         echo LEFT=$(ls /var/lib)$(ps -o comm | grep modrace)"
    ));
    assert_eq!(boot.value("KILLED="), Some("137"), "{}", boot.console);
    assert_eq!(boot.value("LOADED="), Some("3"), "{}", boot.console);
    // What was measured is seen to before anything is raced again.
    assert_eq!(boot.value("AGAIN="), Some("4"), "{}", boot.console);
    assert_eq!(boot.value("EXIT="), Some("0"), "{}", boot.console);
    assert_eq!(boot.value("MODULES="), Some(""), "{}", boot.console);
    assert_eq!(boot.value("KNOBS="), Some("0 0"), "{}", boot.console);
    // Loader and reader sit on 0 and 3; the boot CPU has no switch.
    assert_eq!(boot.value("OFF="), Some("0 0 1"), "{}", boot.console);
    assert_eq!(boot.value("ONLINE="), Some("1 1 1"), "{}", boot.console);
    assert_eq!(boot.value("LEFT="), Some(""), "{}", boot.console);
    let report = machine.report();
    assert_eq!(report.verdict, Verdict::Broken);
    let trial = &report.trials[0];
    assert_eq!(trial.outcome, Outcome::Broken);
    assert!(trial.reason.contains("killed"), "{trial:?}");
    assert!(trial.exposure_s > 0.5 && trial.cycles > 0, "{trial:?}");
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// The journal's last heartbeat as the disk has it.
fn last_beat(machine: &Machine) -> Option<Beat> {
    let listing = machine.disk.names("/lib/modrace");
    let name = listing.iter().find(|name| name.ends_with(".journal"))?;
    let bytes = machine.disk.file(&format!("/lib/modrace/{name}"))?;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.journal");
    std::fs::write(&path, bytes).unwrap();
    let (_, found) = Journal::resume(&path).unwrap();
    found
        .records
        .into_iter()
        .rev()
        .find_map(|record| match record {
            Record::Beat(beat) => Some(beat),
            _ => None,
        })
}

/// Cuts the power so long after the start of the race.
fn cut_after(machine: &Machine, after: Duration) {
    let mut running = machine.start(&format!("{RUN} --duration 10m --heartbeat 200ms"));
    running.wait_for("the race starts");
    std::thread::sleep(after);
    let cut_ms = now_ms();
    running.cut_the_power();
    let beat = last_beat(machine);
    if after > Duration::from_millis(LATE_MS) {
        let beat = beat.as_ref().expect("a heartbeat within that time");
        // The guest's clock is the host's, to the second of its RTC.
        let age_ms = cut_ms.saturating_sub(beat.unix_ms);
        assert!(age_ms < LATE_MS, "the last heartbeat is {age_ms} ms old");
    }

    let second = machine.boot("modrace recover\necho EXIT=$?\necho LEFT=$(ls /var/lib)");
    // A kernel that died in the race would leave no more than the power does.
    assert_eq!(second.value("EXIT="), Some("5"), "{}", second.console);
    assert_eq!(second.value("LEFT="), Some(""), "{}", second.console);
    let report = machine.report();
    assert_eq!(report.verdict, Verdict::Inconclusive);
    let trial = &report.trials[0];
    assert_eq!(trial.outcome, Outcome::Died, "{trial:?}");
    assert!(trial.reason.contains("nothing says why"), "{trial:?}");
    if let Some(beat) = beat {
        assert!(
            trial.exposure_s >= beat.raced_s && trial.cycles >= beat.cycles,
            "{trial:?} has less than {beat:?}"
        );
    }
}

/// Moments spread over the first seconds, the same in each run of the test.
fn cut_at_moments(count: u32) {
    let machine = Machine::lab("fixed-disk");
    for index in 0..count {
        // The golden ratio's fractional parts fill the interval evenly.
        let share = (f64::from(index + 1) * 0.618_033_988_75).fract();
        cut_after(&machine, Duration::from_secs_f64(share * 8.0));
    }
}

#[test]
fn power_cuts_lose_no_heartbeat_and_never_pass() {
    cut_at_moments(3);
}

#[test]
#[ignore = "fifty boots and as many recoveries; make test-all"]
fn fifty_power_cuts_lose_no_heartbeat_and_never_pass() {
    cut_at_moments(50);
}
