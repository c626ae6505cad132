//! What a report says besides its title: CPU, process, kernel, taint,
//! registers, code, modules. Reads lines; decides nothing.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;

use super::taint::taints;
use crate::console::Tag;
use crate::model::{Crash, LinkedModule};

/// A pattern of this file.
fn pattern(text: &str) -> Regex {
    #[expect(
        clippy::expect_used,
        reason = "constants of this file; the tests use each"
    )]
    Regex::new(text).expect("a pattern of this file compiles")
}

/// Who ran, by the line that `dump_stack_print_info()` and its predecessors
/// print. Groups: cpu, pid, comm and whatever stands between it and the taint.
static PROCESS_LINE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?:CPU: (?P<cpu>\d+) (?:UID: \d+ )?)?\b[Pp][Ii][Dd]: (?P<pid>\d+),? (?:xid: #\d+, |CPU:? (?P<cpu2>\d+), )?[Cc]omm: +(?P<comm>.*?) +(?:Not tainted|Tainted: )",
    )
});

/// The same where the line ends with the name, or is cut.
static PROCESS_SHORT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?:\bCPU: (?P<cpu>\d+) (?:UID: \d+ )?PID: (?P<pid>\d+)(?: Comm: (?P<comm>\S+))?|^Pid: (?P<pid2>\d+), comm: +(?P<comm2>\S.*?) *$)",
    )
});

/// What may stand between a process's name and the taint: `Kdump: loaded`,
/// `FTT: 0 0`.
static BEHIND_COMM: LazyLock<Regex> = LazyLock::new(|| pattern(r" +[A-Z]\w*: .*$"));

/// The taint, then the release: on the process's line, behind EFLAGS or EIP on
/// i386, behind the trap on powerpc, behind the CPU on old arm.
static TAINT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"\b(?:Not tainted|Tainted: +\(?(?P<letters>[A-Z](?:[A-Z \-]*[A-Z\-])?)\)?)(?:, \[[^\]]*\]\S*| VLI)*(?:[ ,]+\(?(?P<release>\d+\.\d[\w.+~-]*))?",
    )
});

/// i386 of 2.6: `EFLAGS: 00010282   (2.6.7-mm7)`.
static FLAGS_RELEASE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\bEFLAGS: [0-9a-f]{8} +\((\d+\.\d[\w.+~-]*)"));

/// Other lines that name the process: pattern with groups comm, pid and cpu.
static PROCESS_FORMS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    [
        // A soft lockup: `CPU#1 stuck for 22s! [a:12]`.
        r"CPU#(?P<cpu>\d+) stuck for \d+s! \[(?P<comm>.*):(?P<pid>\d+)\]",
        // `INFO: task a:12 blocked`.
        r"INFO: task (?P<comm>.*):(?P<pid>\d+) (?:blocked|can't)",
        // The sanitizers: `by task a/12`.
        r" by task (?P<comm>[^ /]+(?:/[^ /]+)??)/(?P<pid>\d+)(?:\s|$)",
        // `Process rmmod (pid: 2149, threadinfo=…)`, all but new kernels.
        r"^Process:? (?P<comm>\S.*?) \(pid: (?P<pid>\d+)",
        // powerpc: `TASK = c0[2149] 'rmmod' THREAD: c0 CPU: 1`.
        r"^TASK = [0-9a-f]+\[(?P<pid>\d+)\] '(?P<comm>[^']*)'(?:.* CPU: (?P<cpu>\d+))?",
        // alpha, sparc, ia64: `rmmod(2149): Oops [#1]`, `rmmod[2149]: Oops 11`.
        r"^(?:CPU (?P<cpu>\d+) )?(?P<comm>[\w./:-]+)[(\[](?P<pid>\d+)[)\]]: (?:Oops|Kernel|[A-Z])",
        // parisc: `rmmod (pid 2149): Illegal instruction (code 8)`.
        r"^(?P<comm>\S+) \(pid (?P<pid>\d+)\): .* \(code \d+\)",
        // kmemleak: `comm "rmmod", pid 2149`.
        r#"^(?:kmemleak: )?\s*comm "(?P<comm>[^"]*)", pid (?P<pid>\d+)"#,
        // xmon: `pid   = 812, comm = rmmod`.
        r"^ +pid +=\s*(?P<pid>\d+), comm = (?P<comm>\S+)",
        // csky, nios2: `COMM=rmmod PID=2149`.
        r"^COMM=(?P<comm>\S+) PID=(?P<pid>\d+)",
        // `BUG: scheduling while atomic: rmmod/2149/0x00000002` and the like.
        r"^BUG: (?:scheduling while atomic|using \w+\(\) in preemptible.*code): (?P<comm>[^/\s]+(?:/\d+)??)/(?P<pid>\d+)(?:/|$)",
    ]
    .into_iter()
    .map(pattern)
    .collect()
});

