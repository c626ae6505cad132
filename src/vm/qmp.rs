//! QMP, as far as a trial needs it: commands out, answers and events in. Every
//! command carries its own name as its id, so that an answer tells what it
//! answers. (The QMP crate carries types for all of QEMU and had no release for
//! over a year; some shapes of JSON do not need it.)

use std::io::{self, IoSlice, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde_json::{Value, json};

use super::command::RECORDER_SLOT;

/// A line of QMP, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QmpEvent {
    /// The threads of the virtual CPUs, in their order.
    CpuThreads(Vec<i32>),
    /// QEMU's greeting with its version.
    Greeting(String),
    /// The guest's kernel told pvpanic that it panicked.
    GuestPanicked,
    /// The machine ends.
    Shutdown(Shutdown),
    /// The answer to `query-status`.
    Status(RunState),
    /// The CPUs run, for the first time or again.
    Resumed,
    /// Saving or loading the machine's state has ended.
    Migrated {
        /// Whether all of it was saved or loaded.
        completed: bool,
    },
    /// Writing the guest's memory to a file has ended; why it failed, if it did.
    Dumped {
        /// QEMU's reason.
        error: Option<String>,
    },
    /// Where the guest has mapped the flight recorder; none: nowhere yet.
    RecorderAt(Option<u64>),
    /// The monitor's answer to a command for people.
    Said(String),
    /// QEMU does not do what was asked for.
    Refused {
        /// The command.
        command: String,
        /// QEMU's reason.
        reason: String,
    },
    /// Anything else.
    Other,
}

/// Why a machine ends, from QMP's `SHUTDOWN` event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// The guest powered off.
    GuestPowerOff,
    /// The guest reset the machine: `panic=-1`, or a triple fault.
    GuestReset,
    /// QEMU acted on a panic.
    GuestPanic,
    /// We or somebody else ended QEMU.
    Host,
}

/// Whether the machine's CPUs run, from `query-status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// They do.
    Running,
    /// They do not: paused, shut down, or failed inside.
    Stopped,
}

impl QmpEvent {
    /// Reads one line.
    pub(super) fn parse(line: &str) -> Self {
        let Ok(value) = serde_json::from_str::<Value>(line) else {
            return Self::Other;
        };
        if let Some(version) = value.pointer("/QMP/version/qemu") {
            let part = |name: &str| version[name].as_u64().unwrap_or(0);
            return Self::Greeting(format!(
                "{}.{}.{}",
                part("major"),
                part("minor"),
                part("micro")
            ));
        }
        if let Some(command) = value["id"].as_str() {
            return match value["error"]["desc"].as_str() {
                Some(reason) => Self::Refused {
                    command: command.to_owned(),
                    reason: reason.to_owned(),
                },
                None => Self::answer(command, &value["return"]),
            };
        }
        match value["event"].as_str() {
            Some("GUEST_PANICKED") => Self::GuestPanicked,
            Some("RESUME") => Self::Resumed,
            Some("DUMP_COMPLETED") => Self::Dumped {
                error: match value["data"]["result"]["status"].as_str() {
                    Some("completed") => None,
                    _ => Some(
                        value["data"]["error"]
                            .as_str()
                            .unwrap_or("failed")
                            .to_owned(),
                    ),
                },
            },
            Some("MIGRATION") => match value["data"]["status"].as_str() {
                Some("completed") => Self::Migrated { completed: true },
                Some("failed" | "cancelled") => Self::Migrated { completed: false },
                _ => Self::Other,
            },
            Some("SHUTDOWN") => Self::Shutdown(match value["data"]["reason"].as_str() {
                Some("guest-shutdown") => Shutdown::GuestPowerOff,
                Some("guest-reset") => Shutdown::GuestReset,
                Some("guest-panic") => Shutdown::GuestPanic,
                _ => Shutdown::Host,
            }),
            _ => Self::Other,
        }
    }

    fn answer(command: &str, value: &Value) -> Self {
        match command {
            "query-status" => Self::Status(if value["status"] == "running" {
                RunState::Running
            } else {
                RunState::Stopped
            }),
            "query-cpus-fast" => {
                let cpus = value.as_array().map(Vec::as_slice).unwrap_or_default();
                let threads = cpus.iter().filter_map(|cpu| cpu["thread-id"].as_i64());
                Self::CpuThreads(threads.filter_map(|id| i32::try_from(id).ok()).collect())
            }
            "human-monitor-command" => Self::Said(value.as_str().unwrap_or_default().to_owned()),
            "query-pci" => Self::RecorderAt(recorder_address(value)),
            _ => Self::Other,
        }
    }
}

