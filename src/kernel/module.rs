//! Loading and unloading a module with bare system calls, and what sysfs says
//! of a loaded one.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::kmod::{DeleteModuleFlags, ModuleInitFlags, delete_module, finit_module};

/// Prefix of the modules that stay loaded while others are raced.
pub const BACKGROUND: &str = "modrace_background";

/// A module file, ready to be loaded again and again.
#[derive(Debug)]
pub struct ModuleFile {
    name: CString,
    path: PathBuf,
    file: File,
    rewritten: bool,
}

impl ModuleFile {
    /// Opens a module file. `name` is the name that the kernel will give it.
    pub fn open(path: &Path, name: &str) -> std::io::Result<Self> {
        let name = CString::new(name)?;
        Ok(Self {
            name,
            path: path.to_owned(),
            file: File::open(path)?,
            rewritten: false,
        })
    }

    /// The same module with other bytes.
    pub(super) fn rewritten(&self, file: File, path: PathBuf) -> Self {
        Self {
            name: self.name.clone(),
            path,
            file,
            rewritten: true,
        }
    }

    /// Whether its relocations were rewritten for this kernel.
    pub fn is_rewritten(&self) -> bool {
        self.rewritten
    }

    /// The name under which the kernel lists it.
    pub fn name(&self) -> &str {
        self.name.to_str().unwrap_or_default()
    }

    /// The file, for those who load it by path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `finit_module(2)`.
    pub fn load(&self) -> Result<(), Errno> {
        finit_module(&self.file, c"", ModuleInitFlags::empty())
    }

    /// `finit_module(2)` with module parameters.
    pub fn load_with(&self, parameters: &CStr) -> Result<(), Errno> {
        finit_module(&self.file, parameters, ModuleInitFlags::empty())
    }

    /// `delete_module(2)` without waiting for users.
    pub fn unload(&self) -> Result<(), Errno> {
        delete_module(&self.name, DeleteModuleFlags::O_NONBLOCK)
    }

    /// Whether sysfs lists it.
    pub fn is_loaded(&self) -> bool {
        self.sysfs().exists()
    }

    /// Taint letters of the loaded module, as `/sys/module/NAME/taint` gives
    /// them; empty for an untainted one.
    pub fn taint(&self) -> std::io::Result<String> {
        Ok(fs::read_to_string(self.sysfs().join("taint"))?
            .trim()
            .to_owned())
    }

    /// An attribute of the loaded module in sysfs, without its newline.
    pub fn attribute(&self, name: &str) -> std::io::Result<String> {
        Ok(fs::read_to_string(self.sysfs().join(name))?
            .trim()
            .to_owned())
    }

    /// Writes a parameter of the loaded module.
    pub fn set_parameter(&self, name: &str, value: &str) -> std::io::Result<()> {
        fs::write(self.sysfs().join("parameters").join(name), value)
    }

    fn sysfs(&self) -> PathBuf {
        Path::new("/sys/module").join(self.name())
    }
}

/// Whether a module has the name of another's, or that of one of its copies,
/// `BASE_N`.
pub fn is_copy_of(name: &str, base: &str) -> bool {
    let Some(rest) = name.strip_prefix(base) else {
        return false;
    };
    let number = rest.strip_prefix('_').unwrap_or(rest);
    rest.is_empty() || rest != number && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// Names of the modules that are loaded, from sysfs: it takes no look at their
/// list.
pub fn loaded() -> std::io::Result<Vec<String>> {
    let entries = match fs::read_dir("/sys/module") {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    Ok(entries
        .flatten()
        // What is built in has no state.
        .filter(|entry| entry.path().join("initstate").exists())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect())
}

/// Unloads a module by its name, if it is loaded; for what a killed run left.
pub fn unload_by_name(name: &str) -> Result<(), Errno> {
    let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
    match delete_module(&name, DeleteModuleFlags::O_NONBLOCK) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}
