//! What a report says besides its title: CPU, process, kernel, taint,
//! registers, code, modules. Reads lines; decides nothing.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;

use super::taint::taints;
use crate::model::{Crash, LinkedModule};

/// A pattern of this file.
fn pattern(text: &str) -> Regex {
    #[expect(
        clippy::expect_used,
        reason = "constants of this file; the tests use each"
    )]
    Regex::new(text).expect("a pattern of this file compiles")
}

/// `CPU: 37 PID: 186343 Comm: cat Tainted: GF  O---- 3.10.0+ #7`, and newer
/// ones with `UID:` and with words behind the letters.
static CPU_LINE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?:CPU: (\d+) (?:UID: \d+ )?)?\b[Pp][Ii][Dd]: (\d+),? [Cc]omm: (.+?) (?:Not tainted|Tainted: ([A-Z][A-Z \-]*?)(?:, \[[^\]]*\][^0-9]*| +))[ ,]*(\S+\d\S*) ",
    )
});

/// `CPU: 1 PID: 2 Comm: x` at least, if the rest is cut.
static CPU_SHORT: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\bCPU: (\d+) (?:UID: \d+ )?PID: (\d+)(?: Comm: (\S+))?"));

/// A soft lockup's line says it differently: `CPU#1 stuck for 22s! [a:12]`.
static STUCK: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"CPU#(\d+) stuck for \d+s! \[(.*):(\d+)\]"));

/// `INFO: task a:12 blocked`
static BLOCKED: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"INFO: task (.*):(\d+) (?:blocked|can't)"));

/// `by task a/12`, of the sanitizers.
static BY_TASK: LazyLock<Regex> = LazyLock::new(|| pattern(r" by task ([^ /]+)/(\d+)"));

/// `RAX: 0000000000000003`, `x29: ffff`, `r10 : 00000000`, `EFLAGS: 00010246`.
static REGISTER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"\b(R[A-DS0-9][XIP0-9]?|RBP|E[A-DS][XIP]|EBP|EFLAGS|CR[0-8]|DR[0-7]|FS|GS|knlGS|CS|DS|ES|SS|[xr]\d{1,2}|s[p0-9]|lr|pc|sp|ra|gp|tp|t\d|a\d|pstate) ?: ?(?:[0-9a-f]{4}:)?([0-9a-f]{4,16})\b",
    )
});

static OFFSET: LazyLock<Regex> = LazyLock::new(|| pattern(r"Kernel Offset: 0x([0-9a-f]+) from"));

/// Reads a line into the crash. The first line that says a thing is believed.
pub(super) fn read(text: &str, crash: &mut Crash) {
    process(text, crash);
    if let Some(found) = OFFSET.captures(text) {
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
        }
    } else if let Some((_, name)) = text.split_once("Hardware name: ") {
        crash.hardware.get_or_insert_with(|| name.trim().to_owned());
    } else {
        registers(text, &mut crash.registers);
    }
}

fn process(text: &str, crash: &mut Crash) {
    if let Some(found) = CPU_LINE.captures(text) {
        if crash.kernel.is_some() {
            return;
        }
        crash.kernel = Some(found[5].to_owned());
        crash.cpu = crash
            .cpu
            .or(found.get(1).and_then(|m| m.as_str().parse().ok()));
        crash.pid = crash.pid.or(found[2].parse().ok());
        crash.comm.get_or_insert_with(|| found[3].trim().to_owned());
        if let Some(letters) = found.get(4) {
            let letters: String = letters
                .as_str()
                .chars()
                .filter(char::is_ascii_uppercase)
                .collect();
            crash.taints = taints(&letters);
            crash.tainted = Some(letters);
        }
        return;
    }
    if crash.pid.is_some() {
        return;
    }
    if let Some(found) = CPU_SHORT.captures(text) {
        crash.cpu = found[1].parse().ok();
        crash.pid = found[2].parse().ok();
        crash.comm = found.get(3).map(|m| m.as_str().to_owned());
    } else if let Some(found) = STUCK.captures(text) {
        crash.cpu = found[1].parse().ok();
        crash.comm = Some(found[2].to_owned());
        crash.pid = found[3].parse().ok();
    } else if let Some(found) = BLOCKED.captures(text).or_else(|| BY_TASK.captures(text)) {
        crash.comm = Some(found[1].to_owned());
        crash.pid = found[2].parse().ok();
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