/// The address of the recorder's BAR 2, from the answer to `query-pci`.
fn recorder_address(buses: &Value) -> Option<u64> {
    let device = (buses.as_array()?.iter())
        .filter(|bus| bus["bus"] == 0)
        .flat_map(|bus| bus["devices"].as_array().into_iter().flatten())
        .find(|device| device["slot"] == RECORDER_SLOT)?;
    let regions = device["regions"].as_array()?;
    let bar = regions.iter().find(|region| region["bar"] == 2)?;
    // All ones: the BAR's size was asked for, and no address given yet.
    bar["address"].as_u64().filter(|&at| at != u64::MAX)
}

/// The side that sends commands.
#[derive(Debug)]
pub(super) struct QmpSender(UnixStream);

impl QmpSender {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self(stream)
    }

    /// Ends the handshake. QEMU takes it before its greeting is read.
    pub(super) fn negotiate(&mut self) -> io::Result<()> {
        self.execute("qmp_capabilities")
    }

    /// Stops the CPUs, as far as they let themselves be stopped.
    pub(super) fn stop(&mut self) -> io::Result<()> {
        self.execute("stop")
    }

    /// Has the CPUs stop when the guest says that it panicked.
    pub(super) fn pause_on_panic(&mut self) -> io::Result<()> {
        self.execute_with("set-action", &json!({"panic": "pause"}))
    }

    /// Has the guest's memory written to a file, compressed; the end of it comes
    /// as [`QmpEvent::Dumped`].
    pub(super) fn dump_memory(&mut self, file: BorrowedFd<'_>) -> io::Result<()> {
        self.hand_over("vmcore", file)?;
        self.execute_with(
            "dump-guest-memory",
            &json!({
                "paging": false,
                "protocol": "fd:vmcore",
                "format": "kdump-zlib",
                "detach": true,
            }),
        )
    }

    /// Lets stopped CPUs go on.
    pub(super) fn go_on(&mut self) -> io::Result<()> {
        self.execute("cont")
    }

    /// Asks the monitor for people, as the CPU of that number sees it; the answer
    /// comes as [`QmpEvent::Said`].
    pub(super) fn monitor(&mut self, cpu: u32, command: &str) -> io::Result<()> {
        self.execute_with(
            "human-monitor-command",
            &json!({"command-line": command, "cpu-index": cpu}),
        )
    }

    /// Asks whether the CPUs run; the answer comes as [`QmpEvent::Status`].
    pub(super) fn query_status(&mut self) -> io::Result<()> {
        self.execute("query-status")
    }

    /// Asks for the threads of the virtual CPUs; the answer comes as
    /// [`QmpEvent::CpuThreads`].
    pub(super) fn query_cpus(&mut self) -> io::Result<()> {
        self.execute("query-cpus-fast")
    }

    /// Asks where the recorder is; the answer comes as
    /// [`QmpEvent::RecorderAt`].
    pub(super) fn query_recorder(&mut self) -> io::Result<()> {
        self.execute("query-pci")
    }

    /// Leaves shared RAM out of what is saved or loaded, and has the end of it
    /// told as [`QmpEvent::Migrated`].
    pub(super) fn leave_out_shared_ram(&mut self) -> io::Result<()> {
        let on = |name: &str| json!({"capability": name, "state": true});
        let capabilities = json!({"capabilities": [on("x-ignore-shared"), on("events")]});
        self.execute_with("migrate-set-capabilities", &capabilities)
    }

    /// Has the machine stopped and its state written to a socket, which QEMU
    /// closes at the end.
    pub(super) fn save_to(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.hand_over("state", socket)?;
        self.execute_with("migrate", &json!({"uri": "fd:state"}))
    }

    /// Gives QEMU a descriptor, under a name.
    fn hand_over(&mut self, name: &str, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        let command = line("getfd", &json!({"fdname": name}));
        let descriptors = [descriptor.as_raw_fd()];
        let sent = sendmsg::<()>(
            self.0.as_raw_fd(),
            &[IoSlice::new(command.as_bytes())],
            &[ControlMessage::ScmRights(&descriptors)],
            MsgFlags::MSG_NOSIGNAL,
            None,
        )?;
        self.0.write_all(&command.as_bytes()[sent..])
    }

    /// Has the machine's state read from a descriptor that QEMU inherited; the
    /// CPUs run as soon as it is loaded.
    pub(super) fn load_from(&mut self, inherited: i32) -> io::Result<()> {
        self.execute_with(
            "migrate-incoming",
            &json!({"uri": format!("fd:{inherited}")}),
        )
    }

    /// Writes 32 bits to an I/O port of the machine.
    pub(super) fn write_port(&mut self, port: u16, value: u32) -> io::Result<()> {
        self.execute_with(
            "human-monitor-command",
            &json!({"command-line": format!("o/w {port:#x} {value:#x}")}),
        )
    }

    fn execute(&mut self, command: &str) -> io::Result<()> {
        self.execute_with(command, &json!({}))
    }

    fn execute_with(&mut self, command: &str, arguments: &Value) -> io::Result<()> {
        self.0.write_all(line(command, arguments).as_bytes())
    }
}

