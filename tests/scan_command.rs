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

/// A folder with these files.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    folder
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_folders_logs_are_read_each_and_counted_together() {
    let target = std::fs::read(TARGET).unwrap();
    let folder = folder(&[
        ("a.log", b"[    1.000000] quiet\n"),
        ("b/c.log", &target),
        ("b/d.log", &target),
    ]);
    let output = run(&[folder.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("b/c.log:192: kernel BUG in module_flags"));
    assert!(stderr(&output).contains("3 logs, 2 with crashes, 2 crashes in all"));
}

#[test]
fn what_cannot_be_read_is_said_once_and_with_its_reason() {
    let output = run(&["no/such/file"]);
    assert_eq!(output.status.code(), Some(3));
    let said = stderr(&output);
    assert_eq!(said.matches("no/such/file").count(), 1, "{said}");
    assert!(said.contains("No such file"), "{said}");
    let torn = folder(&[("torn.gz", &gzip_of(&std::fs::read(TARGET).unwrap())[..200])]);
    let said = stderr(&run(&[torn.path().to_str().unwrap()]));
    assert_eq!(said.matches("can't read").count(), 1, "{said}");
}

#[test]
fn the_first_crash_ends_a_log_that_is_asked_for_its_first() {
    let many = "fixtures/console/debug-soft-lockup.log";
    let all = stdout(&run(&["--json", many])).lines().count();
    assert!(all > 2);
    let output = run(&["--json", "--first", many]);
    let first: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(first["line"], 25);
}

#[test]
fn a_count_is_a_number_for_each_log() {
    let output = run(&["--count", QUIET, TARGET]);
    assert_eq!(stdout(&output), format!("{QUIET}: 0\n{TARGET}: 1\n"));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_log_with_several_crashes_ends_in_a_table_of_them() {
    let text = stdout(&run(&["fixtures/console/debug-soft-lockup.log"]));
    let table: Vec<&str> = text
        .lines()
        .skip_while(|line| !line.ends_with(": 4 crashes"))
        .collect();
    assert_eq!(table.len(), 6, "{text}");
    let lines: Vec<u64> = table[2..]
        .iter()
        .map(|row| row.split_whitespace().next().unwrap().parse().unwrap())
        .collect();
    assert!(lines.is_sorted(), "{text}");
    assert!(table[2].contains("error") && table[2].contains("INFO: rcu detected stall"));
}

#[test]
fn every_object_fits_the_schema() {
    let schema: serde_json::Value = serde_json::from_str(&stdout(&run(&["--schema"]))).unwrap();
    assert_eq!(schema["title"], "modrace/scan/1");
    let validator = jsonschema::validator_for(&schema).unwrap();
    let text = stdout(&run(&["--json", "fixtures/console"]));
    assert!(text.lines().count() > 150);
    for line in text.lines() {
        let object = serde_json::from_str(line).unwrap();
        let wrong: Vec<_> = validator
            .iter_errors(&object)
            .map(|error| error.to_string())
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}\n{line}");
    }
    assert!(!validator.is_valid(&serde_json::json!({"file": "x"})));
}

/// The log's kernel lines as records of a journal, with a program's between.
fn records(log: &str, write: impl Fn(u64, &str) -> String) -> String {
    log.lines()
        .filter_map(|line| {
            let (time, text) = line.strip_prefix('[')?.split_once(']')?;
            let (seconds, fraction) = time.trim().split_once('.')?;
            let micros: u64 = format!("{seconds}{fraction:0<6}").parse().ok()?;
            Some(write(micros, text.strip_prefix(' ')?))
        })
        .collect()
}

#[test]
fn a_journal_as_json_and_as_export_shows_the_same_crash() {
    let log = std::fs::read_to_string(TARGET).unwrap();
    let json = records(&log, |usec, text| {
        let kernel = serde_json::json!({
            "__CURSOR": "s=1", "_TRANSPORT": "kernel", "SYSLOG_FACILITY": "0", "PRIORITY": "4",
            "_SOURCE_MONOTONIC_TIMESTAMP": usec.to_string(), "MESSAGE": text,
        });
        let program = serde_json::json!({
            "__CURSOR": "s=2", "_TRANSPORT": "journal", "SYSLOG_IDENTIFIER": "app",
            "MESSAGE": "BUG: unable to handle kernel NULL pointer dereference",
        });
        format!("{kernel}\n{program}\n")
    });
    let export = records(&log, |usec, text| {
        format!(
            "__CURSOR=s=1\n_SOURCE_MONOTONIC_TIMESTAMP={usec}\nPRIORITY=4\nMESSAGE={text}\n\
             SYSLOG_FACILITY=0\n_TRANSPORT=kernel\n\n"
        )
    });
    for journal in [json, export] {
        let output = feed(&["--json", "-"], journal.as_bytes());
        assert_eq!(output.status.code(), Some(1));
        let crash: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
        assert_eq!(crash["class"], "target");
        assert_eq!(crash["function"], "module_flags");
        let at = usize::try_from(crash["offset"].as_u64().unwrap()).unwrap();
        let record = &journal[at..at + 400];
        assert!(record.contains("kernel BUG at"), "{record}");
    }
}

#[test]
fn parts_of_pstore_are_one_log_in_their_order() {
    let log = std::fs::read_to_string(TARGET).unwrap();
    let lines: Vec<&str> = log.lines().filter(|line| line.starts_with('[')).collect();
    let third = lines.len() / 3;
    // The end of the log is part 1, under the smallest name. EFI's overlap.
    let part =
        |number: u32, lines: &[&str]| format!("Panic#1 Part{number}\n{}\n", lines.join("\n"));
    let parts = [
        (
            "dmesg-erst-7012345678901234501",
            part(1, &lines[2 * third - 5..]),
        ),
        (
            "dmesg-erst-7012345678901234502",
            part(2, &lines[third - 5..2 * third]),
        ),
        ("dmesg-erst-7012345678901234503", part(3, &lines[..third])),
    ];
    let files: Vec<(&str, &[u8])> = parts
        .iter()
        .map(|(name, text)| (*name, text.as_bytes()))
        .collect();
    let folder = folder(&files);
    let output = run(&["--json", folder.path().to_str().unwrap()]);
    let crash: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(crash["class"], "target");
    assert_eq!(crash["corrupted"], false);
    let whole: serde_json::Value =
        serde_json::from_slice(&feed(&["--json", "-"], log.as_bytes()).stdout).unwrap();
    assert_eq!(crash["call_trace"], whole["call_trace"]);
    assert!(
        crash["file"]
            .as_str()
            .unwrap()
            .ends_with("34503 and 2 more parts"),
        "{crash}"
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
    let zstd =
        ruzstd::encoding::compress_to_vec(&log[..], ruzstd::encoding::CompressionLevel::Fastest);
    assert_eq!(feed(&["-"], &zstd).status.code(), Some(1));
    let torn = &gzip_of(&log)[..200];
    assert_eq!(feed(&["-"], torn).status.code(), Some(3));
}

/// Packed by the programs themselves, twice into one file: what `cat` and log
/// rotation make. The crash is in the second half.
#[test]
fn every_part_of_a_glued_file_is_read() {
    let quiet = b"[    1.000000] usb 1-1: new device\n".repeat(2000);
    let crash = std::fs::read(TARGET).unwrap();
    // A frame of metadata, as pzstd and seekable files have: it is skipped.
    let mut skipped = 0x184d_2a53_u32.to_le_bytes().to_vec();
    skipped.extend(7_u32.to_le_bytes());
    skipped.extend(b"7 bytes");
    for (program, between) in [
        ("gzip", &[][..]),
        ("xz", &[]),
        ("zstd", &[]),
        ("zstd", &skipped),
    ] {
        let mut glued = between.to_vec();
        glued.extend(packed(program, &quiet));
        glued.extend_from_slice(between);
        glued.extend(packed(program, &crash));
        glued.extend_from_slice(between);
        let output = feed(&["--count", "-"], &glued);
        assert_eq!(stdout(&output), "-: 1\n", "{program} {output:?}");
        // Cut in its second half it can't be read, and that is said.
        let cut = glued.len() - between.len() - 40;
        let output = feed(&["--count", "-"], &glued[..cut]);
        assert_eq!(output.status.code(), Some(3), "{program} {output:?}");
    }
}

fn packed(program: &str, bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("{program}, which scripts/install-deps --test brings: {error}")
        });
    let mut stdin = child.stdin.take().unwrap();
    #[allow(clippy::disallowed_methods, reason = "no oops ends this thread")]
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(bytes).unwrap());
        child.wait_with_output().unwrap().stdout
    })
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

#[test]
fn the_instruction_pointers_function_keeps_what_the_compiler_added() {
    let log = "[    1.000000] BUG: kernel NULL pointer dereference, address: 0\n\
               [    1.000001] RIP: 0010:m_show.constprop.0+0x2/0x40 [drv]\n\
               [    1.000002] Call Trace:\n\
               [    1.000003]  vfs_read+0x90/0x13b\n";
    let output = feed(&["--json", "-"], log.as_bytes());
    let crash: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(crash["faulting_function"], "m_show");
    let frame = &crash["faulting_frame"];
    assert_eq!(frame["function"], "m_show.constprop.0");
    assert_eq!(
        (&frame["size"], &frame["module"]),
        (&0x40.into(), &"drv".into())
    );
}
