//! What is found out about KVM is about the host, not about one kernel.

use std::path::Path;

use modrace::build::cache::Cache;
use modrace::model::Accel;
use modrace::session::kernel_arg;
use modrace::vm::initramfs::Initramfs;
use modrace::vm::{Qemu, VmSpec, accel};

#[test]
fn a_kernel_that_says_nothing_leaves_no_finding_about_the_host() {
    let lab = Cache::from_env().unwrap();
    let kernel = kernel_arg::resolve("lab:fixed", &lab).expect("`make test` builds it");
    let qemu = Qemu::find(None).unwrap();
    let spec = VmSpec {
        kernel: kernel.image,
        accel: Accel::Auto,
        smp: 1,
        mem_mib: 128,
        append: String::new(),
        vmcoreinfo: false,
    };
    // Without an init no kernel gets as far as saying something.
    let nothing = Initramfs::new().finish().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let probe = |boots| accel::probe(&qemu, &spec, &[&nothing], Some(folder.path()), boots);
    assert_eq!(probe(false).accel, Accel::Tcg);
    assert_eq!(accel::kept(&qemu, folder.path()), None);
    // Of a kernel that is known to boot, the silence counts against the host.
    let found = probe(true);
    assert_eq!(found.accel, Accel::Tcg);
    if Path::new("/dev/kvm").exists() && found.reason.contains("KVM") {
        assert_eq!(accel::kept(&qemu, folder.path()), Some(found));
    }
}
