//! What a race other than the default needs of a machine: modules loaded before,
//! a device node, the module tried once, and the files that it makes. Dropping
//! it puts the machine back as it was.

use std::ffi::CString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use super::{Unfit, broken, unsupported};
use crate::build::module_image::ModuleImage;
use crate::kernel::module::ModuleFile;
use crate::kernel::unload::{PATIENCE, holders, unload_patiently};
use crate::model::{DriverSettings, Settings};
use crate::race::action::{Actions, LoaderAction, ReaderAction, files, refusal};
use crate::race::races::{self, Node, RaceRow};

/// Longest random pause of an own driver's loader, µs: exits differ in what they
/// find under way.
const DRIVER_LOADER_PAUSE_US: u64 = 200;
/// Longest random pause of its readers between two turns, µs: readers that hold
/// a module for ever would keep it from ever being unloaded.
const DRIVER_READER_PAUSE_US: u64 = 2000;

/// A race other than the default, made ready.
pub(super) struct Scene {
    plan: Plan,
    before: Vec<ModuleFile>,
    made: Option<PathBuf>,
}

/// What is done, from the table or as typed.
enum Plan {
    Row(&'static RaceRow),
    Driver(DriverSettings, ReaderAction),
}

impl Scene {
    /// Loads what is to be there before; none for the default race.
    pub(super) fn set(settings: &Settings, before: &Path) -> Result<Option<Self>, Unfit> {
        let Some(plan) = Plan::of(settings)? else {
            return Ok(None);
        };
        let node = match &plan {
            Plan::Row(row) => row.node,
            Plan::Driver(..) => None,
        };
        let mut scene = Self {
            plan,
            before: Vec::new(),
            made: None,
        };
        for path in files_of(before)? {
            let name = ModuleImage::open(&path)
                .map_err(|error| broken(format!("{}: {error}", path.display())))?
                .name()
                .to_owned();
            let mut module = ModuleFile::open(&path, &name)
                .map_err(|error| broken(format!("module {name}: {error}")))?;
            load(&mut module, &CString::default())?;
            scene.before.push(module);
        }
        scene.made = node.map(make_node).transpose()?.flatten();
        Ok(Some(scene))
    }

    /// How many modules the loaders need.
    pub(super) fn modules(&self, loaders: u32) -> u32 {
        match self.loader() {
            LoaderAction::Cycle => loaders,
            LoaderAction::Duel => 1,
        }
    }

    fn loader(&self) -> LoaderAction {
        match &self.plan {
            Plan::Row(row) => row.loader,
            Plan::Driver(..) => LoaderAction::Cycle,
        }
    }

    /// Loads and unloads each module once, where that cannot be the crash already.
    /// Says why one cannot be raced; returns the taint letters and what the
    /// workers do.
    pub(super) fn rehearse(&self, modules: &mut [ModuleFile]) -> Result<(String, Actions), Unfit> {
        let mut actions = self.plan.actions()?;
        let mut taints = String::new();
        for module in modules {
            if !self.plan.is_rehearsed() {
                for pattern in self.plan.targets() {
                    let found = files::expand(pattern, module.name());
                    actions.files.extend(found.unwrap_or_default());
                }
                continue;
            }
            let listed = self.plan.discovers().then(files::listing);
            let since = SystemTime::now();
            load(module, &actions.parameters)?;
            taints = module.taint().unwrap_or_default();
            let found = self.plan.files(module.name(), &actions, listed.as_ref());
            unload(module, since)?;
            actions.files.extend(found?);
        }
        Ok((taints, actions))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for module in self.before.iter().rev() {
            let _ = module.unload();
        }
        if let Some(node) = &self.made {
            let _ = fs::remove_file(node);
        }
    }
}

impl Plan {
    fn of(settings: &Settings) -> Result<Option<Self>, Unfit> {
        if let Some(driver) = &settings.driver {
            let action = ReaderAction::named(&driver.action)
                .ok_or_else(|| broken(format!("no action {} is known here", driver.action)))?;
            return Ok(Some(Self::Driver(driver.clone(), action)));
        }
        let row = races::named(&settings.race)
            .ok_or_else(|| broken(format!("no race {} is known here", settings.race)))?;
        Ok((!row.is_default()).then_some(Self::Row(row)))
    }

