//! The Debian machine: its disk from `scripts/debian-disk`, a script for each of
//! its boots, and a pstore if wanted. It reboots by itself, as a machine does.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use modrace::build::cache::Cache;
use sha2::{Digest, Sha256};

use crate::disk::Disk;
use crate::kernel;
use crate::running::{Boot, Running};

/// Two machines at once would measure each other.
static MACHINE: Mutex<()> = Mutex::new(());
/// What each machine's disk is a copy of.
static BASE: LazyLock<PathBuf> = LazyLock::new(base);

/// Runs the boot's script from the second disk, behind everything else.
const UNIT: &str = "\
[Unit]
After=multi-user.target
[Service]
Type=oneshot
Environment=HOME=/root
ExecStart=/bin/sh -c 'sh /dev/vdb >/dev/ttyS0 2>&1; \
echo GUEST-ENDED >/dev/ttyS0; systemctl poweroff'
[Install]
WantedBy=multi-user.target
";
const UNIT_AT: &str = "/etc/systemd/system/boot-script.service";
const UNIT_LINK: &str = "/etc/systemd/system/multi-user.target.wants/boot-script.service";

/// Which kernel it boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// Debian's own.
    Stock,
    /// The same without the fix.
    Vulnerable,
}

/// A machine with its disk.
pub(crate) struct Machine {
    folder: tempfile::TempDir,
    pub(crate) disk: Disk,
    kernel: PathBuf,
    /// Words for the kernel's command line.
    pub(crate) append: String,
    /// Whether it has a pstore.
    pub(crate) erst: bool,
    _alone: MutexGuard<'static, ()>,
}

fn base() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/debian-disk");
    let text = fs::read(&script).unwrap();
    let name: Vec<String> = (Sha256::digest(text).iter().take(6))
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let cache = Cache::from_env().unwrap();
    let _one_at_a_time = cache.lock("debian-disk", &false.into(), &mut || {});
    let folder = cache.root().join("debian").join(name.concat());
    let made = Command::new(script).arg(&folder).status();
    assert!(made.unwrap().success(), "scripts/debian-disk");
    folder
}

impl Machine {
    /// A new machine, with a modrace in /usr/local/bin.
    pub(crate) fn new(kernel: Kernel) -> Self {
        let alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::at(folder.path().join("disk"));
        let copied = Command::new("cp")
            .arg("--sparse=always")
            .args([&BASE.join("disk"), disk.path()])
            .status();
        assert!(copied.unwrap().success());
        let image = match kernel {
            Kernel::Stock => BASE.join("vmlinuz"),
            Kernel::Vulnerable => {
                let path = folder.path().join("vmlinux");
                let stock = fs::read(BASE.join("vmlinuz")).unwrap();
                fs::write(&path, kernel::vulnerable(&stock)).unwrap();
                path
            }
        };
        let unit = folder.path().join("unit");
        fs::write(&unit, UNIT).unwrap();
        disk.write(
            Path::new(env!("CARGO_BIN_EXE_modrace")),
            "/usr/local/bin/modrace",
            0o755,
        );
        disk.write(&unit, UNIT_AT, 0o644);
        disk.link(UNIT_LINK, UNIT_AT);
        let erst = File::create(folder.path().join("erst")).unwrap();
        erst.set_len(1 << 20).unwrap();
        Self {
            folder,
            disk,
            kernel: image,
            append: String::new(),
            erst: true,
            _alone: alone,
        }
    }

    /// Boots, runs the script, and waits until the machine is off.
    pub(crate) fn boot(&self, script: &str) -> Boot {
        let mut running = self.start(script);
        running.wait_for_end();
        running.read()
    }

    /// Boots and runs the script, at each boot, until the machine is off.
    pub(crate) fn start(&self, script: &str) -> Running {
        let drive = self.folder.path().join("script");
        // Whole sectors, all of it for the shell.
        let mut bytes = script.as_bytes().to_vec();
        bytes.resize(bytes.len().next_multiple_of(512), b'\n');
        fs::write(&drive, bytes).unwrap();
        let console = self.folder.path().join("console");
        // What an earlier boot said is not this one's.
        let _ = fs::remove_file(&console);
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args(["-nodefaults", "-no-user-config", "-display", "none"])
            // Without an HPET: on a loaded host an emulated one can keep the guest in
            // its timer's interrupt for ever.
            .args([
                "-machine",
                "pc,hpet=off",
                "-cpu",
                "qemu64",
                "-smp",
                "4",
                "-m",
                "1024",
            ])
            .args(["-accel", "tcg,thread=multi"])
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(BASE.join("initrd.img"))
            .arg("-append")
            .arg(format!(
                "console=ttyS0 root=/dev/vda rw no_timer_check systemd.show_status=0 \
                 systemd.mask=serial-getty@ttyS0.service {}",
                self.append
            ))
            .args(["-device", "virtio-rng-pci"])
            .arg("-drive")
            .arg(self.disk.drive())
            .arg("-drive")
            .arg(Disk::at(drive).drive());
        if self.erst {
            let memory = self.folder.path().join("erst");
            command
                .arg("-object")
                .arg(format!(
                    "memory-backend-file,id=erst,share=on,size=1M,mem-path={}",
                    memory.display()
                ))
                .args(["-device", "acpi-erst,memdev=erst"]);
        }
        Running::start(command, console).with_patience(Duration::from_secs(600))
    }
}
