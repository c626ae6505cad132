//! How a command fails: the error, the exit code that scripts see, and a hint
//! that can be acted on. The one mapping from the library's errors to exit
//! codes: `?` turns any of them into a [`Failure`]. A new error type is one
//! `impl Exit` here.

use std::io;
use std::path::Path;

use crate::bare::BareError;
use crate::bare::JournalError;
use crate::build::boot_image::BootImageError;
use crate::build::cache::CacheError;
use crate::build::kbuild::KbuildError;
use crate::build::module_image::ModuleImageError;
use crate::build::module_tree::TreeError;
use crate::build::toolchain;
use crate::interleave::machine::MachineError;
use crate::kernel::preflight::Refusal;
use crate::lab::{DEBIAN_TARBALL, LabError, package_of};
use crate::model::ExitCode;
use crate::report::write::WriteError;
use crate::report::{Differs, ReadError, RenderError};
use crate::session::explore::ExploreError;
use crate::session::kernel_arg::KERNEL_HELP;
use crate::session::lock_step::GuestFilesError;
use crate::session::prove::ProveError;
use crate::states::{HoldError, StatesError};
use crate::stats::StatsError;
use crate::vm::VmError;
use crate::vm::contents::PackError;

/// The way out where QEMU cannot be instrumented.
const PLUGINS: &str = "prove and explore need a QEMU built with plugins (configure --enable-plugins), as \
     Debian's qemu-system-x86 is; name it with --qemu";

/// Why a command ended without a result.
#[derive(Debug)]
pub struct Failure {
    /// The process's exit code.
    pub code: ExitCode,
    /// What went wrong, with its causes.
    pub error: anyhow::Error,
    /// The way out, printed last.
    pub hint: Option<String>,
}

impl Failure {
    /// An error where its exit code is another than the usual.
    pub fn new(code: ExitCode, error: impl Into<anyhow::Error>) -> Self {
        Self {
            code,
            error: error.into(),
            hint: None,
        }
    }

    /// What was asked for cannot be meant.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::new(ExitCode::Usage, anyhow::Error::msg(text.into()))
    }

    /// The machine or the kernel cannot do it, or modrace refuses to.
    pub fn unsupported(text: impl Into<String>) -> Self {
        Self::new(ExitCode::Unsupported, anyhow::Error::msg(text.into()))
    }

    /// The infrastructure failed.
    pub fn broken(text: impl Into<String>) -> Self {
        Self::new(ExitCode::Broken, anyhow::Error::msg(text.into()))
    }

    /// The same with another way out.
    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hint = Some(text.into());
        self
    }

    /// The same with another exit code, where it depends on who named a thing.
    #[must_use]
    pub fn code(mut self, code: ExitCode) -> Self {
        self.code = code;
        self
    }
}

/// An error that says what scripts and people make of it.
pub trait Exit: std::error::Error + Send + Sync + 'static {
    /// The exit code, and the way out if one is known.
    fn exit(&self) -> (ExitCode, Option<String>);
}

impl<E: Exit> From<E> for Failure {
    fn from(error: E) -> Self {
        let (code, hint) = error.exit();
        Self {
            code,
            error: error.into(),
            hint,
        }
    }
}

fn hinted(code: ExitCode, hint: impl Into<String>) -> (ExitCode, Option<String>) {
    (code, Some(hint.into()))
}

/// Errors that are always trouble of the machine, without a way out.
macro_rules! broken {
    ($($error:ty),+ $(,)?) => {
        $(impl Exit for $error {
            fn exit(&self) -> (ExitCode, Option<String>) {
                (ExitCode::Broken, None)
            }
        })+
    };
}

broken!(
    BareError,
    ReadError,
    RenderError,
    StatsError,
    WriteError,
    io::Error,
    nix::Error,
    rayon::ThreadPoolBuildError,
    serde_json::Error,
);

impl Exit for CacheError {
    fn exit(&self) -> (ExitCode, Option<String>) {
        match self {
            Self::NoPlace | Self::Relative { .. } => (ExitCode::Usage, None),
            Self::Io { .. } => (ExitCode::Broken, None),
            Self::Interrupted { .. } => (ExitCode::Interrupted, None),
        }
    }
}

impl Exit for BootImageError {
    fn exit(&self) -> (ExitCode, Option<String>) {
        hinted(ExitCode::Usage, format!("KERNEL is {KERNEL_HELP}"))
    }
}

