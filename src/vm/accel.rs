//! Which accelerator works here. `/dev/kvm` may open and still run no guest
//! (nested virtualisation, policies), so only a guest that spoke proves it.
//! The finding is about the host, holds until the host boots anew, and is kept
//! until then. A kernel that says nothing under KVM may be at fault itself: what
//! it does not say is kept only if the kernel is known to boot.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Qemu, VmEvent, VmSpec};
use crate::kernel::uname;
use crate::model::Accel;

/// Longest wait for a guest's first message under KVM.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest wait for a guest's first message under TCG, on a loaded host.
const TCG_PATIENCE: Duration = Duration::from_secs(60);

/// The accelerator to use, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// [`Accel::Kvm`] or [`Accel::Tcg`].
    pub accel: Accel,
    /// Why, in a line.
    pub reason: String,
}

/// Finds out whether KVM runs guests here. `cache` is a folder for the finding;
/// `initramfs` must hold an init that says something on the agent channel.
/// `boots`: the kernel is known to boot; else it has to show it under TCG before
/// its silence under KVM counts against the host.
pub fn probe(
    qemu: &Qemu,
    spec: &VmSpec,
    initramfs: &[&[u8]],
    cache: Option<&Path>,
    boots: bool,
) -> Finding {
    if !Path::new("/dev/kvm").exists() {
        return tcg("there is no /dev/kvm");
    }
    if fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_err()
    {
        return tcg("/dev/kvm may not be opened by this user");
    }
    if let Some(finding) = cache.and_then(|folder| kept(qemu, folder)) {
        return finding;
    }
    let finding = match first_message(qemu, spec, initramfs, Accel::Kvm, PATIENCE) {
        Ok(()) => Finding {
            accel: Accel::Kvm,
            reason: "a guest ran under KVM".to_owned(),
        },
        Err(reason) => tcg(&reason),
    };
    let is_hosts = finding.accel == Accel::Kvm
        || boots
        || first_message(qemu, spec, initramfs, Accel::Tcg, TCG_PATIENCE).is_ok();
    if let Some(folder) = cache.filter(|_| is_hosts) {
        keep(qemu, folder, &finding);
    }
    finding
}

/// Keeps a finding. Where that fails, a few seconds are spent again.
fn keep(qemu: &Qemu, folder: &Path, finding: &Finding) {
    if let (Some(name), Ok(bytes)) = (file_name(qemu), serde_json::to_vec(finding)) {
        let _ = fs::create_dir_all(folder).and_then(|()| fs::write(folder.join(name), bytes));
    }
}

/// What was found out since this host booted, if anything was.
pub fn kept(qemu: &Qemu, cache: &Path) -> Option<Finding> {
    let bytes = fs::read(cache.join(file_name(qemu)?)).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// One file per boot and QEMU.
fn file_name(qemu: &Qemu) -> Option<String> {
    let boot = uname::boot_id();
    if boot.is_empty() {
        return None;
    }
    let version: String = qemu
        .version()
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .collect();
    Some(format!("accel-{boot}-qemu-{version}.json"))
}

/// Waits until a guest under `accel` says something; the error says why it did
/// not.
fn first_message(
    qemu: &Qemu,
    spec: &VmSpec,
    initramfs: &[&[u8]],
    accel: Accel,
    patience: Duration,
) -> Result<(), String> {
    let spec = VmSpec {
        accel,
        ..spec.clone()
    };
    let mut vm = qemu
        .boot(&spec, initramfs)
        .map_err(|error| format!("KVM: {error}"))?;
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        if let Some(VmEvent::Agent(_)) = vm.next_event(Duration::from_millis(50)) {
            return Ok(());
        }
        if vm.exited().is_some() {
            let complaint = vm.complaint();
            // Warnings come first, and are not why it ended.
            let why = complaint
                .lines()
                .find(|line| !line.contains("warning:"))
                .or(complaint.lines().next())
                .unwrap_or("no message");
            return Err(format!("QEMU with KVM ended at once: {why}"));
        }
    }
    Err(format!(
        "/dev/kvm opens, but a guest under it said nothing for {} s",
        patience.as_secs()
    ))
}

fn tcg(reason: &str) -> Finding {
    Finding {
        accel: Accel::Tcg,
        reason: reason.to_owned(),
    }
}
