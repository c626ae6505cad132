//! A kernel's `.config`: its options, its hash, its preemption model. It reads
//! what is written and resolves nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// A configuration that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the kernel configuration {}", path.display())]
pub struct ConfigError {
    /// The file.
    pub path: PathBuf,
    source: io::Error,
}

/// The options of one kernel.
#[derive(Clone, Debug)]
pub struct KernelConfig {
    options: BTreeMap<String, String>,
    sha256: String,
}

/// Options that decide the preemption model, strongest first, with the word
/// that reports use. `PREEMPT_DYNAMIC` goes before the model that it starts
/// with, which the command line may change.
const PREEMPTION: &[(&str, &str)] = &[
    ("PREEMPT_RT", "rt"),
    ("PREEMPT_RT_FULL", "rt"),
    ("PREEMPT_DYNAMIC", "dynamic"),
    ("PREEMPT_LAZY", "lazy"),
    ("PREEMPT", "full"),
    ("PREEMPT_VOLUNTARY", "voluntary"),
    ("PREEMPT_NONE", "none"),
];

impl KernelConfig {
    /// Reads a `.config` file.
    pub fn open(path: &Path) -> Result<Self, ConfigError> {
        let bytes = fs::read(path).map_err(|source| ConfigError {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self::parse(&bytes))
    }

    /// Reads the text of a `.config` or of a fragment. Lines that set nothing
    /// are passed over, as the kernel's own `conf` does; a later line wins.
    pub fn parse(bytes: &[u8]) -> Self {
        let options = String::from_utf8_lossy(bytes)
            .lines()
            .filter_map(|line| option(line.trim()))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Self {
            options,
            sha256: hex(&Sha256::digest(bytes)),
        }
    }

    /// The value of `CONFIG_<name>` as written: `y`, `m`, `n`, `250`, `"text"`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    /// Whether `CONFIG_<name>` is built in.
    pub fn is_yes(&self, name: &str) -> bool {
        self.get(name) == Some("y")
    }

    /// Every option that is named, with its value; `n` for "is not set".
    pub fn options(&self) -> impl Iterator<Item = (&str, &str)> {
        self.options
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// SHA-256 of the file's bytes, in hex.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// `none`, `voluntary`, `full`, `lazy`, `rt` or `dynamic`; nothing where
    /// the configuration does not say.
    pub fn preemption(&self) -> Option<&'static str> {
        PREEMPTION
            .iter()
            .find(|(option, _)| self.is_yes(option))
            .map(|&(_, word)| word)
    }
}

fn option(line: &str) -> Option<(&str, &str)> {
    if let Some(unset) = line.strip_prefix("# CONFIG_") {
        return Some((unset.strip_suffix(" is not set")?, "n"));
    }
    line.strip_prefix("CONFIG_")?.split_once('=')
}

/// Bytes as lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_comments_are_not() {
        let config = KernelConfig::parse(
            b"# CONFIG_A is not set\nCONFIG_B=y\nCONFIG_C=\"x=y\"\n# CONFIG_D=y\n\nCONFIG_B=m\n",
        );
        assert_eq!(config.get("A"), Some("n"));
        assert_eq!(config.get("B"), Some("m"));
        assert_eq!(config.get("C"), Some("\"x=y\""));
        assert_eq!(config.get("D"), None);
    }

    #[test]
    fn the_preemption_model_is_the_one_in_force() {
        let model = |text: &str| KernelConfig::parse(text.as_bytes()).preemption();
        assert_eq!(model("CONFIG_PREEMPT_VOLUNTARY=y"), Some("voluntary"));
        // Debian's 6.1: the default can be changed on the command line.
        assert_eq!(
            model("CONFIG_PREEMPT_VOLUNTARY=y\nCONFIG_PREEMPT_DYNAMIC=y"),
            Some("dynamic")
        );
        assert_eq!(
            model("# CONFIG_PREEMPT_NONE is not set\nCONFIG_PREEMPT=y"),
            Some("full")
        );
        assert_eq!(model("CONFIG_SMP=y"), None);
    }

    #[test]
    fn the_hash_is_of_the_bytes() {
        assert_eq!(
            KernelConfig::parse(b"").sha256(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
