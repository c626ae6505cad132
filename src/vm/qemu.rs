//! A QEMU process: found, started, listened to, and never left behind.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use thiserror::Error;

use super::command::{VmSpec, fd, instrument_arguments, plugin_probe_arguments};
use super::instrument::InstrumentFiles;
use super::qmp::{QmpEvent, QmpSender};
use crate::kernel::sys;
use crate::recorder::{self, MappedRecorder};

/// Why a machine did not start.
#[derive(Debug, Error)]
pub enum VmError {
    /// The program is not there.
    #[error("QEMU not found: {0}")]
    NotFound(String),
    /// The program does not answer as QEMU does.
    #[error("{path} does not answer --version as QEMU does: {answer}", path = .path.display())]
    NotQemu {
        /// The program.
        path: PathBuf,
        /// The first line that it printed.
        answer: String,
    },
    /// It cannot be instrumented.
    #[error("QEMU {version} ({}) loads no plugins: {why}", .path.display())]
    NoPlugins {
        /// The program.
        path: PathBuf,
        /// Its version.
        version: String,
        /// What it said.
        why: String,
    },
    /// A resource of the host was missing.
    #[error("{what}")]
    Host {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

pub(super) fn host(what: &'static str) -> impl FnOnce(io::Error) -> VmError {
    move |source| VmError::Host { what, source }
}

/// A QEMU program that answered.
#[derive(Clone, Debug)]
pub struct Qemu {
    path: PathBuf,
    version: String,
}

impl Qemu {
    /// Finds QEMU at `path`, or on `PATH`, and asks for its version.
    pub fn find(path: Option<&Path>) -> Result<Self, VmError> {
        let path = path.unwrap_or(Path::new("qemu-system-x86_64"));
        let answer = Command::new(path)
            .arg("--version")
            .stdin(Stdio::null())
            .output();
        let answer = answer.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound if path.components().count() == 1 => {
                VmError::NotFound(format!("no {} on PATH", path.display()))
            }
            _ => VmError::NotFound(format!("{}: {error}", path.display())),
        })?;
        let text = String::from_utf8_lossy(&answer.stdout);
        let first = text.lines().next().unwrap_or_default();
        match first.strip_prefix("QEMU emulator version ") {
            Some(version) => Ok(Self {
                path: path.to_owned(),
                version: version.to_owned(),
            }),
            None => Err(VmError::NotQemu {
                path: path.to_owned(),
                answer: first.to_owned(),
            }),
        }
    }

    /// Its version as it prints it.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The program.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The command that would start this machine, for people. The descriptors
    /// in it are inherited ones.
    pub fn command_line(&self, spec: &VmSpec) -> String {
        let quoted = spec.arguments().into_iter().map(|argument| {
            if argument.contains(' ') {
                format!("'{argument}'")
            } else {
                argument
            }
        });
        std::iter::once(self.path.display().to_string())
            .chain(quoted)
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Boots a machine from an initramfs.
    pub fn boot(&self, spec: &VmSpec, initramfs: &[&[u8]]) -> Result<Vm, VmError> {
        self.start(spec, initramfs, None)
    }

    /// Boots a machine whose CPUs the plugin can stop. `files` are those of
    /// [`instrument::files`](super::instrument::files).
    pub fn boot_instrumented(
        &self,
        spec: &VmSpec,
        initramfs: &[&[u8]],
        files: &InstrumentFiles,
    ) -> Result<Vm, VmError> {
        self.start(spec, initramfs, Some(files))
    }

    /// Starts QEMU with the plugin and nothing to run.
    pub(super) fn start_with_plugin(&self, files: &InstrumentFiles) -> Result<Child, VmError> {
        let mut command = Command::new(&self.path);
        command.args(plugin_probe_arguments());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::piped());
        let inherit = |file: &File, child_fd: i32| {
            let copy = file.try_clone().map_err(host("memfd"))?;
            Ok::<_, VmError>(FdMapping {
                parent_fd: copy.into(),
                child_fd,
            })
        };
        command
            .fd_mappings(vec![
                inherit(&files.plugin, fd::PLUGIN)?,
                inherit(&files.page, fd::PLUGIN_PAGE)?,
            ])
            .map_err(|error| host("passing descriptors")(io::Error::other(error)))?;
        sys::die_with_parent(&mut command);
        command.spawn().map_err(host("starting QEMU"))
    }

