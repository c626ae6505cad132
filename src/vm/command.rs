//! QEMU's command line. Pure: a machine's description in, arguments out.

use std::path::PathBuf;

use super::instrument::LOCK_STEP_BYTES;
use crate::model::Accel;
use crate::recorder::RECORDER_BYTES;

/// The guest's second serial port: what the guest says, apart from what the
/// kernel says.
pub const AGENT_TTY: &str = "/dev/ttyS1";

/// Descriptors that the QEMU process inherits.
pub(super) mod fd {
    pub(crate) const CONSOLE: i32 = 3;
    pub(crate) const AGENT: i32 = 4;
    pub(crate) const QMP: i32 = 5;
    pub(crate) const INITRD: i32 = 6;
    pub(crate) const RECORDER: i32 = 7;
    pub(crate) const PLUGIN: i32 = 8;
    pub(crate) const PLUGIN_PAGE: i32 = 9;
    pub(crate) const MEMORY: i32 = 10;
    pub(crate) const LOCK_STEP: i32 = 11;
}

/// A machine to be booted.
#[derive(Clone, Debug)]
pub struct VmSpec {
    /// The kernel's boot image.
    pub kernel: PathBuf,
    /// `kvm` or `tcg`; anything else means TCG.
    pub accel: Accel,
    /// Virtual CPUs.
    pub smp: u32,
    /// Memory, MiB.
    pub mem_mib: u32,
    /// Appended to the kernel command line.
    pub append: String,
}

impl VmSpec {
    /// The kernel command line.
    ///
    /// `oops=panic panic=-1` turns the first oops into a reset, which QEMU
    /// reports on QMP whatever the console printed: a second signal.
    /// `no_timer_check`: on a loaded host an emulated timer can be too slow for
    /// the kernel's own test of it (`check_timer()`), which then panics.
    /// `cryptomgr.notests`: the ciphers' tests of themselves at boot can be slow
    /// enough there for a soft lockup. Kernels without them do not mind.
    pub fn cmdline(&self) -> String {
        let base = "console=ttyS0 printk.time=1 loglevel=7 oops=panic panic=-1 no_timer_check \
                    cryptomgr.notests rdinit=/init";
        if self.append.is_empty() {
            base.to_owned()
        } else {
            format!("{base} {}", self.append)
        }
    }

    /// QEMU's arguments.
    pub(super) fn arguments(&self) -> Vec<String> {
        let (accel, cpu) = match self.accel {
            Accel::Kvm => ("kvm", "host"),
            // The oldest model boots every kernel: `max` shows features that
            // old kernels trip over.
            _ => ("tcg,thread=multi", "qemu64"),
        };
        let chardev = |id: &str, fd: i32| format!("socket,id={id},fd={fd}");
        let recorder = format!(
            "memory-backend-file,id=recorder,share=on,size={RECORDER_BYTES},mem-path=/proc/self/fd/{}",
            fd::RECORDER
        );
        let pairs = [
            ("-machine", "pc".to_owned()),
            ("-accel", accel.to_owned()),
            ("-cpu", cpu.to_owned()),
            ("-smp", self.smp.to_string()),
            ("-m", self.mem_mib.to_string()),
            ("-display", "none".to_owned()),
            ("-kernel", self.kernel.display().to_string()),
            ("-initrd", format!("/proc/self/fd/{}", fd::INITRD)),
            ("-append", self.cmdline()),
            ("-chardev", chardev("console", fd::CONSOLE)),
            ("-serial", "chardev:console".to_owned()),
            ("-chardev", chardev("agent", fd::AGENT)),
            ("-serial", "chardev:agent".to_owned()),
            ("-chardev", chardev("qmp", fd::QMP)),
            ("-mon", "chardev=qmp,mode=control".to_owned()),
            ("-device", "pvpanic".to_owned()),
            // The panic is an event, not an end: the console is still speaking.
            ("-action", "panic=none".to_owned()),
            ("-object", recorder),
            ("-device", "ivshmem-plain,memdev=recorder".to_owned()),
        ];
        ["-nodefaults", "-no-user-config", "-no-reboot"]
            .into_iter()
            .map(str::to_owned)
            .chain(
                pairs
                    .into_iter()
                    .flat_map(|(option, value)| [option.to_owned(), value]),
            )
            .collect()
    }
}

fn plugin() -> String {
    format!(
        "/proc/self/fd/{},page=/proc/self/fd/{}",
        fd::PLUGIN,
        fd::PLUGIN_PAGE
    )
}

/// A machine that only loads the plugin: no memory to speak of, no devices, its
/// CPU stopped.
pub(super) fn plugin_probe_arguments() -> Vec<String> {
    let plugin = plugin();
    [
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-machine",
        "none",
        "-S",
        "-plugin",
        &plugin,
    ]
    .map(str::to_owned)
    .to_vec()
}

/// What an instrumented machine has besides: the plugin with its page, memory
/// that the host can read, and the page of the lock-step.
pub(super) fn instrument_arguments(spec: &VmSpec, debugger: Option<u16>) -> Vec<String> {
    let memory = format!(
        "memory-backend-file,id=memory,share=on,size={}M,mem-path=/proc/self/fd/{}",
        spec.mem_mib,
        fd::MEMORY
    );
    let lock_step = format!(
        "memory-backend-file,id=lockstep,share=on,size={LOCK_STEP_BYTES},mem-path=/proc/self/fd/{}",
        fd::LOCK_STEP
    );
    let debugger = debugger.map(|port| {
        // One instruction in a block: a CPU that is let go stops after it.
        let listen = format!("tcp:127.0.0.1:{port}");
        ["-gdb".to_owned(), listen, "-singlestep".to_owned()]
    });
    [
        ("-object", memory),
        ("-machine", "memory-backend=memory".to_owned()),
        ("-object", lock_step),
        ("-device", "ivshmem-plain,memdev=lockstep".to_owned()),
        ("-plugin", plugin()),
    ]
    .into_iter()
    .flat_map(|(option, value)| [option.to_owned(), value])
    .chain(debugger.into_iter().flatten())
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(accel: Accel) -> VmSpec {
        VmSpec {
            kernel: "/k/bzImage".into(),
            accel,
            smp: 4,
            mem_mib: 512,
            append: String::new(),
        }
    }

    fn value<'a>(arguments: &'a [String], option: &str) -> &'a str {
        let at = arguments
            .iter()
            .position(|argument| argument == option)
            .expect("the option");
        &arguments[at + 1]
    }

    #[test]
    fn a_reset_ends_the_machine_and_a_panic_does_not() {
        let arguments = spec(Accel::Tcg).arguments();
        assert!(arguments.iter().any(|argument| argument == "-no-reboot"));
        assert_eq!(value(&arguments, "-action"), "panic=none");
        assert!(value(&arguments, "-append").contains("oops=panic panic=-1"));
    }

    #[test]
    fn the_accelerator_decides_the_cpu_model() {
        assert_eq!(value(&spec(Accel::Tcg).arguments(), "-cpu"), "qemu64");
        assert_eq!(value(&spec(Accel::Kvm).arguments(), "-cpu"), "host");
    }

    #[test]
    fn what_the_user_appends_comes_last_and_so_wins() {
        let appended = VmSpec {
            append: "panic=5".to_owned(),
            ..spec(Accel::Tcg)
        };
        assert!(appended.cmdline().ends_with(" panic=5"));
    }
}