impl Exit for ModuleImageError {
    fn exit(&self) -> (ExitCode, Option<String>) {
        (ExitCode::Usage, None)
    }
}

impl Exit for KbuildError {
    fn exit(&self) -> (ExitCode, Option<String>) {
        match self {
            Self::Interrupted => (ExitCode::Interrupted, None),
            Self::NotAKdir { .. } | Self::Path(_) => hinted(
                ExitCode::Usage,
                "KDIR is the folder where the kernel was built, after `make modules`, or its \
                 headers package's /lib/modules/RELEASE/build",
            ),
            Self::Option { .. } => {
                hinted(ExitCode::Unsupported, "build the kernel with this option")
            }
            _ => match self.missing() {
                Some(missing) => (ExitCode::Unsupported, Some(install(&missing))),
                None => (ExitCode::Broken, None),
            },
        }
    }
}

/// How a program or a header is got.
fn install(missing: &str) -> String {
    let package = package_of(missing);
    format!("{missing} is missing: apt-get install {package}")
}

impl Exit for LabError {
    fn exit(&self) -> (ExitCode, Option<String>) {
        if is_full_disk(self) {
            return hinted(
                ExitCode::Broken,
                "a lab kernel needs about 2 GiB; make room, `modrace lab remove` one, or set \
                 MODRACE_CACHE to a larger disk",
            );
        }
        match self {
            Self::BadName(_) | Self::TakenName(_) | Self::BadPatch { .. } => {
                (ExitCode::Usage, None)
            }
            Self::PatchFailed { .. } => hinted(
                ExitCode::Usage,
                "the patch must fit the source without fuzz; adapt one to the other",
            ),
            Self::FixNotThere { .. } => hinted(
                ExitCode::Usage,
                "to build it as it is, give it a name of its own: --name NAME",
            ),
            Self::OptionsLost(_) => hinted(
                ExitCode::Usage,
                "an option is dropped when what it depends on is not set",
            ),
            Self::NoSource(path) if path == Path::new(DEBIAN_TARBALL) => hinted(
                ExitCode::Unsupported,
                "apt-get install linux-source-6.1, or give --source DIR|TARBALL",
            ),
            Self::NoSource(_) | Self::NotASource { .. } => hinted(
                ExitCode::Usage,
                "--source takes a kernel tree or a tarball of one",
            ),
            Self::Needs(needs) => {
                let packages: Vec<_> = needs.iter().map(|need| need.package).collect();
                let command = format!("apt-get install {}", packages.join(" "));
                hinted(ExitCode::Unsupported, command)
            }
            Self::Make { source, .. } => {
                let way_out = toolchain::way_out(source.tail()).map(str::to_owned);
                let missing = || source.missing().as_deref().map(install);
                (ExitCode::Broken, way_out.or_else(missing))
            }
            Self::NoCompiler(name) => (ExitCode::Unsupported, Some(install(name))),
            Self::Interrupted => (ExitCode::Interrupted, None),
            Self::Cache(error) => error.exit(),
            _ => (ExitCode::Broken, None),
        }
    }
}

/// Whether an error comes of a disk without room. Tools say it in words.
fn is_full_disk(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |cause| cause.source()).any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::StorageFull)
            || cause.to_string().contains("No space left on device")
    })
}

impl Exit for TreeError {
    fn exit(&self) -> (ExitCode, Option<String>) {
        match self {
            Self::Read { .. } => hinted(
                ExitCode::Unsupported,
                "run depmod, or give the file with --module",
            ),
            Self::Unknown { .. } => hinted(
                ExitCode::Usage,
                "`find /lib/modules/$(uname -r) -name '*.ko*'` lists what there is",
            ),
            Self::BuiltIn(_) => hinted(
                ExitCode::Unsupported,
                "race another driver, or the dummy module",
            ),
            Self::Loaded { name, .. } => hinted(
                ExitCode::Unsupported,
                format!(
                    "unload it if nothing needs it (rmmod {name}); after a run that was killed: \
                     modrace run --cleanup"
                ),
            ),
        }
    }
}

impl Exit for Refusal {
    fn exit(&self) -> (ExitCode, Option<String>) {
        hinted(ExitCode::Unsupported, Refusal::hint(self))
    }
}

