//! Running the real program on real kernels, one machine at a time.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use modrace::model::Report;

/// Virtual CPUs outnumber real ones already; two guests at once would measure
/// each other.
static MACHINE: Mutex<()> = Mutex::new(());

/// A folder for a test's files, and the machine for itself.
pub(crate) struct Bench {
    pub(crate) folder: tempfile::TempDir,
    _machine: MutexGuard<'static, ()>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
        Self {
            folder: tempfile::tempdir().unwrap(),
            _machine: machine,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `modrace vm` with a report in the folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_of("vm", arguments)
    }

    /// Another command with a report there.
    pub(crate) fn command_of(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = modrace();
        command
            .arg(name)
            .arg("--report")
            .arg(self.path("report.json"))
            .args(arguments);
        command
    }

    /// Runs it to its end.
    pub(crate) fn vm(&self, arguments: &[&str]) -> Ended {
        let output = self.command(arguments).output().unwrap();
        self.ended(&output)
    }

    /// Starts it, and waits until it has said these words; what it says goes to
    /// the file `words`.
    pub(crate) fn under_way(&self, mut command: Command, words: &str) -> Child {
        let path = self.path("words");
        let child = command
            .stdout(Stdio::null())
            .stderr(File::create(&path).unwrap())
            .spawn()
            .unwrap();
        wait_for(words, || {
            fs::read_to_string(&path).is_ok_and(|text| text.contains(words))
        });
        // Between two guests there is none.
        wait_for("a guest", || !guests_of(child.id()).is_empty());
        child
    }

    /// Whether `report validate` has nothing to say of the report.
    pub(crate) fn validates(&self) -> bool {
        let done = modrace()
            .args(["report", "validate"])
            .arg(self.path("report.json"))
            .output()
            .unwrap();
        done.status.success()
    }

    /// `modrace vm` on a file system of its own, which the rest of the machine
    /// does not notice. Says its exit code, and what it left beside the report.
    pub(crate) fn vm_on_disk_of(&self, size: &str, arguments: &str) -> Ended {
        let disk = self.path("disk");
        fs::create_dir(&disk).unwrap();
        let script = format!(
            "mount -t tmpfs -o size={size} modrace-test {disk} && \
             {modrace} vm {arguments} --report {disk}/report.json; echo \"code $?\"; \
             ls -A {disk}/report.logs; cp {disk}/report.json {saved}",
            disk = disk.display(),
            modrace = env!("CARGO_BIN_EXE_modrace"),
            saved = self.path("report.json").display(),
        );
        let output = Command::new("unshare")
            .args(["--map-root-user", "--mount", "sh", "-c", &script])
            .output()
            .unwrap();
        self.ended(&output)
    }

    pub(crate) fn ended(&self, output: &Output) -> Ended {
        let report = fs::read(self.path("report.json")).ok();
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            report: report.map(|bytes| serde_json::from_slice(&bytes).expect("a whole report")),
        }
    }

    /// Starts it, and waits until a guest races: its console says so.
    pub(crate) fn racing(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let console = self.path("report.logs/trial-0000.console.log");
        wait_for("the race to start", || {
            fs::read(&console).is_ok_and(|text| contains(&text, b"modrace: the race starts"))
        });
        child
    }
}

/// A finished run.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) report: Option<Report>,
}

impl Ended {
    pub(crate) fn report(&self) -> &Report {
        self.report
            .as_ref()
            .unwrap_or_else(|| panic!("no report: {}", self.stderr))
    }
}

pub(crate) fn modrace() -> Command {
    Command::new(env!("CARGO_BIN_EXE_modrace"))
}

/// QEMU processes that are children of `parent`.
pub(crate) fn guests_of(parent: u32) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        // pid (comm) state ppid …
        let Some((head, rest)) = stat.rsplit_once(") ") else {
            continue;
        };
        let is_child = rest.split(' ').nth(1) == Some(parent.to_string().as_str());
        if is_child && head.contains("(qemu") {
            found.push(pid);
        }
    }
    found
}

pub(crate) fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub(crate) fn contains(text: &[u8], needle: &[u8]) -> bool {
    text.windows(needle.len()).any(|window| window == needle)
}

/// The dummy module as it is built for the fixed lab kernel.
pub(crate) fn dummy_module() -> PathBuf {
    use modrace::build::{cache::Cache, kbuild};
    let cache = Cache::from_env().unwrap();
    let kernel =
        modrace::session::kernel_arg::resolve("lab:fixed", &cache).expect("`make test` builds it");
    let go_on = std::sync::atomic::AtomicBool::new(false);
    kbuild::build_dummy(&kernel.kdir.unwrap(), &cache, &go_on).unwrap()
}

/// The build tree of a lab kernel.
pub(crate) fn lab_kdir(kernel: &str) -> PathBuf {
    use modrace::build::cache::Cache;
    let cache = Cache::from_env().unwrap();
    let kernel =
        modrace::session::kernel_arg::resolve(kernel, &cache).expect("`make test` builds it");
    kernel.kdir.unwrap()
}

/// Builds a module of `fixtures/` for the fixed lab kernel.
pub(crate) fn fixture_module(name: &str, into: &Path) -> PathBuf {
    fixture_module_for("lab:fixed", name, into)
}

/// The same for another one.
pub(crate) fn fixture_module_for(kernel: &str, name: &str, into: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name);
    for entry in fs::read_dir(source).unwrap().flatten() {
        fs::copy(entry.path(), into.join(entry.file_name())).unwrap();
    }
    let made = Command::new("make")
        .arg("-C")
        .arg(lab_kdir(kernel))
        .arg(format!("M={}", into.display()))
        .arg("modules")
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    into.join(format!("{}.ko", name.replace('-', "_")))
}

/// A kernel with a patch of fixtures/kernel/patches/bogus, built if need be.
pub(crate) fn bogus(name: &str) -> String {
    let patch = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/kernel/patches/bogus")
        .join(format!("{name}.patch"));
    let kernel = format!("bogus-{name}");
    let built = modrace()
        .args(["lab", "build", "--quiet", "--name", &kernel, "--patch"])
        .arg(patch)
        .output()
        .unwrap();
    assert!(built.status.success(), "{built:?}");
    format!("lab:{kernel}")
}
