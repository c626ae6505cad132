//! The compiler that a kernel tree is built with: the one asked for or the
//! machine's, with the flags that trees older than it need.

use std::fs;
use std::path::Path;

use super::make;

/// The compiler where none is asked for.
pub const DEFAULT: &str = "gcc";
/// In a build tree: the variables that make was given, one a line, so that
/// modules are built as the kernel was.
const RECORD: &str = "modrace-make-variables";

/// Major and minor number of a kernel's version.
pub type Generation = (u32, u32);

/// Of a tree that does not say: it is told nothing.
const UNKNOWN: Generation = (u32::MAX, 0);

/// What compilers do by default that a tree of before that kernel does not turn
/// off itself, and how to: the variable of make's, of the kernel's and modules'
/// objects or of programs that run while it is built, and the flag.
const SINCE: &[(Generation, &str, &str)] = &[
    // c6a385539175: "code model kernel does not support PIC mode".
    ((4, 9), "CC", "-fno-pie"),
    // 6d92bc9d483a: "Unknown rel reloc" of the decompressor.
    ((4, 7), "CC", "-Wa,-mrelax-relocations=no"),
    // 29be86d7f9cb: "-mindirect-branch and -fcf-protection are not compatible".
    ((5, 8), "CC", "-fcf-protection=none"),
    // e33a814e772c: "multiple definition of `yylloc'" of dtc.
    ((5, 6), "HOSTCC", "-fcommon"),
];

/// What stops a build of an old tree that no flag helps: what its last lines
/// say, and what there is to do.
const OBSTACLES: &[(&str, &str)] = &[
    (
        "linux/compiler-gcc",
        "the tree knows no compiler as new as this one: --cc with an older one, or --patch with \
         one that makes include/linux/compiler-gcc.h of 4.2 or later of it (cb984d101b30)",
    ),
    (
        "defined(@array)",
        "perl no longer takes what kernel/timeconst.pl says: --patch with 63a3f603413f of 3.9",
    ),
    (
        "does not support PIC mode",
        "the compiler makes position independent code: --cc with one that does not",
    ),
    (
        "multiple definition of `yylloc'",
        "scripts/dtc declares yylloc twice: --patch with e33a814e772c of 5.6",
    ),
    (
        "reloc type 42",
        "the assembler relaxes relocations: --patch with 6d92bc9d483a of 4.7",
    ),
    (
        "objtool: ",
        "the tree's objtool does not know what this compiler makes: --cc with an older one",
    ),
    (
        "unrecognized command-line option",
        "the tree was configured for another compiler: --cc with that one",
    ),
    (
        "unrecognized command line option",
        "the tree was configured for another compiler: --cc with that one",
    ),
];

/// How make is to compile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    variables: Vec<String>,
}

impl Toolchain {
    /// For a tree of this version; `asked` is a compiler's name, as `gcc-11`.
    pub fn new(generation: Generation, asked: Option<&str>) -> Self {
        let compiler = asked.unwrap_or(DEFAULT);
        let flags = |variable: &str, program: &str| {
            let missed = SINCE
                .iter()
                .filter(|(since, of, flag)| {
                    generation < *since && *of == variable && takes(program, flag)
                })
                .map(|&(_, _, flag)| flag);
            missed.collect::<Vec<_>>().join(" ")
        };
        let (ours, theirs) = (flags("CC", compiler), flags("HOSTCC", DEFAULT));
        let mut variables = Vec::new();
        if asked.is_some() || !ours.is_empty() {
            variables.push(format!("CC={compiler} {ours}").trim_end().to_owned());
        }
        if !theirs.is_empty() {
            variables.push(format!("HOSTCC={DEFAULT} {theirs}"));
        }
        Self { variables }
    }

    /// What make is told, as `NAME=VALUE`.
    pub fn variables(&self) -> &[String] {
        &self.variables
    }

    /// Leaves a note in a build tree, where make was told anything.
    pub fn record(&self, build: &Path) -> std::io::Result<()> {
        if self.variables.is_empty() {
            return Ok(());
        }
        fs::write(build.join(RECORD), self.variables.join("\n") + "\n")
    }
}

