//! What each side was at when the kernel panicked, in a line each, and where the
//! guest's memory of that moment is.

use crate::model::{AtPanic, Trial};

/// Calls that a line names, the innermost first.
const CALLS: usize = 4;
/// Calls of the locks themselves, which the line's beginning names.
const OF_LOCKS: &[&str] = &["__mutex_lock", "mutex_lock", "__mutex_lock_slowpath"];
/// Calls that tell whose they are: of the loader, and of the reader.
const LOADERS: &[&str] = &["delete_module", "init_module", "finit_module"];
const READERS: &[&str] = &["read", "pread64", "openat", "write"];
/// Calls of a CPU with nothing to do, and of one that is off.
const IDLE: &[&str] = &["do_idle", "default_idle_call", "cpu_startup_entry"];
const OFF: &[&str] = &["hlt_play_dead", "native_play_dead", "play_dead_common"];

/// The lines of a trial; none where nobody could look.
pub(super) fn of_trial(trial: &Trial) -> Vec<String> {
    let mut lines = lines(&trial.at_panic);
    lines.extend(trial.vmcore.as_ref().map(|vmcore| {
        let (file, mib) = (&vmcore.file, vmcore.bytes >> 20);
        format!("vmcore: {file} ({mib} MiB): crash vmlinux {file}, or drgn -s vmlinux -c {file}")
    }));
    lines
}

fn lines(seen: &[AtPanic]) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut idle, mut off) = (Vec::new(), Vec::new());
    for one in seen {
        match one.cpu {
            Some(cpu) if is_in(one, OFF) => off.push(cpu),
            Some(cpu) if is_in(one, IDLE) => idle.push(cpu),
            _ => lines.push(line(one)),
        }
    }
    for (cpus, what) in [(idle, "idle"), (off, "offline")] {
        let numbers: Vec<String> = cpus.iter().map(u32::to_string).collect();
        match &*numbers {
            [] => {}
            [one] => lines.push(format!("CPU {one}: {what}")),
            several => lines.push(format!("CPUs {}: {what}", several.join(", "))),
        }
    }
    lines
}

fn line(one: &AtPanic) -> String {
    let side = side(one);
    let who = match (one.cpu, &one.waits_for) {
        (Some(cpu), _) => match side {
            Some(side) => format!("CPU {cpu}, {side}"),
            None => format!("CPU {cpu}"),
        },
        (None, lock) => format!(
            "{}, asleep on {}",
            side.unwrap_or("a task"),
            lock.as_deref().unwrap_or("a lock")
        ),
    };
    if one.user {
        return format!("{who}: in user space");
    }
    let is_of_locks = |frame: &&String| OF_LOCKS.iter().any(|name| is_of(frame, name));
    let skipped = match one.waits_for {
        Some(_) => one.frames.iter().take_while(is_of_locks).count(),
        None => 0,
    };
    let calls: Vec<&str> = one.frames[skipped..]
        .iter()
        .take(CALLS)
        .map(String::as_str)
        .collect();
    let calls = calls.join(" < ");
    let sure = if one.sure {
        ""
    } else {
        " (from the stack's words, not sure)"
    };
    format!("{who}: {calls}{sure}")
}

fn is_in(one: &AtPanic, functions: &[&str]) -> bool {
    let is = |frame: &String| functions.iter().any(|name| is_of(frame, name));
    one.sure && one.frames.iter().any(is)
}

/// Whether a frame is a function's, or a part that the compiler made of it.
fn is_of(frame: &str, function: &str) -> bool {
    let rest = frame.strip_prefix(function);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', '.']))
}

/// Whose calls they are, by the system call.
fn side(one: &AtPanic) -> Option<&'static str> {
    let calls = |names: &[&str]| {
        let is = |frame: &String| {
            let name = frame.split('+').next().unwrap_or_default();
            let (_, call) = name.split_once("sys_").unwrap_or_default();
            names.contains(&call)
        };
        one.frames.iter().any(is)
    };
    if calls(LOADERS) {
        Some("loader")
    } else if calls(READERS) {
        Some("reader")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(cpu: Option<u32>, frames: &[&str]) -> AtPanic {
        AtPanic {
            cpu,
            frames: frames.iter().map(|&frame| frame.to_owned()).collect(),
            sure: true,
            ..AtPanic::default()
        }
    }

    #[test]
    fn each_side_has_a_line_and_the_rest_one_together() {
        let idle = ["arch_cpu_idle+0xa", "do_idle+0xd1"];
        let asleep = AtPanic {
            waits_for: Some("module_mutex".to_owned()),
            ..seen(
                None,
                &[
                    "__mutex_lock.constprop.0+0x73",
                    "mutex_lock+0x29",
                    "module_unload_free+0x22",
                    "free_module+0x23",
                    "__x64_sys_delete_module+0x188",
                ],
            )
        };
        let reader = ["module_flags+0xa", "m_show+0x13b", "ksys_pread64+0x5f"];
        let all = [
            seen(Some(0), &idle),
            seen(Some(1), &reader),
            seen(Some(2), &["hlt_play_dead+0x23"]),
            seen(Some(3), &idle),
            asleep,
        ];
        assert_eq!(
            lines(&all),
            [
                "CPU 1, reader: module_flags+0xa < m_show+0x13b < ksys_pread64+0x5f",
                "loader, asleep on module_mutex: module_unload_free+0x22 < free_module+0x23 < \
                 __x64_sys_delete_module+0x188",
                "CPUs 0, 3: idle",
                "CPU 2: offline",
            ]
        );
    }

    #[test]
    fn what_is_not_sure_says_so() {
        let mut one = seen(Some(0), &["0xffffffff81000000"]);
        one.sure = false;
        assert!(line(&one).ends_with("not sure)"));
        one.user = true;
        assert_eq!(line(&one), "CPU 0: in user space");
    }
}
