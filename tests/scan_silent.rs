//! Lines that look like a crash and are none, behind every prefix that a line
//! can have. None of them is reported.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use modrace::crash::scan;

/// Lines of the kernel. They must stay silent bare, stamped, and through a
/// journal.
const KERNEL: &[&str] = &[
    "Command line: BOOT_IMAGE=/boot/vmlinuz oops=panic panic=10 panic_on_warn=1",
    "Kernel command line: console=ttyS0 oops=panic softlockup_panic=1 hung_task_panic=1",
    "Unknown kernel command line parameters \"panic_on_oops=1 BUG:\", will be passed to user space.",
    "printk: log_buf_len individual max cpu contribution: 4096 bytes",
    "ODEBUG: selftest passed",
    "ODEBUG: 12 of 12 active objects replaced",
    "debug: unmapping init [mem 0xffffffff82a00000-0xffffffff82bfffff]",
    "kasan: KernelAddressSanitizer initialized (generic)",
    "kfence: initialized - using 2097152 bytes for 255 objects",
    "UBSAN is not built in",
    "NMI watchdog: Enabled. Permanently consumes one hw-PMU counter.",
    "NMI watchdog: disabled (cpu0): hardware events not enabled",
    "watchdog: Delayed init of the lockup detector failed: -19",
    "watchdog: Disabling watchdog on nohz_full cores by default",
    "rcu: INFO: Stall ended before state dump start",
    "rcu: RCU lockdep checking is enabled.",
    "rcu: \tRCU event tracing is enabled.",
    "Running RCU self tests",
    "INFO: lockdep is turned off.",
    "Locking API testsuite:",
    "                     A-B-B-A deadlock:  ok  |  ok  |  ok  |  ok  |  ok  |  ok  |  ok  |",
    "Good, all 261 testcases passed! |",
    "lockdep: fixing up alternatives.",
    "INFO: NMI handler (nmi_cpu_backtrace_handler) took too long to run: 2.011 msecs",
    "perf: interrupt took too long (3159 > 3126), lowering kernel.perf_event_max_sample_rate to 63250",
    "hrtimer: interrupt took 1234567 ns",
    "clocksource: timekeeping watchdog on CPU0: hpet wd-wd read-back delay of 63333ns",
    "WARNING: Spectre v2 mitigation leaves CPU vulnerable to RETBleed attacks, data leaks possible!",
    "RETBleed: WARNING: Spectre v2 mitigation leaves CPU vulnerable to RETBleed attacks, data leaks possible!",
    "WARNING: Unprivileged eBPF is enabled, data leaks possible via Spectre v2 BHB attacks!",
    "WARNING: The mand mount option has been deprecated and",
    "WARNING: workqueue cpumask: online intersect > possible intersect",
    "Speculative Return Stack Overflow: WARNING: kernel not compiled with CPU_SRSO.",
    "XFS (loop0): WARNING: Reset corrupted AGFL on AG 0. 4 blocks leaked.",
    "fbcon: WARNING: Driver 'drm' missed to adjust virtual screen size (0x0 vs. 64x768)",
    "warning: `demo' uses wireless extensions which will stop working for Wi-Fi 7 hardware",
    "EXT4-fs (sda1): INFO: recovery required on readonly filesystem",
    "EXT4-fs (sda1): warning: maximal mount count reached, running e2fsck is recommended",
    "EXT4-fs error (device sda1): ext4_lookup:1590: inode #2: comm ls: deleted inode referenced: 12",
    "FAT-fs (sdb1): Volume was not properly unmounted. Some data may be corrupt. Please run fsck.",
    "FAT-fs (loop0): Unrecognized mount option \"x BUG: KASAN: y in z+0x1/0x2\" or missing value",
    "tmpfs: Unknown parameter 'Kernel panic - not syncing: x'",
    "9p: Unknown parameter 'Booting the kernel.'",
    "[Firmware Bug]: TSC_DEADLINE disabled due to Errata",
    "ACPI BIOS Error (bug): Could not resolve symbol [\\_SB.PCI0], AE_NOT_FOUND (20230628/dswload2-162)",
    "ACPI BIOS Warning (bug): Optional FADT field Pm2ControlBlock has valid Length but zero Address",
    "ACPI: OSL: Resource conflict; ACPI support missing from driver?",
    "mce: [Hardware Error]: Machine check events logged",
    "mce: CPU0 Thermal monitoring enabled (TM1)",
    "pstore: Registered efi_pstore as persistent store backend",
    "Out of memory: Killed process 812 (demo) total-vm:1052kB, anon-rss:4kB, file-rss:0kB",
    "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task=demo,pid=812,uid=0",
    "demo[812]: segfault at 10 ip 00005581e2a0b13d sp 00007ffc2d6a0 error 4 in demo[5581e2a0b000+1000]",
    "traps: demo[813] general protection fault ip:5581e2a0b13d sp:7ffc2d6a0 error:0 in demo[5581e2a0b000+1000]",
    "traps: demo[814] trap divide error ip:5581e2a0b13d sp:7ffc2d6a0 error:0 in demo[5581e2a0b000+1000]",
    "traps: demo[815] trap invalid opcode ip:5581e2a0b13d sp:7ffc2d6a0 error:0 in demo[5581e2a0b000+1000]",
    "Alignment trap: demo (812) PC=0x00010468 Instr=0xe5912000 Address=0x00021029 FSR 0x001",
    "dummy_module: loading out-of-tree module taints kernel.",
    "dummy_module: module verification failed: signature and/or required key missing - tainting kernel",
    "Disabling lock debugging due to kernel taint",
    "sysrq: HELP : loglevel(0-9) reboot(b) crash(c) terminate-all-tasks(e) memory-full-oom-kill(f)",
    "sysrq: Show Blocked State",
    "reboot: Restarting system",
    "VFS: Mounted root (ext4 filesystem) readonly on device 254:1.",
    "VFS: Disk quotas dquot_6.6.0",
    "audit: type=1400 audit(1700000001.100:2): comm=\"sh\" name=\"Kernel panic - not syncing: Fatal exception\"",
    "systemd[1]: demo.service: BUG: KASAN: use-after-free in f+0x1/0x2",
    "(udev-worker)[300]: INFO: task demo:12 blocked for more than 120 seconds.",
    "workqueue: output_poll_execute hogged CPU for >10000us 4 times, consider switching to WQ_UNBOUND",
    "page allocation failure: order:5, mode:0x40dc0(GFP_KERNEL), nodemask=(null)",
    "raid6: using algorithm avx2x4 gen() 11248 MB/s",
    "usb 1-1: device descriptor read/64, error -71",
    "nouveau 0000:01:00.0: bus: MMIO read of 00000000 FAULT at 10ac08",
    "DMAR: [DMA Read] Request device [01:00.0] fault addr 0 [fault reason 06] PTE Read access is not set",
    "Decompressing Linux... Parsing ELF... Performing relocations... done.",
    "Linux version 6.1.0 (demo@demo) (gcc (Debian) 12.2.0) #1 SMP PREEMPT_DYNAMIC",
];

