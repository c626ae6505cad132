//! What a kernel's files tell of its addresses: names, from the System.map of its
//! build tree, and lines of the source, from a vmlinux with debug information and
//! from the modules raced on it. Read when the first is asked for: most kernels never panic.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::build::config::KernelConfig;
use crate::build::kbuild::Kdir;
use crate::decode::symbols::Symbols;
use crate::decode::{self, ModuleFile, Sources, Vmlinux};
use crate::model::{Crash, KernelRecord};
use crate::vm::at_panic::Names;

/// Folders in which distributions' packages of debug information lay a vmlinux:
/// what stands before and behind the release.
const DEBUG_PACKAGES: [(&str, &str); 2] = [
    ("/usr/lib/debug/boot/vmlinux-", ""),
    ("/usr/lib/debug/lib/modules/", "/vmlinux"),
];

/// What the files of a build tree, or of its release, tell. No names where the
/// kernel moves itself at boot, so that its addresses are other ones.
pub(super) fn of_tree(
    kdir: Option<&Path>,
    config: Option<&KernelConfig>,
    append: &str,
    modules: Vec<(String, Vec<u8>)>,
) -> Box<dyn Names> {
    let stays = append.split_whitespace().any(|word| word == "nokaslr")
        || config.is_some_and(|config| !config.is_yes("RANDOMIZE_BASE"));
    let map = kdir.map(|kdir| kdir.join("System.map"));
    let release = kdir.and_then(|kdir| Some(Kdir::open(kdir).ok()?.release().to_owned()));
    Box::new(OfTree {
        map: map.filter(|path| stays && path.is_file()),
        known: OnceLock::new(),
        vmlinux: vmlinux_files(kdir, release.as_deref()),
        opened: OnceLock::new(),
        modules,
    })
}

/// Tells the crashes of an installed kernel by instructions, and by lines of the
/// source where there is a vmlinux of that release. `sound`: this kernel has not
/// crashed; one that has is not asked to read some hundred MiB.
pub(super) fn decode_installed<'a>(
    kernel: &KernelRecord,
    sound: bool,
    crashes: impl Iterator<Item = &'a mut Crash>,
) {
    let release = kernel.release.as_deref().filter(|_| sound);
    let kdir = release.map(|release| Path::new("/lib/modules").join(release).join("build"));
    let names = OfTree {
        vmlinux: vmlinux_files(kdir.as_deref(), release),
        ..OfTree::default()
    };
    for crash in crashes {
        names.decode(crash, kernel.build_id.as_deref());
    }
}

#[derive(Debug, Default)]
struct OfTree {
    map: Option<PathBuf>,
    known: OnceLock<Option<Known>>,
    /// Files that may have debug information, the likeliest first.
    vmlinux: Vec<PathBuf>,
    opened: OnceLock<Mutex<Opened>>,
    /// Names and files.
    modules: Vec<(String, Vec<u8>)>,
}

/// Files with debug information.
#[derive(Debug)]
struct Opened {
    vmlinux: Option<Vmlinux>,
    modules: Vec<ModuleFile>,
}

impl OfTree {
    fn known(&self) -> Option<&Known> {
        let read = || self.map.as_deref().and_then(Known::read);
        self.known.get_or_init(read).as_ref()
    }

    /// The first vmlinux that has debug information, and the modules that have.
    fn opened(&self) -> MutexGuard<'_, Opened> {
        let open = |path: &PathBuf| Vmlinux::open(path).ok();
        let parse = |(name, bytes): &(String, Vec<u8>)| ModuleFile::parse(name, bytes);
        let opened = self.opened.get_or_init(|| {
            Mutex::new(Opened {
                vmlinux: self.vmlinux.iter().find_map(open),
                modules: self.modules.iter().filter_map(parse).collect(),
            })
        });
        opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files that a vmlinux of a kernel may be, the likeliest first.
fn vmlinux_files(kdir: Option<&Path>, release: Option<&str>) -> Vec<PathBuf> {
    let packaged = release.into_iter().flat_map(|release| {
        DEBUG_PACKAGES.map(|(before, behind)| PathBuf::from(format!("{before}{release}{behind}")))
    });
    let built = kdir.map(|kdir| kdir.join("vmlinux"));
    built
        .into_iter()
        .chain(packaged)
        .filter(|path| path.is_file())
        .collect()
}

impl Names for OfTree {
    fn of(&self, at: u64) -> Option<String> {
        let known = self.known()?;
        known.text.contains(&at).then(|| known.symbols.show(at))
    }

    fn address(&self, name: &str) -> Option<u64> {
        self.known()?.symbols.address(name)
    }

    fn image(&self) -> Option<String> {
        let first = self.vmlinux.first()?;
        Some(first.display().to_string())
    }

    fn decode(&self, crash: &mut Crash, build_id: Option<&str>) {
        let opened = self.opened();
        let sources = Sources {
            vmlinux: opened.vmlinux.as_ref(),
            modules: &opened.modules,
            build_id,
        };
        decode::decode(crash, sources);
    }
}

#[derive(Debug)]
struct Known {
    symbols: Symbols,
    /// Of the kernel itself, without modules.
    text: Range<u64>,
}

impl Known {
    fn read(path: &Path) -> Option<Self> {
        let symbols = Symbols::of_text(&fs::read_to_string(path).ok()?);
        let text = symbols.address("_stext")?..symbols.address("_etext")?;
        Some(Self { symbols, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_kernel_that_stays_where_it_was_built_has_names() {
        let folder = tempfile::tempdir().unwrap();
        let map = "ffffffff81000000 T _stext\nffffffff81000100 t free_module\n\
                   ffffffff81000200 T _etext\nffffffff82000000 D data\n";
        fs::write(folder.path().join("System.map"), map).unwrap();
        let moves = KernelConfig::parse(b"CONFIG_RANDOMIZE_BASE=y\n");
        let stays = KernelConfig::parse(b"# CONFIG_RANDOMIZE_BASE is not set\n");
        let data =
            |kdir, config, append| of_tree(kdir, Some(config), append, Vec::new()).address("data");
        assert_eq!(data(Some(folder.path()), &moves, "quiet"), None);
        assert!(data(Some(folder.path()), &moves, "nokaslr").is_some());
        assert_eq!(data(None, &stays, ""), None);
        let names = of_tree(Some(folder.path()), Some(&stays), "", Vec::new());
        assert_eq!(names.of(0xffff_ffff_8100_0113).unwrap(), "free_module+0x13");
        assert_eq!(names.of(0xffff_ffff_8200_0000), None);
        assert_eq!(names.address("data"), Some(0xffff_ffff_8200_0000));
    }
}
