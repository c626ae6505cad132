//! Holds a guest that panicked for a debugger, until that lets it go.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::vm::{QmpEvent, Vm, VmEvent};

/// Between two looks whether the guest was let go.
const TURN: Duration = Duration::from_millis(50);
/// Longest wait for QEMU to listen.
const ANSWER: Duration = Duration::from_secs(5);

/// Has QEMU wait for a debugger on a socket of this user's own, says how to
/// attach, and comes back when the debugger has let the guest go on or ended it,
/// or `stop` is set. `hear` is told what comes meanwhile. An error is why nobody
/// could attach.
pub(super) fn hold(
    vm: &mut Vm,
    vmlinux: Option<&str>,
    stop: &AtomicBool,
    tell: &dyn Fn(String),
    hear: &mut dyn FnMut(VmEvent),
) -> Result<(), String> {
    // Only this user may enter it.
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let socket = folder.path().join("gdb");
    let listen = format!("gdbserver unix:{},server=on,wait=off", socket.display());
    vm.monitor(0, &listen).map_err(|error| error.to_string())?;
    let until = Instant::now() + ANSWER;
    while !socket.exists() {
        if let Some(event) = vm.next_event(TURN) {
            match event {
                VmEvent::Qmp(QmpEvent::Refused { reason, .. }) => return Err(reason),
                event => hear(event),
            }
        }
        if vm.exited().is_some() || Instant::now() > until {
            return Err("QEMU does not listen for one".to_owned());
        }
    }
    let vmlinux = vmlinux.map_or_else(String::new, |path| format!(" {path}"));
    tell(format!(
        "the guest stands at its crash; attach with: gdb{vmlinux} -ex 'target remote {}'",
        socket.display()
    ));
    tell(
        "`detach` or `continue` there lets it go on to its end, `kill` ends it, as does Ctrl-C here"
            .to_owned(),
    );
    while !stop.load(Ordering::Relaxed) && vm.exited().is_none() {
        match vm.next_event(TURN) {
            Some(VmEvent::Qmp(QmpEvent::Resumed)) => break,
            Some(event) => hear(event),
            None => {}
        }
    }
    Ok(())
}