impl Exit for VmError {
    fn exit(&self) -> (ExitCode, Option<String>) {
        let hint = match self {
            Self::NotFound(_) => "install it: apt install qemu-system-x86",
            Self::NoPlugins { .. } => PLUGINS,
            _ => "name QEMU's program with --qemu",
        };
        hinted(ExitCode::Unsupported, hint)
    }
}

impl Exit for PackError {
    fn exit(&self) -> (ExitCode, Option<String>) {
        let is_modrace = |path: &Path| std::env::current_exe().is_ok_and(|own| own == path);
        let hint = match self {
            Self::NoBusybox => "install it: apt install busybox-static",
            Self::Dynamic(path) if is_modrace(path) => {
                "build modrace with RUSTFLAGS='-C target-feature=+crt-static', or with `make`"
            }
            Self::Dynamic(_) => "install a static one: apt install busybox-static",
            Self::Read { .. } | Self::Write(_) => "is there enough memory and disk?",
        };
        hinted(ExitCode::Unsupported, hint)
    }
}

impl Exit for StatesError {
    fn exit(&self) -> (ExitCode, Option<String>) {
        match self {
            Self::Interrupted => (ExitCode::Interrupted, None),
            _ => (ExitCode::Broken, None),
        }
    }
}

impl Exit for ProveError {
    fn exit(&self) -> (ExitCode, Option<String>) {
        match self {
            Self::Machine(error) => of_machine(error),
            Self::NoPoint(..) | Self::TwoForms(..) => hinted(
                ExitCode::Usage,
                "a report of prove lists the points of its kernel",
            ),
            Self::Files(GuestFilesError::Pack(error)) => error.exit(),
            _ => (ExitCode::Broken, None),
        }
    }
}

impl Exit for ExploreError {
    fn exit(&self) -> (ExitCode, Option<String>) {
        match self {
            Self::Machine(error) => of_machine(error),
            Self::NoPlace(_) => hinted(
                ExitCode::Usage,
                "a place is function+0xOFFSET, mod:function+0xOFFSET in the module, or an address",
            ),
            Self::NoReader(_) => hinted(
                ExitCode::Usage,
                "explore needs a file that is opened, read, written or looked up: name the \
                 driver's with --target, or race it with `modrace vm`",
            ),
            Self::Files(GuestFilesError::Pack(error)) => error.exit(),
            Self::Files(_) => (ExitCode::Broken, None),
        }
    }
}

/// A guest in lock-step that could not be driven.
fn of_machine(error: &MachineError) -> (ExitCode, Option<String>) {
    match error {
        MachineError::Interrupted => (ExitCode::Interrupted, None),
        MachineError::Vm(error) => error.exit(),
        MachineError::NoPlugin(_) => hinted(ExitCode::Unsupported, PLUGINS),
        MachineError::NoSymbol(_) | MachineError::Switch(_) => hinted(
            ExitCode::Unsupported,
            "this kernel was compiled in a way that is not known yet; `modrace vm` races it all \
             the same",
        ),
        MachineError::Load(_) | MachineError::Refused(_) => (ExitCode::Unsupported, None),
        _ => (ExitCode::Broken, None),
    }
}

impl Exit for HoldError {
    fn exit(&self) -> (ExitCode, Option<String>) {
        match self {
            Self::NoParameters(_) | Self::Untainted(_) => hinted(
                ExitCode::Usage,
                "leave --module out, and the dummy module is built for the kernel",
            ),
            Self::Loaded(_) => (ExitCode::Usage, None),
            Self::Load { .. } => (ExitCode::Unsupported, None),
            _ => (ExitCode::Broken, None),
        }
    }
}

impl Exit for JournalError {
    fn exit(&self) -> (ExitCode, Option<String>) {
        match self {
            Self::InUse(_) => hinted(
                ExitCode::Unsupported,
                "wait for its end, or end it: it cleans up on SIGTERM",
            ),
            Self::NoRoom { .. } => hinted(
                ExitCode::Unsupported,
                "make room there, name another folder with --journal, or let it take less with a \
                 longer --heartbeat or a shorter --duration",
            ),
            Self::Io { .. } => (ExitCode::Broken, None),
        }
    }
}

impl Exit for Differs {
    fn exit(&self) -> (ExitCode, Option<String>) {
        (ExitCode::Unsupported, None)
    }
}

#[cfg(test)]
mod tests;
