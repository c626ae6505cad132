//! The fixed kernel survives, and nothing is left behind.

use modrace::model::{Outcome, Verdict};

use crate::RUN;
use crate::machine::{Boot, Machine};

/// Everything that a run could leave changed, in a file.
const LOOK: &str = "look() { { cat /proc/modules; grep -r . /proc/sys/kernel/panic* \
     /proc/sys/kernel/printk /proc/sys/kernel/sched_rt_runtime_us /sys/kernel/rcu_expedited \
     /sys/kernel/rcu_normal 2>/dev/null; ls /var/lib /tmp /run; ps -o comm | grep modrace; } \
     > /$1; }\n";
const COMPARE: &str = "look after\nif diff /before /after; then echo SAME=yes; fi\n";

fn run_for(duration: &str, more: &str) -> (Machine, Boot) {
    let machine = Machine::lab("fixed-disk");
    let boot = machine.boot(&format!(
        "{LOOK}look before\n{RUN} --duration {duration} {more}\necho EXIT=$?\n{COMPARE}"
    ));
    (machine, boot)
}

fn survived(duration: &str, seconds: f64) {
    let (machine, boot) = run_for(duration, "--on-crash stay --background-modules 5");
    assert_eq!(boot.value("EXIT="), Some("0"), "{}", boot.console);
    assert_eq!(boot.value("SAME="), Some("yes"), "{}", boot.console);
    // What it was going to do, it said before.
    boot.says("this run is meant to crash this machine");
    boot.says("modrace recover");
    let report = machine.report();
    assert_eq!(report.verdict, Verdict::Pass);
    assert!(report.verdict_reason.contains("no positive control"));
    let trial = &report.trials[0];
    assert_eq!(trial.outcome, Outcome::Survived);
    assert!(trial.exposure_s >= 0.99 * seconds, "{trial:?}");
    // An aimed reader need never look while the module is live.
    let sightings = &trial.counters.sightings;
    assert!(trial.cycles > 0 && sightings.unloading > 0, "{trial:?}");
    assert!(
        report
            .environment
            .tunables
            .iter()
            .all(|tunable| !tunable.path.is_empty())
    );
    assert_eq!(report.environment.accel.as_deref(), Some("none"));
}

#[test]
fn a_fixed_kernel_survives_and_nothing_is_left_behind() {
    survived("8s", 8.0);
}

#[test]
#[ignore = "takes a minute and a half; make test-all"]
fn a_fixed_kernel_survives_for_a_minute() {
    survived("60s", 60.0);
}

#[test]
fn sigterm_ends_it_cleanly_with_a_partial_report() {
    let machine = Machine::lab("fixed-disk");
    let boot = machine.boot(&format!(
        "{LOOK}look before\n{RUN} --duration 10m &\n\
         while ! dmesg | grep -q 'the race starts'; do sleep 1; done; sleep 3\n\
         kill -TERM $!; wait $!; echo EXIT=$?\n{COMPARE}"
    ));
    assert_eq!(boot.value("EXIT="), Some("130"), "{}", boot.console);
    assert_eq!(boot.value("SAME="), Some("yes"), "{}", boot.console);
    let report = machine.report();
    assert!(!report.complete);
    assert_ne!(report.verdict, Verdict::Pass);
    let trial = &report.trials[0];
    assert!(trial.reason.contains("interrupted"), "{trial:?}");
    assert!(trial.exposure_s > 1.0 && trial.cycles > 0, "{trial:?}");
}

#[test]
fn an_installed_module_is_raced_by_its_name_and_by_the_reports_own_recipe() {
    let machine = Machine::lab("fixed-disk");
    let boot = machine.boot(&format!(
        "{LOOK}look before\ntree=/lib/modules/$(uname -r)\nmkdir -p $tree/extra\n\
         cp /dummy_module.ko $tree/extra\necho extra/dummy_module.ko: > $tree/modules.dep\n\
         modrace run --disposable --module-name dummy-module --report /data/report.json \
         --duration 5s --strategy as-reported --cpus 0-1 --json > /data/stdout.json\n\
         echo EXIT=$?\n{COMPARE}"
    ));
    let report = machine.report();
    // In so short a run the loops may never see the module going: no pass then.
    let visited = report.trials[0].counters.sightings.unloading > 0;
    let expected = if visited { "0" } else { "5" };
    assert_eq!(boot.value("EXIT="), Some(expected), "{}", boot.console);
    assert_eq!(boot.value("SAME="), Some("yes"), "{}", boot.console);
    assert_eq!(report.settings.smp, 2);
    assert_eq!(report.settings.cpus, [0, 1]);
    assert_eq!(report.module.as_ref().unwrap().name, "dummy_module");
    assert_eq!(report.trials[0].outcome, Outcome::Survived);
    let printed = machine.disk.file("/stdout.json").unwrap();
    let printed: modrace::model::Report = serde_json::from_slice(&printed).unwrap();
    assert_eq!(printed.trials, report.trials);
}