    fn is_rehearsed(&self) -> bool {
        match self {
            Self::Row(row) => row.rehearsed,
            Self::Driver(..) => true,
        }
    }

    fn discovers(&self) -> bool {
        matches!(self, Self::Driver(driver, _) if driver.discover)
    }

    /// All but the files.
    fn actions(&self) -> Result<Actions, Unfit> {
        let parameters = |text: &str| {
            CString::new(text).map_err(|error| broken(format!("--params {text}: {error}")))
        };
        Ok(match self {
            Self::Row(row) => Actions {
                loader: row.loader,
                reader: row.reader,
                files: Vec::new(),
                text: "1\n".to_owned(),
                parameters: parameters(row.parameters)?,
                loader_pause_us: row.loader_pause_us,
                reader_pause_us: row.reader_pause_us,
            },
            Self::Driver(driver, action) => Actions {
                loader: LoaderAction::Cycle,
                reader: *action,
                files: Vec::new(),
                text: driver.text.clone(),
                parameters: parameters(&driver.parameters)?,
                loader_pause_us: DRIVER_LOADER_PAUSE_US,
                reader_pause_us: DRIVER_READER_PAUSE_US,
            },
        })
    }

    /// The files of the loaded module that readers can open.
    fn files(
        &self,
        module: &str,
        actions: &Actions,
        listed: Option<&std::collections::BTreeSet<PathBuf>>,
    ) -> Result<Vec<PathBuf>, Unfit> {
        let action = actions.reader;
        if action == ReaderAction::Nothing {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for pattern in self.targets() {
            let matched = files::expand(pattern, module)
                .map_err(|error| unsupported(format!("--target {pattern}: {error}")))?;
            let usable = usable(action, &actions.text, &matched);
            if let Err(error) = usable.as_ref().map(Vec::len) {
                return Err(unsupported(no_such_target(pattern, module, action, error)));
            }
            found.extend(usable.unwrap_or_default());
        }
        if let Some(listed) = listed {
            let appeared = files::appeared(listed, &files::listing());
            found.extend(usable(action, &actions.text, &appeared).unwrap_or_default());
        }
        found.sort();
        found.dedup();
        if found.is_empty() {
            return Err(unsupported(format!(
                "nothing that readers could {} appears when {module} is loaded: name its files \
                 with --target, or race loads and unloads alone with --action nothing",
                action.as_str()
            )));
        }
        Ok(found)
    }

    fn targets(&self) -> Vec<&str> {
        match self {
            Self::Row(row) => row.targets.to_vec(),
            Self::Driver(driver, _) => driver.targets.iter().map(String::as_str).collect(),
        }
    }
}

/// Of these files, those that the action can be done to; an error where there is
/// none.
fn usable(
    action: ReaderAction,
    text: &str,
    found: &[PathBuf],
) -> Result<Vec<PathBuf>, std::io::Error> {
    let mut usable = Vec::new();
    let mut refused = None;
    for path in found {
        match refusal(action, path, text) {
            None => usable.push(path.clone()),
            Some(error) => {
                refused.get_or_insert(error);
            }
        }
    }
    if usable.is_empty() {
        return Err(refused.unwrap_or_else(|| ErrorKind::NotFound.into()));
    }
    Ok(usable)
}

fn no_such_target(
    pattern: &str,
    module: &str,
    action: ReaderAction,
    error: &std::io::Error,
) -> String {
    let way_out = "--discover lists and races what appears when it is loaded";
    if error.kind() == ErrorKind::NotFound && files::is_wild(pattern) {
        format!("--target {pattern} matches nothing while {module} is loaded; {way_out}")
    } else if error.kind() == ErrorKind::NotFound {
        format!("--target {pattern} is not there while {module} is loaded; {way_out}")
    } else {
        format!(
            "--target {pattern} does not allow {}: {error}; `modrace list actions` shows others",
            action.as_str()
        )
    }
}

/// Files of a folder, by name; none where there is no folder.
fn files_of(folder: &Path) -> Result<Vec<PathBuf>, Unfit> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(broken(format!("{}: {error}", folder.display()))),
    };
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    found.sort();
    Ok(found)
}

