//! Runs a build tool: in a process group of its own, its output line by line
//! to a log and to whoever watches, ended as a whole when told to stop. It
//! knows neither kernels nor modules.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

pub use super::make_error::MakeError;

/// How often a silent tool is looked after.
const POLL_MS: u16 = 100;
/// Time between asking a tool to end and ending it.
const GRACE: Duration = Duration::from_secs(3);
/// Lines kept for an error message.
const TAIL_LINES: usize = 20;
/// A line longer than this is cut; the log keeps it whole.
const LINE_MAX: usize = 64 * 1024;

/// Environment that would change what is built, or tie it to an outer make.
const SCRUBBED: &[&str] = &[
    "MAKEFLAGS",
    "MFLAGS",
    "MAKELEVEL",
    "MAKEOVERRIDES",
    "GNUMAKEFLAGS",
    "ARCH",
    "CROSS_COMPILE",
    "LLVM",
    "LLVM_IAS",
    "KBUILD_OUTPUT",
    "KBUILD_EXTMOD",
    "KBUILD_EXTRA_SYMBOLS",
    "KCFLAGS",
    "KCPPFLAGS",
    "KAFLAGS",
    "KCONFIG_CONFIG",
    "KCONFIG_ALLCONFIG",
    "KERNELRELEASE",
    "LOCALVERSION",
    "KBUILD_BUILD_TIMESTAMP",
    "KBUILD_BUILD_USER",
    "KBUILD_BUILD_HOST",
    "KBUILD_BUILD_VERSION",
    "INSTALL_MOD_PATH",
    "M",
    "O",
    "V",
    "W",
];

/// A command whose environment cannot change what it builds.
pub fn tool(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for name in SCRUBBED {
        command.env_remove(name);
    }
    // Messages are read by this program, and file names sort alike everywhere.
    command.env("LC_ALL", "C");
    command
}

/// Runs a command to its end. Every line of stdout and stderr goes to the log
/// and to `on_line`.
pub fn run(
    mut command: Command,
    log: Option<&Path>,
    cancel: &AtomicBool,
    on_line: &mut dyn FnMut(&str),
) -> Result<(), MakeError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output_error = |source| MakeError::Output {
        program: program.clone(),
        source,
    };
    let log = log
        .map(|path| File::options().create(true).append(true).open(path))
        .transpose()
        .map_err(output_error)?;
    let (reader, writer) = io::pipe().map_err(output_error)?;
    let second = writer.try_clone().map_err(output_error)?;
    command
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(second)
        .process_group(0);
    let child = command.spawn().map_err(|source| MakeError::Start {
        program: program.clone(),
        source,
    })?;
    // The command holds the pipe's other end; keep it and the pipe never ends.
    drop(command);
    let mut group = Group { child: Some(child) };
    let mut lines = Lines {
        log,
        partial: Vec::new(),
        tail: VecDeque::new(),
        on_line,
    };
    loop {
        if cancel.load(Ordering::Relaxed) {
            return Err(MakeError::Interrupted);
        }
        if !lines.read_some(&reader).map_err(output_error)? {
            break;
        }
    }
    let status = group.wait(cancel).map_err(output_error)?;
    lines.end().map_err(output_error)?;
    match status {
        None => Err(MakeError::Interrupted),
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(MakeError::Failed {
            program,
            status,
            tail: lines.tail.into(),
        }),
    }
}

/// A child and its process group; dropped early, it ends them all.
struct Group {
    child: Option<Child>,
}

