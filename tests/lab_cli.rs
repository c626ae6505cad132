//! `modrace lab` and `modrace doctor` as a person runs them: bad input, a full
//! disk, an interrupt. Nothing half-built may stay.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use modrace::build::cache::Cache;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// For the tests that build in the user's own cache.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const MODRACE: &str = env!("CARGO_BIN_EXE_modrace");

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs modrace with a cache of the test's own.
fn modrace(cache: &Path, args: &[&str]) -> Output {
    Command::new(MODRACE)
        .env("MODRACE_CACHE", cache)
        .args(args)
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Asserts the exit code and what the message names.
fn refused(output: &Output, code: i32, words: &[&str]) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "no `{word}` in: {text}");
    }
}

/// Kernels, work, sources and logs in a cache's lab.
fn left_over(cache: &Path) -> Vec<PathBuf> {
    ["lab/kernels", "lab/work", "lab/source", "lab/logs"]
        .iter()
        .filter_map(|part| fs::read_dir(cache.join(part)).ok())
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect()
}

#[test]
fn an_unknown_kernel_is_named_with_those_that_are_known() {
    let dir = tempfile::tempdir().unwrap();
    let output = modrace(dir.path(), &["lab", "build", "fxied"]);
    refused(&output, 2, &["`fxied`", "vulnerable", "fixed", "--name"]);
    let output = modrace(dir.path(), &["lab", "remove", "fixed"]);
    refused(&output, 2, &["`fixed`", "lab list"]);
    let output = modrace(dir.path(), &["lab", "build", "--name", "fixed"]);
    refused(&output, 2, &["`fixed`", "another name"]);
}

#[test]
fn what_is_no_source_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let build = |source: &Path| {
        let source = source.to_str().unwrap();
        modrace(&cache, &["lab", "build", "fixed", "--source", source])
    };
    let absent = dir.path().join("absent.tar.xz");
    refused(&build(&absent), 2, &["absent.tar.xz", "--source"]);
    let text = dir.path().join("text.tar");
    fs::write(&text, "no archive ".repeat(500)).unwrap();
    refused(&build(&text), 3, &["text.tar"]);
    // A folder that is none, and one that is an archive of something else.
    refused(&build(dir.path()), 2, &["scripts/kconfig"]);
    let other = dir.path().join("other.tar");
    let mut archive = tar::Builder::new(fs::File::create(&other).unwrap());
    archive.append_dir_all("other", "dummy-module").unwrap();
    archive.finish().unwrap();
    refused(&build(&other), 2, &["other.tar", "no Makefile"]);
    assert_eq!(left_over(&cache), Vec::<PathBuf>::new());
}

/// `fixed` from a source without the fix would be a vulnerable kernel.
#[test]
fn a_source_without_the_fix_gives_no_fixed_kernel() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let tree = dir.path().join("tree");
    let text = "static void free_module(struct module *mod)\n{\n\tmod->state = MODULE_STATE_UNFORMED;\n}\n";
    for (file, text) in [
        ("Makefile", "\n"),
        ("Kconfig", "\n"),
        ("scripts/kconfig/merge_config.sh", "\n"),
        ("kernel/module/main.c", text),
    ] {
        let path = tree.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let tree = tree.to_str().unwrap();
    let output = modrace(&cache, &["lab", "build", "fixed", "--source", tree]);
    refused(&output, 2, &["`fixed`", "the fix is not in it", "--name"]);
    let output = modrace(&cache, &["lab", "build", "vulnerable", "--source", tree]);
    refused(
        &output,
        2,
        &["the fix is not in it", "main.c", "MODULE_STATE_UNFORMED"],
    );
    let left = left_over(&cache);
    assert!(
        left.iter()
            .all(|path| path.starts_with(cache.join("lab/source"))),
        "{left:?}"
    );
}

