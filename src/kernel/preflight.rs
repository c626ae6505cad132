//! May this machine be raced, and can it? The facts are read here, the rules
//! are pure, and every refusal says what to do about it. Nothing is changed.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use thiserror::Error;

use crate::build::config::KernelConfig;

/// An image of disposable machines carries this file.
pub const DISPOSABLE_MARK: &str = "/etc/modrace-disposable";
/// `PROC_PID_INIT_INO` and `PROC_USER_INIT_INO`, `include/linux/proc_ns.h`: the
/// namespaces that a machine boots into.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";
const FIRST_USER_NAMESPACE: &str = "user:[4026531837]";
/// `CAP_SYS_MODULE`, include/uapi/linux/capability.h.
const CAP_SYS_MODULE: u32 = 16;
/// `TAINT_DIE`: the kernel counts its own deaths.
pub const TAINT_DIE: u64 = 1 << 7;

/// What decides whether a race may begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Facts {
    /// Whether the process runs as root.
    pub root: bool,
    /// Whether the machine is declared disposable, on the command line, in the
    /// environment or by its image.
    pub disposable: bool,
    /// Why this looks like a container.
    pub container: Option<String>,
    /// The lockdown mode in force; none where the kernel has no lockdown.
    pub lockdown: Option<String>,
    /// `kernel.modules_disabled`.
    pub modules_disabled: bool,
    /// Whether module signatures are enforced.
    pub signatures: bool,
    /// Whether `/proc/modules` exists.
    pub modules: bool,
    /// `CONFIG_MODULE_UNLOAD`, where the configuration can be read.
    pub unload: Option<bool>,
    /// `/proc/sys/kernel/tainted`.
    pub taint: u64,
}

/// Why a machine is not raced. The text names the reason; [`Refusal::hint`]
/// the way out.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    /// Not root.
    #[error("not root: only root may load modules")]
    NotRoot,
    /// Nobody said that the machine may die.
    #[error("this machine is not declared disposable, and `run` is meant to crash it")]
    NotDisposable,
    /// The kernel is someone else's.
    #[error("this looks like a container ({0}): the kernel that would crash is the host's")]
    Container(String),
    /// Lockdown.
    #[error("the kernel is locked down ({0}): it refuses modules that are not signed")]
    Lockdown(String),
    /// The switch that cannot be switched back.
    #[error("kernel.modules_disabled is set: no module can be loaded until the next boot")]
    ModulesDisabled,
    /// Enforced signatures.
    #[error("module signatures are enforced, and the dummy module has none")]
    Signatures,
    /// No modules at all.
    #[error("this kernel has no loadable modules: there is no /proc/modules")]
    NoModules,
    /// No unloading.
    #[error("this kernel cannot unload modules: CONFIG_MODULE_UNLOAD is off")]
    NoUnload,
    /// It is dead already.
    #[error("this kernel has crashed since it booted (taint D): it is not a clean state")]
    Died,
}

impl Refusal {
    /// What to do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotRoot => "sudo modrace run, or race the kernel in a VM: modrace vm",
            Self::NotDisposable => {
                "if it may crash and lose what is not on disk: --disposable, or \
                 MODRACE_DISPOSABLE=1, or the file /etc/modrace-disposable in its image; \
                 else: modrace vm"
            }
            Self::Container(_) => {
                "run it on a machine or in a VM of its own, or race the kernel in a VM: modrace vm"
            }
            Self::Lockdown(_) => {
                "boot with Secure Boot off and without lockdown=, or give a signed module with \
                 --module, or use modrace vm"
            }
            Self::ModulesDisabled => "reboot, and keep the sysctl off; or use modrace vm",
            Self::Signatures => {
                "boot without module.sig_enforce, or give a signed module with --module, or use \
                 modrace vm"
            }
            Self::NoModules => "boot a kernel with CONFIG_MODULES=y, or use modrace vm",
            Self::NoUnload => "boot a kernel with CONFIG_MODULE_UNLOAD=y, or use modrace vm",
            Self::Died => "reboot; if a run was under way, then: modrace recover",
        }
    }
}

impl Facts {
    /// Looks at this machine. `disposable`: the command line or the
    /// environment declares it so.
    pub fn gather(disposable: bool) -> Self {
        let lockdown = text("/sys/kernel/security/lockdown").and_then(|text| in_brackets(&text));
        Self {
            root: geteuid().is_root(),
            disposable: disposable || Path::new(DISPOSABLE_MARK).exists(),
            container: container(),
            lockdown: lockdown.filter(|mode| mode != "none"),
            modules_disabled: text("/proc/sys/kernel/modules_disabled")
                .is_some_and(|text| text != "0"),
            signatures: text("/sys/module/module/parameters/sig_enforce")
                .is_some_and(|text| text == "Y"),
            modules: Path::new("/proc/modules").exists(),
            unload: running_config().map(|config| config.is_yes("MODULE_UNLOAD")),
            taint: taint(),
        }
    }

    /// The first reason against a race. `signed`: the module to be raced bears
    /// a signature, so that the kernel may take it.
    pub fn refusal(&self, signed: bool) -> Option<Refusal> {
        if !self.root {
            return Some(Refusal::NotRoot);
        }
        if !self.disposable {
            return Some(Refusal::NotDisposable);
        }
        if let Some(why) = &self.container {
            return Some(Refusal::Container(why.clone()));
        }
        if let Some(mode) = self.lockdown.as_ref().filter(|_| !signed) {
            return Some(Refusal::Lockdown(mode.clone()));
        }
        if !self.modules {
            return Some(Refusal::NoModules);
        }
        if self.modules_disabled {
            return Some(Refusal::ModulesDisabled);
        }
        if self.signatures && !signed {
            return Some(Refusal::Signatures);
        }
        if self.unload == Some(false) {
            return Some(Refusal::NoUnload);
        }
        (self.taint & TAINT_DIE != 0).then_some(Refusal::Died)
    }
}

