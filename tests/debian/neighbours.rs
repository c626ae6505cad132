//! What else is on such a machine: udev that opens new devices, modules that need
//! others, a full disk, a damaged cache, a unit of the user's own.

use crate::machine::{Kernel, Machine};

/// Names of the loaded modules, in a file; without those that udev is still loading
/// for the machine's own devices.
const LOOK: &str = "look() { lsmod | cut -d' ' -f1 | sort; }; udevadm settle; sleep 5; \
     cat /proc/sys/fs/binfmt_misc/status >/dev/null 2>&1\n";

#[test]
fn drivers_that_udev_holds_and_what_they_need_are_gone_behind_every_end() {
    let machine = Machine::new(Kernel::Stock);
    let run = "modrace run --disposable --on-crash stay --report /root/r.json \
         --target '/sys/module/{module}/**' --action open-read";
    let boot = machine.boot(&format!(
        "cd /root; {LOOK}look >before\n\
         {run} --duration 5s --module-name null_blk; echo NULL=$?\n\
         {run} --duration 3s --module-name macvtap --stop-udev; echo TAP=$?\n\
         echo UDEV=$(systemctl is-active systemd-udevd)\n\
         look | diff before - && echo SAME=yes\n\
         dmesg -C; {run} --duration 10m --module-name macvtap & \n\
         while ! dmesg | grep -q 'the race starts'; do sleep 1; done; sleep 2\n\
         kill -9 $!; wait $!; echo KILLED=$?; sleep 1\n\
         echo THERE=$(look | diff before - | grep -c -E 'tap|macvlan')\n\
         modrace run --cleanup; echo CLEANED=$?\n\
         look | diff before - && echo AGAIN=yes\n"
    ));
    for (word, value) in [
        ("NULL=", "0"),
        ("TAP=", "0"),
        ("UDEV=", "active"),
        ("SAME=", "yes"),
        ("KILLED=", "137"),
        ("CLEANED=", "0"),
        ("AGAIN=", "yes"),
    ] {
        assert_eq!(boot.value(word), Some(value), "{}", boot.console);
    }
    // There was something to be cleaned.
    assert_ne!(boot.value("THERE="), Some("0"), "{}", boot.console);
    boot.says("unloaded macvlan");
    boot.does_not_say("still loaded");
}

#[test]
fn a_full_disk_costs_no_result_and_a_damaged_cache_no_run() {
    let machine = Machine::new(Kernel::Stock);
    let run = "modrace run --disposable --on-crash stay --report /root/r.json";
    let boot = machine.boot(&format!(
        "cd /root; fill() {{ fallocate -l $(($(df -k --output=avail / | tail -1) - $1))K /fill; \
         dd if=/dev/zero of=/fill2 bs=4k 2>/dev/null; }}\n\
         {run} --duration 2s; echo FIRST=$?\n\
         for f in .cache/modrace/modules/*/dummy_module.ko; do : >$f; done\n\
         {run} --duration 2s; echo SECOND=$?\n\
         rm r.json; fill 0; {run} --duration 10m; echo NOROOM=$?; rm /fill*\n\
         echo LEFT=$(ls -A /var/lib /root | grep -c -E '^modrace|r.json')\n\
         mount -t tmpfs -o size=256k none /mnt\n\
         dmesg -C; modrace run --disposable --on-crash stay --report /mnt/r.json --duration 10m & \n\
         while ! dmesg | grep -q 'the race starts'; do sleep 1; done; sleep 5\n\
         dd if=/dev/zero of=/mnt/fill bs=4k; kill -INT $!; wait $!; echo FULL=$?\n\
         echo LOADED=$(grep -c dummy_module /proc/modules)\n\
         rm /mnt/fill; modrace recover; echo RECOVERED=$?; cp /mnt/r.json /root; sync\n\
         echo END=$(ls -A /var/lib /root | grep -c -E '^modrace|^.modrace-')\n"
    ));
    boot.says("is thrown away and built again");
    boot.says("no room for the journal");
    for (word, value) in [
        ("FIRST=", "0"),
        ("SECOND=", "0"),
        ("NOROOM=", "4"),
        ("LEFT=", "0"),
        ("FULL=", "3"),
        ("LOADED=", "0"),
        ("END=", "0"),
    ] {
        assert_eq!(boot.value(word), Some(value), "{word} {}", boot.console);
    }
    boot.says("make room, then: modrace recover");
    let report = machine.disk.file("/root/r.json").expect("a report");
    let report: modrace::model::Report = serde_json::from_slice(&report).unwrap();
    // What was raced before the disk was full is in it.
    assert!(report.trials[0].exposure_s > 1.0, "{:?}", report.trials);
}

#[test]
fn a_unit_that_the_user_enabled_stays_his() {
    let machine = Machine::new(Kernel::Stock);
    let boot = machine.boot(
        "cd /root; U=/etc/systemd/system/modrace-resume.service\n\
         run() { modrace run --disposable --on-crash stay --report r.json --duration 2s --rearm \
         $*; }\n\
         modrace recover --print-unit >$U; systemctl enable modrace-resume\n\
         run; echo RUN=$?; echo MINE=$(systemctl is-enabled modrace-resume)\n\
         run --install-unit; echo SAME=$?; echo STILL=$(systemctl is-enabled modrace-resume)\n\
         echo '# changed' >>$U; run --install-unit; echo OTHER=$?\n\
         echo KEPT=$(tail -1 $U)\n\
         systemctl disable modrace-resume; rm $U; run --install-unit; echo OWN=$?\n\
         echo GONE=$(ls /etc/systemd/system /etc/systemd/system/*.wants | grep -c modrace)\n",
    );
    for (word, value) in [
        ("RUN=", "0"),
        ("MINE=", "enabled"),
        ("SAME=", "0"),
        ("STILL=", "enabled"),
        ("OTHER=", "4"),
        ("KEPT=", "# changed"),
        ("OWN=", "0"),
        ("GONE=", "0"),
    ] {
        assert_eq!(boot.value(word), Some(value), "{word} {}", boot.console);
    }
}
