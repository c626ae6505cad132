//! The way of stress-ng: its module and procfs stressors in the same guest. It
//! is this bench's alone, and modrace knows nothing of it: to modrace the guest
//! runs the loops of `as-reported`, but what stands there as insmod starts
//! stress-ng once and waits, and what stands there as cat only waits. No report
//! can come of it. modrace's counts are those of the waiting; cycles are read off
//! the kernel's own count of events, and reads are not known.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use modrace::build::module_image::ModuleImage;
use modrace::build::programs;
use modrace::model::{ChaosChoice, Outcome, Settings, Strategy, Trial};
use modrace::session::{Events, Preparation, Request};
use modrace::trial::VmTrial;
use modrace::vm::initramfs::Initramfs;

use crate::{Cell, Failure};

const LOADER: &str = "lib64/ld-linux-x86-64.so.2";
/// Before each line of the scripts.
const MARK: &str = "stress-ng-bench:";
/// What stress-ng says once it has found the module.
const FOUND: &str = "exercising module 'dummy_module'";
/// How modrace says that a race without sightings of its own is no PASS. By then
/// the kernel's taint and the end of the guest were found in order.
const BLIND: &str = "no reader ever saw the module";

/// A stress-ng that can be packed.
#[derive(Clone, Debug)]
pub(crate) struct StressNg {
    /// As `stress-ng 0.22.01`.
    pub(crate) version: String,
    program: PathBuf,
    loader: PathBuf,
    libraries: Vec<PathBuf>,
}

impl StressNg {
    /// The one named, a program or a folder that holds one with its libraries,
    /// or the one on `PATH`. The error says why the way is missing.
    pub(crate) fn find(named: Option<&Path>) -> Result<Self, String> {
        let (root, program) = match named {
            Some(root) if root.is_dir() => (root.to_owned(), root.join("usr/bin/stress-ng")),
            Some(program) => (PathBuf::from("/"), program.to_owned()),
            None => (
                PathBuf::from("/"),
                programs::find("stress-ng").ok_or("stress-ng is not installed")?,
            ),
        };
        if !program.is_file() {
            return Err("stress-ng is not where --stress-ng points".to_owned());
        }
        let loader = [root.join("usr").join(LOADER), root.join(LOADER)]
            .into_iter()
            .find(|loader| loader.is_file())
            .ok_or("stress-ng lacks its dynamic linker")?;
        // The folder's own dynamic linker and libc: this machine's may be older.
        let run = |list: &[&str], words: &[&str]| {
            let mut command = Command::new(&loader);
            if root != Path::new("/") {
                let libraries = root.join("usr/lib/x86_64-linux-gnu");
                command.arg("--library-path").arg(libraries);
            }
            let output = command.args(list).arg(&program).args(words).output();
            output
                .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
                .map_err(|error| format!("{}: {error}", loader.display()))
        };
        let version = run(&[], &["--version"])?;
        let version = version
            .strip_prefix("stress-ng, version ")
            .and_then(|rest| rest.split_whitespace().next())
            .map(|number| format!("stress-ng {number}"))
            .ok_or("stress-ng does not run here")?;
        if !run(&[], &["--help"])?.contains("--module-name") {
            return Err(format!("{version} does not know --module"));
        }
        let libraries = run(&["--list"], &[])?
            .lines()
            .filter_map(|line| Some(line.split_once("=> ")?.1.split_whitespace().next()?.into()))
            .filter(|library: &PathBuf| !library.ends_with("ld-linux-x86-64.so.2"))
            .collect();
        Ok(Self {
            version,
            program,
            loader,
            libraries,
        })
    }

    /// One trial in a guest like those of the other ways.
    pub(crate) fn race(
        &self,
        init: &Path,
        cell: &Cell,
        duration: u32,
        consoles: Option<&Path>,
    ) -> Result<Trial, Failure> {
        let request = Request {
            settings: settings(cell, duration)?,
            program: Some(init.to_owned()),
            ..Request::default()
        };
        let silent = |_| {};
        let preparation =
            Preparation::new(request, Events::to(&silent)).map_err(|failure| failure.error)?;
        let logs = tempfile::tempdir()?;
        let mut kernel = preparation
            .prepare(&cell.kernel, Some(logs.path().to_owned()))
            .map_err(|failure| failure.error)?;
        let stress_ng = self.pack(&kernel.module)?;
        Arc::make_mut(&mut kernel.trials.base).extend(stress_ng);
        let trial = kernel
            .trials
            .run(VmTrial::new(0), &preparation.stop, &silent)
            .map_err(|_| "interrupted")?;
        let console = std::fs::read(logs.path().join("trial-0000.console.log"))?;
        if let Some(folder) = consoles {
            let now = std::time::SystemTime::UNIX_EPOCH.elapsed()?.as_millis();
            let name = format!("stress-ng-{}-{now}.console.log", cell.name);
            std::fs::create_dir_all(folder)?;
            std::fs::write(folder.join(name), &console)?;
        }
        Ok(judged(trial, &String::from_utf8_lossy(&console), duration))
    }

