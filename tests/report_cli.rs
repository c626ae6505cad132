//! `modrace report` as scripts see it: what goes to stdout, and the exit codes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

mod common;

use common::{TIMES, clean, crashes, report, trial};
use modrace::model::{Outcome, Report, Warning};
use modrace::report::FORMATS;

fn modrace() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_modrace"));
    command.env_remove("GITHUB_STEP_SUMMARY").arg("report");
    command
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/reports")
        .join(name)
}

#[track_caller]
fn ends(command: &mut Command, code: i32) -> (String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let (out, err) = (
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
    );
    assert_eq!(status.code(), Some(code), "stdout: {out}\nstderr: {err}");
    (out, err)
}

#[test]
fn show_prints_the_verdict_and_a_histogram() {
    let (out, _) = ends(modrace().arg("show").arg(fixture("fix-confirmed.json")), 0);
    assert!(out.contains("PASS (fix confirmed at 99.9 %)"), "{out}");
    assert!(out.contains("time to crash, baseline:"), "{out}");
    assert!(out.contains("####"), "{out}");
}

#[test]
fn render_prints_each_format_as_committed() {
    for format in FORMATS {
        let file = fixture("crashed.json");
        let (out, _) = ends(
            modrace()
                .args(["render", "--format", format.name])
                .arg(file),
            0,
        );
        let expected = fixture(&format!("crashed.{}", format.extension));
        assert!(
            out == fs::read_to_string(expected).unwrap(),
            "{}",
            format.name
        );
    }
}

#[test]
fn render_reads_stdin_and_writes_files() {
    let folder = tempfile::tempdir().unwrap();
    let (page, plot) = (folder.path().join("a.html"), folder.path().join("a.svg"));
    let mut child = modrace()
        .args(["render", "-", "--format", "html", "-o"])
        .arg(&page)
        .arg("--plot")
        .arg(&plot)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let text = fs::read(fixture("crashed.json")).unwrap();
    child.stdin.take().unwrap().write_all(&text).unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success() && done.stdout.is_empty());
    assert!(
        fs::read_to_string(page)
            .unwrap()
            .starts_with("<!DOCTYPE html>")
    );
    assert!(fs::read_to_string(plot).unwrap().contains("<svg"));
}

#[test]
fn github_gets_its_summary_in_a_file_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let summary = folder.path().join("summary.md");
    fs::write(&summary, "before\n").unwrap();
    let (out, _) = ends(
        modrace()
            .args(["render", "--format", "github"])
            .arg(fixture("crashed.json"))
            .env("GITHUB_STEP_SUMMARY", &summary),
        0,
    );
    assert!(
        out.starts_with("::error ") && !out.contains("## Result"),
        "{out}"
    );
    let written = fs::read_to_string(summary).unwrap();
    assert!(written.starts_with("before\n# ") && written.contains("## Result"));
}

/// Writes a report as a run would, and gives back where it is.
fn saved(folder: &Path, name: &str, report: &Report) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, serde_json::to_vec(report).unwrap()).unwrap();
    path
}

/// A run of its own beside those that the helpers make.
fn another_run(mut report: Report) -> Report {
    report.run_id = "cd".repeat(16);
    report
}

#[test]
fn compare_ends_as_the_verdict_says() {
    let folder = tempfile::tempdir().unwrap();
    let bad = |outcome| {
        let mut trials = clean(50, 5.0);
        trials.push(trial(50, outcome, 1.0, 100));
        trials
    };
    let mut warned = clean(12, 5.0);
    warned[0].warnings = vec![Warning {
        title: "WARNING in m_show".to_owned(),
        count: 1,
        first_line: "WARNING: CPU: 1".to_owned(),
    }];
    for (name, old, new, code, headline) in [
        (
            "confirmed",
            crashes(&TIMES),
            clean(12, 5.0),
            0,
            "PASS (fix confirmed at 99.9 %)",
        ),
        (
            "crashed",
            crashes(&TIMES),
            bad(Outcome::Crashed),
            1,
            "FAIL (candidate crashed)",
        ),
        ("short", crashes(&TIMES), clean(1, 3.0), 5, "INCONCLUSIVE"),
        (
            "no control",
            clean(10, 5.0),
            clean(10, 5.0),
            5,
            "INCONCLUSIVE",
        ),
        // Confirmed by the comparison alone, and no pass.
        ("hung", crashes(&TIMES), bad(Outcome::Hung), 1, "FAIL"),
        ("broken", crashes(&TIMES), bad(Outcome::Broken), 3, "BROKEN"),
        (
            "unsupported",
            crashes(&TIMES),
            bad(Outcome::Unsupported),
            4,
            "INCONCLUSIVE",
        ),
        ("warned", crashes(&TIMES), warned, 1, "FAIL, with warnings"),
    ] {
        let old = saved(
            folder.path(),
            "old.json",
            &report("lab:vulnerable", old, 5.0),
        );
        let new = another_run(report("lab:fixed", new, 5.0));
        let new = saved(folder.path(), "new.json", &new);
        let (out, _) = ends(modrace().arg("compare").args([&old, &new]), code);
        assert!(out.contains("Evidence"), "{name}: {out}");
        assert!(
            out.contains(&format!("Verdict: {headline}\n")),
            "{name}: {out}"
        );
    }
}

