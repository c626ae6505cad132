//! The first load of a module file: what the kernel says of one that it refuses,
//! and the same module as kernels before 4.16 take it.

use std::ffi::CStr;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use nix::errno::Errno;

use super::kmsg::{Entry, Kmsg};
use super::module::ModuleFile;
use crate::build::module_image::ModuleImage;

/// Lines of the kernel's that a refusal quotes.
const QUOTED: usize = 3;

/// A module that does not load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the call returned.
    pub errno: Errno,
    /// What the kernel logged about it, at most the last three lines.
    pub logged: Vec<String>,
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self {
            errno,
            logged: Vec::new(),
        }
    }
}

impl Refusal {
    /// What the kernel logged, as the end of a sentence; empty if nothing.
    pub fn quoted(&self) -> String {
        match &*self.logged {
            [] => String::new(),
            lines => format!("; the kernel says: {}", lines.join(" / ")),
        }
    }
}

impl ModuleFile {
    /// `finit_module(2)` for the first time. Where the kernel refuses the format
    /// and takes the module with `R_X86_64_PC32` in place of `R_X86_64_PLT32`,
    /// that is what is loaded from then on.
    pub fn first_load(&mut self, parameters: &CStr) -> Result<(), Refusal> {
        if let Some(rewritten) = self.load_once(parameters)? {
            *self = rewritten;
        }
        Ok(())
    }

    /// The same for a file that is loaded but once: what was loaded in its place,
    /// if that was rewritten.
    pub fn load_once(&self, parameters: &CStr) -> Result<Option<Self>, Refusal> {
        let mut log = Kmsg::open().ok();
        let Err(errno) = self.load_with(parameters) else {
            return Ok(None);
        };
        if errno == Errno::ENOEXEC
            && let Some(old) = self.with_pc32()
            && old.load_with(parameters).is_ok()
        {
            return Ok(Some(old));
        }
        Err(Refusal {
            errno,
            logged: logged(log.as_mut(), self.name()),
        })
    }

    /// The same module with `R_X86_64_PC32`, in a file without a name; None where
    /// it has nothing to rewrite.
    fn with_pc32(&self) -> Option<Self> {
        let image = ModuleImage::open(self.path()).ok()?;
        let bytes = image.with_pc32().ok()?;
        if bytes == image.bytes() {
            return None;
        }
        // A guest has no /tmp; a user's folder may be read-only.
        let beside = self.path().parent().map(tempfile::tempfile_in);
        let beside = beside.and_then(Result::ok);
        let mut file = beside.or_else(|| tempfile::tempfile().ok())?;
        file.write_all(&bytes).ok()?;
        // The kernel takes no module from a file that is open for writing.
        let path = |fd: i32| PathBuf::from(format!("/proc/{}/fd/{fd}", std::process::id()));
        let read_only = std::fs::File::open(path(file.as_raw_fd())).ok()?;
        let path = path(read_only.as_raw_fd());
        Some(self.rewritten(read_only, path))
    }
}

/// What has come to the log about a module, without repetitions.
fn logged(log: Option<&mut Kmsg>, module: &str) -> Vec<String> {
    let entries = log.and_then(|log| log.read().ok()).unwrap_or_default();
    let mut lines: Vec<String> = Vec::new();
    for entry in entries {
        let Entry::Record(bytes) = entry else {
            continue;
        };
        let text = String::from_utf8_lossy(&bytes);
        if let Some((_, message)) = text.split_once(';')
            && message.contains(module)
            && !message.contains("taints kernel")
            && !lines.iter().any(|line| line == message.trim())
        {
            lines.push(message.trim().to_owned());
        }
    }
    lines.split_off(lines.len().saturating_sub(QUOTED))
}