/// The CPU alone: `CPU:    1` of i386, `CPU 1 ` of x86-64 before 3.11,
/// `CPU: 0    Not tainted` of old arm.
static CPU_ALONE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(?:CPU|Cpu)(?::| #:)? *(\d{1,4})(?: *$|:? +(?:Not tainted|Tainted|Modules))|\bEFLAGS: [0-9a-f]{8} CPU: (\d+)",
    )
});

/// `RAX: 0000000000000003`, `x29: ffff`, `r10 : 00000000`, `EFLAGS: 00010246`.
static REGISTER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"\b(R[A-DS0-9][XIP0-9]?|RBP|E[A-DS][XIP]|EBP|EFLAGS|CR[0-8]|DR[0-7]|FS|GS|knlGS|CS|DS|ES|SS|[xr]\d{1,2}|s[p0-9]|lr|pc|sp|ra|gp|tp|t\d|a\d|pstate) ?: ?(?:[0-9a-f]{4}:)?([0-9a-f]{4,16})\b",
    )
});

/// What stands in place of bytes that could not be read (`show_opcodes()` in
/// arch/x86/kernel/dumpstack.c).
const UNREAD_CODE: [&str; 2] = ["Unable to access opcode bytes", "Bad RIP value"];

static OFFSET: LazyLock<Regex> = LazyLock::new(|| pattern(r"Kernel Offset: 0x([0-9a-f]+) from"));

/// Reads a line into the crash. The first line that says a thing is believed.
pub(super) fn read(text: &str, crash: &mut Crash) {
    process(text, crash);
    if text.contains("Kernel Offset")
        && let Some(found) = OFFSET.captures(text)
    {
        crash.kernel_offset = u64::from_str_radix(&found[1], 16).ok();
    }
    if let Some((_, list)) = text.split_once("Modules linked in:") {
        if crash.modules.is_empty() {
            modules(list, crash);
        }
    } else if let Some((_, code)) = text.split_once("Code: ") {
        let code = code.trim();
        let bytes = code
            .bytes()
            .all(|b| b.is_ascii_hexdigit() || b" <>()".contains(&b));
        if crash.code.is_none() && bytes && code.len() > 8 {
            crash.code = Some(code.to_owned());
        } else if UNREAD_CODE.iter().any(|words| code.starts_with(words)) {
            // The next line is of user space, where the system call came from.
            crash.code.get_or_insert_default();
        }
    } else if let Some((_, name)) = text.split_once("Hardware name: ") {
        crash.hardware.get_or_insert_with(|| name.trim().to_owned());
    } else {
        registers(text, &mut crash.registers);
    }
}

/// What a vendor's tag says and the report does not.
pub(super) fn from_tag(tag: &Tag, crash: &mut Crash) {
    if crash.pid.is_some() && crash.pid != tag.pid {
        return;
    }
    crash.cpu = crash.cpu.or(tag.cpu);
    crash.pid = crash.pid.or(tag.pid);
    if crash.comm.is_none() {
        crash.comm.clone_from(&tag.comm);
    }
}

fn process(text: &str, crash: &mut Crash) {
    if text.contains("ainted") {
        taint(text, crash);
    }
    if crash.kernel.is_none()
        && text.contains("EFLAGS")
        && let Some(found) = FLAGS_RELEASE.captures(text)
    {
        crash.kernel = Some(found[1].to_owned());
    }
    if crash.cpu.is_some() && crash.pid.is_some() && crash.comm.is_some() {
        return;
    }
    // Most lines name no process; no pattern needs to look at those.
    let worth_it = [
        "omm", "id:", "ID:", "pid", "PID", "CPU", "Cpu", " task ", "TASK", "): ", "]: ",
    ]
    .iter()
    .any(|words| text.contains(words));
    if !worth_it {
        return;
    }
    let whole = PROCESS_LINE
        .captures(text)
        .or_else(|| PROCESS_SHORT.captures(text))
        .or_else(|| PROCESS_FORMS.iter().find_map(|form| form.captures(text)));
    let Some(found) = whole else {
        if crash.cpu.is_none()
            && let Some(found) = CPU_ALONE.captures(text)
        {
            crash.cpu = found
                .get(1)
                .or(found.get(2))
                .and_then(|cpu| cpu.as_str().parse().ok());
        }
        return;
    };
    let group = |name| found.name(name).map(|group| group.as_str());
    let pid = group("pid")
        .or_else(|| group("pid2"))
        .and_then(|pid| pid.parse().ok());
    // A line about another process than the one that is known says nothing.
    if crash.pid.is_some() && pid.is_some() && crash.pid != pid {
        return;
    }
    crash.pid = crash.pid.or(pid);
    crash.cpu = crash.cpu.or_else(|| {
        group("cpu")
            .or_else(|| group("cpu2"))
            .and_then(|cpu| cpu.parse().ok())
    });
    if let Some(comm) = group("comm").or_else(|| group("comm2")) {
        let comm = BEHIND_COMM.replace(comm, "");
        if !comm.trim().is_empty() {
            crash.comm.get_or_insert_with(|| comm.trim().to_owned());
        }
    }
}

