//! Every console below `fixtures/console`, against what it is known to show.
//! `MODRACE_UPDATE=1 cargo test --test scan_fixtures` rewrites the
//! expectations; read the difference before you commit it.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use modrace::crash::{SIGNATURES, ScanEvent, Scanner, scan};
use modrace::model::Crash;

fn fixtures() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/console");
    let mut logs: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "log"))
        .collect();
    logs.sort();
    logs
}

fn describe(crash: &Crash) -> String {
    let mut out = String::new();
    writeln!(out, "{}: {}", crash.line, crash.title).unwrap();
    writeln!(
        out,
        "  {} {} {} {}",
        crash.signature,
        crash.kind.as_str(),
        crash.severity.as_str(),
        crash.class.as_str()
    )
    .unwrap();
    let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "-".to_owned());
    writeln!(
        out,
        "  function {}, faulting {}, {}[{}] cpu {}, kernel {}, tainted {}",
        name(&crash.function),
        name(&crash.faulting_function),
        name(&crash.comm),
        crash
            .pid
            .map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
        crash
            .cpu
            .map_or_else(|| "-".to_owned(), |cpu| cpu.to_string()),
        name(&crash.kernel),
        crash
            .tainted
            .as_deref()
            .map_or("-", |letters| if letters.is_empty() {
                "none"
            } else {
                letters
            }),
    )
    .unwrap();
    writeln!(
        out,
        "  {} frames, {} registers, {} modules, lines {} to {}",
        crash.call_trace.len(),
        crash.registers.len(),
        crash.modules.len(),
        crash.excerpt_line,
        crash.excerpt_line + crash.excerpt.len() as u64 - 1,
    )
    .unwrap();
    if let Some(reason) = &crash.corrupted_reason {
        writeln!(out, "  corrupted: {reason}").unwrap();
    }
    for follow_on in &crash.follow_ons {
        writeln!(out, "  then {}: {}", follow_on.line, follow_on.title).unwrap();
    }
    out
}

#[test]
fn every_console_shows_what_it_is_known_to_show() {
    let update = std::env::var_os("MODRACE_UPDATE").is_some();
    let mut wrong = String::new();
    let logs = fixtures();
    assert!(logs.len() > 40, "the fixtures are missing");
    for log in logs {
        let expected = log.with_extension("expect");
        let found: String = scan(&fs::read(&log).unwrap())
            .iter()
            .map(describe)
            .collect();
        if update {
            let quiet = log
                .file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("quiet-");
            assert!(!quiet || found.is_empty(), "{}: {found}", log.display());
            fs::write(&expected, &found).unwrap();
            continue;
        }
        let known = fs::read_to_string(&expected).unwrap_or_default();
        if known != found {
            writeln!(
                wrong,
                "{}\n--- known\n{known}--- found\n{found}",
                log.display()
            )
            .unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_log_named_quiet_is_silent() {
    let mut quiet = 0;
    for log in fixtures() {
        let name = log.file_stem().unwrap().to_string_lossy().into_owned();
        let crashes = scan(&fs::read(&log).unwrap());
        if name.starts_with("quiet-") {
            quiet += 1;
            assert_eq!(crashes, [], "{name}");
        } else {
            assert!(!crashes.is_empty(), "{name}: no crash");
        }
    }
    assert!(quiet > 5, "the quiet logs are missing");
}

#[test]
fn the_target_is_told_from_everything_else() {
    for log in fixtures() {
        let name = log.file_stem().unwrap().to_string_lossy().into_owned();
        for crash in scan(&fs::read(&log).unwrap()) {
            assert_eq!(
                crash.class.as_str() == "target",
                name.starts_with("target-") && !name.starts_with("target-functions-"),
                "{name}: {}",
                crash.title
            );
        }
    }
}

#[test]
fn every_fixture_says_where_it_comes_from() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/console");
    let provenance = fs::read_to_string(dir.join("PROVENANCE.md")).unwrap();
    for log in fixtures() {
        let name = log.file_name().unwrap().to_string_lossy().into_owned();
        assert!(
            provenance.contains(&format!("`{name}`")),
            "{name}: say in PROVENANCE.md where it comes from"
        );
    }
}

#[test]
fn a_sign_comes_with_its_line_and_before_its_crash() {
    for log in fixtures() {
        let bytes = fs::read(&log).unwrap();
        for crash in scan(&bytes) {
            let at = usize::try_from(crash.offset).unwrap();
            // A weak first line waits for the one that confirms it.
            let row = SIGNATURES
                .iter()
                .find(|row| row.name == crash.signature)
                .unwrap();
            let end: usize = bytes[at..]
                .split_inclusive(|&b| b == b'\n')
                .take(1 + row.confirm.1)
                .map(<[u8]>::len)
                .sum();
            let end = at + end;
            let mut scanner = Scanner::new();
            let signs: Vec<_> = scanner
                .feed(&bytes[..end])
                .into_iter()
                .filter_map(|event| match event {
                    ScanEvent::Sign(sign) => Some(sign.line),
                    ScanEvent::Crash(_) => None,
                })
                .collect();
            assert!(signs.contains(&crash.line), "{}", log.display());
        }
    }
}
