//! A clone: a machine that goes on where a template was saved. It maps the
//! template's RAM copy on write, and has its own console, agent channel, QMP
//! and flight recorder.

use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use super::command::{Origin, RECORDER_SLOT, fd};
use super::machine::{Vm, dup, launch, spawn};
use super::qemu::{VmError, host};
use super::qmp::QmpSender;
use super::template::Template;
use crate::recorder::{self, Recorder};

/// The ports of PCI's configuration mechanism #1 (PCI 3.0, section 3.2.2.3.2).
const CONFIG_ADDRESS: u16 = 0xcf8;
const CONFIG_DATA: u16 = 0xcfc;
/// Registers of a device's configuration space (section 6.1): the command
/// register with its bit for memory, and the two halves of BAR 2.
const COMMAND: u32 = 0x04;
const COMMAND_MEMORY: u32 = 1 << 1;
const BAR_2: u32 = 0x18;
const BAR_2_HIGH: u32 = 0x1c;

impl Template {
    /// Starts a clone. `begin` is given its recorder's page, as the template
    /// left it, before it runs.
    pub fn start(&self, begin: impl FnOnce(&Recorder)) -> Result<Vm, VmError> {
        let (page, recorder) = recorder::create().map_err(host("making the flight recorder"))?;
        page.write_all_at(&self.page, 0)
            .map_err(host("copying the flight recorder"))?;
        begin(&recorder);
        let (mut ours, theirs) = UnixStream::pair().map_err(host("making a socket pair"))?;
        let inherited = vec![
            (fd::RAM, dup(&self.ram)?),
            (fd::RECORDER, page.into()),
            (fd::STATE, theirs.into()),
        ];
        let mut vm = launch(&self.qemu, &self.spec, Origin::Clone, recorder, inherited)?;
        let state = Arc::clone(&self.state);
        spawn("state", move || {
            // A QEMU that ends before it has read all of it says why itself.
            let _ = ours.write_all(&state);
        })?;
        // A QEMU that died already is seen by its exit.
        let _ = go_on(&mut vm.qmp, self.recorder_at);
        Ok(vm)
    }
}

/// Has the state loaded. Nothing is waited for: QEMU takes one after the other.
///
/// The recorder is shared and thus left out of the state, and QEMU wants such
/// memory at the same address on both sides before it loads anything
/// (`ram_load_precopy()`, "Mismatched GPAs"); but a BAR is mapped by firmware,
/// and none has run here. What is written here is what the state will say.
fn go_on(qmp: &mut QmpSender, recorder_at: u64) -> io::Result<()> {
    qmp.leave_out_shared_ram()?;
    for (register, value) in mapping(recorder_at) {
        qmp.write_port(CONFIG_ADDRESS, config_address(register))?;
        qmp.write_port(CONFIG_DATA, value)?;
    }
    qmp.load_from(fd::STATE)
}

/// What firmware would write to the recorder's configuration space.
fn mapping(recorder_at: u64) -> [(u32, u32); 3] {
    let low = recorder_at & u64::from(u32::MAX);
    [
        (BAR_2, u32::try_from(low).unwrap_or_default()),
        (
            BAR_2_HIGH,
            u32::try_from(recorder_at >> 32).unwrap_or_default(),
        ),
        (COMMAND, COMMAND_MEMORY),
    ]
}

/// Names a register of the recorder's device, on bus 0, function 0.
fn config_address(register: u32) -> u32 {
    1 << 31 | RECORDER_SLOT << 11 | register
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_mapped_as_firmware_would_map_it() {
        assert_eq!(config_address(BAR_2), 0x8000_1018);
        assert_eq!(
            mapping(0x1_febe_0000),
            [(0x18, 0xfebe_0000), (0x1c, 1), (4, 2)]
        );
    }
}
