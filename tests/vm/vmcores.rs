//! The memory of a guest that panicked, as a file that others open.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use modrace::model::Outcome;

use crate::support::{Bench, lab_kdir};

const KERNEL: &str = "lab:vulnerable-debug-info";

/// A run of one trial that crashes, and its vmcore.
fn crashed(bench: &Bench) -> PathBuf {
    let ended = bench.vm(&["--kernel", KERNEL, "--trials", "1", "--smp", "2"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let report = ended.report();
    let vmcore = report.trials[0].vmcore.as_ref().expect("a vmcore");
    let path = bench.path(&vmcore.file);
    assert_eq!(fs::metadata(&path).unwrap().len(), vmcore.bytes);
    assert!(ended.stdout.contains(&vmcore.file), "{}", ended.stdout);
    path
}

/// What a run leaves beside its console logs.
fn others(logs: &Path) -> Vec<String> {
    let names = fs::read_dir(logs).unwrap().flatten();
    names
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.ends_with(".console.log"))
        .collect()
}

#[test]
fn crash_opens_it_and_shows_the_reader_in_module_flags() {
    let bench = Bench::new();
    let vmcore = crashed(&bench);
    assert_eq!(others(vmcore.parent().unwrap()), ["trial-0000.vmcore"]);
    let commands = bench.path("commands");
    fs::write(&commands, "bt\nstruct module.state,name 0x0\nquit\n").unwrap();
    let shown = Command::new("crash")
        .args(["-s", "-i"])
        .arg(&commands)
        .arg(lab_kdir(KERNEL).join("vmlinux"))
        .arg(&vmcore)
        .env("TERM", "dumb")
        .output()
        .expect("crash(8), which scripts/install-deps --test installs");
    let shown = String::from_utf8_lossy(&shown.stdout);
    assert!(
        shown.contains("[exception RIP: module_flags+10]"),
        "{shown}"
    );
    assert!(shown.contains("m_show at "), "{shown}");
}

/// drgn comes from `PyPI`, in a folder of its own.
#[test]
#[ignore = "installs drgn from PyPI"]
fn drgn_finds_the_dummy_module_unformed() {
    let bench = Bench::new();
    let vmcore = crashed(&bench);
    let venv = bench.path("venv");
    let run = |command: &mut Command| {
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv));
    run(Command::new(venv.join("bin/pip")).args(["install", "--quiet", "drgn"]));
    let script = bench.path("modules.py");
    fs::write(
        &script,
        "import sys\n\
         from drgn import Program\n\
         from drgn.helpers.linux.list import list_for_each_entry\n\
         program = Program()\n\
         program.set_core_dump(sys.argv[1])\n\
         program.load_debug_info([sys.argv[2]])\n\
         head = program['modules'].address_of_()\n\
         for module in list_for_each_entry('struct module', head, 'list'):\n\
         \x20   print(module.name.string_().decode(), module.state.format_(type_name=False))\n",
    )
    .unwrap();
    let shown = run(Command::new(venv.join("bin/python"))
        .arg(&script)
        .arg(&vmcore)
        .arg(lab_kdir(KERNEL).join("vmlinux")));
    assert_eq!(shown, "dummy_module MODULE_STATE_UNFORMED\n");
}

#[test]
fn a_disk_without_room_costs_the_vmcore_and_not_the_verdict() {
    let bench = Bench::new();
    let ended = bench.vm_on_disk_of("8m", &format!("--kernel {KERNEL} --trials 1 --smp 2"));
    assert!(ended.stdout.contains("code 1"), "{}", ended.stderr);
    assert!(
        ended.stdout.ends_with("code 1\ntrial-0000.console.log\n"),
        "{}",
        ended.stdout
    );
    let report = ended.report();
    let trial = &report.trials[0];
    assert_eq!((trial.outcome, &trial.vmcore), (Outcome::Crashed, &None));
    let note = trial
        .notes
        .iter()
        .find(|note| note.starts_with("no vmcore: "));
    assert!(note.unwrap().contains("MiB free"), "{note:?}");
}
