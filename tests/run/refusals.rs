//! Where `run` must not race, or cannot: it refuses with exit code 4, says why
//! and what to do, and changes nothing.

use crate::machine::{Boot, Machine};

/// Runs `command` and prints its exit code as `NAME=…`.
fn step(name: &str, command: &str) -> String {
    format!("echo; {command}; echo \"{name}=$?\"\n")
}

fn refused(boot: &Boot, name: &str, reason: &str, hint: &str) {
    let code = boot.value(&format!("{name}="));
    assert_eq!(code, Some("4"), "{name}:\n{}", boot.console);
    boot.says(reason);
    boot.says(hint);
}

#[test]
fn who_may_not_race_or_has_no_headers_is_told_the_way_out() {
    let machine = Machine::lab("fixed-disk");
    let race = "modrace run --duration 1s --module /dummy_module.ko";
    let script = [
        step("USER", "su nobody -c 'modrace run --disposable'"),
        step("DISPOSABLE", race),
        step("CONTAINER", &format!("unshare -p -f {race} --disposable")),
        step("HEADERS", "modrace run --disposable"),
        step(
            "LOADED",
            &format!("insmod /dummy_module.ko; {race} --disposable"),
        ),
        step("UNKNOWN", "modrace run --disposable --module-name nonsense"),
        step(
            "UNIT",
            &format!("rmmod dummy_module; {race} --disposable --rearm --install-unit"),
        ),
        step("USAGE", "modrace run --disposable --cpus 99"),
        step(
            "UNWRITABLE",
            &format!("touch /data/file; {race} --disposable --report /data/file/report.json"),
        ),
        "echo JOURNALS=$(ls /var/lib)\n".to_owned(),
        "touch /etc/modrace-disposable\n".to_owned(),
        step("MARKED", &format!("{race} --report /data/report.json")),
        "echo LEFT=$(cat /proc/modules)$(ls /var/lib)\n".to_owned(),
    ]
    .concat();
    let boot = machine.boot(&script);
    refused(&boot, "USER", "not root", "sudo modrace run");
    refused(
        &boot,
        "DISPOSABLE",
        "not declared disposable",
        "MODRACE_DISPOSABLE=1",
    );
    refused(&boot, "CONTAINER", "container", "modrace vm");
    refused(
        &boot,
        "HEADERS",
        "not a kernel build tree",
        "apt-get install linux-headers-",
    );
    refused(&boot, "LOADED", "is loaded already", "rmmod dummy_module");
    refused(&boot, "UNIT", "not booted by systemd", "recover --resume");
    refused(&boot, "UNKNOWN", "modules.dep", "depmod");
    assert_eq!(boot.value("USAGE="), Some("2"), "{}", boot.console);
    boot.says("--cpus 99: there is no CPU 99, this process may use CPUs 0-");
    // A run that never began is nothing to recover.
    assert_eq!(boot.value("UNWRITABLE="), Some("3"), "{}", boot.console);
    boot.says("/data/file/report.json");
    assert_eq!(boot.value("JOURNALS="), Some(""), "{}", boot.console);
    // With the image's mark it is not refused.
    assert_eq!(boot.value("MARKED="), Some("0"), "{}", boot.console);
    assert_eq!(boot.value("LEFT="), Some(""), "{}", boot.console);
}

#[test]
fn a_stock_kernel_that_takes_no_module_is_refused_with_the_reason() {
    let machine = Machine::stock();
    let race = "modrace run --disposable --duration 1s --module /dummy_module.ko";
    let script = [
        step(
            "LOCKDOWN",
            &format!("echo integrity > /sys/kernel/security/lockdown; {race}"),
        ),
        step(
            "DISABLED",
            &format!(
                "umount /sys/kernel/security; echo 1 > /proc/sys/kernel/modules_disabled; {race}"
            ),
        ),
    ]
    .concat();
    let boot = machine.boot(&script);
    refused(&boot, "LOCKDOWN", "locked down (integrity)", "Secure Boot");
    refused(&boot, "DISABLED", "modules_disabled", "reboot");
}

#[test]
fn enforced_signatures_are_refused() {
    let machine = Machine::stock();
    let boot = machine.boot(&step(
        "SIGNATURES",
        "echo 1 > /sys/module/module/parameters/sig_enforce\n\
         modrace run --disposable --duration 1s --module /dummy_module.ko",
    ));
    refused(
        &boot,
        "SIGNATURES",
        "signatures are enforced",
        "sig_enforce",
    );
}