/// What make is to be told in a build tree of this release: what it was told
/// when the kernel was built, or what a tree of that age needs.
pub fn variables_of(build: &Path, release: &str) -> Vec<String> {
    if let Ok(text) = fs::read_to_string(build.join(RECORD)) {
        return text.lines().map(str::to_owned).collect();
    }
    let parsed = generation(release);
    parsed.map_or_else(Vec::new, |generation| {
        Toolchain::new(generation, None).variables
    })
}

/// The generation of a release such as `6.1.0-56-amd64`.
pub fn generation(release: &str) -> Option<Generation> {
    let mut numbers = release.split(|char: char| !char.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The generation of a kernel source, by its Makefile.
pub fn generation_of_source(source: &Path) -> Generation {
    let makefile = fs::read_to_string(source.join("Makefile")).unwrap_or_default();
    let number = |name: &str| {
        makefile.lines().find_map(|line| {
            let (key, value) = line.split_once('=')?;
            (key.trim() == name).then(|| value.trim().parse().ok())?
        })
    };
    match (number("VERSION"), number("PATCHLEVEL")) {
        (Some(major), Some(minor)) => (major, minor),
        _ => UNKNOWN,
    }
}

/// What there is to do where a build stopped with these last lines.
pub fn way_out(lines: &[String]) -> Option<&'static str> {
    OBSTACLES
        .iter()
        .find(|(said, _)| lines.iter().any(|line| line.contains(said)))
        .map(|&(_, way_out)| way_out)
}

fn takes(program: &str, flag: &str) -> bool {
    let mut command = make::tool(program);
    command.args([flag, "-c", "-x", "c", "/dev/null", "-o", "/dev/null"]);
    command.output().is_ok_and(|output| output.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_tree_is_told_nothing_and_an_old_one_what_it_misses() {
        assert!(Toolchain::new((6, 1), None).variables().is_empty());
        let old = Toolchain::new((3, 10), None);
        let [cc, host] = old.variables() else {
            panic!("{old:?}");
        };
        assert!(cc.starts_with("CC=gcc -fno-pie "), "{cc}");
        assert_eq!(host, "HOSTCC=gcc -fcommon");
        let asked = Toolchain::new((6, 1), Some("gcc-11"));
        assert_eq!(asked.variables(), ["CC=gcc-11"]);
    }

    #[test]
    fn a_build_tree_keeps_what_make_was_told() {
        let folder = tempfile::tempdir().unwrap();
        assert!(variables_of(folder.path(), "6.1.192").is_empty());
        assert!(!variables_of(folder.path(), "3.10.17").is_empty());
        let asked = Toolchain::new((6, 1), Some("gcc-11"));
        asked.record(folder.path()).unwrap();
        assert_eq!(variables_of(folder.path(), "6.1.192"), ["CC=gcc-11"]);
    }

    #[test]
    fn versions_are_read_from_releases_and_makefiles() {
        assert_eq!(generation("6.1.0-56-cloud-amd64"), Some((6, 1)));
        assert_eq!(generation("next"), None);
        let folder = tempfile::tempdir().unwrap();
        let text = "# SPDX\nVERSION = 3\nPATCHLEVEL = 10\nSUBLEVEL = 17\n";
        fs::write(folder.path().join("Makefile"), text).unwrap();
        assert_eq!(generation_of_source(folder.path()), (3, 10));
        assert_eq!(generation_of_source(Path::new("/nowhere")), UNKNOWN);
    }

    #[test]
    fn what_stops_an_old_tree_is_known_with_the_way_out() {
        let said = "include/linux/compiler-gcc.h:90:1: fatal error: linux/compiler-gcc12.h: No \
                    such file or directory";
        let way_out = way_out(&["  CC      init/main.o".to_owned(), said.to_owned()]);
        assert!(way_out.unwrap().contains("--cc"));
        assert!(super::way_out(&["make: *** Error 2".to_owned()]).is_none());
    }
}