/// Lines of firmware and user space that have words of the kernel's reports.
/// They must stay silent even where nothing says who printed them.
const NOBODYS: &[&str] = &[
    "WARNING: can't convert coreboot GPIOs, 'lid' won't be resampled at runtime!",
    "WARNING: image at /boot/vmlinuz is not signed",
    "WARNING: Device at address 0x50 not found",
    "WARNING: at least one of the files is missing",
    "WARNING: CPU: no turbo at all",
    "BUG UNIX (Not tainted): kasan: bad access detected",
    "BUG 1234: cannot open file",
    "Alignment trap: not handling instruction f46107cf at [<004e5c4c>]",
    "Unhandled fault: alignment exception (0x001) at 0x00508ae4",
    "Unhandled fault: page domain fault (0x01b) at 0x00400000",
    "fixed in [#12]",
    "issue [#1]: the parser",
    "EIP is at large",
    "PC is at home",
    "Oops: wrong button",
    "Oops",
    "Kernel Fault: see manual",
    "demo (pid 12): exited (code 0)",
    "INFO: Freed in total: 12",
    "unreferenced object in cache",
    "Linux version of the tool",
    "warning: at f+0x1/0x2",
    "Badness of fit at 0.5",
];

/// Lines of programs, as a console, kmsg or a journal has them among the
/// kernel's.
const PROGRAMS: &[&str] = &[
    "BUG: unable to handle kernel NULL pointer dereference at 0000000000000010",
    "BUG: KASAN: use-after-free in f+0x1/0x2",
    "BUG: soft lockup - CPU#1 stuck for 22s! [demo:812]",
    "BUG: my own",
    "kernel BUG at mm/slub.c:12!",
    "WARNING: CPU: 1 PID: 2 at a.c:1 f+0x1/0x2",
    "WARNING: possible circular locking dependency detected",
    "INFO: task demo:12 blocked for more than 120 seconds.",
    "INFO: rcu_sched self-detected stall on CPU",
    "general protection fault: 0000 [#1] SMP",
    "Kernel panic - not syncing: Fatal exception",
    "Oops: 0000 [#1] SMP",
    "UBSAN: shift-out-of-bounds in a.c:1:2",
    "Unable to handle kernel paging request at virtual address dead0000",
    "Internal error: Oops: 96000004 [#1] PREEMPT SMP",
    "unregister_netdevice: waiting for lo to become free. Usage count = 2",
];

