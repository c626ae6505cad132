//! `modrace scan` as people call it: exit codes, output, pipes.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};

const TARGET: &str = "fixtures/console/target-6.1-shell-loops.log";
const QUIET: &str = "fixtures/console/quiet-lab-6.1-boot.log";
const WARNING: &str = "fixtures/console/plain-warning.log";

fn modrace() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_modrace"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).arg("scan");
    command
}

fn run(args: &[&str]) -> Output {
    modrace().args(args).output().unwrap()
}

fn feed(args: &[&str], bytes: &[u8]) -> Output {
    let mut child = modrace()
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that fails before it reads closes the pipe; its exit code is judged.
    let _closed_early = child.stdin.take().unwrap().write_all(bytes);
    child.wait_with_output().unwrap()
}

#[test]
fn the_exit_code_says_whether_there_was_a_crash() {
    assert_eq!(run(&[TARGET]).status.code(), Some(1));
    assert_eq!(run(&[QUIET]).status.code(), Some(0));
    assert_eq!(run(&[QUIET, TARGET]).status.code(), Some(1));
    assert_eq!(run(&[]).status.code(), Some(2));
}

#[test]
fn a_warning_is_shown_but_is_no_failure() {
    let output = run(&[WARNING]);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("WARNING in provoke_warning")
    );
}

#[test]
fn a_file_that_cannot_be_read_is_3_and_hides_no_crash() {
    let output = run(&["no/such/file", TARGET]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("module_flags")
    );
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("no/such/file")
    );
}

#[test]
fn json_is_one_object_a_line() {
    let output = run(&["--json", TARGET, "fixtures/console/plain-bug.log"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let crashes: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(crashes.len(), 2);
    assert_eq!(crashes[0]["file"], TARGET);
    assert_eq!(crashes[0]["class"], "target");
    assert_eq!(crashes[0]["corrupted"], false);
    assert_eq!(crashes[1]["class"], "unrelated");
    for key in [
        "line",
        "kind",
        "signature",
        "title",
        "function",
        "call_trace",
    ] {
        assert!(!crashes[0][key].is_null(), "{key}");
    }
}

#[test]
fn text_has_a_caret_below_the_match() {
    let text = String::from_utf8(run(&[TARGET]).stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let at = lines
        .iter()
        .position(|line| line.contains("kernel BUG at"))
        .unwrap();
    let column = lines[at].find("kernel BUG at").unwrap();
    assert_eq!(lines[at + 1].find('^'), Some(column));
}

#[test]
fn stdin_and_compressed_logs_are_read() {
    let log = std::fs::read(TARGET).unwrap();
    assert_eq!(feed(&["-"], &log).status.code(), Some(1));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&log).unwrap();
    assert_eq!(feed(&["-"], &gzip.finish().unwrap()).status.code(), Some(1));
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&log).unwrap();
    assert_eq!(feed(&["-"], &xz.finish().unwrap()).status.code(), Some(1));
    let torn = &gzip_of(&log)[..200];
    assert_eq!(feed(&["-"], torn).status.code(), Some(3));
}

fn gzip_of(log: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(log).unwrap();
    gzip.finish().unwrap()
}

#[test]
fn a_reader_that_goes_away_is_harmless() {
    let log = std::fs::read(TARGET).unwrap().repeat(200);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), log).unwrap();
    let mut child = modrace()
        .arg("--json")
        .arg(file.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut some = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    // The pipe is closed here.
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn the_signatures_are_listed() {
    let output = Command::new(env!("CARGO_BIN_EXE_modrace"))
        .args(["list", "signatures"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().count() > 80);
    assert!(text.contains("KASAN"));
}

#[test]
fn a_vmlinux_adds_places_to_frames() {
    use object::{Object, ObjectSymbol};
    // Any ELF file with line tables will do: this program's own.
    let binary = env!("CARGO_BIN_EXE_modrace");
    let image = std::fs::read(binary).unwrap();
    let elf = object::File::parse(&*image).unwrap();
    let main = elf
        .symbols()
        .find(|symbol| {
            symbol
                .name()
                .is_ok_and(|name| name.contains("4main17h") || name.contains("modrace4main"))
        })
        .expect("a function main");
    let name = main.name().unwrap();
    let log = format!(
        "[    1.000000] BUG: kernel NULL pointer dereference, address: 0\n\
         [    1.000001] RIP: 0010:{name}+0x2/{size:#x}\n\
         [    1.000002] Call Trace:\n\
         [    1.000003]  {name}+0x2/{size:#x}\n",
        size = main.size()
    );
    let output = feed(&["--json", "--vmlinux", binary, "-"], log.as_bytes());
    let crash: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let source = crash["call_trace"][0]["source"].as_str().expect("a place");
    assert!(source.contains(".rs:"), "{source}");
    let none = feed(&["--vmlinux", "no/such/vmlinux", "-"], log.as_bytes());
    assert_eq!(none.status.code(), Some(3));
}
