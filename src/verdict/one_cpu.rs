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
    let booted = environment.cmdline.as_deref().unwrap_or_default();
    let booted = booted
        .split_whitespace()
        .rev()
        .find_map(|word| word.strip_prefix("preempt="));
    let way_out = match (model, booted) {
        ("none" | "voluntary" | "none or voluntary", _) => "two CPUs or a preemptible kernel",
        ("dynamic", Some("full" | "lazy")) => return None,
        ("dynamic", _) => "two CPUs or preempt=full on its command line",
        _ => return None,
    };
    (ours && cpus == 1).then(|| {
        format!(
            "one CPU and a kernel whose preemption is {}: nothing comes between the reader's \
             look and its BUG, so this race could not be lost; it takes {way_out}",
            booted.map_or_else(|| model.to_owned(), |word| format!("{model}, {word}"))
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(smp: u32, preemption: &str, cmdline: &str) -> Option<String> {
        let settings = serde_json::json!({
            "trials": 1, "duration_s": 10.0, "jobs": 1, "smp": smp, "mem_mib": 256,
            "accel": "tcg", "loaders": 1, "readers": 1, "strategy": "head",
            "chaos": "auto", "background_modules": 0, "append": ""
        });
        let environment = Environment {
            preemption: Some(preemption.to_owned()),
            cmdline: Some(cmdline.to_owned()),
            ..Environment::default()
        };
        cannot_lose(&serde_json::from_value(settings).unwrap(), &environment)
    }

    #[test]
    fn one_cpu_loses_the_race_only_where_the_kernel_is_preempted() {
        for model in ["none", "voluntary", "none or voluntary", "dynamic"] {
            assert!(said(1, model, "console=ttyS0").is_some(), "{model}");
            assert!(said(2, model, "console=ttyS0").is_none(), "{model}");
        }
        for model in ["full", "rt", "lazy"] {
            assert!(said(1, model, "").is_none(), "{model}");
        }
    }

    #[test]
    fn the_last_word_on_the_command_line_decides_for_a_dynamic_kernel() {
        assert!(said(1, "dynamic", "preempt=voluntary preempt=full").is_none());
        let reason = said(1, "dynamic", "preempt=full preempt=none").unwrap();
        assert!(reason.contains("dynamic, none"), "{reason}");
    }
}
