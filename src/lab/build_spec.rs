//! What a lab kernel is built from, as values: name, configuration fragments,
//! patches. Two recipes with the same hash give the same kernel from the same
//! source and compiler.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::table::{LabKernelRow, base_fragment};
use super::{LabError, unformed_lock};
use crate::build::config::hex;

/// Counts the ways in which modrace has built kernels. A new way is a new
/// kernel: raise it when commands or environment of the build change.
const BUILD_VERSION: u32 = 1;

/// A text with the name that messages and manifests use for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedText {
    /// Its file's name.
    pub name: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// A text as a manifest records it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextRecord {
    /// Its file's name.
    pub name: String,
    /// Hash of its content.
    pub sha256: String,
}

impl NamedText {
    /// A text of that name.
    pub fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.into(),
            bytes: bytes.into(),
        }
    }

    pub(super) fn record(&self) -> TextRecord {
        TextRecord {
            name: self.name.clone(),
            sha256: hex(&Sha256::digest(&self.bytes)),
        }
    }
}

/// What a lab kernel is built from, but for the source.
#[derive(Clone, Debug)]
pub struct BuildSpec {
    /// As in `lab:NAME`.
    pub name: String,
    /// Laid over `tinyconfig` in this order.
    pub fragments: Vec<NamedText>,
    /// What becomes of the fix under test.
    pub fix: Fix,
    /// Applied to the source after that, in this order.
    pub patches: Vec<NamedText>,
    /// The compiler's name; None: gcc.
    pub compiler: Option<String>,
}

/// What a kernel's name says of the fix under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fix {
    /// Nothing: the source is taken as it is.
    AsItIs,
    /// It is there, or there is no such kernel.
    Required,
    /// It is taken out.
    TakenOut,
}

impl BuildSpec {
    /// A kernel of one's own: the lab's configuration, and on top of it what
    /// is given.
    pub fn custom(
        name: &str,
        fragments: Vec<NamedText>,
        fix: Fix,
        patches: Vec<NamedText>,
    ) -> Result<Self, LabError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !starts_well || name.len() > 64 || !name.chars().all(allowed) {
            return Err(LabError::BadName(name.to_owned()));
        }
        if LabKernelRow::find(name).is_some() {
            return Err(LabError::TakenName(name.to_owned()));
        }
        Ok(Self {
            name: name.to_owned(),
            fragments: std::iter::once(base_fragment()).chain(fragments).collect(),
            fix,
            patches,
            compiler: None,
        })
    }

    /// Hash of everything but name and source.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(format!("{BUILD_VERSION}\n{}\n", self.config_sha256()));
        if self.fix == Fix::TakenOut {
            hash.update(format!("fix taken out {}\n", unformed_lock::VERSION));
        }
        for patch in &self.patches {
            hash.update(patch.record().sha256);
        }
        hex(&hash.finalize())
    }

    /// Hash of the configuration alone: kernels that share it, a source and a
    /// compiler share all objects that no patch touches.
    pub(super) fn config_sha256(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(format!("{BUILD_VERSION}\n"));
        for fragment in &self.fragments {
            hash.update(fragment.record().sha256);
        }
        hex(&hash.finalize())
    }

    /// The cache key of the kernel that this build spec gives.
    pub(super) fn key(&self, source_sha256: &str, compiler: &str) -> String {
        let parts = format!("{}\n{source_sha256}\n{compiler}", self.sha256());
        hex(&Sha256::digest(parts))[..16].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build_spec(patches: &[&str]) -> BuildSpec {
        let patches = patches.iter().map(|text| NamedText::new("p", *text));
        BuildSpec::custom("mine", Vec::new(), Fix::AsItIs, patches.collect()).unwrap()
    }

    #[test]
    fn whatever_changes_the_kernel_changes_the_key() {
        let key = build_spec(&["a"]).key("source", "gcc 12");
        assert_eq!(key, build_spec(&["a"]).key("source", "gcc 12"));
        assert_ne!(key, build_spec(&["b"]).key("source", "gcc 12"));
        assert_ne!(key, build_spec(&["a", "a"]).key("source", "gcc 12"));
        assert_ne!(key, build_spec(&["a"]).key("other", "gcc 12"));
        assert_ne!(key, build_spec(&["a"]).key("source", "gcc 13"));
        let mut other = build_spec(&["a"]);
        other.fragments.push(NamedText::new("f", "CONFIG_A=y\n"));
        assert_ne!(key, other.key("source", "gcc 12"));
    }

    #[test]
    fn the_vulnerable_kernels_differ_from_the_fixed_by_patches_only() {
        for (fixed, vulnerable) in [
            ("fixed", "vulnerable"),
            ("fixed-preempt", "vulnerable-preempt"),
        ] {
            let fixed = LabKernelRow::find(fixed).unwrap().build_spec();
            let vulnerable = LabKernelRow::find(vulnerable).unwrap().build_spec();
            assert_eq!(fixed.config_sha256(), vulnerable.config_sha256());
            assert_eq!((fixed.fix, vulnerable.fix), (Fix::Required, Fix::TakenOut));
            assert!(fixed.patches.is_empty() && vulnerable.patches.is_empty());
        }
    }

    #[test]
    fn names_that_are_paths_options_or_taken_are_refused() {
        for name in ["", "a/b", "..", "-x", ".hidden", "a b"] {
            let refused = BuildSpec::custom(name, Vec::new(), Fix::AsItIs, Vec::new());
            assert!(matches!(refused, Err(LabError::BadName(_))), "{name}");
        }
        let taken = BuildSpec::custom("fixed", Vec::new(), Fix::AsItIs, Vec::new());
        assert!(matches!(taken, Err(LabError::TakenName(_))));
    }
}
