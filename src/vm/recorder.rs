//! Pages that host and guest both see: the host makes one an anonymous file
//! that QEMU shows the guest as a PCI BAR; the guest finds that BAR in sysfs, by
//! its size, and maps it. No driver in the guest, and what it counted outlives
//! it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use crate::kernel::sys::{Layout, Mapped, MappedRecorder, anonymous_file};

/// `ivshmem-plain` (QEMU, docs/specs/ivshmem-spec).
const VENDOR: &str = "0x1af4";
const DEVICE: &str = "0x1110";

/// A new page: the file for QEMU and the host's view of it.
pub(super) fn create<T: Layout>(name: &std::ffi::CStr) -> io::Result<(File, Mapped<T>)> {
    let file = anonymous_file(name)?;
    file.set_len(T::BYTES as u64)?;
    let map = Mapped::map(&file)?;
    Ok((file, map))
}

/// The guest's view of the flight recorder, if there is one.
pub fn open_in_guest() -> io::Result<MappedRecorder> {
    open_page()
}

/// The guest's view of a page: BAR 2 of the device whose BAR has its size.
pub fn open_page<T: Layout>() -> io::Result<Mapped<T>> {
    for entry in fs::read_dir("/sys/bus/pci/devices")? {
        let device = entry?.path();
        let is = |attribute: &str, id: &str| {
            fs::read_to_string(device.join(attribute)).is_ok_and(|text| text.trim() == id)
        };
        let fits =
            || fs::metadata(device.join("resource2")).is_ok_and(|bar| bar.len() == T::BYTES as u64);
        if is("vendor", VENDOR) && is("device", DEVICE) && fits() {
            return map_bar(&device);
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "no ivshmem device"))
}

fn map_bar<T: Layout>(device: &Path) -> io::Result<Mapped<T>> {
    // Memory decoding is off until a driver, or this, turns it on.
    fs::write(device.join("enable"), "1")?;
    let bar = OpenOptions::new()
        .read(true)
        .write(true)
        .open(device.join("resource2"))?;
    Mapped::map(&bar)
}
