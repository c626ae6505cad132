//! The worker process: one of its own that loads modules and reads their list, so
//! that whoever watches never makes a call that a dead kernel would not return
//! from. A worker killed by an oops keeps its process from ever ending; the
//! watcher, a process apart, still leaves. This file is both ends: how it
//! is started, and what it does. It judges nothing.

use std::fs::{self};
use std::io::{self, BufRead, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use command_fds::{CommandFdExt, FdMapping};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::build::module_image::ModuleImage;
use crate::kernel::module::ModuleFile;
use crate::kernel::sys::die_with_parent;
use crate::model::Counters;
use crate::recorder;
use crate::recorder::MappedRecorder;
use crate::recorder::{Recorder, Snapshot};
use crate::runner::perform;
use crate::vm::protocol::{Ending, Finished, GuestMessage, TrialPlan};

/// The hidden command that a worker process is.
pub const COMMAND: &str = "worker";
/// Where a worker process finds the flight recorder.
const RECORDER_FD: i32 = 3;

/// What a worker process has to do: one trial, or several in a row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct WorkerPlan {
    /// The trial.
    pub(super) trial: TrialPlan,
    /// The module file.
    pub(super) module: PathBuf,
    /// Modules to be loaded before it and unloaded after it.
    pub(super) dependencies: Vec<PathBuf>,
    /// Where copies of the module go; made and removed by who starts it.
    pub(super) folder: PathBuf,
}

/// A worker process under way, seen from outside.
#[derive(Debug)]
pub(super) struct WorkerProcess {
    child: Child,
    stdin: ChildStdin,
    plan: Vec<u8>,
    pipe: ChildStdout,
    recorder: MappedRecorder,
}

impl WorkerProcess {
    /// Starts one, which waits for its plan. Call it from a thread that lives as
    /// long as it may: it dies with that thread.
    pub(super) fn start(plan: &WorkerPlan) -> io::Result<Self> {
        let (page, recorder) = recorder::create()?;
        let mut command = Command::new("/proc/self/exe");
        command
            .arg(COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ours would stay open in one that never ends, and whoever
            // reads it would wait for ever.
            .stderr(Stdio::piped())
            // A group of its own: Ctrl-C is for the watcher, who passes it on.
            .process_group(0);
        die_with_parent(&mut command);
        command
            .fd_mappings(vec![FdMapping {
                parent_fd: OwnedFd::from(page),
                child_fd: RECORDER_FD,
            }])
            .map_err(io::Error::other)?;
        let mut child = command.spawn()?;
        let stdin = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let pipe = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self {
            child,
            stdin,
            plan: serde_json::to_vec(plan)?,
            pipe,
            recorder,
        })
    }

    /// Hands it its plan. Until then it has touched nothing.
    pub(super) fn go(&mut self) -> io::Result<()> {
        let plan = std::mem::take(&mut self.plan);
        self.stdin.write_all(&plan)?;
        self.stdin.write_all(b"\n")
    }

    /// Lets it open the gate: what it has armed is on the disk.
    pub(super) fn open_gate(&mut self) -> io::Result<()> {
        self.stdin.write_all(b"\n")
    }

    /// Its process group.
    pub(super) fn group(&self) -> u32 {
        self.child.id()
    }

    /// What the flight recorder says now.
    pub(super) fn snapshot(&self) -> Snapshot {
        self.recorder.snapshot()
    }

    /// Where its messages come from.
    pub(super) fn messages(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Bytes of messages that have come. Never waits.
    pub(super) fn read(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // Ends with WouldBlock, or with the worker process.
        let _ = self.pipe.read_to_end(&mut bytes);
        bytes
    }

    /// The last line that it complained of, if it did.
    pub(super) fn complaint(&mut self) -> Option<String> {
        let pipe = self.child.stderr.as_mut()?;
        fcntl(&*pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).ok()?;
        let mut bytes = Vec::new();
        // The same.
        let _ = pipe.read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        text.lines().last().map(str::to_owned)
    }

    /// Asks it to end the race and clean up.
    pub(super) fn ask_to_stop(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Kills it and what it started. Says nothing of when it is gone: a worker
    /// that waits in a dead kernel never is.
    pub(super) fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    /// How it ended, if it has.
    pub(super) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    fn signal(&self, signal: Signal) {
        if let Ok(group) = i32::try_from(self.child.id()) {
            // It may be gone already.
            let _ = killpg(Pid::from_raw(group), signal);
        }
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        self.kill();
        // Else it is a zombie until we leave.
        let _ = self.child.try_wait();
    }
}

/// What the worker process does: reads its plan, performs, says how it went.
pub fn main() -> io::Result<()> {
    let mut watcher = io::stdin().lock();
    let mut line = String::new();
    watcher.read_line(&mut line)?;
    let plan: WorkerPlan = serde_json::from_str(&line)?;
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&stop))?;
    let page = recorder::open(Path::new(&format!("/proc/self/fd/{RECORDER_FD}")))?;
    // The page is never given back: a dead worker may still point to it.
    let page: &'static Recorder = Box::leak(Box::new(page));
    let mut out = io::stdout();
    let mut say = |message: GuestMessage| {
        let line = message.to_line();
        // Whoever listened may be gone.
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
        if matches!(message, GuestMessage::Racing(_)) {
            // The gate stays shut until it is on the disk. A watcher that is gone
            // takes this process with it.
            let _ = watcher.read_line(&mut String::new());
        }
    };
    let dependencies = match Dependencies::load(&plan.dependencies, &plan.folder) {
        Ok(dependencies) => dependencies,
        Err(reason) => {
            say(GuestMessage::Finished(Box::new(unfit(reason))));
            return Ok(());
        }
    };
    perform(
        &plan.trial,
        &plan.module,
        &plan.folder,
        page,
        &stop,
        &mut say,
    );
    drop(dependencies);
    Ok(())
}

fn unfit(reason: String) -> Finished {
    Finished {
        ending: Ending::Broken,
        reason,
        raced_s: 0.0,
        cycles: 0,
        reads: 0,
        counters: Counters::default(),
        taint_before: 0,
        taint_after: 0,
        tunables: Vec::new(),
        bad_lines: Vec::new(),
        leaks: Vec::new(),
    }
}

/// Modules that the raced one needs. Dropping it unloads those that were not
/// there before.
struct Dependencies(Vec<ModuleFile>);

impl Dependencies {
    fn load(paths: &[PathBuf], folder: &Path) -> Result<Self, String> {
        let mut loaded = Self(Vec::new());
        for path in paths {
            let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
            let image = ModuleImage::open(path).map_err(|error| told(&error))?;
            // Distributions pack their modules; the kernel takes them unpacked.
            let unpacked = folder.join(format!("dependency-{}.ko", image.name()));
            let mut module = fs::write(&unpacked, image.bytes())
                .and_then(|()| ModuleFile::open(&unpacked, image.name()))
                .map_err(|error| told(&error))?;
            match module.first_load(c"") {
                Ok(()) => loaded.0.push(module),
                Err(refusal) if refusal.errno == Errno::EEXIST => {}
                Err(refusal) => {
                    return Err(told(&format!("{}{}", refusal.errno, refusal.quoted())));
                }
            }
        }
        Ok(loaded)
    }
}

impl Drop for Dependencies {
    fn drop(&mut self) {
        for module in self.0.iter().rev() {
            // Another may use it by now.
            let _ = module.unload();
        }
    }
}