    fn start(
        &self,
        spec: &VmSpec,
        initramfs: &[&[u8]],
        instrument: Option<&InstrumentFiles>,
    ) -> Result<Vm, VmError> {
        let mut initrd = sys::anonymous_file(c"modrace-initramfs").map_err(host("memfd"))?;
        for part in initramfs {
            initrd
                .write_all(part)
                .map_err(host("writing the initramfs to memory"))?;
        }
        let (page, recorder) = recorder::create().map_err(host("making the flight recorder"))?;
        let stderr = sys::anonymous_file(c"modrace-qemu-stderr").map_err(host("memfd"))?;
        let pair = || UnixStream::pair().map_err(host("making a socket pair"));
        let (console, console_end) = pair()?;
        let (agent, agent_end) = pair()?;
        let (qmp, qmp_end) = pair()?;

        let mut command = Command::new(&self.path);
        command.args(spec.arguments());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(stderr.try_clone().map_err(host("memfd"))?);
        let inherit = |parent_fd: OwnedFd, child_fd: i32| FdMapping {
            parent_fd,
            child_fd,
        };
        let mut inherited = vec![
            inherit(console_end.into(), fd::CONSOLE),
            inherit(agent_end.into(), fd::AGENT),
            inherit(qmp_end.into(), fd::QMP),
            inherit(initrd.into(), fd::INITRD),
            inherit(page.into(), fd::RECORDER),
        ];
        if let Some(files) = instrument {
            command.args(instrument_arguments(spec, files.debugger));
            for (file, child_fd) in [
                (&files.plugin, fd::PLUGIN),
                (&files.page, fd::PLUGIN_PAGE),
                (&files.memory, fd::MEMORY),
                (&files.lock_step, fd::LOCK_STEP),
            ] {
                let copy = file.try_clone().map_err(host("memfd"))?;
                inherited.push(inherit(copy.into(), child_fd));
            }
        }
        command
            .fd_mappings(inherited)
            .map_err(|error| host("passing descriptors")(io::Error::other(error)))?;
        sys::die_with_parent(&mut command);
        let child = command.spawn().map_err(host("starting QEMU"))?;
        // Our copies of the child's ends must go, or we would never see EOF.
        drop(command);

        let (send, events) = mpsc::channel();
        let sender = QmpSender::new(qmp.try_clone().map_err(host("QMP socket"))?);
        // From here on an early return kills the child.
        let mut vm = Vm {
            child,
            events,
            qmp: sender,
            recorder,
            stderr,
        };
        listen(
            "console",
            console,
            send.clone(),
            VmEvent::Console,
            Some(VmEvent::ConsoleClosed),
        )?;
        listen("agent", agent, send.clone(), VmEvent::Agent, None)?;
        listen_qmp(qmp, send)?;
        // A QEMU that died at once is seen by whoever polls it.
        // A QEMU that died already is seen by its exit.
        let _ = vm.qmp.negotiate().and_then(|()| vm.qmp.query_cpus());
        Ok(vm)
    }
}

/// Something that a machine did.
#[derive(Clone, Debug)]
pub enum VmEvent {
    /// Bytes of the serial console.
    Console(Vec<u8>),
    /// The console's last byte was read.
    ConsoleClosed,
    /// Bytes of the agent channel.
    Agent(Vec<u8>),
    /// A line of QMP.
    Qmp(QmpEvent),
}

/// A machine. Dropping it kills it.
#[derive(Debug)]
pub struct Vm {
    child: Child,
    events: Receiver<VmEvent>,
    qmp: QmpSender,
    recorder: MappedRecorder,
    stderr: File,
}

impl Vm {
    /// The next event, or none within `patience`.
    pub fn next_event(&self, patience: Duration) -> Option<VmEvent> {
        match self.events.recv_timeout(patience) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                // All channels are closed; only the exit is left to wait for.
                thread::sleep(patience);
                None
            }
        }
    }

    /// The flight recorder.
    pub fn recorder(&self) -> &MappedRecorder {
        &self.recorder
    }

    /// Asks QEMU to stop the CPUs.
    pub fn stop_cpus(&mut self) -> io::Result<()> {
        self.qmp.stop()
    }

    /// Asks QEMU whether the CPUs run; the answer is an event.
    pub fn query_status(&mut self) -> io::Result<()> {
        self.qmp.query_status()
    }

    /// How QEMU ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// QEMU's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills QEMU and waits for its end.
    pub fn kill(&mut self) {
        // Fails where it has ended.
        let _ = self.child.kill();
        // Fails where it was waited for.
        let _ = self.child.wait();
    }

    /// What QEMU itself complained of.
    pub fn complaint(&mut self) -> String {
        let mut text = Vec::new();
        let read = self
            .stderr
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.stderr.read_to_end(&mut text));
        if read.is_err() {
            return String::new();
        }
        String::from_utf8_lossy(&text).trim().to_owned()
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.kill();
    }
}

fn listen(
    name: &str,
    mut stream: UnixStream,
    send: Sender<VmEvent>,
    wrap: fn(Vec<u8>) -> VmEvent,
    last: Option<VmEvent>,
) -> Result<(), VmError> {
    let listener = move || {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => {
                    if send.send(wrap(buffer[..length].to_vec())).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        if let Some(last) = last {
            // The receiver goes with the trial.
            let _ = send.send(last);
        }
    };
    spawn(name, listener)
}

fn listen_qmp(stream: UnixStream, send: Sender<VmEvent>) -> Result<(), VmError> {
    spawn("qmp", move || {
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { return };
            if send.send(VmEvent::Qmp(QmpEvent::parse(&line))).is_err() {
                return;
            }
        }
    })
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), VmError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map(drop)
        .map_err(host("starting a thread"))
}
