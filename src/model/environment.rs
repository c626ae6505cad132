//! Where a run took place: the kernel under test, the machine, the module.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a run took place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Environment {
    /// The kernel under test.
    pub kernel: KernelRecord,
    /// `model name` of the CPU that the kernel under test saw.
    pub cpu_model: Option<String>,
    /// CPUs that the kernel under test had online.
    pub cpus: Option<u32>,
    /// Its memory, MiB.
    pub mem_mib: Option<u32>,
    /// What ran its instructions: `kvm`, `tcg` or `none`.
    pub accel: Option<String>,
    /// Preemption model: `none`, `voluntary`, `full`, `lazy` or `rt`; of a kernel
    /// that can choose, what it chose, `voluntary (dynamic)`, or `dynamic` where
    /// that is not known.
    pub preemption: Option<String>,
    /// What the kernel under test read the time from: `tsc`, `hpet`, `acpi_pm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_source: Option<String>,
    /// Its command line.
    pub cmdline: Option<String>,
    /// QEMU's version.
    pub qemu: Option<String>,
    /// The host's kernel release.
    pub host_release: Option<String>,
    /// CPUs of the host that modrace may use.
    pub host_cpus: Option<u32>,
    /// Settings of the kernel changed for the race, and put back after it.
    #[serde(rename = "knobs")]
    pub tunables: Vec<Tunable>,
}

/// Behind the model that a kernel chose which can choose.
pub const CHOSEN: &str = " (dynamic)";

impl Environment {
    /// Takes the configuration's word on the preemption model: it knows better
    /// than the version string, and a kernel that chose better than both.
    pub fn learn_preemption(&mut self, configured: Option<String>) {
        let chose = |model: &String| model.ends_with(CHOSEN);
        if !self.preemption.as_ref().is_some_and(chose) {
            self.preemption = configured.or(self.preemption.take());
        }
    }

    /// The preemption model, however the kernel came to it.
    pub fn preemption_model(&self) -> Option<&str> {
        let model = self.preemption.as_deref()?;
        Some(model.strip_suffix(CHOSEN).unwrap_or(model))
    }
}

/// The kernel under test.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KernelRecord {
    /// As named on the command line.
    pub name: String,
    /// `uname -r`.
    pub release: Option<String>,
    /// `uname -v`.
    pub version: Option<String>,
    /// SHA-256 of its configuration.
    pub config_sha256: Option<String>,
    /// SHA-256 of the boot image.
    pub image_sha256: Option<String>,
    /// The compiler that built it, as the kernel says.
    pub compiler: Option<String>,
    /// Its build id, as the kernel says (`/sys/kernel/notes`), in hexadecimal:
    /// a vmlinux of the same build has the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build_id: Option<String>,
    /// For a lab kernel: what it was built from, patches included.
    pub provenance: Option<String>,
}

/// A setting of the kernel changed for the race.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tunable {
    /// Its path.
    pub path: String,
    /// Its value before.
    pub before: String,
    /// Its value during the race.
    pub during: String,
    /// Whether it was put back; a crash forestalls that.
    pub restored: bool,
}

/// The module that was loaded and unloaded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModuleRecord {
    /// Its name.
    pub name: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// `srcversion` from its `.modinfo`.
    pub srcversion: Option<String>,
    /// `vermagic` from its `.modinfo`.
    pub vermagic: Option<String>,
    /// Taint letters of the loaded module, as in `/sys/module/NAME/taint`.
    /// Empty: not tainted, and such a module can never hit the BUG.
    pub taints: String,
    /// Whether `R_X86_64_PLT32` was rewritten to `R_X86_64_PC32` in what was
    /// loaded: kernels before 4.16 refuse the former (b21ebf2fb4cd).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rewritten: bool,
}

impl ModuleRecord {
    /// Takes over what came of its first load.
    pub fn learn(&mut self, loaded: &LoadedModule) {
        self.taints.clone_from(&loaded.taints);
        self.rewritten = loaded.rewritten;
    }
}

/// What came of a module's first load.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadedModule {
    /// See [`ModuleRecord::taints`].
    pub taints: String,
    /// See [`ModuleRecord::rewritten`].
    #[serde(default)]
    pub rewritten: bool,
}
