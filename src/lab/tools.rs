//! What building a kernel needs on this machine, and which package brings it.
//! A table: the build checks it first, `modrace doctor` shows it.

use std::path::Path;

use crate::build::programs;

/// One thing that a kernel's build needs.
#[derive(Debug)]
pub struct Need {
    /// A program on PATH, or a header file by its absolute path.
    pub what: &'static str,
    /// Debian's package.
    pub package: &'static str,
    /// What the build does with it.
    pub why: &'static str,
}

/// Everything that a lab kernel's build needs.
pub const BUILD_NEEDS: &[Need] = &[
    need("make", "make", "Kbuild"),
    need("gcc", "gcc", "compiles the kernel and its modules"),
    need("ld", "binutils", "links them"),
    need(
        "/usr/include/stdio.h",
        "libc6-dev",
        "the kernel's own build programs",
    ),
    need("flex", "flex", "the configuration's scanner"),
    need("bison", "bison", "the configuration's parser"),
    need("bc", "bc", "computes time constants"),
    need(
        "/usr/include/libelf.h",
        "libelf-dev",
        "objtool reads ELF files",
    ),
    need(
        "/usr/include/openssl/evp.h",
        "libssl-dev",
        "module signing programs",
    ),
    need("perl", "perl", "some headers are generated"),
    need("patch", "patch", "takes the fix out"),
    need("xz", "xz-utils", "compresses parts of the boot image"),
    need("cpio", "cpio", "packs the kernel's headers and initramfs"),
    need("depmod", "kmod", "module dependencies"),
];

const fn need(what: &'static str, package: &'static str, why: &'static str) -> Need {
    Need { what, package, why }
}

impl Need {
    /// Whether it is here.
    pub fn is_met(&self) -> bool {
        if self.what.starts_with('/') {
            return Path::new(self.what).exists() || self.below_multiarch();
        }
        programs::find(self.what).is_some()
    }

    /// Headers may stand in a folder of the machine's own.
    fn below_multiarch(&self) -> bool {
        self.what.strip_prefix("/usr/include/").is_some_and(|rest| {
            Path::new("/usr/include/x86_64-linux-gnu")
                .join(rest)
                .exists()
        })
    }
}

/// The package that brings a program or header which a build said it missed.
/// Versioned compilers are packages of their own name.
pub fn package_of(missing: &str) -> String {
    BUILD_NEEDS
        .iter()
        .find(|need| need.what.rsplit('/').next() == missing.rsplit('/').next())
        .map_or(missing, |need| need.package)
        .to_owned()
}

/// The needs that are not met.
pub fn missing_needs() -> Vec<&'static Need> {
    BUILD_NEEDS.iter().filter(|need| !need.is_met()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_build_missed_is_in_a_package() {
        assert_eq!(package_of("libelf.h"), "libelf-dev");
        assert_eq!(package_of("depmod"), "kmod");
        assert_eq!(package_of("gcc-12"), "gcc-12");
    }

    #[test]
    fn a_program_and_a_header_are_looked_for_where_they_live() {
        assert!(need("sh", "dash", "").is_met());
        assert!(!need("no-such-program", "none", "").is_met());
        assert!(need("/etc/passwd", "base-passwd", "").is_met());
        assert!(!need("/usr/include/no/such.h", "none", "").is_met());
    }
}