    /// What goes over the initramfs of `as-reported`: stress-ng, where it looks
    /// for the module, and the scripts.
    fn pack(&self, module: &ModuleImage) -> Result<Vec<u8>, Failure> {
        let release = module.vermagic().and_then(|text| text.split(' ').next());
        let modules = format!("lib/modules/{}", release.ok_or("no vermagic")?);
        let extra = format!("{modules}/extra");
        let mut archive = Initramfs::new();
        for folder in ["lib", "lib/modules", &modules, &extra, "lib64", "tmp"] {
            archive.folder(folder)?;
        }
        archive.file(LOADER, 0o755, &std::fs::read(&self.loader)?)?;
        archive.file("bin/stress-ng", 0o755, &std::fs::read(&self.program)?)?;
        for library in &self.libraries {
            let name = library.file_name().unwrap_or_default().to_string_lossy();
            archive.file(&format!("lib/{name}"), 0o755, &std::fs::read(library)?)?;
        }
        // It looks a module up as modprobe does, by a path with a slash in it.
        let dependencies = b"extra/dummy_module.ko:\n";
        archive.file(&format!("{modules}/modules.dep"), 0o644, dependencies)?;
        archive.file(&format!("{extra}/dummy_module.ko"), 0o644, module.bytes())?;
        archive.link("bin/sh", "/bin/busybox")?;
        let shebang = "#!/bin/sh\n";
        let wait = format!("{shebang}exec /bin/busybox sleep 1\n");
        archive.file(
            "sbin/insmod",
            0o755,
            format!("{shebang}{INSMOD}").as_bytes(),
        )?;
        archive.file("sbin/rmmod", 0o755, shebang.as_bytes())?;
        archive.file("bin/cat", 0o755, wait.as_bytes())?;
        Ok(archive.finish()?)
    }
}

/// Started again and again by modrace; it starts stress-ng the first time. Each
/// load and each unload is one uevent.
const INSMOD: &str = r#"exec >/dev/console 2>&1
read events </sys/kernel/uevent_seqnum
echo "stress-ng-bench: events $events"
if [ ! -e /tmp/started ]; then
    : >/tmp/started
    export LD_LIBRARY_PATH=/lib
    {
        /bin/stress-ng --module 1 --module-name dummy_module --procfs 1 --temp-path /tmp
        echo "stress-ng-bench: ended with $?"
    } &
fi
exec /bin/busybox sleep 1
"#;

fn settings(cell: &Cell, duration: u32) -> Result<Settings, Failure> {
    Ok(Settings {
        trials: 1,
        duration_s: f64::from(duration),
        smp: cell.smp.parse()?,
        strategy: Strategy::AsReported,
        chaos: ChaosChoice::None,
        background_modules: cell.background.parse()?,
        ..Request::default().settings
    })
}

/// What the console says of stress-ng, put in place of modrace's counts.
fn judged(mut trial: Trial, console: &str, duration: u32) -> Trial {
    let events = format!("{MARK} events ");
    let mut counts = console.lines().filter_map(|line| {
        let (_, count) = line.split_once(&events)?;
        count.trim().parse::<u64>().ok()
    });
    let first = counts.next().unwrap_or_default();
    // As of a second before the crash, or of a few in a guest this busy.
    trial.cycles = counts.next_back().unwrap_or(first).saturating_sub(first) / 2;
    trial.cycles_to_crash = trial.cycles_to_crash.map(|_| trial.cycles);
    trial.reads = 0;
    let ended = console.contains(&format!("{MARK} ended"));
    if !console.contains(FOUND) || ended {
        trial.outcome = Outcome::Broken;
        trial.reason = format!("stress-ng did not race to the end ({})", trial.reason);
    } else if trial.outcome == Outcome::Broken
        && trial.reason.starts_with(BLIND)
        && trial.cycles > 0
        && trial.exposure_s >= f64::from(duration)
    {
        trial.outcome = Outcome::Survived;
        trial.reason = format!("no crash in {:.1} s", trial.exposure_s);
    }
    trial
}
