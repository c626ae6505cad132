//! What `modrace vm` and `modrace lab` need.

use std::fs::OpenOptions;
use std::path::Path;

use super::{Area, Finding};
use crate::build::cache::Cache;
use crate::build::programs;
use crate::kernel::uname;
use crate::lab::{BUILD_NEEDS, DEBIAN_TARBALL, LAB_KERNELS, Need, Store};
use crate::model::Accel;
use crate::vm::{Qemu, accel, contents};

/// One trial's guest and QEMU's own share.
const TRIAL_MIB: u32 = 1024;
/// Unpacked source and two kernels, measured at 1.9 GiB.
const LAB_MIB: u64 = 2560;

pub(super) fn findings(cache: &Cache) -> Vec<Finding> {
    let mut findings = vec![qemu(), kvm(cache), self_static()];
    // The dummy module is built even for a kernel from elsewhere.
    findings.extend(["make", "gcc", "ld"].iter().filter_map(|what| {
        let need = BUILD_NEEDS.iter().find(|need| need.what == *what)?;
        Some(finding(Area::Vm, need))
    }));
    findings.push(busybox());
    findings.push(kernels(cache));
    findings.push(memory());
    findings
}

pub(super) fn lab_findings(cache: &Cache) -> Vec<Finding> {
    let mut findings: Vec<Finding> = BUILD_NEEDS
        .iter()
        .map(|need| finding(Area::Lab, need))
        .collect();
    let what = "kernel source";
    findings.push(if Path::new(DEBIAN_TARBALL).is_file() {
        Finding::found(Area::Lab, what, DEBIAN_TARBALL)
    } else {
        Finding::missing(
            Area::Lab,
            what,
            format!("no {DEBIAN_TARBALL}"),
            "apt-get install linux-source-6.1, or modrace lab build --source DIR|TARBALL",
        )
    });
    findings.push(disk(cache));
    findings
}

fn finding(area: Area, need: &Need) -> Finding {
    if need.is_met() {
        Finding::found(area, need.what, need.why)
    } else {
        let fix = format!("apt-get install {}", need.package);
        Finding::missing(area, need.what, need.why, fix)
    }
}

fn qemu() -> Finding {
    let name = "qemu-system-x86_64";
    let version = programs::find(name).and_then(programs::version);
    match version {
        Some(version) => Finding::found(Area::Vm, name, version),
        None => Finding::missing(
            Area::Vm,
            name,
            "runs the guests",
            "apt-get install qemu-system-x86",
        ),
    }
}

/// A device that opens is not an accelerator that works: only a guest that
/// spoke shows that.
fn kvm(cache: &Cache) -> Finding {
    let known = Qemu::find(None)
        .ok()
        .and_then(|qemu| accel::kept(&qemu, &cache.root().join("accel")));
    match known {
        Some(known) if known.accel == Accel::Kvm => {
            return Finding::found(Area::Vm, "/dev/kvm", known.reason);
        }
        Some(known) => {
            return Finding::lacking(
                Area::Vm,
                "/dev/kvm",
                format!("guests run on TCG, which is slower: {}", known.reason),
                "on a machine of your own: enable virtualisation, not nested",
            );
        }
        None => {}
    }
    let opened = OpenOptions::new().read(true).write(true).open("/dev/kvm");
    match opened {
        Ok(_) => Finding::untested(
            Area::Vm,
            "/dev/kvm",
            "opens; whether guests run on it is untested until one did",
        ),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Finding::lacking(
            Area::Vm,
            "/dev/kvm",
            "not allowed; guests run on TCG, which is slower",
            "add yourself to the group kvm: usermod -aG kvm $USER, and log in again",
        ),
        Err(_) => Finding::lacking(
            Area::Vm,
            "/dev/kvm",
            "absent; guests run on TCG, which is slower",
            "on a machine of your own: modprobe kvm_intel or kvm_amd",
        ),
    }
}

/// This program is the guest's PID 1, alone in its initramfs.
fn self_static() -> Finding {
    let what = "modrace itself";
    let own = std::env::current_exe().ok();
    if own.is_some_and(|path| contents::static_program(&path).is_ok()) {
        Finding::found(Area::Vm, what, "static, can be a guest's PID 1")
    } else {
        Finding::missing(
            Area::Vm,
            what,
            "not static, cannot be a guest's PID 1",
            "build it in its own folder, where .cargo/config.toml makes it static",
        )
    }
}

fn busybox() -> Finding {
    let what = "busybox, static";
    if contents::busybox().is_ok() {
        Finding::found(Area::Vm, what, "insmod, rmmod and cat of `as-reported`")
    } else {
        Finding::lacking(
            Area::Vm,
            what,
            "--strategy as-reported runs its insmod, rmmod and cat",
            "apt-get install busybox-static",
        )
    }
}

fn kernels(cache: &Cache) -> Finding {
    let built = Store::new(cache).kernels();
    let names: Vec<String> = built
        .iter()
        .map(|kernel| format!("lab:{}", kernel.manifest.name))
        .collect();
    let wanted = ["vulnerable", "fixed"];
    let absent: Vec<&str> = LAB_KERNELS
        .iter()
        .map(|row| row.name)
        .filter(|name| wanted.contains(name) && Store::new(cache).find(name).is_none())
        .collect();
    if absent.is_empty() {
        return Finding::found(Area::Vm, "lab kernels", names.join(", "));
    }
    Finding::lacking(
        Area::Vm,
        "lab kernels",
        format!("not built: {}", absent.join(", ")),
        format!("modrace lab build {}", absent.join(" ")),
    )
}

fn memory() -> Finding {
    let what = "free memory";
    match uname::free_memory_mib() {
        Some(mib) if mib >= TRIAL_MIB => {
            let detail = format!("{mib} MiB, enough for {} trials at a time", mib / TRIAL_MIB);
            Finding::found(Area::Vm, what, detail)
        }
        Some(mib) => Finding::lacking(
            Area::Vm,
            what,
            format!("{mib} MiB; a trial wants about {TRIAL_MIB}"),
            "end other programs, or give a smaller --mem-mib",
        ),
        None => Finding::untested(Area::Vm, what, "/proc/meminfo does not say"),
    }
}

fn disk(cache: &Cache) -> Finding {
    let what = "free disk";
    let root = cache.root().display();
    match free_disk_mib(cache.root()) {
        Some(mib) if mib >= LAB_MIB => {
            Finding::found(Area::Lab, what, format!("{mib} MiB for {root}"))
        }
        Some(mib) => Finding::lacking(
            Area::Lab,
            what,
            format!("{mib} MiB for {root}; the first two kernels take about {LAB_MIB}"),
            "make room, or set MODRACE_CACHE to a larger disk",
        ),
        None => Finding::untested(Area::Lab, what, format!("cannot tell for {root}")),
    }
}

/// MiB free on the disk where a path is or will be.
fn free_disk_mib(path: &Path) -> Option<u64> {
    let existing = path.ancestors().find(|path| path.exists())?;
    let stat = nix::sys::statvfs::statvfs(existing).ok()?;
    Some((stat.blocks_available() * stat.fragment_size()) >> 20)
}
