//! Settings of the kernel that a run makes for its time: what is to happen at
//! an oops. And the list of all that a race may change, with their values
//! before it, so that they can be put back whatever kills the run.

use std::fs;

use crate::model::Tunable;
use crate::race::chaos::TECHNIQUES;

const PANIC_ON_OOPS: &str = "/proc/sys/kernel/panic_on_oops";
const PANIC: &str = "/proc/sys/kernel/panic";
/// Seconds from a panic to the reboot, where the machine would stay down.
const REBOOT_AFTER_S: &str = "10";

/// What the kernel does at an oops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnCrash {
    /// It panics, and reboots.
    Panic,
    /// It stays up, damaged.
    Stay,
}

/// All that the run may change, with what it will be during the run.
pub(super) fn plan(on_crash: Option<OnCrash>) -> Vec<Tunable> {
    let changed = TECHNIQUES
        .iter()
        .flat_map(|technique| (technique.changes)());
    let mut tunables: Vec<Tunable> = changed
        .filter_map(|path| tunable(&path.display().to_string()))
        .collect();
    let wanted: &[(&str, &str)] = match on_crash {
        None => &[],
        Some(OnCrash::Stay) => &[(PANIC_ON_OOPS, "0")],
        Some(OnCrash::Panic) if read(PANIC).as_deref() == Some("0") => {
            &[(PANIC_ON_OOPS, "1"), (PANIC, REBOOT_AFTER_S)]
        }
        Some(OnCrash::Panic) => &[(PANIC_ON_OOPS, "1")],
    };
    for (path, value) in wanted {
        tunables.extend(tunable(path).map(|tunable| Tunable {
            during: (*value).to_owned(),
            ..tunable
        }));
    }
    tunables
}

/// Makes the settings that the run itself wants.
pub(super) fn apply(tunables: &[Tunable]) -> std::io::Result<()> {
    tunables
        .iter()
        .filter(|tunable| tunable.during != tunable.before)
        .try_for_each(|tunable| fs::write(&tunable.path, &tunable.during))
}

/// Puts everything back that is not as it was. Returns what could not be.
pub(in crate::session) fn put_back(tunables: &[Tunable]) -> Vec<String> {
    tunables
        .iter()
        .filter(|tunable| read(&tunable.path).is_some_and(|now| now != tunable.before))
        .filter(|tunable| fs::write(&tunable.path, &tunable.before).is_err())
        .map(|tunable| tunable.path.clone())
        .collect()
}

/// Those that the run itself sets, with whether they are as they were before.
pub(in crate::session) fn set(tunables: &[Tunable]) -> Vec<Tunable> {
    let set = tunables
        .iter()
        .filter(|tunable| tunable.during != tunable.before);
    set.map(|tunable| looked_at(tunable.clone())).collect()
}

/// A tunable with whether it is as it was before.
pub(in crate::session) fn looked_at(tunable: Tunable) -> Tunable {
    Tunable {
        restored: read(&tunable.path).is_some_and(|now| now == tunable.before),
        ..tunable
    }
}

/// What a tunable will be during the run.
fn during(tunables: &[Tunable], path: &str) -> String {
    let planned = tunables.iter().find(|tunable| tunable.path == path);
    planned
        .map(|tunable| tunable.during.clone())
        .or_else(|| read(path))
        .unwrap_or_default()
}

/// Whether the kernel will panic at an oops.
pub(super) fn panics(tunables: &[Tunable]) -> bool {
    during(tunables, PANIC_ON_OOPS) != "0"
}

/// What the machine will do at an oops, in words.
pub(super) fn prospect(tunables: &[Tunable]) -> &'static str {
    let stays_down = during(tunables, PANIC) == "0";
    match (panics(tunables), stays_down) {
        (true, true) => {
            "it panics and stays down (kernel.panic is 0): somebody has to reset it, unless \
             --on-crash panic sets a reboot"
        }
        (true, false) => "it panics and reboots",
        (false, _) => {
            "it stays up, damaged: whatever touches modules from then on hangs, and it must be \
             rebooted"
        }
    }
}

fn tunable(path: &str) -> Option<Tunable> {
    let before = read(path)?;
    Some(Tunable {
        path: path.to_owned(),
        during: before.clone(),
        before,
        restored: false,
    })
}

fn read(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_written_and_everything_is_put_back() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "0\n").unwrap();
        let path = file.path().display().to_string();
        let mut tunable = tunable(&path).unwrap();
        apply(std::slice::from_ref(&tunable)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "0\n");
        tunable.during = "1".to_owned();
        apply(std::slice::from_ref(&tunable)).unwrap();
        assert_eq!(read(&path).unwrap(), "1");
        // Whatever it is now, it becomes what it was.
        fs::write(&path, "7").unwrap();
        assert!(put_back(&[tunable]).is_empty());
        assert_eq!(read(&path).unwrap(), "0");
    }
}
