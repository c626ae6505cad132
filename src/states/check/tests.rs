//! The checks of the states: a kernel in order, and each field wrong in turn.

use super::*;
use crate::model::LinkedModule;

fn seen(held: Held, line: &str, initstate: Option<&str>) -> Observed {
    Observed {
        held,
        lines: if line.is_empty() {
            Vec::new()
        } else {
            vec![format!("{line}\n")]
        },
        initstate: initstate.map(str::to_owned),
        taint: initstate.map(|_| "OE".to_owned()),
        refcnt: None,
        tainted: (1 << 12) | (1 << 13),
        tainted_before: 0,
        kptr_restrict: Some(0),
        release: "6.1.0-56-cloud-amd64".to_owned(),
        machine: "x86_64".to_owned(),
    }
}

/// What the stock kernel showed, November 2026.
fn in_order() -> Vec<Observed> {
    let mut hidden = seen(
        Held::LiveHidden,
        "dummy_module 16384 0 - Live 0x0000000000000000 (OE)",
        Some("live"),
    );
    hidden.kptr_restrict = Some(2);
    vec![
        seen(
            Held::Init,
            "dummy_module 28672 1 - Loading 0xffffffffc05ad000 (OE+)",
            Some("coming"),
        ),
        seen(
            Held::Live,
            "dummy_module 16384 0 - Live 0xffffffffc05ad000 (OE)",
            Some("live"),
        ),
        hidden,
        seen(
            Held::Exit,
            "dummy_module 16384 -1 - Unloading 0xffffffffc05ad000 (OE-)",
            Some("going"),
        ),
        seen(Held::Unloaded, "", None),
    ]
}

fn failed(checks: &[StateCheck]) -> Vec<String> {
    checks
        .iter()
        .filter(|check| !check.ok)
        .map(|check| format!("{}: {}", check.held.as_str(), check.what))
        .collect()
}

#[test]
fn a_kernel_in_order_passes_every_check() {
    let checks = check_observed(&in_order());
    assert!(checks.len() > 40);
    assert_eq!(failed(&checks), Vec::<String>::new());
}

#[test]
fn each_field_that_is_wrong_fails_its_own_check() {
    let cases = [
        (0, "Loading", "Live", "in init: state"),
        (0, "(OE+)", "(OE)", "in init: flag"),
        (0, "28672", "16384", "in init: size"),
        (0, " 1 -", " 0 -", "in init: reference count"),
        (
            1,
            "0xffffffffc05ad000",
            "0x0000000000000000",
            "live: address",
        ),
        (
            2,
            "0x0000000000000000",
            "0xffffffffc05ad000",
            "live, addresses hidden: address",
        ),
        (3, "Unloading", "Live", "in exit: state"),
        (3, "(OE-)", "(OE)", "in exit: flag"),
        (3, " -1 -", " 0 -", "in exit: reference count"),
        (3, "(OE-)", "(OE-", "in exit: form of the line"),
        (3, " - ", " a, ", "in exit: users"),
    ];
    for (index, right, wrong, check) in cases {
        let mut all = in_order();
        let line = &mut all[index].lines[0];
        assert!(line.contains(right), "{line}");
        *line = line.replacen(right, wrong, 1);
        let failed = failed(&check_observed(&all));
        assert!(failed.iter().any(|one| one == check), "{check}: {failed:?}");
    }
}

#[test]
fn taint_letters_are_held_to_sysfs_and_to_the_kernels_mask() {
    let mut all = in_order();
    all[1].taint = Some("O".to_owned());
    all[3].tainted = 1 << 12;
    all[0].tainted |= 1;
    assert_eq!(
        failed(&check_observed(&all)),
        [
            "in init: taints that the load brought and the line lacks",
            "live: taint letters, as /sys/module/NAME/taint has them",
            "in exit: letters that /proc/sys/kernel/tainted lacks",
        ]
    );
}

#[test]
fn a_module_listed_twice_or_still_there_fails() {
    let mut all = in_order();
    let twice = all[1].lines[0].clone();
    all[1].lines.push(twice.clone());
    all[4].lines.push(twice);
    all[4].initstate = Some("live".to_owned());
    let failed = failed(&check_observed(&all));
    assert_eq!(
        failed,
        [
            "live: lines of the module",
            "unloaded: lines of the module",
            "unloaded: initstate"
        ]
    );
}

#[test]
fn before_3_19_a_module_in_exit_has_no_references_left() {
    let mut all = in_order();
    all[3].release = "3.10.17".to_owned();
    assert_eq!(failed(&check_observed(&all)), ["in exit: reference count"]);
    all[3].lines[0] = all[3].lines[0].replace(" -1 -", " 0 -");
    assert_eq!(failed(&check_observed(&all)), Vec::<String>::new());
    assert!(at_least("6.1", (3, 19)) && !at_least("3.18.140", (3, 19)));
}

fn warning(flags: Option<&str>, unloaded: Option<&str>) -> Crash {
    let module = |name: &str, flags: &str| LinkedModule {
        name: name.to_owned(),
        flags: flags.to_owned(),
    };
    let mut modules = vec![module("modrace_lister", "OE")];
    modules.extend(flags.map(|flags| module("dummy_module", flags)));
    Crash {
        title: "WARNING in dummy_warn".to_owned(),
        modules,
        last_unloaded: unloaded.map(str::to_owned),
        ..Crash::default()
    }
}

#[test]
fn the_kernels_own_list_is_held_to_the_state() {
    let check = |held, crash| check_console(held, "dummy_module", "OE", &[crash]);
    for (held, flags) in [(Held::Init, "OE+"), (Held::Live, "OE"), (Held::Exit, "OE-")] {
        assert!(failed(&check(held, warning(Some(flags), None))).is_empty());
        assert_eq!(failed(&check(held, warning(Some("O"), None))).len(), 1);
        assert_eq!(failed(&check(held, warning(None, None))).len(), 1);
    }
    let gone = |unloaded| check(Held::Unloaded, warning(None, unloaded));
    assert!(failed(&gone(Some("dummy_module"))).is_empty());
    assert_eq!(failed(&gone(Some("other"))), ["unloaded: last unloaded"]);
    assert_eq!(failed(&gone(None)), ["unloaded: last unloaded"]);
}

#[test]
fn no_list_at_all_is_a_failure_not_a_silence() {
    let checks = check_console(Held::Init, "dummy_module", "OE", &[]);
    assert_eq!(failed(&checks), ["in init: a list of modules"]);
}