/// The kernel's taint word.
pub fn taint() -> u64 {
    text("/proc/sys/kernel/tainted")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

/// The running kernel's configuration, from wherever it is told.
pub fn running_config() -> Option<KernelConfig> {
    let packed = fs::read("/proc/config.gz").ok();
    let unpacked = packed.and_then(|packed| {
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(&*packed)
            .read_to_end(&mut bytes)
            .ok()?;
        Some(KernelConfig::parse(&bytes))
    });
    let release = text("/proc/sys/kernel/osrelease")?;
    unpacked.or_else(|| {
        [
            format!("/boot/config-{release}"),
            format!("/lib/modules/{release}/config"),
            format!("/lib/modules/{release}/build/.config"),
        ]
        .iter()
        .find_map(|path| KernelConfig::open(path.as_ref()).ok())
    })
}

/// The build tree of the running kernel, where a distribution puts it.
pub fn running_kdir(release: &str) -> PathBuf {
    Path::new("/lib/modules").join(release).join("build")
}

/// Why this process seems to be in a container. The kernel has no such notion;
/// namespaces other than the first, missing rights and the marks that
/// container tools leave are what there is.
fn container() -> Option<String> {
    for (file, first) in [
        ("/proc/self/ns/pid", FIRST_PID_NAMESPACE),
        ("/proc/self/ns/user", FIRST_USER_NAMESPACE),
    ] {
        if let Ok(namespace) = fs::read_link(file)
            && namespace != Path::new(first)
        {
            return Some(format!("a namespace of its own, {}", namespace.display()));
        }
    }
    for mark in [
        "/run/systemd/container",
        "/.dockerenv",
        "/run/.containerenv",
    ] {
        if Path::new(mark).exists() {
            return Some(format!("{mark} exists"));
        }
    }
    let may_load = capabilities().is_none_or(|word| word >> CAP_SYS_MODULE & 1 == 1);
    (geteuid().is_root() && !may_load).then(|| "root without CAP_SYS_MODULE".to_owned())
}

/// `CapEff` of this process.
fn capabilities() -> Option<u64> {
    let status = text("/proc/self/status")?;
    let word = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(word.trim(), 16).ok()
}

/// `none [integrity] confidentiality`: the word in brackets is in force.
fn in_brackets(text: &str) -> Option<String> {
    Some(text.split('[').nth(1)?.split(']').next()?.to_owned())
}

fn text(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit() -> Facts {
        Facts {
            root: true,
            disposable: true,
            modules: true,
            unload: Some(true),
            ..Facts::default()
        }
    }

    #[test]
    fn a_fit_machine_is_not_refused() {
        assert_eq!(fit().refusal(false), None);
        // A configuration that nobody can read is no reason: the kernel
        // answers when the module is first unloaded.
        let unknown = Facts {
            unload: None,
            ..fit()
        };
        assert_eq!(unknown.refusal(false), None);
    }

    #[test]
    fn each_reason_refuses_in_the_order_of_what_can_be_mended() {
        let mut facts = Facts {
            root: false,
            disposable: false,
            container: Some("x".to_owned()),
            lockdown: Some("integrity".to_owned()),
            modules_disabled: true,
            signatures: true,
            modules: false,
            unload: Some(false),
            taint: TAINT_DIE,
        };
        let mut refused = |mend: fn(&mut Facts)| {
            let refusal = facts.refusal(false);
            mend(&mut facts);
            refusal
        };
        assert_eq!(refused(|facts| facts.root = true), Some(Refusal::NotRoot));
        assert_eq!(
            refused(|facts| facts.disposable = true),
            Some(Refusal::NotDisposable)
        );
        assert!(matches!(
            refused(|facts| facts.container = None),
            Some(Refusal::Container(_))
        ));
        assert!(matches!(
            refused(|facts| facts.lockdown = None),
            Some(Refusal::Lockdown(_))
        ));
        assert_eq!(
            refused(|facts| facts.modules = true),
            Some(Refusal::NoModules)
        );
        assert_eq!(
            refused(|facts| facts.modules_disabled = false),
            Some(Refusal::ModulesDisabled)
        );
        assert_eq!(
            refused(|facts| facts.signatures = false),
            Some(Refusal::Signatures)
        );
        assert_eq!(
            refused(|facts| facts.unload = Some(true)),
            Some(Refusal::NoUnload)
        );
        assert_eq!(refused(|facts| facts.taint = 0), Some(Refusal::Died));
        assert_eq!(facts.refusal(false), None);
    }

    #[test]
    fn a_signed_module_gets_past_signatures_and_lockdown() {
        let facts = Facts {
            lockdown: Some("integrity".to_owned()),
            signatures: true,
            ..fit()
        };
        assert!(facts.refusal(false).is_some());
        assert_eq!(facts.refusal(true), None);
    }

    #[test]
    fn the_mode_in_force_stands_in_brackets() {
        assert_eq!(
            in_brackets("none [integrity] confidentiality"),
            Some("integrity".to_owned())
        );
        assert_eq!(in_brackets("garbage"), None);
    }
}