/// Of a git tree, what git knows and would add; of any tree, no build products.
#[test]
fn a_git_tree_is_taken_without_what_was_built_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let tree = dir.path().join("tree");
    for (file, text) in [
        ("Makefile", "\n"),
        ("Kconfig", "\n"),
        ("scripts/kconfig/merge_config.sh", "exit 3\n"),
        (".gitignore", "*.o\n.config\n"),
        (".config", "CONFIG_X=y\n"),
        ("kernel/new.c", "int not_yet_added;\n"),
        ("kernel/old.o", "object\n"),
    ] {
        let path = tree.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let text = tree.to_str().unwrap();
    let build = || {
        modrace(
            &cache,
            &["lab", "build", "--name", "mine", "--source", text],
        )
    };
    refused(&build(), 2, &["make mrproper"]);
    let git = |args: &[&str]| {
        let done = Command::new("git").arg("-C").arg(&tree).args(args).output();
        assert!(done.unwrap().status.success());
    };
    git(&["init", "-q"]);
    git(&["add", "Makefile", "Kconfig"]);
    // It is no kernel that could be configured, and the log says so.
    refused(&build(), 3, &["configuration failed", "lab/logs/mine-"]);
    let source = fs::read_dir(cache.join("lab/source")).unwrap().next();
    let source = source.unwrap().unwrap().path();
    assert!(source.join("kernel/new.c").is_file());
    assert!(!source.join("kernel/old.o").exists());
    assert!(!source.join(".config").exists() && !source.join(".git").exists());
}

#[test]
fn a_torn_tarball_is_an_error_and_no_source() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let torn = dir.path().join("torn.tar.xz");
    let whole = fs::read(modrace::lab::DEBIAN_TARBALL).unwrap();
    fs::write(&torn, &whole[..4 << 20]).unwrap();
    let torn = torn.to_str().unwrap();
    let output = modrace(&cache, &["lab", "build", "fixed", "--source", torn]);
    refused(&output, 3, &["torn.tar.xz"]);
    assert_eq!(left_over(&cache), Vec::<PathBuf>::new());
}

#[test]
fn a_full_disk_is_called_a_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let small = dir.path().to_str().unwrap();
    // A small disk that only this process sees, and that goes away with it.
    let script = "mount -t tmpfs -o size=48m none \"$1\" && exec \"$2\" lab build fixed";
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .args([small, MODRACE])
        .env("MODRACE_CACHE", small)
        .output()
        .unwrap();
    refused(&output, 3, &[small, "No space left", "make room"]);
}

#[test]
fn an_interrupt_ends_make_and_keeps_no_half_kernel() {
    let _alone = alone();
    // The user's own cache: its source is unpacked already.
    let cache = Cache::from_env().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let name = format!("test-interrupt-{}", std::process::id());
    // Another configuration than any other kernel's: nothing to start from.
    let fragment = dir.path().join("other.config");
    fs::write(&fragment, format!("CONFIG_LOCALVERSION=\"-{name}\"\n")).unwrap();
    let mut child = Command::new(MODRACE)
        .args(["lab", "build", "--name", &name, "--config"])
        .arg(&fragment)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let id = Pid::from_raw(child.id().cast_signed());
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut seen = Vec::new();
    let mut make = Vec::new();
    for line in lines {
        let line = line.unwrap();
        if line.ends_with("compiling") {
            make = wait_for_children(id);
            kill(id, Signal::SIGTERM).unwrap();
        }
        seen.push(line);
    }
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130), "{seen:#?}");
    assert!(!make.is_empty(), "make never ran: {seen:#?}");
    for pid in make {
        assert!(!alive(pid), "{pid} outlived modrace");
    }
    let found = left_over(cache.root());
    let half: Vec<_> = found
        .iter()
        .filter(|path| {
            path.to_string_lossy().contains(&name)
                || path.starts_with(cache.root().join("lab/work"))
        })
        .collect();
    assert!(half.is_empty(), "{half:?}");
}

