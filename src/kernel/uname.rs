//! What the running kernel says of itself and of its machine.

use std::fs;

use nix::sys::utsname::uname;
use object::NativeEndian;
use object::elf::{ELF_NOTE_GNU, FileHeader64, NT_GNU_BUILD_ID};
use object::read::elf::NoteIterator;

use crate::build::config::hex;
use crate::model::{CHOSEN, Environment, KernelRecord};

/// Describes the kernel that this process runs on, and its machine.
pub fn environment(name: &str) -> Environment {
    let uts = uname().ok();
    let text = |value: &std::ffi::OsStr| value.to_string_lossy().into_owned();
    let version = uts.as_ref().map(|uts| text(uts.version()));
    Environment {
        kernel: KernelRecord {
            name: name.to_owned(),
            release: uts.as_ref().map(|uts| text(uts.release())),
            compiler: compiler(),
            build_id: fs::read("/sys/kernel/notes")
                .ok()
                .and_then(|notes| build_id(&notes)),
            ..KernelRecord::default()
        },
        cpu_model: field("/proc/cpuinfo", "model name"),
        cpus: std::thread::available_parallelism()
            .ok()
            .and_then(|n| u32::try_from(n.get()).ok()),
        mem_mib: meminfo_mib("MemTotal"),
        preemption: version.as_deref().map(|version| match preemption(version) {
            "dynamic" => chosen_preemption().unwrap_or_else(|| "dynamic".to_owned()),
            model => model.to_owned(),
        }),
        clock_source: clock_source(),
        cmdline: fs::read_to_string("/proc/cmdline")
            .ok()
            .map(|line| line.trim().to_owned()),
        ..Environment::default()
    }
    .with_version(version)
}

/// What the kernel reads the time from: `tsc`, `hpet`, `acpi_pm`, `kvm-clock`.
pub fn clock_source() -> Option<String> {
    let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|name| !name.is_empty())
}

/// Memory that new programs may use, MiB.
pub fn free_memory_mib() -> Option<u32> {
    meminfo_mib("MemAvailable")
}

/// The boot that this is: it changes with each. Empty where the kernel does not
/// say, `/proc/sys/kernel/random/boot_id`.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

/// `uname -r` and `uname -m` of the running kernel.
pub fn release_and_machine() -> (String, String) {
    let text = |value: &std::ffi::OsStr| value.to_string_lossy().into_owned();
    uname().map_or_else(
        |_| (String::new(), String::new()),
        |uts| (text(uts.release()), text(uts.machine())),
    )
}

impl Environment {
    fn with_version(mut self, version: Option<String>) -> Self {
        self.kernel.version = version;
        self
    }
}

/// The build id among ELF notes.
fn build_id(notes: &[u8]) -> Option<String> {
    let notes = NoteIterator::<FileHeader64<NativeEndian>>::new(NativeEndian, 4, notes);
    let id = notes
        .ok()?
        .map_while(Result::ok)
        .find(|note| note.name() == ELF_NOTE_GNU && note.n_type(NativeEndian) == NT_GNU_BUILD_ID)?;
    Some(hex(id.desc()))
}

/// What a kernel that can choose has chosen: `voluntary (dynamic)`. None where
/// debugfs does not say (`kernel/sched/debug.c`, since 5.12).
fn chosen_preemption() -> Option<String> {
    let text = fs::read_to_string("/sys/kernel/debug/sched/preempt").ok()?;
    Some(format!("{}{CHOSEN}", chosen(&text)?))
}

/// The word in parentheses, of `none (voluntary) full`.
fn chosen(text: &str) -> Option<&str> {
    text.split_whitespace()
        .find_map(|word| word.strip_prefix('(')?.strip_suffix(')'))
}

/// The preemption model as far as `uname -v` shows it: `PREEMPT_RT`,
/// `PREEMPT_DYNAMIC`, `PREEMPT` are part of it, none and voluntary are not
/// (`init/Makefile`, `UTS_VERSION`). The configuration knows better.
fn preemption(version: &str) -> &'static str {
    let has = |word: &str| version.split_whitespace().any(|part| part == word);
    if has("PREEMPT_RT") {
        "rt"
    } else if has("PREEMPT_DYNAMIC") {
        "dynamic"
    } else if has("PREEMPT") {
        "full"
    } else {
        "none or voluntary"
    }
}

/// `key: value` from a file of such lines.
fn field(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim().to_owned())
    })
}

fn meminfo_mib(row: &str) -> Option<u32> {
    let kib: u64 = field("/proc/meminfo", row)?
        .strip_suffix(" kB")?
        .parse()
        .ok()?;
    u32::try_from(kib / 1024).ok()
}

/// The compiler named in `/proc/version`: the second parenthesis there
/// (`init/version.c`, `linux_proc_banner`).
fn compiler() -> Option<String> {
    let banner = fs::read_to_string("/proc/version").ok()?;
    let (_, rest) = banner.split_once(") (")?;
    let (inside, _) = rest.split_once(") #")?;
    Some(inside.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_id_is_found_among_other_notes() {
        let note = |owner: &[u8], kind: u32, content: &[u8]| {
            let mut bytes = Vec::new();
            for word in [owner.len(), content.len()] {
                bytes.extend(u32::try_from(word).unwrap().to_ne_bytes());
            }
            bytes.extend(kind.to_ne_bytes());
            for part in [owner, content] {
                bytes.extend(part);
                bytes.resize(bytes.len().next_multiple_of(4), 0);
            }
            bytes
        };
        let mut notes = note(b"Linux\0", 257, &[0, 1, 2]);
        notes.extend(note(b"GNU\0", 5, &[7; 8]));
        assert_eq!(build_id(&notes), None);
        notes.extend(note(b"GNU\0", 3, &[0xab, 0xcd, 0xef]));
        assert_eq!(build_id(&notes).as_deref(), Some("abcdef"));
        assert_eq!(build_id(&notes[..notes.len() - 4]), None);
        assert_eq!(build_id(&[]), None);
    }

    #[test]
    fn preemption_is_read_from_the_version() {
        assert_eq!(
            preemption("#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2"),
            "dynamic"
        );
        assert_eq!(preemption("#1 SMP PREEMPT Mon"), "full");
        assert_eq!(preemption("#1 SMP PREEMPT_RT Mon"), "rt");
        assert_eq!(preemption("#1 SMP Mon"), "none or voluntary");
        assert_eq!(chosen("none (voluntary) full\n"), Some("voluntary"));
        assert_eq!(chosen("none voluntary full\n"), None);
    }
}
