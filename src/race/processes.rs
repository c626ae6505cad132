//! `as-reported`: the bug report's own recipe. Real `insmod`, `rmmod` and `cat`
//! processes, started one after the other as a shell loop does.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use super::read_counter::ReadCounter;
use super::targets::Target;
use crate::kernel::module::ModuleFile;
use crate::recorder::{Slot, Stage, bump};

/// Where the three programs are.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    insmod: PathBuf,
    rmmod: PathBuf,
    cat: PathBuf,
}

impl Programs {
    /// Finds them on the usual paths; names the one that is missing.
    pub(super) fn find() -> Result<Self, &'static str> {
        let find = |name: &'static str| {
            ["/sbin", "/bin", "/usr/sbin", "/usr/bin"]
                .iter()
                .map(|folder| Path::new(folder).join(name))
                .find(|path| path.exists())
                .ok_or(name)
        };
        Ok(Self {
            insmod: find("insmod")?,
            rmmod: find("rmmod")?,
            cat: find("cat")?,
        })
    }
}

/// `while true; do insmod MODULE; rmmod NAME; done`
pub(super) fn load_loop(
    programs: &Programs,
    module: &ModuleFile,
    slot: &Slot,
    stop: &AtomicBool,
) -> io::Result<()> {
    while !stop.load(Ordering::Relaxed) {
        slot.enter(Stage::Loading);
        slot.begin_load();
        let loaded = quiet(&programs.insmod)
            .arg(module.path())
            .status()?
            .success();
        slot.enter(Stage::Unloading);
        let unloaded = quiet(&programs.rmmod)
            .arg(module.name())
            .status()?
            .success();
        if loaded && unloaded {
            bump(&slot.cycles);
        } else {
            bump(&slot.other);
        }
    }
    // Fails where it is unloaded already.
    let _ = module.unload();
    slot.enter(Stage::Ended);
    Ok(())
}

/// `while true; do cat TARGET; done`, and what it shows of these modules.
pub(super) fn read_loop(
    programs: &Programs,
    target: &Target,
    names: &[String],
    mut read_counter: ReadCounter<'_>,
    slot: &Slot,
    stop: &AtomicBool,
) -> io::Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let files = names.iter().flat_map(|name| target.files(name));
        // One file about all modules is named once.
        let files: BTreeSet<PathBuf> = files.collect();
        slot.enter(Stage::Reading);
        read_counter.begin();
        read_counter.before_read();
        let cat = quiet(&programs.cat)
            .args(files)
            .stdout(Stdio::piped())
            .output()?;
        slot.enter(Stage::Idle);
        bump(&slot.reads);
        // Each cat opens the file anew.
        read_counter.could_see();
        // cat may have been given its output by several reads.
        read_counter.lines(&cat.stdout, false);
        read_counter.end();
    }
    slot.enter(Stage::Ended);
    Ok(())
}

fn quiet(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}
