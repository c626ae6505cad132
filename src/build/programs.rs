//! Programs of this machine: where one is, and what it says of itself.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use super::make;

/// Where an ordinary user's PATH may not lead, but depmod is.
const SYSTEM: [&str; 2] = ["/usr/sbin", "/sbin"];

/// A program on PATH, or where the system's own programs are.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(SYSTEM.map(PathBuf::from));
    let folders: OsString = env::join_paths(folders).ok()?;
    which::which_in_global(name, Some(folders)).ok()?.next()
}

/// The first line that a program prints about itself.
pub fn version(program: impl AsRef<OsStr>) -> Option<String> {
    let output = make::tool(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_and_name_themselves() {
        assert_eq!(find("no-such-program-here"), None);
        let make = find("make").unwrap();
        assert!(version(make).unwrap().contains("Make"));
    }
}
