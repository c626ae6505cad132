//! A QEMU process: started, listened to, and never left behind.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};

use super::command::{Origin, VmSpec, fd};
use super::qemu::{Qemu, VmError, host};
use super::qmp::{QmpEvent, QmpSender};
use crate::kernel::sys;
use crate::recorder::{self, MappedRecorder};

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
    pub(super) qmp: QmpSender,
    recorder: MappedRecorder,
    stderr: File,
}

impl Qemu {
    /// Boots a machine from an initramfs.
    pub fn boot(&self, spec: &VmSpec, initramfs: &[&[u8]]) -> Result<Vm, VmError> {
        let initrd = initrd(initramfs)?;
        let (page, recorder) = recorder::create().map_err(host("making the flight recorder"))?;
        let inherited = vec![(fd::INITRD, initrd.into()), (fd::RECORDER, page.into())];
        launch(self, spec, Origin::Boot, recorder, inherited)
    }
}

/// An initramfs as a file that QEMU can open.
pub(super) fn initrd(parts: &[&[u8]]) -> Result<File, VmError> {
    let mut file = sys::anonymous_file(c"modrace-initramfs").map_err(host("memfd"))?;
    for part in parts {
        file.write_all(part)
            .map_err(host("writing the initramfs to memory"))?;
    }
    Ok(file)
}

/// A descriptor that a QEMU may inherit.
pub(super) fn dup(file: &impl AsFd) -> Result<OwnedFd, VmError> {
    file.as_fd()
        .try_clone_to_owned()
        .map_err(host("copying a descriptor"))
}

/// Starts QEMU. `inherited`: descriptors beside those that every machine has.
pub(super) fn launch(
    qemu: &Qemu,
    spec: &VmSpec,
    origin: Origin,
    recorder: MappedRecorder,
    inherited: Vec<(i32, OwnedFd)>,
) -> Result<Vm, VmError> {
    let stderr = sys::anonymous_file(c"modrace-qemu-stderr").map_err(host("memfd"))?;
    let pair = || UnixStream::pair().map_err(host("making a socket pair"));
    let (console, console_end) = pair()?;
    let (agent, agent_end) = pair()?;
    let (qmp, qmp_end) = pair()?;

    let mut command = Command::new(qemu.path());
    command.args(spec.arguments(origin));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(stderr.try_clone().map_err(host("memfd"))?);
    let ours = [
        (fd::CONSOLE, console_end.into()),
        (fd::AGENT, agent_end.into()),
        (fd::QMP, qmp_end.into()),
    ];
    let mappings = ours.into_iter().chain(inherited);
    command
        .fd_mappings(
            mappings
                .map(|(child_fd, parent_fd)| FdMapping {
                    parent_fd,
                    child_fd,
                })
                .collect(),
        )
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
    // A QEMU that died already is seen by its exit.
    let _ = vm.qmp.negotiate().and_then(|()| vm.qmp.query_cpus());
    Ok(vm)
}

/// Time between two looks whether QEMU has ended, once its channels are closed.
const LOOK: Duration = Duration::from_millis(1);

impl Vm {
    /// The next event, or none within `patience`.
    pub fn next_event(&self, patience: Duration) -> Option<VmEvent> {
        match self.events.recv_timeout(patience) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                // All channels are closed; only the exit is left to wait for.
                thread::sleep(patience.min(LOOK));
                None
            }
        }
    }

    /// The next event, or none when there will be no more, or none came before
    /// `deadline`.
    pub fn last_events(&self, deadline: Instant) -> Option<VmEvent> {
        self.events
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            .ok()
    }

    /// The flight recorder.
    pub fn recorder(&self) -> &MappedRecorder {
        &self.recorder
    }

    /// Asks QEMU to stop the CPUs.
    pub fn stop_cpus(&mut self) -> io::Result<()> {
        self.qmp.stop()
    }

    /// Has the CPUs stop when the guest says that it panicked, until
    /// [`Vm::go_on`].
    pub fn pause_on_panic(&mut self) -> io::Result<()> {
        self.qmp.pause_on_panic()
    }

    /// Has the memory of a stopped guest written to a file; the end of it is an
    /// event.
    pub fn dump_memory(&mut self, file: &File) -> io::Result<()> {
        self.qmp.dump_memory(file.as_fd())
    }

    /// Lets stopped CPUs go on.
    pub fn go_on(&mut self) -> io::Result<()> {
        self.qmp.go_on()
    }

    /// Asks QEMU's monitor, as the CPU of that number sees the machine; the
    /// answer is an event.
    pub fn monitor(&mut self, cpu: u32, command: &str) -> io::Result<()> {
        self.qmp.monitor(cpu, command)
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

    /// Memory that QEMU has for itself, MiB; none if it has ended. Of a clone,
    /// that is what it wrote, beside QEMU's own.
    pub fn private_mib(&self) -> Option<f64> {
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid())).ok()?;
        let line = rollup
            .lines()
            .find_map(|line| line.strip_prefix("Private_Dirty:"))?;
        let kib: u32 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        (kib > 0).then(|| f64::from(kib) / 1024.0)
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

/// Starts a thread that nobody waits for: it ends when its machine does.
pub(super) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), VmError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map(drop)
        .map_err(host("starting a thread"))
}
