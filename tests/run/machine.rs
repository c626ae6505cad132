//! A machine that stands in for a bare one: QEMU with a disk and an ERST that
//! survive its reboots, a small user land, and a script of commands for each
//! boot. Nobody watches from outside but these tests.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use modrace::build::{cache::Cache, kbuild};
use modrace::model::Report;
use modrace::vm::initramfs::Initramfs;

use crate::disk::Disk;
pub(crate) use crate::running::{Boot, Running};

/// Two machines at once would measure each other.
static MACHINE: Mutex<()> = Mutex::new(());

const INIT: &str = r"#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/sbin HOME=/
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t securityfs securityfs /sys/kernel/security 2>/dev/null
mkdir -p /tmp /run /data /var
mount -t ext4 /dev/vda /data 2>/dev/null
mkdir -p /data/lib
ln -s /data/lib /var/lib
cd /data
# No terminal: lines, not a bar. And whoever reads must not wait for the dead.
sh /script 2>&1 | cat
sync
umount /data
echo GUEST-ENDED
reboot -f
";

/// A machine with its disk.
pub(crate) struct Machine {
    folder: tempfile::TempDir,
    pub(crate) disk: Disk,
    image: PathBuf,
    module: Option<PathBuf>,
    append: String,
    _alone: MutexGuard<'static, ()>,
}

impl Machine {
    /// A machine with a lab kernel and the dummy module for it.
    pub(crate) fn lab(name: &str) -> Self {
        let cache = Cache::from_env().unwrap();
        let kernel = modrace::session::kernel_arg::resolve(&format!("lab:{name}"), &cache)
            .unwrap_or_else(|failure| panic!("{failure:?}"));
        let kdir = kernel.kdir.expect("a lab kernel has a build tree");
        let module = kbuild::build_dummy(&kdir, &cache, &false.into()).unwrap();
        Self::new(kernel.image, Some(module))
    }

    /// A machine with Debian's stock kernel, which does not find the disk.
    pub(crate) fn stock() -> Self {
        let cache = Cache::from_env().unwrap();
        let release = crate::stock_kernel::stock_release();
        let kernel = modrace::session::kernel_arg::resolve(&release, &cache)
            .unwrap_or_else(|failure| panic!("{failure:?}"));
        let kdir = kernel.kdir.expect("its headers");
        let module = kbuild::build_dummy(&kdir, &cache, &false.into()).unwrap();
        Self::new(kernel.image, Some(module))
    }

    /// A machine with this kernel, which need not know the disk.
    pub(crate) fn new(image: PathBuf, module: Option<PathBuf>) -> Self {
        let alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        let machine = Self {
            disk: Disk::at(folder.path().join("disk")),
            folder,
            image,
            module,
            // On a loaded host the kernel may fail its own tests at boot.
            append: "panic=-1 no_timer_check cryptomgr.notests".to_owned(),
            _alone: alone,
        };
        let made = Command::new("/sbin/mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=0"])
            .arg(machine.disk.path())
            .arg("32M")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("mke2fs, of e2fsprogs");
        assert!(made.success());
        let erst = File::create(machine.folder.path().join("erst")).unwrap();
        erst.set_len(1 << 20).unwrap();
        machine
    }

    /// Boots, runs the script, and waits for the machine's end.
    pub(crate) fn boot(&self, script: &str) -> Boot {
        let mut running = self.start(script);
        running.wait_for_end();
        running.read()
    }

    /// Boots and runs the script; the caller decides when it ends.
    pub(crate) fn start(&self, script: &str) -> Running {
        let initramfs = self.folder.path().join("initramfs");
        fs::write(&initramfs, self.initramfs(script)).unwrap();
        let console = self.folder.path().join("console");
        let erst = self.folder.path().join("erst");
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args(["-nodefaults", "-no-user-config", "-no-reboot"])
            .args(["-display", "none", "-machine", "pc", "-cpu", "qemu64"])
            .args(["-accel", "tcg,thread=multi", "-smp", "4", "-m", "512"])
            .arg("-kernel")
            .arg(&self.image)
            .arg("-initrd")
            .arg(&initramfs)
            .arg("-append")
            .arg(format!(
                "console=ttyS0 printk.time=1 loglevel=7 rdinit=/init {}",
                self.append
            ))
            .arg("-drive")
            .arg(self.disk.drive())
            .arg("-object")
            .arg(format!(
                "memory-backend-file,id=erst,share=on,size=1M,mem-path={}",
                erst.display()
            ))
            .args(["-device", "acpi-erst,memdev=erst"]);
        Running::start(command, console)
    }

    fn initramfs(&self, script: &str) -> Vec<u8> {
        let mut archive = Initramfs::new();
        for folder in ["bin", "sbin", "dev", "proc", "sys", "etc"] {
            archive.folder(folder).unwrap();
        }
        archive.device("dev/console", 5, 1).unwrap();
        archive.device("dev/null", 1, 3).unwrap();
        let program = |path: &Path| fs::read(path).unwrap();
        let busybox = ["/bin/busybox", "/usr/bin/busybox"]
            .iter()
            .map(Path::new)
            .find(|path| path.exists())
            .expect("busybox-static");
        for (name, bytes) in [
            ("bin/busybox", program(busybox)),
            (
                "bin/modrace",
                program(Path::new(env!("CARGO_BIN_EXE_modrace"))),
            ),
        ] {
            archive.file(name, 0o755, &bytes).unwrap();
        }
        if let Some(module) = &self.module {
            archive
                .file("dummy_module.ko", 0o644, &fs::read(module).unwrap())
                .unwrap();
        }
        let users = b"root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n";
        archive.file("etc/passwd", 0o644, users).unwrap();
        archive
            .file("etc/group", 0o644, b"root:x:0:\nnobody:x:65534:\n")
            .unwrap();
        archive.file("init", 0o755, INIT.as_bytes()).unwrap();
        archive.file("script", 0o755, script.as_bytes()).unwrap();
        archive.finish().unwrap()
    }

    /// The report on the disk.
    pub(crate) fn report(&self) -> Report {
        let bytes = self
            .disk
            .file("/report.json")
            .expect("a report on the disk");
        serde_json::from_slice(&bytes).expect("a whole report")
    }
}
