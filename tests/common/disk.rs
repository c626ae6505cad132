//! A machine's disk, looked into while the machine is off.

#![allow(dead_code, reason = "each kind of machine uses its part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// An ext4 image.
pub(crate) struct Disk {
    path: PathBuf,
}

impl Disk {
    /// The image at this path.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// The image.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What QEMU is told of it.
    pub(crate) fn drive(&self) -> String {
        format!("file={},format=raw,if=virtio", self.path.display())
    }

    /// A copy, with the filesystem's own journal replayed as a boot would.
    fn replayed(&self) -> PathBuf {
        let copy = self.path.with_extension("copy");
        let copied = Command::new("cp")
            .arg("--sparse=always")
            .args([&self.path, &copy])
            .status();
        assert!(copied.expect("cp").success());
        let checked = Command::new("/sbin/e2fsck")
            .args(["-p", "-E", "journal_only"])
            .arg(&copy)
            .stdout(Stdio::null())
            .status();
        checked.expect("e2fsck, of e2fsprogs");
        copy
    }

    /// Names in a folder. The machine must be off.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let output = Command::new("/sbin/debugfs")
            .arg("-R")
            .arg(format!("ls -p {folder}"))
            .arg(self.replayed())
            .output()
            .expect("debugfs, of e2fsprogs");
        // /inode/mode/uid/gid/name/size/
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| line.split('/').nth(5).map(str::to_owned))
            .collect()
    }

    /// A file's content, by its path there. The machine must be off.
    pub(crate) fn file(&self, path: &str) -> Option<Vec<u8>> {
        let out = self.path.with_extension("out");
        let _from_before = fs::remove_file(&out);
        let dumped = Command::new("/sbin/debugfs")
            .arg("-R")
            .arg(format!("dump {path} {}", out.display()))
            .arg(self.replayed())
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .status();
        dumped.expect("debugfs, of e2fsprogs");
        fs::read(&out).ok()
    }

    /// Puts a file of the host there. The filesystem must have been left clean.
    pub(crate) fn write(&self, file: &Path, path: &str, mode: u32) {
        self.change(&format!("write {} {path}", file.display()));
        self.change(&format!("sif {path} mode 0100{mode:o}"));
    }

    /// Makes a symbolic link.
    pub(crate) fn link(&self, path: &str, to: &str) {
        self.change(&format!("symlink {path} {to}"));
    }

    fn change(&self, request: &str) {
        let changed = Command::new("/sbin/debugfs")
            .args(["-w", "-R", request])
            .arg(&self.path)
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .status();
        changed.expect("debugfs, of e2fsprogs");
    }
}