/// What the candidate's file says of its own statistics is not believed.
#[test]
fn compare_makes_the_candidates_statistics_anew() {
    let folder = tempfile::tempdir().unwrap();
    let old = saved(
        folder.path(),
        "old.json",
        &report("lab:vulnerable", crashes(&TIMES), 5.0),
    );
    let mut stale = another_run(report("lab:fixed", clean(12, 5.0), 5.0));
    stale.stats.cycles = 777_666_555;
    stale.stats.survived = 1;
    let new = saved(folder.path(), "new.json", &stale);
    let (out, _) = ends(modrace().arg("compare").args([&old, &new]), 0);
    assert!(!out.contains("777666555") && out.contains("6000"), "{out}");
}

/// One range for every command: a comparison that is right half of the time says
/// nothing, and one beyond six digits cannot be told from certainty.
#[test]
fn a_confidence_outside_of_its_range_is_a_usage_error() {
    let file = fixture("crashed.json");
    for wrong in [
        "1",
        "99.9",
        "0",
        "1e-12",
        "0.49",
        "0.9999999",
        "NaN",
        "much",
    ] {
        ends(
            modrace()
                .args(["compare", "--confidence", wrong])
                .args([&file, &file]),
            2,
        );
    }
}

#[test]
fn merging_a_run_with_itself_is_refused() {
    let file = fixture("crashed.json");
    let (out, err) = ends(modrace().arg("merge").args([&file, &file]), 4);
    assert!(
        out.is_empty() && err.contains("the same trial of the same run"),
        "{err}"
    );
    ends(modrace().arg("merge").arg(&file), 2);
}

#[test]
fn validate_tells_sound_from_edited() {
    let sound = fixture("crashed.json");
    ends(modrace().arg("validate").arg(&sound), 0);
    let folder = tempfile::tempdir().unwrap();
    let edited = folder.path().join("edited.json");
    let text = fs::read_to_string(&sound).unwrap();
    let text = text.replacen("\"verdict\": \"fail\"", "\"verdict\": \"pass\"", 1);
    fs::write(&edited, text).unwrap();
    let (out, _) = ends(modrace().arg("validate").args([&sound, &edited]), 3);
    assert!(
        out.contains("edited.json: verdict: pass in the file, fail"),
        "{out}"
    );
}

#[test]
fn a_file_that_is_no_report_is_broken_input() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("half.json");
    fs::write(&file, "{\"schema\": \"modrace/rep").unwrap();
    for action in ["show", "render", "validate"] {
        let (out, err) = ends(modrace().arg(action).arg(&file), 3);
        assert!(out.is_empty(), "{out}");
        assert!(err.contains("half.json: cut off at line 1"), "{err}");
        let (_, err) = ends(modrace().arg(action).arg("/nowhere.json"), 3);
        assert!(err.contains("/nowhere.json"), "{err}");
    }
}

#[test]
fn the_schema_is_printed_as_committed() {
    let (out, _) = ends(modrace().arg("schema"), 0);
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/report-schema.json");
    // Not assert_eq: thousands of lines help nobody.
    assert!(
        out == fs::read_to_string(committed).unwrap(),
        "differs; MODRACE_UPDATE=1 cargo test --test report_input writes it anew"
    );
}

#[test]
fn help_names_every_format() {
    let (out, _) = ends(modrace().args(["render", "--help"]), 0);
    for format in FORMATS {
        assert!(
            out.contains(format.name) && out.contains(format.help),
            "{}",
            format.name
        );
    }
}
