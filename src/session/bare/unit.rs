//! The systemd unit that goes on with a run after each reboot: its text, its
//! installation for the time of a run, its removal.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::bare::JOURNAL_FOLDER;
use crate::session::exit::Failure;

/// The unit as it is shipped, for a modrace and a journal in their usual places.
const EXAMPLE: &str = include_str!("../../../examples/modrace-resume.service");
const NAME: &str = "modrace-resume.service";
const FOLDER: &str = "/etc/systemd/system";
const WANTED_BY: &str = "multi-user.target.wants";

/// The unit's text.
pub fn text(journal: &Path) -> String {
    let program = std::env::current_exe().unwrap_or_else(|_| "/usr/local/bin/modrace".into());
    EXAMPLE
        .replace("/usr/local/bin/modrace", &program.display().to_string())
        .replace(JOURNAL_FOLDER, &journal.display().to_string())
}

/// Installs and enables it.
pub(super) fn install(journal: &Path) -> Result<(), Failure> {
    if !Path::new("/run/systemd/system").exists() {
        return Err(
            Failure::unsupported("--install-unit: this machine was not booted by systemd").hint(
                "let its init run `modrace recover --resume` at boot, and leave the option away",
            ),
        );
    }
    enable(journal)
        .inspect_err(|_| remove())
        .map_err(Into::into)
}

fn enable(journal: &Path) -> std::io::Result<()> {
    let (unit, link) = places();
    let wants = Path::new(FOLDER).join(WANTED_BY);
    fs::write(&unit, text(journal))?;
    fs::create_dir_all(wants)?;
    // One that an earlier run has left.
    let _ = fs::remove_file(&link);
    symlink(&unit, &link)
}

/// Removes it, if it is there.
pub(super) fn remove() {
    let (unit, link) = places();
    for path in [link, unit] {
        // It may not be there.
        let _ = fs::remove_file(path);
    }
}

fn places() -> (PathBuf, PathBuf) {
    let folder = Path::new(FOLDER);
    (folder.join(NAME), folder.join(WANTED_BY).join(NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_names_this_program_and_the_journal_asked_for() {
        let text = text(Path::new("/srv/journal"));
        let program = std::env::current_exe().unwrap();
        assert!(text.contains(&format!(
            "ExecStart={} recover --resume --journal /srv/journal\n",
            program.display()
        )));
        assert!(text.contains("ConditionPathExistsGlob=/srv/journal/*.journal\n"));
        assert!(!text.contains(JOURNAL_FOLDER));
    }
}