fn silent(log: &str) {
    let crashes = scan(log.as_bytes());
    assert!(crashes.is_empty(), "{}\nin\n{log}", crashes[0].title);
}

#[test]
fn a_harmless_line_of_the_kernel_is_silent_behind_every_prefix() {
    for line in KERNEL {
        silent(&format!("{line}\n"));
        silent(&format!("[   12.345678] {line}\n"));
        silent(&format!("<4>[   12.345678][  T812] {line}\r\n"));
        silent(&format!("4,339,12345678,-,caller=T812;{line}\n"));
        silent(&format!("Nov 22 18:01:02 host kernel: {line}\n"));
    }
}

#[test]
fn firmware_and_user_space_are_silent_even_without_a_prefix() {
    for line in NOBODYS {
        silent(&format!("{line}\n"));
        silent(&format!("<4>[   12.345678] {line}\r\n"));
        silent(&format!("Nov 22 18:01:02 host kernel: {line}\n"));
        silent(&format!(
            "{line}\n[    0.000000] Linux version 6.1.0 (a@b)\n"
        ));
    }
}

#[test]
fn a_bare_line_is_nobodys_once_the_kernels_lines_are_stamped() {
    let stamped = "[   12.345678] usb 1-1: new high-speed USB device number 2\n";
    let many = "a program's line without a prefix\n".repeat(20_000);
    for line in PROGRAMS {
        silent(&format!("{stamped}demo: BUG: x\n{many}{line}\n"));
    }
}

#[test]
fn a_programs_line_is_silent_among_the_kernels() {
    let kernel = "[   12.345678] usb 1-1: new high-speed USB device number 2\n";
    for line in PROGRAMS {
        silent(&format!("{kernel}{line}\n"));
        silent(&format!("{kernel}{line}\n{kernel}"));
        silent(&format!("{kernel}demo: {line}\n"));
        silent(&format!("{kernel}[   13.000000] demo[812]: {line}\n"));
        silent(&format!("12,339,12345678,-;{line}\n"));
        silent(&format!("Nov 22 18:01:02 host demo[812]: {line}\n"));
        silent(&format!(
            "2026-11-22T18:01:02.123456+00:00 host demo: {line}\n"
        ));
        silent(&format!("[   13.000000] host demo[812]: {line}\n"));
        silent(&format!("Nov 22 18:01:02 10.0.0.5 demo[812]: {line}\n"));
        silent(&format!("> Nov 22 18:01:02 host demo[812]: {line}\n"));
        silent(&format!(
            "01-02 03:04:05.123  1234  1250 E Demo    : {line}\n"
        ));
    }
}

#[test]
fn the_same_lines_from_the_kernel_are_not_silent() {
    for line in PROGRAMS {
        let log = format!("[   12.345678] {line}\n");
        assert_eq!(scan(log.as_bytes()).len(), 1, "{log}");
        let journal = format!("Nov 22 18:01:02 host kernel: {line}\n");
        assert_eq!(scan(journal.as_bytes()).len(), 1, "{journal}");
    }
}
