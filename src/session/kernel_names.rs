//! Names of a kernel's addresses, from the System.map of its build tree. Read
//! when the first is asked for: most kernels never panic.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::build::config::KernelConfig;
use crate::interleave::symbols::Symbols;
use crate::vm::at_panic::Names;

/// The names; None where there is no System.map, or where the kernel moves
/// itself at boot, so that its addresses are other ones.
pub(super) fn of_tree(
    kdir: Option<&Path>,
    config: Option<&KernelConfig>,
    append: &str,
) -> Option<Box<dyn Names>> {
    let path = kdir?.join("System.map");
    let stays = append.split_whitespace().any(|word| word == "nokaslr")
        || config.is_some_and(|config| !config.is_yes("RANDOMIZE_BASE"));
    if !stays || !path.is_file() {
        return None;
    }
    Some(Box::new(OfTree {
        path,
        known: OnceLock::new(),
    }))
}

#[derive(Debug)]
struct OfTree {
    path: PathBuf,
    known: OnceLock<Option<Known>>,
}

impl OfTree {
    fn known(&self) -> Option<&Known> {
        let known = self.known.get_or_init(|| Known::read(&self.path));
        known.as_ref()
    }
}

impl Names for OfTree {
    fn of(&self, at: u64) -> Option<String> {
        let known = self.known()?;
        known.text.contains(&at).then(|| known.symbols.show(at))
    }

    fn address(&self, name: &str) -> Option<u64> {
        self.known()?.symbols.address(name)
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
        assert!(of_tree(Some(folder.path()), Some(&moves), "quiet").is_none());
        assert!(of_tree(Some(folder.path()), Some(&moves), "nokaslr").is_some());
        assert!(of_tree(None, Some(&stays), "").is_none());
        let names = of_tree(Some(folder.path()), Some(&stays), "").unwrap();
        assert_eq!(names.of(0xffff_ffff_8100_0113).unwrap(), "free_module+0x13");
        assert_eq!(names.of(0xffff_ffff_8200_0000), None);
        assert_eq!(names.address("data"), Some(0xffff_ffff_8200_0000));
    }
}