impl Group {
    /// Waits for the child; nothing when told to stop.
    fn wait(&mut self, cancel: &AtomicBool) -> io::Result<Option<ExitStatus>> {
        while let Some(child) = &mut self.child {
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return Ok(Some(status));
            }
            if cancel.load(Ordering::Relaxed) {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(None)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        let group = Pid::from_raw(child.id().cast_signed());
        let _gone = killpg(group, Signal::SIGTERM);
        let deadline = Instant::now() + GRACE;
        // The leader is reaped last: its id keeps the group from being reused.
        while Instant::now() < deadline && group_has_others(&mut child, group) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _gone = killpg(group, Signal::SIGKILL);
        let _reaped = child.wait();
    }
}

/// Whether anything in the group may still run: the leader, or, once it has
/// ended, the children that it left.
fn group_has_others(child: &mut Child, group: Pid) -> bool {
    match child.try_wait() {
        Ok(None) => true,
        // Reaped: signal 0 finds the group only if others are in it.
        _ => killpg(group, None).is_ok(),
    }
}

/// The output: cut into lines, kept in the log, its end remembered.
struct Lines<'a> {
    log: Option<File>,
    partial: Vec<u8>,
    tail: VecDeque<String>,
    on_line: &'a mut dyn FnMut(&str),
}

impl Lines<'_> {
    /// Waits a little for output. False at its end.
    fn read_some(&mut self, mut reader: &PipeReader) -> io::Result<bool> {
        let mut fds = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(POLL_MS)) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => return Ok(true),
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut buffer = [0; 16 * 1024];
        let count = reader.read(&mut buffer)?;
        let bytes = &buffer[..count];
        if let Some(log) = &mut self.log {
            log.write_all(bytes)?;
        }
        for &byte in bytes {
            if byte == b'\n' {
                self.line();
            } else if self.partial.len() < LINE_MAX {
                self.partial.push(byte);
            }
        }
        Ok(count > 0)
    }

    fn line(&mut self) {
        let line = String::from_utf8_lossy(&self.partial).into_owned();
        self.partial.clear();
        (self.on_line)(&line);
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    fn end(&mut self) -> io::Result<()> {
        if !self.partial.is_empty() {
            self.line();
        }
        self.log.as_mut().map_or(Ok(()), Write::flush)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = tool("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn lines_reach_the_watcher_and_the_log_and_the_error() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut seen = Vec::new();
        let failed = run(
            shell("echo one; echo two >&2; printf three; exit 7"),
            Some(&log),
            &AtomicBool::new(false),
            &mut |line| seen.push(line.to_owned()),
        )
        .unwrap_err();
        assert_eq!(seen, ["one", "two", "three"]);
        assert_eq!(std::fs::read(&log).unwrap(), b"one\ntwo\nthree");
        let text = failed.to_string();
        assert!(
            text.contains("exit status: 7") && text.ends_with("three"),
            "{text}"
        );
    }

    #[test]
    fn an_interrupted_tool_leaves_no_child_behind() {
        let cancel = AtomicBool::new(false);
        let mut pids = Vec::new();
        let started = Instant::now();
        // The grandchild ignores the polite signal, as a compiler may.
        let script = "echo $$; (trap '' TERM; echo $(exec sh -c 'echo $PPID'); sleep 60) & wait";
        let ended = run(shell(script), None, &cancel, &mut |line| {
            pids.push(Pid::from_raw(line.parse().unwrap()));
            cancel.store(pids.len() == 2, Ordering::Relaxed);
        });
        assert!(matches!(ended, Err(MakeError::Interrupted)));
        assert!(started.elapsed() < Duration::from_secs(30));
        for pid in pids {
            let gone_by = Instant::now() + Duration::from_secs(5);
            // A grandchild is reaped by init; a zombie has no command line.
            while !std::fs::read(format!("/proc/{pid}/cmdline"))
                .unwrap_or_default()
                .is_empty()
            {
                assert!(Instant::now() < gone_by, "{pid} still runs");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    #[test]
    fn a_missing_tool_is_named() {
        let error = run(
            tool("no-such-tool-here"),
            None,
            &AtomicBool::new(false),
            &mut |_| {},
        );
        let error = error.unwrap_err();
        assert!(error.is_missing());
        assert_eq!(error.to_string(), "cannot run `no-such-tool-here`");
    }

    #[test]
    fn an_outer_make_does_not_reach_the_inner_one() {
        let command = tool("make");
        let removed: Vec<_> = command
            .get_envs()
            .filter(|(_, value)| value.is_none())
            .map(|(name, _)| name.to_owned())
            .collect();
        assert!(removed.iter().any(|name| name == "MAKEFLAGS"));
    }
}