/// Makes the node, unless it is there.
fn make_node(node: Node) -> Result<Option<PathBuf>, Unfit> {
    let device = makedev(node.major, node.minor);
    match mknod(
        node.path,
        SFlag::S_IFCHR,
        Mode::from_bits_truncate(0o600),
        device,
    ) {
        Ok(()) => Ok(Some(node.path.into())),
        Err(Errno::EEXIST) => Ok(None),
        Err(errno) => Err(unsupported(format!("mknod {}: {errno}", node.path))),
    }
}

/// Loads a module for the first time, and says what to do where that fails.
fn load(module: &mut ModuleFile, parameters: &CString) -> Result<(), Unfit> {
    let Err(refusal) = module.first_load(parameters) else {
        return Ok(());
    };
    let (name, errno) = (module.name(), refusal.errno);
    let way_out = match errno {
        Errno::ENOSYS => "this kernel has no loadable modules (CONFIG_MODULES)",
        Errno::EPERM => "the kernel does not let modules be loaded (modules_disabled, lockdown)",
        Errno::ENOKEY | Errno::EKEYREJECTED | Errno::EBADMSG => {
            "the kernel enforces module signatures"
        }
        Errno::ENOEXEC => "it was built for another kernel",
        Errno::ENOENT => {
            "a symbol or a firmware is missing: load the module that has the symbol with --with"
        }
        Errno::EINVAL => "a parameter or a symbol's version does not fit: see --params",
        Errno::ENODEV | Errno::ENXIO => "it finds no hardware here, and a guest has none for it",
        Errno::EEXIST | Errno::EBUSY => {
            "what it registers is taken, by a module of that name or by the kernel itself"
        }
        _ => "its init function says so",
    };
    Err(unsupported(format!(
        "the module {name} does not load: {errno}; {way_out}{}",
        refusal.quoted()
    )))
}

fn unload(module: &ModuleFile, since: SystemTime) -> Result<(), Unfit> {
    let name = module.name();
    // udev holds the node of a new device for a moment.
    unload_patiently(name, PATIENCE).map_err(|errno| match errno {
        Errno::ENOSYS => {
            unsupported("this kernel cannot unload modules (CONFIG_MODULE_UNLOAD is off)")
        }
        Errno::EBUSY => unsupported(format!(
            "the module {name} cannot be unloaded: it has no exit function"
        )),
        Errno::EWOULDBLOCK => unsupported(format!(
            "the module {name} cannot be unloaded: something uses it as soon as it is loaded, \
             and still does after {} s, such as a device that was opened or a module that depends \
             on it{}",
            PATIENCE.as_secs(),
            holders(name, since)
        )),
        other => broken(format!("unloading {name}: {other}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_cannot_be_is_named_with_the_way_out() {
        let missing: std::io::Error = ErrorKind::NotFound.into();
        let text = no_such_target("/proc/*x", "drv", ReaderAction::OpenRead, &missing);
        assert!(
            text.contains("matches nothing") && text.contains("--discover"),
            "{text}"
        );
        let text = no_such_target("/proc/x", "drv", ReaderAction::OpenRead, &missing);
        assert!(text.contains("is not there while drv is loaded"), "{text}");
        let refused: std::io::Error = ErrorKind::PermissionDenied.into();
        let text = no_such_target("/proc/x", "drv", ReaderAction::Write, &refused);
        assert!(text.contains("does not allow write"), "{text}");
    }

    #[test]
    fn of_several_files_those_that_can_be_opened_are_raced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let both = [folder.path().to_owned(), file.clone()];
        assert_eq!(usable(ReaderAction::OpenRead, "", &both).unwrap(), [file]);
        assert!(usable(ReaderAction::OpenRead, "", &both[..1]).is_err());
        assert_eq!(
            usable(ReaderAction::Stat, "", &[]).unwrap_err().kind(),
            ErrorKind::NotFound
        );
    }
}
