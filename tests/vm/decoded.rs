//! A crash's trace told by lines of the source: the same as the kernel's own
//! script tells, by a kernel with debug information and modules with theirs.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use modrace::model::Crash;
use regex::Regex;

use crate::support::{Bench, fixture_module_for, lab_kdir, modrace};

const KERNEL: &str = "lab:vulnerable-debug-info";

/// What the script of the kernel's source tells of a log: places by function and
/// offset. It looks a return address up as it is (until 6.16), so the log is
/// handed to it with the addresses of the calls.
fn by_script(kdir: &Path, modules: &Path, log: &str) -> HashMap<String, String> {
    let offset = Regex::new(r"([\w.]+)\+0x([0-9a-f]+)/0x").unwrap();
    let mut names = Vec::new();
    let calls: Vec<String> = log
        .lines()
        .filter(|line| offset.is_match(line))
        .map(|line| {
            let found = offset.captures(line).unwrap();
            let at = u64::from_str_radix(&found[2], 16).unwrap();
            names.push(format!("{}+{at:#x}", &found[1]));
            let call = if line.contains("RIP:") { at } else { at - 1 };
            line.replacen(&found[0], &format!("{}+{call:#x}/0x", &found[1]), 1)
        })
        .collect();
    let source = kdir.parent().unwrap();
    let mut script = Command::new("bash")
        .arg(source.join("scripts/decode_stacktrace.sh"))
        .arg(kdir.join("vmlinux"))
        .arg("auto")
        .arg(modules)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = script.stdin.take().unwrap();
    stdin
        .write_all((calls.join("\n") + "\n").as_bytes())
        .unwrap();
    drop(stdin);
    let output = script.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let places = Regex::new(r"[ :]([\w.]+) \((.*)\) ?").unwrap();
    let discriminator = Regex::new(r" \(discriminator \d+\)").unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), names.len(), "{text}");
    let told = names.into_iter().zip(lines).filter_map(|(name, line)| {
        let line = discriminator.replace_all(line, "");
        let places = places.captures(&line)?;
        Some((name, normal(&places[2])))
    });
    told.collect()
}

/// Places of which only what is sure to be the same is left: no path before the
/// source of the kernel's build or of a module.
fn normal(places: &str) -> String {
    let each = places.split(' ').map(|place| {
        let generated = place.split_once("/build/./").map(|(_, rest)| rest);
        let place = generated.unwrap_or(place).trim_start_matches("build/");
        match place.rsplit_once('/') {
            Some((_, file)) if file.starts_with("provoke.c:") => file.to_owned(),
            _ => place.to_owned(),
        }
    });
    each.collect::<Vec<_>>().join(" ")
}

/// What the report tells: places by function and offset.
fn by_report(crash: &Crash) -> HashMap<String, String> {
    let mut told = HashMap::new();
    let mut places = Vec::new();
    let faulting = crash.faulting_at.iter();
    let at: Vec<&str> = faulting.filter_map(|one| one.source.as_deref()).collect();
    if let Some(frame) = &crash.faulting_frame {
        let name = format!("{}+{:#x}", frame.function, frame.offset.unwrap());
        told.insert(name, normal(&at.join(" ")));
    }
    for frame in &crash.call_trace {
        places.extend(frame.source.as_deref());
        if let (false, Some(offset)) = (frame.inlined, frame.offset) {
            let name = format!("{}+{offset:#x}", frame.function);
            told.insert(name, normal(&places.join(" ")));
            places.clear();
        }
    }
    told
}

