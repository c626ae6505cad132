//! QMP, as far as a trial needs it: the handshake, four events, two commands.
//! (The QMP crate carries types for all of QEMU and had no release for over a
//! year; three shapes of JSON do not need it.)

use std::io::{self, Write};
use std::os::unix::net::UnixStream;

use serde_json::Value;

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
        if let Some(status) = value.pointer("/return/status").and_then(Value::as_str) {
            return Self::Status(if status == "running" {
                RunState::Running
            } else {
                RunState::Stopped
            });
        }
        if let Some(cpus) = value["return"].as_array() {
            let threads = cpus.iter().filter_map(|cpu| cpu["thread-id"].as_i64());
            return Self::CpuThreads(threads.filter_map(|id| i32::try_from(id).ok()).collect());
        }
        match value["event"].as_str() {
            Some("GUEST_PANICKED") => Self::GuestPanicked,
            Some("SHUTDOWN") => Self::Shutdown(match value["data"]["reason"].as_str() {
                Some("guest-shutdown") => Shutdown::GuestPowerOff,
                Some("guest-reset") => Shutdown::GuestReset,
                Some("guest-panic") => Shutdown::GuestPanic,
                _ => Shutdown::Host,
            }),
            _ => Self::Other,
        }
    }
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

    /// Asks whether the CPUs run; the answer comes as [`QmpEvent::Status`].
    pub(super) fn query_status(&mut self) -> io::Result<()> {
        self.execute("query-status")
    }

    /// Asks for the threads of the virtual CPUs; the answer comes as
    /// [`QmpEvent::CpuThreads`].
    pub(super) fn query_cpus(&mut self) -> io::Result<()> {
        self.execute("query-cpus-fast")
    }

    fn execute(&mut self, command: &str) -> io::Result<()> {
        writeln!(self.0, r#"{{"execute":"{command}"}}"#)
    }
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
            (r#"{"return": {}}"#, QmpEvent::Other),
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
                r#"{"return": {"status": "running", "singlestep": false, "running": true}}"#,
                QmpEvent::Status(RunState::Running),
            ),
            (
                r#"{"return": [{"thread-id": 25627, "cpu-index": 0}, {"thread-id": 25628, "cpu-index": 1}]}"#,
                QmpEvent::CpuThreads(vec![25627, 25628]),
            ),
            ("not json", QmpEvent::Other),
        ];
        for (line, meaning) in lines {
            assert_eq!(QmpEvent::parse(line), meaning, "{line}");
        }
    }
}
