//! `modrace states` on real kernels: in order, and broken on purpose.

use std::path::Path;
use std::process::Output;

use modrace::model::{Held, Report, StateCheck, StateSource, Verdict};

use crate::support::{Bench, modrace};

/// Runs it; returns what it printed and its report.
fn states(bench: &Bench, arguments: &[&str]) -> (Output, Option<Report>) {
    let file = bench.path("states.json");
    let output = modrace()
        .args(["states", "--smp", "2", "--report"])
        .arg(&file)
        .args(arguments)
        .output()
        .unwrap();
    let report = std::fs::read(&file).ok();
    let report = report.map(|bytes| serde_json::from_slice(&bytes).unwrap());
    (output, report)
}

fn failed(report: &Report) -> Vec<(Held, &str, &str, &str)> {
    let tell = |check: &'_ StateCheck| !check.ok;
    report
        .states
        .iter()
        .filter(|check| tell(check))
        .map(|check| {
            (
                check.held,
                check.what.as_str(),
                check.expected.as_str(),
                check.seen.as_str(),
            )
        })
        .collect()
}

#[test]
fn the_fixed_kernel_shows_every_state_as_the_fixs_author_saw_it() {
    let bench = Bench::new();
    let (output, report) = states(&bench, &["--kernel", "lab:fixed"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = report.unwrap();
    assert_eq!(failed(&report), []);
    let words = [
        (Held::Init, "Loading", "+"),
        (Held::Live, "Live", ""),
        (Held::Exit, "Unloading", "-"),
    ];
    for (held, word, sign) in words {
        let line = |source| {
            let of = |check: &&StateCheck| check.held == held && check.source == source;
            let mut lines = report
                .states
                .iter()
                .filter(of)
                .filter_map(|check| check.line.clone());
            lines.next().unwrap()
        };
        let shown = line(StateSource::ProcModules);
        assert!(
            shown.contains(word) && shown.ends_with(&format!("(O{sign})")),
            "{shown}"
        );
        let listed = line(StateSource::Console);
        assert!(
            listed.contains(&format!(" dummy_module(O{sign})")),
            "{listed}"
        );
    }
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("[last unloaded: dummy_module"), "{text}");
    // Nothing was raced: right states are no pass.
    assert_eq!(report.verdict, Verdict::Inconclusive);
}

#[test]
#[ignore = "builds a kernel, which takes minutes"]
fn a_kernel_with_wrong_words_and_signs_fails_with_expected_above_seen() {
    let bench = Bench::new();
    let patch = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/procfs/wrong-states.patch");
    let built = modrace()
        .args(["lab", "build", "--name", "wrong-states", "--patch"])
        .arg(patch)
        .status()
        .unwrap();
    assert!(built.success());
    let (output, report) = states(&bench, &["--kernel", "lab:wrong-states"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report = report.unwrap();
    assert_eq!(report.verdict, Verdict::Fail);
    let failed = failed(&report);
    assert!(
        failed.contains(&(Held::Exit, "state", "Unloading", "Loading")),
        "{failed:?}"
    );
    assert!(
        failed.contains(&(Held::Init, "flag", "+", "-")),
        "{failed:?}"
    );
    let console = (
        Held::Init,
        "Modules linked in: (WARNING in dummy_warn)",
        "dummy_module(O+)",
        "dummy_module(O-)",
    );
    assert!(failed.contains(&console), "{failed:?}");
    assert_eq!(failed.len(), 3, "{failed:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("  FAIL state\n    expected: Unloading\n    seen:     Loading\n"),
        "{text}"
    );
}

#[test]
fn a_module_that_cannot_be_held_is_refused_with_its_name() {
    let bench = Bench::new();
    let hanging = crate::support::fixture_module("hang-module", bench.folder.path());
    let module = hanging.to_str().unwrap();
    let (output, report) = states(&bench, &["--kernel", "lab:fixed", "--module", module]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("hold_init_ms"), "{told}");
    assert!(report.is_none());
}