/// Taint and release.
fn taint(text: &str, crash: &mut Crash) {
    let Some(found) = TAINT.captures(text) else {
        return;
    };
    if crash.tainted.is_none() {
        let letters: String = found.name("letters").map_or_else(String::new, |letters| {
            letters
                .as_str()
                .split_whitespace()
                .filter(|word| *word != "VLI")
                .flat_map(str::chars)
                .filter(char::is_ascii_uppercase)
                .collect()
        });
        crash.taints = taints(&letters);
        crash.tainted = Some(letters);
    }
    if let Some(release) = found.name("release") {
        crash
            .kernel
            .get_or_insert_with(|| release.as_str().to_owned());
    }
}

fn registers(text: &str, into: &mut BTreeMap<String, String>) {
    // Cheap first: most lines of a report are frames.
    if !text.contains(':') || text.contains("+0x") {
        return;
    }
    for found in REGISTER.captures_iter(text) {
        into.entry(found[1].to_owned())
            .or_insert_with(|| found[2].to_owned());
    }
}

/// ` a(O) b [last unloaded: c]`; the last word may be cut at a line's end.
fn modules(list: &str, crash: &mut Crash) {
    let (list, unloaded) = match list.split_once("[last unloaded: ") {
        Some((list, rest)) => (list, rest.split([']', '(', ' ']).next()),
        None => (list, None),
    };
    crash.last_unloaded = unloaded.filter(|name| !name.is_empty()).map(str::to_owned);
    crash.modules = list
        .split_whitespace()
        .filter(|word| word.starts_with(|c: char| c.is_ascii_alphanumeric()))
        .map(|word| {
            let (name, flags) = word.split_once('(').unwrap_or((word, ""));
            LinkedModule {
                name: name.to_owned(),
                flags: flags.trim_end_matches(')').to_owned(),
            }
        })
        .collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(lines: &[&str]) -> Crash {
        let mut crash = Crash::default();
        for line in lines {
            read(line, &mut crash);
        }
        crash
    }

    #[test]
    fn the_cpu_line_of_an_old_kernel() {
        let crash = read_all(&[
            "CPU: 37 PID: 186343 Comm: cat Tainted: GF          O--------------   3.10.0+ #7",
        ]);
        assert_eq!(crash.cpu, Some(37));
        assert_eq!(crash.pid, Some(186_343));
        assert_eq!(crash.comm.as_deref(), Some("cat"));
        assert_eq!(crash.tainted.as_deref(), Some("GFO"));
        assert_eq!(crash.kernel.as_deref(), Some("3.10.0+"));
    }

    #[test]
    fn code_that_could_not_be_read_is_not_that_of_user_space() {
        let user = "Code: c3 cc cc 0f 05 <48> 3d 01 f0 ff ff";
        for unread in [
            "Code: Unable to access opcode bytes at 0xffffffff9fffffdd.",
            "Code: Bad RIP value.",
        ] {
            assert_eq!(read_all(&[unread, user]).code.as_deref(), Some(""));
        }
        assert!(read_all(&[user]).code.is_some_and(|code| code.len() > 8));
    }

    #[test]
    fn the_cpu_line_of_a_new_kernel() {
        let crash = read_all(&[
            "CPU: 0 UID: 0 PID: 57 Comm: kworker/0:2 Tainted: G        W  O       6.12.0-rc1 #3 PREEMPT(voluntary)",
        ]);
        assert_eq!(crash.pid, Some(57));
        assert_eq!(crash.comm.as_deref(), Some("kworker/0:2"));
        assert_eq!(crash.tainted.as_deref(), Some("GWO"));
        assert_eq!(crash.kernel.as_deref(), Some("6.12.0-rc1"));
    }

    #[test]
    fn what_stands_between_name_and_taint_is_no_name() {
        for (line, comm) in [
            (
                "CPU: 6 PID: 0 Comm: swapper/6 Kdump: loaded Tainted: G        W  OE     4.19.0-6 #1",
                "swapper/6",
            ),
            (
                "CPU: 0 PID: 0 Comm: swapper/0 FTT: 0 0 Not tainted 4.4.111 #1",
                "swapper/0",
            ),
            (
                "CPU: 1 PID: 9 Comm: Web Content Not tainted 5.4.0 #1",
                "Web Content",
            ),
            (
                "CPU: 1 UID: 0 PID: 9 Comm: a b Kdump: loaded Not tainted 6.12.0 #1",
                "a b",
            ),
        ] {
            let crash = read_all(&[line]);
            assert_eq!(crash.comm.as_deref(), Some(comm), "{line}");
            assert!(crash.kernel.is_some(), "{line}");
        }
    }

    #[test]
    fn old_kernels_tell_process_release_and_taint() {
        let i386 = read_all(&[
            "CPU:    1",
            "EIP:    0060:[<c0251234>]    Tainted: PF     VLI",
            "EFLAGS: 00010282   (2.6.7-mm7)",
            "Process rmmod (pid: 2149, threadinfo=d0c6c000 task=d1a0b0c0)",
        ]);
        assert_eq!((i386.cpu, i386.pid), (Some(1), Some(2149)));
        assert_eq!(i386.comm.as_deref(), Some("rmmod"));
        assert_eq!(i386.kernel.as_deref(), Some("2.6.7-mm7"));
        assert_eq!(i386.tainted.as_deref(), Some("PF"));
        let ubuntu =
            read_all(&["Pid: 10, comm: cat Not tainted (2.6.32-13-generic #18-Ubuntu) MODEL"]);
        assert_eq!(ubuntu.kernel.as_deref(), Some("2.6.32-13-generic"));
        assert_eq!(ubuntu.tainted.as_deref(), Some(""));
        let arm = read_all(&["CPU: 0    Tainted: G        W    (2.6.38-rc4 #43)"]);
        assert_eq!((arm.cpu, arm.tainted.as_deref()), (Some(0), Some("GW")));
        assert_eq!(arm.kernel.as_deref(), Some("2.6.38-rc4"));
        let powerpc = read_all(&[
            "REGS: c00000000f1b2c80 TRAP: 0300   Not tainted  (3.2.0-4-powerpc64)",
            "TASK = c00000000f0a0000[812] 'cat' THREAD: c00000000f1b0000 CPU: 3",
        ]);
        assert_eq!((powerpc.cpu, powerpc.pid), (Some(3), Some(812)));
        assert_eq!(powerpc.kernel.as_deref(), Some("3.2.0-4-powerpc64"));
    }

    #[test]
    fn a_warnings_first_line_does_not_keep_the_name_away() {
        let crash = read_all(&[
            "WARNING: CPU: 0 PID: 37 at a.c:1 f+0x1/0x2",
            "CPU: 0 PID: 37 Comm: kworker/0:1 Not tainted 5.10.0 #1",
        ]);
        assert_eq!(crash.comm.as_deref(), Some("kworker/0:1"));
        assert_eq!(crash.tainted.as_deref(), Some(""));
    }

    #[test]
    fn modules_with_flags_and_the_last_unloaded() {
        let crash = read_all(&["Modules linked in: a b(OE+) [last unloaded: dummy_module]"]);
        assert_eq!(crash.modules.len(), 2);
        assert_eq!(crash.modules[1].flags, "OE+");
        assert_eq!(crash.last_unloaded.as_deref(), Some("dummy_module"));
    }

    #[test]
    fn registers_and_code() {
        let crash = read_all(&[
            "RAX: 0000000000000003 RBX: ffffffffa03b5200 RCX: 0000000000000000",
            "RSP: 0018:ffff88080fa7fe18 EFLAGS: 00010246",
            "Code: 48 63 c2 <0f> 0b 66 0f 1f",
            "Kernel Offset: 0x1a000000 from 0xffffffff81000000 (relocation range: x)",
        ]);
        assert_eq!(crash.registers["RBX"], "ffffffffa03b5200");
        assert_eq!(crash.registers["RSP"], "ffff88080fa7fe18");
        assert!(crash.code.expect("code").contains("<0f>"));
        assert_eq!(crash.kernel_offset, Some(0x1a00_0000));
    }
}
