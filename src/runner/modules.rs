//! The modules of a trial: copied under their names, tried once, or loaded to
//! stay beside the race.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::SystemTime;

use nix::errno::Errno;

use super::{Unfit, broken, unsupported};
use crate::build::module_image::ModuleImage;
use crate::kernel::module::ModuleFile;
use crate::kernel::unload::{PATIENCE, holders, unload_patiently};
use crate::model::Oracle;
use crate::race::shows;
use crate::race::targets::Target;

/// A copy of the module under a name of its own; the first keeps its name.
pub(super) fn copy(
    image: &ModuleImage,
    prefix: &str,
    index: u32,
    folder: &Path,
) -> Result<ModuleFile, Unfit> {
    let name = match index {
        0 => prefix.to_owned(),
        _ => format!("{prefix}_{index}"),
    };
    let failed = |error: &dyn std::fmt::Display| broken(format!("module {name}: {error}"));
    let renamed = if name == image.name() {
        image.bytes().to_vec()
    } else {
        image.renamed(&name).map_err(|error| failed(&error))?
    };
    let path = folder.join(format!("{name}.ko"));
    fs::write(&path, renamed).map_err(|error| failed(&error))?;
    ModuleFile::open(&path, &name).map_err(|error| failed(&error))
}

/// Loads and unloads the module once. Says why it cannot be raced; returns its
/// taint letters.
pub(super) fn try_module(
    module: &mut ModuleFile,
    vermagic: Option<&str>,
    oracle: Oracle,
    target: &'static Target,
) -> Result<String, Unfit> {
    let since = SystemTime::now();
    let loaded = module.first_load(c"");
    let module = &*module;
    let name = module.name();
    loaded.map_err(|refusal| match refusal.errno {
        Errno::ENOSYS => unsupported("this kernel has no loadable modules (CONFIG_MODULES)"),
        Errno::EPERM => unsupported(
            "the kernel does not let modules be loaded (modules_disabled, lockdown or rights)",
        ),
        errno @ (Errno::ENOKEY | Errno::EKEYREJECTED | Errno::EBADMSG) => unsupported(format!(
            "the kernel enforces module signatures: {errno}{}",
            refusal.quoted()
        )),
        errno @ (Errno::ENOEXEC | Errno::ENOENT | Errno::EINVAL) => unsupported(format!(
            "the kernel refuses the module {name} ({errno}); it was built for: {}{}",
            vermagic.unwrap_or("unknown").trim(),
            refusal.quoted()
        )),
        other => broken(format!("loading {name}: {other}{}", refusal.quoted())),
    })?;
    let taints = module.taint();
    let shown = shows(target, name);
    unload_patiently(name, PATIENCE).map_err(|errno| match errno {
        Errno::ENOSYS => {
            unsupported("this kernel cannot unload modules (CONFIG_MODULE_UNLOAD is off)")
        }
        Errno::EBUSY => unsupported(format!(
            "the module {name} cannot be unloaded: no exit, or in use"
        )),
        Errno::EWOULDBLOCK => unsupported(format!(
            "the module {name} cannot be unloaded: it is in use as soon as it is loaded, and still \
             after {} s{}",
            PATIENCE.as_secs(),
            holders(name, since)
        )),
        other => broken(format!("unloading {name}: {other}")),
    })?;
    let taints = taints.map_err(|error| broken(format!("taint of {name}: {error}")))?;
    let path = target.path(name);
    match shown {
        Ok(true) => {}
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(broken(format!("{path}: {error}")));
        }
        _ => {
            return Err(unsupported(format!(
                "this kernel shows a loaded module nowhere in {path}: it has no such target, and \
                 this race would have no readers"
            )));
        }
    }
    match (oracle, taints.is_empty()) {
        // Other targets care for no taint.
        (Oracle::Crash, true) if target.prints_m_show => Err(unsupported(format!(
            "the module {name} is not tainted, and m_show() calls module_flags() only for tainted \
             modules: this race could never be lost"
        ))),
        (Oracle::NearMiss, false) => Err(unsupported(format!(
            "the module {name} is tainted ({taints}), and a near miss of a tainted module is a \
             crash: the near-miss oracle needs a module that taints nothing, and this kernel \
             taints what is {}",
            if taints.contains('E') {
                "unsigned"
            } else {
                "out of tree"
            }
        ))),
        _ => Ok(taints),
    }
}

/// Modules that stay loaded while others are raced. Dropping it unloads them.
pub(super) struct Background(Vec<ModuleFile>);

impl Background {
    pub(super) fn load(modules: Vec<ModuleFile>) -> Result<Self, Unfit> {
        let mut loaded = Self(Vec::new());
        for mut module in modules {
            module.first_load(c"").map_err(|refusal| {
                let (name, errno) = (module.name(), refusal.errno);
                broken(format!(
                    "background module {name}: {errno}{}",
                    refusal.quoted()
                ))
            })?;
            loaded.0.push(module);
        }
        Ok(loaded)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        for module in self.0.iter().rev() {
            // What stays loaded goes with the guest.
            let _ = module.unload();
        }
    }
}
