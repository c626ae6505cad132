//! Whether one CPU can lose the race at all. `m_show()` neither sleeps nor gives
//! its CPU away between its look at the module's state and `module_flags()`: on
//! one CPU the store falls between them only where the reader is preempted in
//! the kernel.

use crate::model::{Accel, Environment, Settings};

/// Why a clean run shows nothing: one CPU, and a kernel that is not known to
/// preempt its own code. None where it may lose the race, or nobody knows.
pub(super) fn cannot_lose(settings: &Settings, environment: &Environment) -> Option<String> {
    let cpus = match (settings.cpus.len(), settings.accel) {
        (0, Accel::None) => environment.cpus?,
        (0, _) => settings.smp,
        (asked, _) => u32::try_from(asked).unwrap_or(u32::MAX),
    };
    let ours = settings.other_target().is_none() && !settings.is_other_race();
    let model = environment.preemption.as_deref()?;
    let dynamic = "two CPUs or preempt=full on its command line";
    let way_out = match model {
        "none" | "voluntary" | "none or voluntary" => "two CPUs or a preemptible kernel",
        "none (dynamic)" | "voluntary (dynamic)" | "dynamic" => dynamic,
        _ => return None,
    };
    (ours && cpus == 1).then(|| {
        format!(
            "one CPU and a kernel whose preemption is {model}: nothing comes between the \
             reader's look and its BUG, so this race could not be lost; it takes {way_out}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(smp: u32, preemption: &str) -> Option<String> {
        let settings = serde_json::json!({
            "trials": 1, "duration_s": 10.0, "jobs": 1, "smp": smp, "mem_mib": 256,
            "accel": "tcg", "loaders": 1, "readers": 1, "strategy": "head",
            "chaos": "auto", "background_modules": 0, "append": ""
        });
        let environment = Environment {
            preemption: Some(preemption.to_owned()),
            ..Environment::default()
        };
        cannot_lose(&serde_json::from_value(settings).unwrap(), &environment)
    }

    #[test]
    fn one_cpu_loses_the_race_only_where_the_kernel_is_preempted() {
        for model in [
            "none",
            "voluntary",
            "none or voluntary",
            "voluntary (dynamic)",
            "dynamic",
        ] {
            assert!(said(1, model).is_some(), "{model}");
            assert!(said(2, model).is_none(), "{model}");
        }
        for model in ["full", "rt", "lazy", "full (dynamic)"] {
            assert!(said(1, model).is_none(), "{model}");
        }
    }
}