/// The processes that a process started, as soon as there are some.
fn wait_for_children(parent: Pid) -> Vec<Pid> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let children: Vec<Pid> = descendants(parent);
        if !children.is_empty() || Instant::now() > deadline {
            return children;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn descendants(parent: Pid) -> Vec<Pid> {
    let mut found = Vec::new();
    let mut parents = vec![parent];
    while let Some(parent) = parents.pop() {
        for task in fs::read_dir(format!("/proc/{parent}/task"))
            .into_iter()
            .flatten()
        {
            let list = task.unwrap().path().join("children");
            for pid in fs::read_to_string(list)
                .unwrap_or_default()
                .split_whitespace()
            {
                let pid = Pid::from_raw(pid.parse().unwrap());
                found.push(pid);
                parents.push(pid);
            }
        }
    }
    found
}

/// Whether a process runs; one that ended and waits for init does not.
fn alive(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
        !state.starts_with('Z')
    })
}

#[test]
fn a_patch_or_an_option_that_does_not_fit_is_named() {
    let _alone = alone();
    let cache = Cache::from_env().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let name = format!("test-misfit-{}", std::process::id());
    let patch = dir.path().join("misfit.patch");
    fs::write(
        &patch,
        "--- a/kernel/module/main.c\n+++ b/kernel/module/main.c\n@@ -1,2 +1,1 @@\n-not there\n nor this\n",
    )
    .unwrap();
    let build = |option: &str, file: &Path| {
        let file = file.to_str().unwrap();
        modrace(
            cache.root(),
            &["lab", "build", "--name", &name, option, file],
        )
    };
    refused(
        &build("--patch", &patch),
        2,
        &["misfit.patch", "kernel/module/main.c"],
    );
    let fragment = dir.path().join("other.config");
    fs::write(&fragment, "CONFIG_NO_SUCH_OPTION=y\nCONFIG_PCI=n\n").unwrap();
    let lost = build("--config", &fragment);
    refused(&lost, 2, &["CONFIG_NO_SUCH_OPTION=y"]);
    let absent = dir.path().join("absent.patch");
    refused(&build("--patch", &absent), 2, &["absent.patch"]);
    let half: Vec<_> = left_over(cache.root())
        .into_iter()
        .filter(|path| path.to_string_lossy().contains(&name))
        .collect();
    assert!(half.is_empty(), "{half:?}");
}

#[test]
fn the_list_names_every_lab_kernel_and_its_state() {
    let dir = tempfile::tempdir().unwrap();
    let output = modrace(dir.path(), &["lab", "list"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    for row in modrace::lab::LAB_KERNELS {
        let line = text
            .lines()
            .find(|line| line.split(' ').next() == Some(row.name));
        assert!(line.unwrap().contains("not built"), "{text}");
    }
    let output = modrace(dir.path(), &["lab", "list", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        json.as_array().unwrap().len(),
        modrace::lab::LAB_KERNELS.len()
    );
}

#[test]
fn doctor_says_what_is_missing_and_how_to_mend_it() {
    let dir = tempfile::tempdir().unwrap();
    // A machine without QEMU: nothing on PATH.
    let output = Command::new(MODRACE)
        .args(["doctor", "--json"])
        .env("MODRACE_CACHE", dir.path())
        .env("PATH", dir.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(4));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["vm"], false);
    let findings = json["findings"].as_array().unwrap();
    let qemu = findings
        .iter()
        .find(|finding| finding["what"] == "qemu-system-x86_64")
        .unwrap();
    assert_eq!(qemu["state"], "missing");
    assert!(qemu["mend"].as_str().unwrap().contains("qemu-system-x86"));

    let output = modrace(dir.path(), &["doctor"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("modrace lab build vulnerable")
            || text.contains("lab build fixed vulnerable"),
        "{text}"
    );
    // A device that opens is not an accelerator that works.
    assert!(!text.contains("found     /dev/kvm"), "{text}");
}
