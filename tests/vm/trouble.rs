//! Trouble of the infrastructure, provoked for real: it is broken or an error,
//! never a pass and never a crash; and nothing is left behind.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use modrace::model::{Outcome, Verdict};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Bench, guests_of, modrace, wait_for};

const LONG: [&str; 6] = [
    "--kernel",
    "lab:fixed",
    "--trials",
    "1",
    "--duration",
    "300s",
];

fn signal(pid: impl Into<i64>, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid.into()).unwrap()), signal).unwrap();
}

#[test]
fn a_killed_qemu_is_broken() {
    let bench = Bench::new();
    let child = bench.racing(&LONG);
    let guests = guests_of(child.id());
    assert_eq!(guests.len(), 1);
    signal(guests[0], Signal::SIGKILL);
    let ended = bench.ended(&child.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    let trial = &ended.report().trials[0];
    assert_eq!(trial.outcome, Outcome::Broken);
    assert!(trial.reason.contains("signal: 9"), "{}", trial.reason);
}

#[test]
fn a_stopped_qemu_is_broken_not_hung() {
    let bench = Bench::new();
    let child = bench.racing(&LONG);
    let guest = guests_of(child.id())[0];
    signal(guest, Signal::SIGSTOP);
    let ended = bench.ended(&child.wait_with_output().unwrap());
    let trial = &ended.report().trials[0];
    assert_eq!(trial.outcome, Outcome::Broken, "{}", trial.reason);
    assert!(trial.reason.contains("does not answer"), "{}", trial.reason);
    assert!(
        !fs::exists(format!("/proc/{guest}")).unwrap(),
        "the stopped QEMU is gone"
    );
}

#[test]
fn an_interrupt_leaves_a_partial_report_and_no_qemu() {
    for how in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let bench = Bench::new();
        let child = bench.racing(&LONG);
        let guest = guests_of(child.id())[0];
        signal(child.id(), how);
        let ended = bench.ended(&child.wait_with_output().unwrap());
        assert_eq!(ended.code, Some(130), "{how}: {}", ended.stderr);
        assert!(!ended.report().complete);
        assert_ne!(ended.report().verdict, Verdict::Pass);
        assert!(!fs::exists(format!("/proc/{guest}")).unwrap(), "{how}");
    }
}

#[test]
fn even_a_killed_modrace_leaves_no_qemu() {
    let bench = Bench::new();
    let mut child = bench.racing(&LONG);
    let guest = guests_of(child.id())[0];
    signal(child.id(), Signal::SIGKILL);
    child.wait().unwrap();
    // Dead, though whoever inherited it may not have waited for it yet.
    wait_for("QEMU to go with its parent", || {
        let stat = fs::read_to_string(format!("/proc/{guest}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    });
}

#[test]
fn a_guest_whose_init_exits_at_once_is_broken() {
    let bench = Bench::new();
    // as-reported packs busybox; as rmmod it has nothing to do and leaves.
    let ended = bench.vm(&[
        "--kernel",
        "lab:fixed",
        "--strategy",
        "as-reported",
        "--append",
        "rdinit=/sbin/rmmod",
        "--trials",
        "1",
    ]);
    let trial = &ended.report().trials[0];
    assert_eq!(trial.outcome, Outcome::Broken, "{}", trial.reason);
    assert!(trial.reason.contains("before the race"), "{}", trial.reason);
    assert_eq!(ended.code, Some(3));
}

#[test]
fn without_a_second_serial_port_the_guest_speaks_on_the_console() {
    let bench = Bench::new();
    // A QEMU that leaves the agent's port out of the machine.
    let wrapper = bench.path("qemu");
    let script = "#!/bin/bash\n\
                  arguments=()\n\
                  while [ $# -gt 0 ]; do\n\
                  if [ \"$1 $2\" = '-serial chardev:agent' ]; then shift 2; continue; fi\n\
                  arguments+=(\"$1\"); shift\n\
                  done\n\
                  exec qemu-system-x86_64 \"${arguments[@]}\"\n";
    fs::write(&wrapper, script).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let wrapper = wrapper.to_str().unwrap();
    let ended = bench.vm(&[
        "--kernel",
        "lab:fixed",
        "--qemu",
        wrapper,
        "--trials",
        "1",
        "--duration",
        "3s",
    ]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.report().trials[0].outcome, Outcome::Survived);
}

#[test]
fn no_qemu_is_exit_4_with_a_hint() {
    let bench = Bench::new();
    let output = bench
        .command(&["--kernel", "lab:fixed"])
        .env("PATH", "/nonexistent")
        .output();
    let ended = bench.ended(&output.unwrap());
    assert_eq!(ended.code, Some(4));
    assert!(
        ended
            .stderr
            .contains("hint: install it: apt install qemu-system-x86")
    );
    assert!(
        ended.report.is_none(),
        "nothing was tested, nothing is reported"
    );

    let ended = bench.vm(&["--kernel", "lab:fixed", "--qemu", "/bin/true"]);
    assert_eq!(ended.code, Some(4));
    assert!(ended.stderr.contains("/bin/true"), "{}", ended.stderr);
}

#[test]
fn what_is_no_kernel_is_named() {
    let bench = Bench::new();
    for kernel in [
        "/bin/ls",
        "/nonexistent/bzImage",
        "6.1.0-9999-cloud-amd64",
        "lab:nonsense",
    ] {
        let ended = bench.vm(&["--kernel", kernel]);
        assert!(
            matches!(ended.code, Some(2..=4)),
            "{kernel}: {:?}",
            ended.code
        );
        let name = kernel.trim_start_matches("lab:");
        assert!(ended.stderr.contains(name), "{kernel}: {}", ended.stderr);
        assert!(ended.report.is_none());
    }
}

#[test]
fn a_full_disk_ends_the_run_and_spares_the_report() {
    let bench = Bench::new();
    // Large enough for a report and a console, not for two consoles.
    let ended = bench.vm_on_disk_of(
        "44k",
        "--kernel lab:vulnerable --trials 4 --duration 60s --jobs 1",
    );
    assert!(
        ended.stdout.contains("code 3"),
        "{} {}",
        ended.stdout,
        ended.stderr
    );
    assert!(
        ended.stderr.contains("No space left on device"),
        "{}",
        ended.stderr
    );
    let report = ended.report();
    assert!(
        report
            .trials
            .iter()
            .all(|trial| trial.outcome != Outcome::Survived)
    );
}

#[test]
fn numbers_out_of_range_are_usage_errors_that_name_the_option() {
    for (option, value) in [
        ("--trials", "0"),
        ("--loaders", "0"),
        ("--readers", "1000"),
        ("--smp", "256"),
        ("--mem-mib", "1"),
        ("--duration", "0s"),
        ("--duration", "soon"),
        ("--seed", "9007199254740992"),
        ("--chaos", "nonsense"),
        ("--strategy", "nonsense"),
        ("--report", "/dev/null"),
    ] {
        let output = modrace()
            .args(["vm", "--kernel", "lab:fixed", option, value])
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{option} {value}: {stderr}");
        assert!(
            stderr.contains(option) || stderr.contains(value),
            "{option} {value}: {stderr}"
        );
    }
    assert!(fs::metadata("/dev/null").unwrap().permissions().mode() & 0o666 == 0o666);
}