#[test]
fn traces_are_told_as_the_kernels_own_script_does() {
    let folder = tempfile::tempdir().unwrap();
    let module = fixture_module_for(KERNEL, "provoke-module", folder.path());
    let module = module.with_file_name("provoke.ko");
    let source = fs::read_to_string(module.with_extension("c")).unwrap();
    let kdir = lab_kdir(KERNEL);
    for what in [
        "",
        "bug",
        "null_dereference",
        "general_protection",
        "divide_error",
    ] {
        let bench = Bench::new();
        let params = format!("what={what}");
        let mut command = vec!["--kernel", KERNEL, "--trials", "1", "--smp", "2"];
        if !what.is_empty() {
            let module = module.to_str().unwrap();
            let target = "/sys/module/{module}/**";
            command.extend(["--module", module, "--target", target, "--params", &params]);
        }
        let ended = bench.vm(&command);
        assert_eq!(ended.code, Some(1), "{what}: {}", ended.stderr);
        let report = ended.report();
        let trial = &report.trials[0];
        let crash = trial.crash.as_ref().unwrap();
        assert_eq!(crash.not_decoded, None);
        let ours = by_report(crash);
        let theirs = by_script(&kdir, folder.path(), &crash.excerpt.join("\n"));
        assert!(ours.len() >= 8, "{ours:?}");
        for (frame, places) in &ours {
            assert!(!places.is_empty(), "{what}: {frame} has no place");
            // The script takes what is in a section of its own, as a module's
            // init is, for what lies as far into the first one.
            if frame.starts_with("provoke_init+") {
                let number = places.strip_prefix("provoke.c:").unwrap();
                let line = source.lines().nth(number.parse::<usize>().unwrap() - 1);
                assert!(line.unwrap().contains(".provoke();"), "{line:?}");
                continue;
            }
            assert_eq!(theirs.get(frame), Some(places), "{what}: {frame}");
        }
        if what.is_empty() {
            // The kernel says itself where it is.
            let place = crash.faulting_at[0].source.as_deref().unwrap();
            let said = format!("kernel BUG at {place}!");
            assert!(crash.excerpt.iter().any(|line| line.contains(&said)));
            let at = crash.instructions.iter().find(|one| one.offset == 0);
            assert_eq!(at.unwrap().text, "ud2");
            let text = report_as_text(&bench);
            assert!(
                text.contains(&format!("module_flags+0xa ({place})")),
                "{text}"
            );
            assert!(text.lines().all(|line| line.len() <= 75), "{text}");
        }
    }
}

fn report_as_text(bench: &Bench) -> String {
    let output = modrace()
        .args(["report", "render", "--format", "text"])
        .arg(bench.path("report.json"))
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_vmlinux_of_another_build_tells_nothing_and_says_why() {
    let bench = Bench::new();
    let image = lab_kdir("lab:vulnerable").join("arch/x86/boot/bzImage");
    let other = lab_kdir(KERNEL);
    let kernel = format!("{},{}", image.display(), other.display());
    let ended = bench.vm(&["--kernel", &kernel, "--trials", "1", "--smp", "2"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let report = ended.report();
    let trial = &report.trials[0];
    let crash = trial.crash.as_ref().unwrap();
    let reason = crash.not_decoded.as_deref().unwrap();
    let build_id = report.environment.kernel.build_id.as_deref().unwrap();
    assert!(reason.contains(build_id), "{reason}");
    assert_eq!(crash.faulting_at, []);
    assert!(crash.call_trace.iter().all(|frame| frame.source.is_none()));
    // The instructions are the crash's own.
    assert!(crash.instructions.iter().any(|one| one.text == "ud2"));
    assert!(report_as_text(&bench).contains("(no lines of the source: vmlinux is of"));

    // A log says no build id, but the sizes of its functions.
    let console = bench.path(trial.console.as_ref().unwrap());
    let text = fs::read_to_string(&console).unwrap();
    let size = Regex::new(r"( seq_read_iter\+0x[0-9a-f]+)/0x[0-9a-f]+").unwrap();
    let edited = size.replace_all(&text, "$1/0x7fff");
    assert_ne!(edited, text);
    fs::write(&console, &*edited).unwrap();
    let scanned = modrace()
        .args(["scan", "--json", "--vmlinux"])
        .arg(other.join("vmlinux"))
        .arg(&console)
        .output()
        .unwrap();
    let line = String::from_utf8(scanned.stdout).unwrap();
    let crash: Crash = serde_json::from_str(line.lines().next().unwrap()).unwrap();
    let reason = crash.not_decoded.as_deref().unwrap();
    assert!(
        reason.contains("seq_read_iter has 0x7fff bytes in the log"),
        "{reason}"
    );
}
