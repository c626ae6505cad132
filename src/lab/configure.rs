//! A lab kernel's configuration: `tinyconfig`, the build spec's fragments over it,
//! and a check that Kconfig took every option. An option that is dropped for a
//! missing dependency would otherwise give another kernel than was asked for.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::LabError;
use super::build_spec::NamedText;
use super::table::base_fragment;
use crate::build::config::KernelConfig;
use crate::build::make;
use crate::build::toolchain::Toolchain;

/// The commands that make the configuration, in order. Writes the fragments
/// beside the source.
pub(super) fn commands(
    source: &Path,
    build: &Path,
    fragments: &[NamedText],
    toolchain: &Toolchain,
) -> Result<Vec<Command>, LabError> {
    let folder = source.with_file_name("fragments");
    fs::create_dir_all(&folder).map_err(LabError::io("create", &folder))?;
    fs::create_dir_all(build).map_err(LabError::io("create", build))?;
    let mut merge = make::tool("sh");
    merge
        .current_dir(source)
        .args(["scripts/kconfig/merge_config.sh", "-m", "-O"])
        .arg(build)
        .arg(build.join(".config"));
    let in_their_place = NamedText::new("in-their-place", IN_THEIR_PLACE);
    for (number, fragment) in fragments.iter().chain([&in_their_place]).enumerate() {
        let name = fragment.name.replace('/', "_");
        let path = folder.join(format!("{number}-{name}"));
        fs::write(&path, &fragment.bytes).map_err(LabError::io("write", &path))?;
        merge.arg(path);
    }
    let kconfig = |target: &str| {
        let mut command = kernel_make(source, build, toolchain);
        command.arg(target);
        command
    };
    // `tinyconfig` came with 3.17, `olddefconfig` with 3.7.
    let tiny = source.join("kernel/configs/tiny.config").is_file();
    let start = if tiny { "tinyconfig" } else { "allnoconfig" };
    Ok(vec![kconfig(start), merge, kconfig("olddefconfig")])
}

/// Make in a source with its products elsewhere, the same everywhere.
pub(super) fn kernel_make(source: &Path, build: &Path, toolchain: &Toolchain) -> Command {
    let mut command = make::tool("make");
    command
        .arg("-C")
        .arg(source)
        .arg(format!("O={}", build.display()))
        .args(toolchain.variables())
        // Who built it, where and when must not make two kernels differ.
        .env("KBUILD_BUILD_TIMESTAMP", "2014-10-14 00:00:00 UTC")
        .env("KBUILD_BUILD_USER", "modrace")
        .env("KBUILD_BUILD_HOST", "lab")
        .env("KBUILD_BUILD_VERSION", "1");
    command
}

/// Options of the lab's own fragment that not every kernel has, and since or
/// until when. A kernel that does not know one is as good without it.
const NOT_EVERYWHERE: &[(&str, &str)] = &[
    ("ADVISE_SYSCALLS", "since 3.18"),
    ("HYPERVISOR_GUEST", "since 3.10"),
    ("MEMBARRIER", "since 4.3"),
    ("MULTIUSER", "since 4.1"),
    ("PARAVIRT", "until 7.0"),
    ("PREEMPT_VOLUNTARY", "until 7.2, where PREEMPT_LAZY is"),
    ("PROC_SYSCTL", "until 7.2, SYSCTL since"),
    ("PVPANIC", "since 3.10"),
    ("PVPANIC_MMIO", "since 5.13"),
    ("PVPANIC_PCI", "since 5.13"),
    ("RSEQ", "since 4.18"),
    ("UNWINDER_FRAME_POINTER", "since 4.15"),
];
/// What takes the place of one of them; older kernels have it anyway.
const IN_THEIR_PLACE: &str = "CONFIG_SYSCTL=y\n";

/// Whether every option of the fragments is in force; a later fragment
/// overrules an earlier one. What the lab's own fragment asks for may be unknown
/// to a kernel of another generation.
pub(super) fn verify(config: &KernelConfig, fragments: &[NamedText]) -> Result<(), LabError> {
    let base = base_fragment();
    let mut wanted = BTreeMap::new();
    for fragment in fragments {
        let options = KernelConfig::parse(&fragment.bytes);
        for (name, value) in options.options() {
            let unknown = *fragment == base
                && config.get(name).is_none()
                && NOT_EVERYWHERE.iter().any(|(row, _)| *row == name);
            if unknown {
                wanted.remove(name);
            } else {
                wanted.insert(name.to_owned(), value.to_owned());
            }
        }
    }
    let lost: Vec<String> = wanted
        .iter()
        .filter(|(name, value)| config.get(name).unwrap_or("n") != value.as_str())
        .map(|(name, value)| match config.get(name) {
            Some(got) => format!("CONFIG_{name}={value} (it is {got})"),
            None => format!("CONFIG_{name}={value} (it is unknown or hidden)"),
        })
        .collect();
    if lost.is_empty() {
        Ok(())
    } else {
        Err(LabError::OptionsLost(lost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_of_another_generation_is_missed_only_where_the_user_asked_for_it() {
        let base = base_fragment();
        let options = KernelConfig::parse(&base.bytes);
        let known = |(name, value): (&str, &str)| match value {
            _ if name == "RSEQ" => String::new(),
            "n" => format!("# CONFIG_{name} is not set\n"),
            value => format!("CONFIG_{name}={value}\n"),
        };
        let old: String = options.options().map(known).collect();
        let old = KernelConfig::parse(old.as_bytes());
        verify(&old, std::slice::from_ref(&base)).unwrap();
        let asked = [base, NamedText::new("mine", "CONFIG_RSEQ=y\n")];
        let error = verify(&old, &asked).unwrap_err().to_string();
        assert!(error.contains("CONFIG_RSEQ=y (it is unknown"), "{error}");
        for (name, _) in NOT_EVERYWHERE {
            assert!(options.get(name).is_some(), "{name} is not in lab.config");
        }
    }

    #[test]
    fn an_option_that_did_not_survive_is_named() {
        let fragments = [
            NamedText::new("a", "CONFIG_A=y\nCONFIG_B=y\nCONFIG_C=250\n"),
            NamedText::new("b", "# CONFIG_B is not set\n"),
        ];
        let good = KernelConfig::parse(b"CONFIG_A=y\nCONFIG_C=250\nCONFIG_D=y\n");
        verify(&good, &fragments).unwrap();
        let bad = KernelConfig::parse(b"# CONFIG_A is not set\nCONFIG_B=y\n");
        let error = verify(&bad, &fragments).unwrap_err().to_string();
        assert!(error.contains("CONFIG_A=y (it is n)"), "{error}");
        assert!(error.contains("CONFIG_B=n (it is y)"), "{error}");
        assert!(error.contains("CONFIG_C=250 (it is unknown"), "{error}");
    }
}
