//! The systemd unit that goes on with a run after each reboot: its text, its
//! installation for the time of a run, its removal.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::bare::JOURNAL_FOLDER;
use crate::disk;
use crate::kernel::program;
use crate::session::exit::Failure;

/// The unit as it is shipped, for a modrace and a journal in their usual places.
const EXAMPLE: &str = include_str!("../../../examples/modrace-resume.service");
const NAME: &str = "modrace-resume.service";
const FOLDER: &str = "/etc/systemd/system";
const WANTED_BY: &str = "multi-user.target.wants";
/// Longest wait for systemd to have read its units again.
const RELOAD_PATIENCE: Duration = Duration::from_secs(5);

/// The unit's text.
pub fn text(journal: &Path) -> String {
    let program = std::env::current_exe().unwrap_or_else(|_| "/usr/local/bin/modrace".into());
    EXAMPLE
        .replace("/usr/local/bin/modrace", &program.display().to_string())
        .replace(JOURNAL_FOLDER, &journal.display().to_string())
}

/// Whether it is this run's to install, and so to remove. One that is there already
/// is somebody's own: it must do the same, and it stays as it is.
pub(super) fn is_ours_to_install(journal: &Path) -> Result<bool, Failure> {
    if !Path::new("/run/systemd/system").exists() {
        return Err(
            Failure::unsupported("--install-unit: this machine was not booted by systemd").hint(
                "let its init run `modrace recover --resume` at boot, and leave the option away",
            ),
        );
    }
    let (unit, link) = places();
    match fs::read_to_string(&unit) {
        Ok(there) if there == text(journal) && link.exists() => Ok(false),
        Ok(_) => Err(Failure::unsupported(format!(
            "--install-unit: {} is there, and is not what this run would install, or is not \
             enabled",
            unit.display()
        ))
        .hint(
            "if it goes on with this run after a reboot, leave the option away; else remove it: \
             systemctl disable modrace-resume, and delete the file",
        )),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Installs and enables it; both are on the disk when this returns.
pub(super) fn install(journal: &Path) -> std::io::Result<()> {
    let (unit, link) = places();
    disk::replace(&unit, text(journal).as_bytes(), 0o644)?;
    if let Some(wants) = link.parent() {
        disk::make_folder(wants)?;
    }
    // One whose unit is gone.
    let _ = fs::remove_file(&link);
    symlink(&unit, &link)?;
    disk::sync_named(&link)?;
    reload();
    Ok(())
}

/// Removes what [`install`] made.
pub(super) fn remove() {
    let (unit, link) = places();
    for path in [link, unit] {
        // It may not be there.
        let _ = fs::remove_file(path);
    }
    // The unit that this process is must keep its settings until it has ended:
    // by them a crash that was found is no failure of the unit.
    let cgroup = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    if !cgroup.contains(NAME) {
        reload();
    }
}

/// Lets systemd see that units came or went. Does not wait for it for long: it may
/// wait itself for a kernel that has crashed. The next boot sees it anyway.
fn reload() {
    let _ = program::run("systemctl", &["daemon-reload"], RELOAD_PATIENCE);
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