fn line(command: &str, arguments: &Value) -> String {
    let command = json!({"execute": command, "arguments": arguments, "id": command});
    format!("{command}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_real_session_are_understood() {
        let lines = [
            (
                r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian 1:7.2+dfsg-7+deb12u18+b3"}, "capabilities": ["oob"]}}"#,
                QmpEvent::Greeting("7.2.22".to_owned()),
            ),
            (
                r#"{"return": {}, "id": "qmp_capabilities"}"#,
                QmpEvent::Other,
            ),
            (
                r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "GUEST_PANICKED", "data": {"action": "run"}}"#,
                QmpEvent::GuestPanicked,
            ),
            (
                r#"{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}"#,
                QmpEvent::Shutdown(Shutdown::GuestReset),
            ),
            (
                r#"{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}"#,
                QmpEvent::Shutdown(Shutdown::GuestPowerOff),
            ),
            (
                r#"{"event": "SHUTDOWN", "data": {"guest": false, "reason": "host-signal"}}"#,
                QmpEvent::Shutdown(Shutdown::Host),
            ),
            (
                r#"{"return": {"status": "running", "singlestep": false, "running": true}, "id": "query-status"}"#,
                QmpEvent::Status(RunState::Running),
            ),
            (
                r#"{"return": {"status": "postmigrate", "singlestep": false, "running": false}, "id": "query-status"}"#,
                QmpEvent::Status(RunState::Stopped),
            ),
            (
                r#"{"return": [{"thread-id": 25627, "cpu-index": 0}, {"thread-id": 25628, "cpu-index": 1}], "id": "query-cpus-fast"}"#,
                QmpEvent::CpuThreads(vec![25627, 25628]),
            ),
            (
                r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "RESUME"}"#,
                QmpEvent::Resumed,
            ),
            (
                r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "MIGRATION", "data": {"status": "active"}}"#,
                QmpEvent::Other,
            ),
            (
                r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "MIGRATION", "data": {"status": "completed"}}"#,
                QmpEvent::Migrated { completed: true },
            ),
            (
                r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "MIGRATION", "data": {"status": "failed"}}"#,
                QmpEvent::Migrated { completed: false },
            ),
            (
                r#"{"id": "migrate", "error": {"class": "GenericError", "desc": "Migration is disabled when using feature 'peer mode' in device 'ivshmem'"}}"#,
                QmpEvent::Refused {
                    command: "migrate".to_owned(),
                    reason:
                        "Migration is disabled when using feature 'peer mode' in device 'ivshmem'"
                            .to_owned(),
                },
            ),
            (
                r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "DUMP_COMPLETED", "data": {"result": {"total": 536870912, "status": "completed", "completed": 536870912}}}"#,
                QmpEvent::Dumped { error: None },
            ),
            (
                r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "DUMP_COMPLETED", "data": {"result": {"total": 536870912, "status": "failed", "completed": 0}, "error": "dump: failed to save memory: No space left on device"}}"#,
                QmpEvent::Dumped {
                    error: Some("dump: failed to save memory: No space left on device".to_owned()),
                },
            ),
            ("not json", QmpEvent::Other),
        ];
        for (line, meaning) in lines {
            assert_eq!(QmpEvent::parse(line), meaning, "{line}");
        }
    }

    #[test]
    fn the_recorders_address_is_that_of_its_memory_and_not_of_its_registers() {
        let pci = |address: &str| {
            format!(
                r#"{{"return": [{{"bus": 0, "devices": [{{"bus": 0, "slot": 0, "regions": []}}, {{"bus": 0, "slot": 2, "id": {{"device": 4368, "vendor": 6900}}, "regions": [{{"bar": 0, "size": 256, "address": 4273991680, "type": "memory"}}, {{"prefetch": true, "mem_type_64": true, "bar": 2, "size": 65536, "address": {address}, "type": "memory"}}]}}]}}], "id": "query-pci"}}"#
            )
        };
        assert_eq!(
            QmpEvent::parse(&pci("4273864704")),
            QmpEvent::RecorderAt(Some(0xfebe_0000))
        );
        assert_eq!(
            QmpEvent::parse(&pci("18446744073709551615")),
            QmpEvent::RecorderAt(None)
        );
    }

    #[test]
    fn a_command_is_one_line_and_carries_its_name() {
        let line = line("migrate", &json!({"uri": "fd:state"}));
        assert_eq!(line.matches('\n').count(), 1);
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["execute"], value["id"]);
    }
}
