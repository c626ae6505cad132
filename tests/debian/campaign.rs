//! Trials one after another, the machine dying in each, nobody touching it: the
//! unit that `--install-unit` installs goes on.

use modrace::model::{CrashClass, Outcome, Report, Verdict};

use crate::machine::{Kernel, Machine};

/// Begins a campaign at the first boot, behind `before`, and waits for its end in
/// those that follow.
fn script(before: &str, run: &str) -> String {
    format!(
        "cd /root\n\
         if [ ! -e begun ]; then touch begun; {before} sync\n\
         {run}\n\
         echo EXIT=$?; sleep 1000; fi\n\
         for i in $(seq 200); do [ -e /var/lib/modrace ] || break; sleep 1; done; sleep 1\n\
         echo UNIT=$(ls /etc/systemd/system /etc/systemd/system/*.wants | grep -c modrace)\n\
         echo JOURNAL=$(ls /var/lib | grep -c modrace)\n\
         echo FAILED=$(systemctl --failed --no-legend --plain --no-pager | grep modrace)\n\
         echo CODE=$(journalctl -b -u modrace-resume -o cat --no-pager | grep -c 'status=1')\n\
         echo LEFT=$(ls -A /root | grep -c '^.modrace-')\n\
         echo LOADED=$(grep -c dummy_module /proc/modules)\n\
         echo KNOBS=$(cat /proc/sys/kernel/panic_on_oops /proc/sys/kernel/panic)\n"
    )
}

/// Makes a campaign and looks at what it leaves. Returns its report.
fn campaign(machine: &Machine, trials: u32, options: &str) -> Report {
    campaign_behind(machine, "", trials, options)
}

/// The same behind commands that set the machine up.
fn campaign_behind(machine: &Machine, before: &str, trials: u32, options: &str) -> Report {
    let run = format!(
        "modrace run --disposable --duration 60s --trials {trials} --rearm --install-unit \
         --report /root/report.json {options}"
    );
    let boot = machine.boot(&script(before, &run));
    let said = |word: &str| {
        let value = boot.value(word);
        value.unwrap_or_else(|| panic!("no {word} in:\n{}", boot.console))
    };
    assert_eq!(said("UNIT="), "0", "{}", boot.console);
    assert_eq!(said("JOURNAL="), "0", "{}", boot.console);
    // Found crashes are a result: the unit exits with 1 and has not failed.
    assert_eq!(said("FAILED="), "", "{}", boot.console);
    assert_eq!(said("LEFT="), "0", "{}", boot.console);
    assert_eq!(said("LOADED="), "0", "{}", boot.console);
    assert_eq!(said("KNOBS="), "0 0", "{}", boot.console);
    let bytes = machine.disk.file("/root/report.json").expect("a report");
    let report: Report = serde_json::from_slice(&bytes).expect("a whole report");
    assert_eq!(report.verdict, Verdict::Fail, "{}", report.verdict_reason);
    assert!(report.complete);
    assert_eq!(report.trials.len(), trials as usize);
    let module = report.module.as_ref().unwrap();
    assert_eq!(module.taints, "OE");
    assert!(!report.environment.tunables.is_empty());
    for tunable in &report.environment.tunables {
        assert!(tunable.restored, "{tunable:?}");
    }
    for trial in &report.trials {
        assert_eq!(trial.outcome, Outcome::Crashed, "{trial:?}");
        let crash = trial.crash.as_ref().unwrap();
        assert_eq!(crash.class, CrashClass::Target, "{trial:?}");
        assert!(trial.time_to_crash_s.is_some_and(|time| time > 0.0));
    }
    report
}

#[test]
fn a_campaign_of_panics_needs_nobody_and_leaves_nothing() {
    let machine = Machine::new(Kernel::Vulnerable);
    let report = campaign(&machine, 2, "--on-crash panic");
    for trial in &report.trials {
        assert!(trial.signals[0].starts_with("pstore: "), "{trial:?}");
    }
    let set: Vec<&str> = (report.environment.tunables.iter())
        .map(|tunable| tunable.path.as_str())
        .collect();
    assert!(set.contains(&"/proc/sys/kernel/panic_on_oops"), "{set:?}");
}

#[test]
fn without_anything_that_keeps_a_panic_it_is_refused_and_a_damaged_kernel_is_rebooted() {
    let mut machine = Machine::new(Kernel::Vulnerable);
    machine.erst = false;
    let refused = machine.boot(
        "cd /root; modrace run --disposable --on-crash panic; echo EXIT=$?\n\
         echo LEFT=$(ls /var/lib /root | grep -c -E 'modrace|reports')",
    );
    refused.says("a panic would show nothing");
    refused.says("--on-crash stay");
    assert_eq!(refused.value("EXIT="), Some("4"), "{}", refused.console);
    assert_eq!(refused.value("LEFT="), Some("0"), "{}", refused.console);
    campaign(&machine, 2, "--on-crash stay");
}

/// Memory that a reboot leaves alone is a pstore as well.
#[test]
#[ignore = "three boots; make test-all"]
fn memory_that_outlives_a_reboot_keeps_the_crash() {
    let mut machine = Machine::new(Kernel::Vulnerable);
    machine.erst = false;
    "memmap=0x100000$0x3f000000".clone_into(&mut machine.append);
    let before = "echo ramoops >/etc/modules-load.d/ramoops.conf; \
         echo 'options ramoops mem_address=0x3f000000 mem_size=0x100000 record_size=0x20000' \
         >/etc/modprobe.d/ramoops.conf; modprobe ramoops;";
    let report = campaign_behind(&machine, before, 2, "--on-crash panic");
    for trial in &report.trials {
        assert!(trial.signals[0].starts_with("pstore: "), "{trial:?}");
    }
}

/// A crash kernel boots at the panic and saves the log of the dead one.
#[test]
#[ignore = "five boots; make test-all"]
fn what_kdump_saved_tells_of_the_crash() {
    let mut machine = Machine::new(Kernel::Vulnerable);
    machine.erst = false;
    "crashkernel=256M".clone_into(&mut machine.append);
    let before = "V=$(uname -r); printf 'USE_KDUMP=1\\nKDUMP_KERNEL=/boot/vmlinuz-%s\\n\
         KDUMP_INITRD=/boot/initrd.img-%s\\nKDUMP_SYSCTL=\"kernel.panic_on_oops=0\"\\n' $V $V \
         >/etc/default/kdump-tools; kdump-config load;";
    let report = campaign_behind(&machine, before, 2, "--on-crash panic");
    for trial in &report.trials {
        assert!(trial.signals[0].starts_with("kdump: "), "{trial:?}");
    }
}

#[test]
#[ignore = "twenty crashes with a pstore, and twenty without; make test-all"]
fn twenty_crashes_need_nobody() {
    campaign(&Machine::new(Kernel::Vulnerable), 20, "--on-crash panic");
    let mut machine = Machine::new(Kernel::Vulnerable);
    machine.erst = false;
    campaign(&machine, 20, "--on-crash stay");
}
