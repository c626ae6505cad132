//! A user's own driver: its mistakes are found and named, without one it is not
//! blamed, and what cannot be raced is refused before anything is.

use modrace::model::{Outcome, Verdict};

use crate::support::{Bench, Ended, fixture_module};

/// Builds the driver of `fixtures/driver-modules`.
fn driver(bench: &Bench) -> String {
    let module = fixture_module("driver-modules", bench.folder.path());
    module.to_string_lossy().into_owned()
}

/// Races it on a kernel with one mistake.
fn raced(kernel: &str, mistake: &str, duration: &str) -> Ended {
    let bench = Bench::new();
    let module = driver(&bench);
    let base = bench.path("driver_base.ko");
    let parameters = format!("mistake={mistake}");
    bench.vm(&[
        "--kernel",
        kernel,
        "--module",
        &module,
        "--with",
        &base.to_string_lossy(),
        "--target",
        "/proc/driver_modules",
        "--params",
        &parameters,
        "--trials",
        "1",
        "--duration",
        duration,
    ])
}

fn failed_by(ended: &Ended, words: &str) {
    assert_eq!(ended.code, Some(1), "{} {}", ended.stdout, ended.stderr);
    let report = ended.report();
    assert_eq!(report.verdict, Verdict::Fail);
    let reason = &report.verdict_reason;
    assert!(reason.contains(words), "{reason}");
}

#[test]
fn a_driver_without_a_mistake_survives() {
    let ended = raced("lab:fixed", "none", "6s");
    assert_eq!(ended.code, Some(0), "{} {}", ended.stdout, ended.stderr);
    let report = ended.report();
    assert_eq!(report.trials[0].outcome, Outcome::Survived);
    assert!(report.trials[0].cycles > 20 && report.trials[0].reads > 20);
}

#[test]
fn memory_that_each_load_loses_is_found_and_named() {
    failed_by(&raced("lab:fixed", "percpu", "6s"), "per-CPU memory");
    failed_by(&raced("lab:fixed", "vmalloc", "6s"), "vmalloc");
}

#[test]
fn a_file_that_stays_is_named() {
    failed_by(
        &raced("lab:fixed", "file", "3s"),
        "/proc/driver_modules_left",
    );
}

#[test]
fn a_warning_fails_the_driver() {
    failed_by(&raced("lab:fixed", "warning", "3s"), "WARNING in show");
}

#[test]
#[ignore = "needs lab:fixed-debugfs, whose build takes minutes"]
fn slab_objects_that_each_load_loses_are_found_and_named() {
    failed_by(&raced("lab:fixed-debugfs", "slab", "6s"), "kmalloc-512");
    let ended = raced("lab:fixed-debugfs", "none", "6s");
    assert_eq!(ended.code, Some(0), "{} {}", ended.stdout, ended.stderr);
}

#[test]
fn what_cannot_be_raced_is_refused_with_its_reason() {
    let bench = Bench::new();
    let module = driver(&bench);
    let base = bench.path("driver_base.ko");
    let base = base.to_string_lossy();
    let refused = |more: &[&str], words: &[&str]| {
        let mut arguments = vec!["--kernel", "lab:fixed", "--trials", "1", "--duration", "3s"];
        arguments.extend(["--module", &module]);
        arguments.extend(more);
        let ended = bench.vm(&arguments);
        assert_eq!(
            ended.code,
            Some(4),
            "{more:?} {} {}",
            ended.stdout,
            ended.stderr
        );
        for word in words {
            assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
        }
    };
    refused(
        &["--target", "/proc/driver_modules"],
        &["Unknown symbol driver_base_number", "--with"],
    );
    refused(
        &["--with", &base, "--target", "/proc/no_such_file"],
        &["/proc/no_such_file"],
    );
    refused(
        &["--with", &base, "--target", "/proc/driver_mod[u]les_*"],
        &["/proc/driver_mod[u]les_*"],
    );
    refused(
        &[
            "--with",
            &base,
            "--target",
            "/proc/driver_modules",
            "--action",
            "write",
            "--text",
            "1",
        ],
        &["/proc/driver_modules"],
    );
}
