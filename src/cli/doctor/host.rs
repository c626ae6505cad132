//! What `modrace run` needs of the kernel that runs here.

use std::io::Read;
use std::path::PathBuf;

use super::look;
use super::{Area, Finding};
use crate::kernel::config::KernelConfig;

pub(super) fn findings() -> Vec<Finding> {
    let release = look::text("/proc/sys/kernel/osrelease").unwrap_or_default();
    let config = running_config(&release);
    let mut findings = vec![root(), modules()];
    findings.push(unload(config.as_ref()));
    findings.push(headers(&release));
    findings.extend(lockdown());
    findings.extend(signatures());
    findings.extend(disabled());
    findings
}

/// The running kernel's configuration, from wherever it is told.
fn running_config(release: &str) -> Option<KernelConfig> {
    let packed = std::fs::read("/proc/config.gz").ok();
    let unpacked = packed.and_then(|packed| {
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(&*packed)
            .read_to_end(&mut bytes)
            .ok()?;
        Some(KernelConfig::parse(&bytes))
    });
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

fn root() -> Finding {
    let what = "root";
    if nix::unistd::geteuid().is_root() {
        Finding::found(Area::Run, what, "modules may be loaded")
    } else {
        Finding::missing(
            Area::Run,
            what,
            "only root loads modules",
            "sudo modrace run",
        )
    }
}

fn modules() -> Finding {
    let what = "loadable modules";
    if std::path::Path::new("/proc/modules").exists() {
        Finding::found(Area::Run, what, "/proc/modules is there")
    } else {
        Finding::missing(
            Area::Run,
            what,
            "the running kernel has none: no /proc/modules",
            "boot a kernel with CONFIG_MODULES=y, or use modrace vm",
        )
    }
}

fn unload(config: Option<&KernelConfig>) -> Finding {
    let what = "module unloading";
    match config.map(|config| config.is_yes("MODULE_UNLOAD")) {
        Some(true) => Finding::found(Area::Run, what, "CONFIG_MODULE_UNLOAD=y"),
        Some(false) => Finding::missing(
            Area::Run,
            what,
            "the running kernel cannot unload modules",
            "boot a kernel with CONFIG_MODULE_UNLOAD=y, or use modrace vm",
        ),
        None => Finding::untested(
            Area::Run,
            what,
            "the running kernel's configuration is nowhere to be read",
        ),
    }
}

fn headers(release: &str) -> Finding {
    let what = "headers";
    let kdir = PathBuf::from(format!("/lib/modules/{release}/build"));
    if kdir.join("Makefile").is_file() {
        Finding::found(Area::Run, what, kdir.display().to_string())
    } else {
        Finding::missing(
            Area::Run,
            what,
            format!("no {}", kdir.display()),
            format!("apt-get install linux-headers-{release}, or give --module FILE.ko"),
        )
    }
}

/// `none [integrity] confidentiality`: the word in brackets is in force.
fn lockdown() -> Option<Finding> {
    let what = "lockdown";
    let text = look::text("/sys/kernel/security/lockdown")?;
    let mode = text.split('[').nth(1)?.split(']').next()?.to_owned();
    Some(if mode == "none" {
        Finding::found(Area::Run, what, "off")
    } else {
        Finding::missing(
            Area::Run,
            what,
            format!("{mode}: unsigned modules are refused"),
            "boot with Secure Boot off or lockdown=none, or use modrace vm",
        )
    })
}

fn signatures() -> Option<Finding> {
    let what = "module signatures";
    let text = look::text("/sys/module/module/parameters/sig_enforce")?;
    Some(if text == "N" {
        Finding::found(Area::Run, what, "not enforced")
    } else {
        Finding::missing(
            Area::Run,
            what,
            "enforced: the dummy module is not signed",
            "boot without module.sig_enforce, or use modrace vm",
        )
    })
}

fn disabled() -> Option<Finding> {
    let text = look::text("/proc/sys/kernel/modules_disabled")?;
    (text != "0").then(|| {
        Finding::missing(
            Area::Run,
            "module loading",
            "kernel.modules_disabled is set, until the next boot",
            "reboot, or use modrace vm",
        )
    })
}
