//! The modules that a run has loaded and that are still there: unloaded, as often as
//! it takes for one to let go of the other, and told where that fails. Looked at behind every end of a trial on a
//! kernel that is in order, and by the recovery of a run that was killed.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;

use super::journal::Begin;
use crate::build::module_tree::name_of;
use crate::kernel::module;
use crate::kernel::unload::{PATIENCE, holders};

/// Time between two rounds.
const TURN: Duration = Duration::from_millis(50);

/// What became of the modules of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutAway {
    /// Names of those that were found and unloaded.
    pub unloaded: Vec<String>,
    /// Those that stay, each with the reason.
    pub stay: Vec<String>,
    /// Names of modules that are new and that modrace did not load: the raced one
    /// asked for them, or its device did.
    pub others: Vec<String>,
}

impl PutAway {
    /// What did not go as it should, a line each.
    pub fn notes(&self) -> Vec<String> {
        let lines = [
            ("still loaded", &self.stay),
            (
                "loaded since the run began, and not by modrace",
                &self.others,
            ),
        ];
        let told = lines.iter().filter(|(_, names)| !names.is_empty());
        told.map(|(what, names)| format!("{what}: {}", names.join(", ")))
            .collect()
    }
}

/// Unloads what the run has loaded. `since`: when the trial began.
pub fn put_away(begin: &Begin, since: SystemTime) -> PutAway {
    let raced = begin.report.module.as_ref();
    let raced = raced.map_or("", |module| module.name.as_str());
    let ours = |name: &str| {
        module::is_copy_of(name, raced)
            || module::is_copy_of(name, module::BACKGROUND)
            || begin.dependencies.iter().any(|path| name_of(path) == name)
    };
    let before: BTreeSet<&str> = begin.loaded_before.iter().map(String::as_str).collect();
    let new = || -> Vec<String> {
        let loaded = module::loaded().unwrap_or_default().into_iter();
        loaded
            .filter(|name| !before.contains(name.as_str()))
            .collect()
    };
    let mut found = PutAway::default();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (mine, others): (Vec<String>, Vec<String>) = new().into_iter().partition(|n| ours(n));
        let mut stay = Vec::new();
        for name in mine {
            match module::unload_by_name(&name) {
                Ok(()) => found.unloaded.push(name),
                Err(errno) => stay.push((name, errno)),
            }
        }
        let held = |(_, errno): &(String, Errno)| *errno == Errno::EWOULDBLOCK;
        if stay.is_empty() || Instant::now() > deadline || !stay.iter().any(held) {
            let told = |(name, errno): (String, Errno)| {
                format!("{name} ({}{})", errno.desc(), holders(&name, since))
            };
            found.stay = stay.into_iter().map(told).collect();
            found.others = others;
            return found;
        }
        thread::sleep(TURN);
    }
}
