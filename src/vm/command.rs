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
    /// Only where [`Origin`](super::Origin) is not a plain boot.
    pub(crate) const RAM: i32 = 8;
    /// Only of a clone.
    pub(crate) const STATE: i32 = 9;
    /// Only of an instrumented machine.
    pub(crate) const PLUGIN: i32 = 10;
    /// The same.
    pub(crate) const PLUGIN_PAGE: i32 = 11;
    /// The same.
    pub(crate) const LOCK_STEP: i32 = 12;
}

/// The recorder's place on the PCI bus: fixed, since a clone has to map its BAR
/// before the state that knows the place is loaded.
pub(super) const RECORDER_SLOT: u32 = 2;

/// How a machine comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It boots.
    Boot,
    /// It boots, and is saved later: its RAM is a file that others can map.
    Template,
    /// It goes on where a template was saved, and keeps what it writes to
    /// itself.
    Clone,
    /// It boots with the plugin: its RAM is a file that the host reads.
    Instrumented {
        /// The port at which a debugger may attach.
        debugger: Option<u16>,
    },
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
    /// The guest's kernel may say where its parts lie, for whoever opens its
    /// memory (docs/specs/vmcoreinfo.txt in QEMU's source).
    pub vmcoreinfo: bool,
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

    /// QEMU's arguments. A clone's differ from its template's in whose RAM
    /// it is and where the state comes from, and in nothing that a guest sees.
    pub(super) fn arguments(&self, origin: Origin) -> Vec<String> {
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
        // `master`: without it the device cannot be saved
        // (hw/misc/ivshmem.c, migration_blocker).
        let device = format!("ivshmem-plain,memdev=recorder,master=on,addr={RECORDER_SLOT:#x}");
        let ram = |share: &str| {
            format!(
                "memory-backend-file,id=ram,share={share},size={}M,mem-path=/proc/self/fd/{}",
                self.mem_mib,
                fd::RAM
            )
        };
        let boot = || {
            vec![
                ("-kernel", self.kernel.display().to_string()),
                ("-initrd", format!("/proc/self/fd/{}", fd::INITRD)),
                ("-append", self.cmdline()),
            ]
        };
        let (machine, more) = match origin {
            Origin::Boot => ("pc", boot()),
            Origin::Template => {
                let mut more = boot();
                more.push(("-object", ram("on")));
                ("pc,memory-backend=ram", more)
            }
            Origin::Instrumented { debugger } => {
                let mut more = boot();
                more.push(("-object", ram("on")));
                more.extend(instrument(debugger));
                ("pc,memory-backend=ram", more)
            }
            // What a kernel was booted from is in its RAM by now.
            Origin::Clone => (
                "pc,memory-backend=ram",
                vec![("-object", ram("off")), ("-incoming", "defer".to_owned())],
            ),
        };
        let pairs = [
            ("-machine", machine.to_owned()),
            ("-accel", accel.to_owned()),
            ("-cpu", cpu.to_owned()),
            ("-smp", self.smp.to_string()),
            ("-m", self.mem_mib.to_string()),
            ("-display", "none".to_owned()),
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
            ("-device", device),
        ];
        ["-nodefaults", "-no-user-config", "-no-reboot"]
            .into_iter()
            .map(str::to_owned)
            .chain(
                pairs
                    .into_iter()
                    .chain(more)
                    .flat_map(|(option, value)| [option.to_owned(), value]),
            )
            .chain(
                ["-device", "vmcoreinfo"]
                    .into_iter()
                    .filter(|_| self.vmcoreinfo)
                    .map(str::to_owned),
            )
            // One instruction in a block: a CPU that a debugger stops is let go
            // for no more than that.
            .chain(match origin {
                Origin::Instrumented { debugger: Some(_) } => Some("-singlestep".to_owned()),
                _ => None,
            })
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

/// What an instrumented machine has besides: the plugin with its page, and the
/// page of the lock-step.
fn instrument(debugger: Option<u16>) -> Vec<(&'static str, String)> {
    let lock_step = format!(
        "memory-backend-file,id=lockstep,share=on,size={LOCK_STEP_BYTES},mem-path=/proc/self/fd/{}",
        fd::LOCK_STEP
    );
    let mut more = vec![
        ("-object", lock_step),
        ("-device", "ivshmem-plain,memdev=lockstep".to_owned()),
        ("-plugin", plugin()),
    ];
    if let Some(port) = debugger {
        more.push(("-gdb", format!("tcp:127.0.0.1:{port}")));
    }
    more
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
            vmcoreinfo: false,
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
        let arguments = spec(Accel::Tcg).arguments(Origin::Boot);
        assert!(arguments.iter().any(|argument| argument == "-no-reboot"));
        assert_eq!(value(&arguments, "-action"), "panic=none");
        assert!(value(&arguments, "-append").contains("oops=panic panic=-1"));
    }

    #[test]
    fn the_accelerator_decides_the_cpu_model() {
        assert_eq!(
            value(&spec(Accel::Tcg).arguments(Origin::Boot), "-cpu"),
            "qemu64"
        );
        assert_eq!(
            value(&spec(Accel::Kvm).arguments(Origin::Boot), "-cpu"),
            "host"
        );
    }

    #[test]
    fn a_clone_differs_from_its_template_in_its_ram_and_where_it_goes_on() {
        let template = spec(Accel::Tcg).arguments(Origin::Template);
        let clone = spec(Accel::Tcg).arguments(Origin::Clone);
        let only_in = |ours: &[String], theirs: &[String]| -> Vec<String> {
            let mut rest = theirs.to_vec();
            ours.iter()
                .filter(
                    |argument| match rest.iter().position(|it| it == *argument) {
                        Some(at) => {
                            rest.remove(at);
                            false
                        }
                        None => true,
                    },
                )
                .cloned()
                .collect()
        };
        let before = only_in(&template, &clone);
        assert_eq!(before[0], "-kernel");
        assert_eq!(
            before.last().map(String::as_str),
            Some("memory-backend-file,id=ram,share=on,size=512M,mem-path=/proc/self/fd/8")
        );
        assert_eq!(before.len(), 7);
        assert_eq!(
            only_in(&clone, &template),
            [
                "memory-backend-file,id=ram,share=off,size=512M,mem-path=/proc/self/fd/8",
                "-incoming",
                "defer"
            ]
        );
        assert_eq!(value(&clone, "-machine"), "pc,memory-backend=ram");
    }

    #[test]
    fn a_plain_boot_has_no_file_for_its_ram() {
        let arguments = spec(Accel::Tcg).arguments(Origin::Boot);
        assert_eq!(value(&arguments, "-machine"), "pc");
        assert!(!arguments.iter().any(|argument| argument.contains("id=ram")));
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
