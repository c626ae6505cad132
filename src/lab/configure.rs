//! A lab kernel's configuration: `tinyconfig`, the build_spec's fragments over it,
//! and a check that Kconfig took every option. An option that is dropped for a
//! missing dependency would otherwise give another kernel than was asked for.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::LabError;
use super::build_spec::NamedText;
use crate::build::config::KernelConfig;
use crate::build::make;

/// The commands that make the configuration, in order. Writes the fragments
/// beside the source.
pub(super) fn commands(
    source: &Path,
    build: &Path,
    fragments: &[NamedText],
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
    for (number, fragment) in fragments.iter().enumerate() {
        let name = fragment.name.replace('/', "_");
        let path = folder.join(format!("{number}-{name}"));
        fs::write(&path, &fragment.bytes).map_err(LabError::io("write", &path))?;
        merge.arg(path);
    }
    let kconfig = |target: &str| {
        let mut command = kernel_make(source, build);
        command.arg(target);
        command
    };
    Ok(vec![kconfig("tinyconfig"), merge, kconfig("olddefconfig")])
}

/// Make in a source with its products elsewhere, the same everywhere.
pub(super) fn kernel_make(source: &Path, build: &Path) -> Command {
    let mut command = make::tool("make");
    command
        .arg("-C")
        .arg(source)
        .arg(format!("O={}", build.display()))
        // Who built it, where and when must not make two kernels differ.
        .env("KBUILD_BUILD_TIMESTAMP", "2014-10-14 00:00:00 UTC")
        .env("KBUILD_BUILD_USER", "modrace")
        .env("KBUILD_BUILD_HOST", "lab")
        .env("KBUILD_BUILD_VERSION", "1");
    command
}

/// Whether every option of the fragments is in force; a later fragment
/// overrules an earlier one.
pub(super) fn verify(config: &KernelConfig, fragments: &[NamedText]) -> Result<(), LabError> {
    let mut wanted = BTreeMap::new();
    for fragment in fragments {
        let options = KernelConfig::parse(&fragment.bytes);
        for (name, value) in options.options() {
            wanted.insert(name.to_owned(), value.to_owned());
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
