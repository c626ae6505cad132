//! The flight recorder's page on both sides: the host makes it an anonymous
//! file that QEMU shows the guest as a PCI BAR; the guest finds that BAR in
//! sysfs and maps it. No driver in the guest, and the counts outlive it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::layout::{RECORDER_BYTES, Recorder};
use crate::kernel::sys::{MappedPage, anonymous_file};

/// A flight recorder in memory shared with another process or a device.
pub type MappedRecorder = MappedPage<Recorder>;

/// `ivshmem-plain` (QEMU, docs/specs/ivshmem-spec).
const VENDOR: &str = "0x1af4";
const DEVICE: &str = "0x1110";

/// A new page: the file for QEMU and the host's view of it.
pub fn create() -> io::Result<(File, MappedRecorder)> {
    let file = anonymous_file(c"modrace-recorder")?;
    file.set_len(RECORDER_BYTES as u64)?;
    let map = MappedRecorder::map(&file, RECORDER_BYTES)?;
    Ok((file, map))
}

/// The guest's view: BAR 2 of the device, if there is one.
pub fn open_in_guest() -> io::Result<MappedRecorder> {
    open(&bar_in_guest(RECORDER_BYTES)?)
}

/// The guest's file for the shared memory of that size: BAR 2 of its device.
pub fn bar_in_guest(bytes: usize) -> io::Result<PathBuf> {
    for entry in fs::read_dir("/sys/bus/pci/devices")? {
        let device = entry?.path();
        let bar = device.join("resource2");
        let is = |attribute: &str, id: &str| {
            fs::read_to_string(device.join(attribute)).is_ok_and(|text| text.trim() == id)
        };
        let fits = || fs::metadata(&bar).is_ok_and(|bar| bar.len() == bytes as u64);
        if is("vendor", VENDOR) && is("device", DEVICE) && fits() {
            // Memory decoding is off until a driver, or this, turns it on.
            fs::write(device.join("enable"), "1")?;
            return Ok(bar);
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "no ivshmem device"))
}

/// The page at `path`: a BAR, or a file that [`create`] made.
pub fn open(path: &Path) -> io::Result<MappedRecorder> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    MappedRecorder::map(&file, RECORDER_BYTES)
}
