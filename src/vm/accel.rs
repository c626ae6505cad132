//! Which accelerator works here. `/dev/kvm` may open and still run no guest
//! (nested virtualisation, policies), so only a guest that spoke proves it.
//! The finding holds until the host boots anew, and is kept until then.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Qemu, VmEvent, VmSpec};
use crate::kernel::uname;
use crate::model::Accel;

/// Longest wait for a guest's first word under KVM.
const PATIENCE: Duration = Duration::from_secs(5);

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
pub fn probe(qemu: &Qemu, spec: &VmSpec, initramfs: &[&[u8]], cache: Option<&Path>) -> Finding {
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
    let kept = cache.and_then(|folder| Some(folder.join(file_name(qemu)?)));
    let known = kept.as_deref().and_then(|path| fs::read(path).ok());
    if let Some(finding) = known.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
        return finding;
    }
    let finding = try_kvm(qemu, spec, initramfs);
    if let (Some(path), Ok(bytes)) = (kept, serde_json::to_vec(&finding)) {
        // Only a finding that costs a few seconds to make again.
        // Without a cache the next run probes again.
        let _ = path
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&path, bytes));
    }
    finding
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

fn try_kvm(qemu: &Qemu, spec: &VmSpec, initramfs: &[&[u8]]) -> Finding {
    let spec = VmSpec {
        accel: Accel::Kvm,
        ..spec.clone()
    };
    let mut vm = match qemu.boot(&spec, initramfs) {
        Ok(vm) => vm,
        Err(error) => return tcg(&format!("KVM: {error}")),
    };
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(VmEvent::Agent(_)) = vm.next_event(Duration::from_millis(50)) {
            return Finding {
                accel: Accel::Kvm,
                reason: "a guest ran under KVM".to_owned(),
            };
        }
        if vm.exited().is_some() {
            let complaint = vm.complaint();
            let first = complaint.lines().next().unwrap_or("no message");
            return tcg(&format!("QEMU with KVM ended at once: {first}"));
        }
    }
    tcg(&format!(
        "/dev/kvm opens, but a guest under it said nothing for {} s",
        PATIENCE.as_secs()
    ))
}

fn tcg(reason: &str) -> Finding {
    Finding {
        accel: Accel::Tcg,
        reason: reason.to_owned(),
    }
}
