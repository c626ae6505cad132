//! What a kernel in order shows of the module in each state, and whether this
//! one does. Pure: what was seen comes in, checks come out.

use crate::build::toolchain::generation;
use crate::crash::taint_mask;
use crate::model::{Crash, Held, Observed, StateCheck, StateSource};
use crate::procfs::modules::{Line, Sign, State, parse_line};

/// `MODULES_VADDR` and `MODULES_END` on x86-64
/// (`Documentation/x86/x86_64/mm.rst`); with KASLR the area begins higher.
const MODULE_AREA_X86_64: std::ops::Range<u64> = 0xffff_ffff_a000_0000..0xffff_ffff_ff60_0000;
/// Modules lie on pages of their own (`module_alloc()`).
const PAGE: u64 = 4096;

/// What loading a module can taint the kernel with.
const BY_MODULES: &str = "PFCOEKN";

/// Collects the checks of one state.
struct Checks<'a> {
    held: Held,
    line: Option<&'a str>,
    done: Vec<StateCheck>,
}

impl Checks<'_> {
    fn add(&mut self, source: StateSource, what: &str, expected: &str, seen: &str, ok: bool) {
        self.done.push(StateCheck {
            held: self.held,
            source,
            what: what.to_owned(),
            expected: expected.to_owned(),
            seen: seen.to_owned(),
            line: self
                .line
                .filter(|_| source != StateSource::Sysfs)
                .map(|line| line.trim_end().to_owned()),
            ok,
        });
    }

    fn same(&mut self, source: StateSource, what: &str, expected: &str, seen: &str) {
        self.add(source, what, expected, seen, expected == seen);
    }

    fn proc(&mut self, what: &str, expected: &str, seen: &str) {
        self.same(StateSource::ProcModules, what, expected, seen);
    }
}

/// Checks what was seen in all the states of one load.
pub fn check_observed(seen: &[Observed]) -> Vec<StateCheck> {
    let live = seen.iter().find(|one| one.held == Held::Live);
    let live_line = live.and_then(|one| parse_line(one.lines.first()?.as_bytes()).ok());
    seen.iter()
        .flat_map(|one| check_one(one, live_line.as_ref()))
        .collect()
}

fn check_one(seen: &Observed, when_live: Option<&Line<'_>>) -> Vec<StateCheck> {
    let mut checks = Checks {
        held: seen.held,
        line: seen.lines.first().map(String::as_str),
        done: Vec::new(),
    };
    let (count, listed) = (seen.lines.len(), usize::from(seen.held != Held::Unloaded));
    checks.proc(
        "lines of the module",
        &listed.to_string(),
        &count.to_string(),
    );
    initstate(seen, &mut checks);
    if let Some(text) = checks.line.filter(|_| listed == 1) {
        match parse_line(text.as_bytes()) {
            Ok(line) => {
                checks.proc("form of the line", "whole", "whole");
                fields(seen, &line, when_live, &mut checks);
            }
            Err(error) => checks.proc("form of the line", "whole", &error.to_string()),
        }
    }
    checks.done
}

fn initstate(seen: &Observed, checks: &mut Checks<'_>) {
    // show_initstate()
    let expected = match seen.held {
        Held::Init => "coming",
        Held::Live | Held::LiveHidden => "live",
        Held::Exit => "going",
        Held::Unloaded => "absent",
    };
    let shown = seen.initstate.as_deref().unwrap_or("absent");
    checks.same(StateSource::Sysfs, "initstate", expected, shown);
}

fn fields(seen: &Observed, line: &Line<'_>, when_live: Option<&Line<'_>>, checks: &mut Checks<'_>) {
    let (state, sign) = match seen.held {
        Held::Init => (State::Loading, Sign::Coming),
        Held::Exit => (State::Unloading, Sign::Going),
        Held::Live | Held::LiveHidden | Held::Unloaded => (State::Live, Sign::None),
    };
    checks.proc("state", state.as_str(), line.start.state.as_str());
    let shown = line.flags.map_or(Sign::None, |flags| flags.sign);
    checks.proc("flag", named(sign.as_str()), named(shown.as_str()));
    taints(seen, line, checks);
    refcount(seen, line, checks);
    checks.proc("users", "-", line.start.users);
    size(seen, line, when_live, checks);
    address(seen, line, when_live, checks);
}

fn named(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

/// The line's letters against sysfs, and against the kernel's own mask.
fn taints(seen: &Observed, line: &Line<'_>, checks: &mut Checks<'_>) {
    let letters = line.flags.map_or("", |flags| flags.taints);
    let sysfs = seen.taint.as_deref().unwrap_or("absent");
    checks.same(
        StateSource::ProcModules,
        "taint letters, as /sys/module/NAME/taint has them",
        named(sysfs),
        named(letters),
    );
    // Built out of tree, it taints the kernel whenever it is loaded.
    let has_o = if letters.contains('O') { "yes" } else { "no" };
    checks.proc("letter O, for a module built out of tree", "yes", has_o);
    let lacks = |mask: u64, letter: char| taint_mask(letter).is_none_or(|bit| mask & bit == 0);
    // add_taint_module() sets both masks.
    let missing: String = letters
        .chars()
        .filter(|&letter| lacks(seen.tainted, letter))
        .collect();
    checks.proc(
        "letters that /proc/sys/kernel/tainted lacks",
        "none",
        named(&missing),
    );
    let new = seen.tainted & !seen.tainted_before;
    let untold: String = BY_MODULES
        .chars()
        .filter(|&letter| !lacks(new, letter) && !letters.contains(letter))
        .collect();
    checks.proc(
        "taints that the load brought and the line lacks",
        "none",
        named(&untold),
    );
}

fn refcount(seen: &Observed, line: &Line<'_>, checks: &mut Checks<'_>) {
    let expected = match seen.held {
        // module_unload_init() takes a reference for the time of init.
        Held::Init => "1",
        // module_refcount(): "-1 if unloading", since 3.19.
        Held::Exit if at_least(&seen.release, (3, 19)) => "-1",
        _ => "0",
    };
    let shown = match line.start.refcount {
        Some(count) => count.to_string(),
        None => "-".to_owned(),
    };
    checks.proc("reference count", expected, &shown);
    if let Some(refcnt) = &seen.refcnt {
        checks.same(StateSource::Sysfs, "refcnt", expected, refcnt);
    }
}

/// Whether a release such as `6.1.0-56-cloud-amd64` is at least `wanted`. One
/// that cannot be read is taken for new.
fn at_least(release: &str, wanted: (u32, u32)) -> bool {
    generation(release).is_none_or(|generation| generation >= wanted)
}

/// Init memory counts until `do_init_module()` has freed it.
fn size(seen: &Observed, line: &Line<'_>, when_live: Option<&Line<'_>>, checks: &mut Checks<'_>) {
    let Some(when_live) = when_live else { return };
    let (size, core) = (line.start.size, when_live.start.size);
    let shown = size.to_string();
    if seen.held == Held::Init {
        let expected = format!("more than {core}, its size when live");
        let source = StateSource::ProcModules;
        checks.add(source, "size", &expected, &shown, size > core);
    } else {
        checks.proc("size", &core.to_string(), &shown);
    }
}

fn address(
    seen: &Observed,
    line: &Line<'_>,
    when_live: Option<&Line<'_>>,
    checks: &mut Checks<'_>,
) {
    let shown = format!("{:#018x}", line.address);
    let source = StateSource::ProcModules;
    // kallsyms_show_value(): at 2 nobody is shown an address; we are root.
    if seen.kptr_restrict.is_some_and(|restrict| restrict >= 2) {
        let expected = format!("{:#018x}, since kptr_restrict is 2", 0);
        checks.add(source, "address", &expected, &shown, line.address == 0);
        return;
    }
    let (expected, inside) = if seen.machine == "x86_64" {
        let area = MODULE_AREA_X86_64;
        let text = format!("a page in {:#x}..{:#x}", area.start, area.end);
        (text, area.contains(&line.address))
    } else {
        ("a page, not 0".to_owned(), line.address != 0)
    };
    let ok = inside && line.address.is_multiple_of(PAGE);
    checks.add(source, "address", &expected, &shown, ok);
    if let Some(when_live) = when_live.filter(|_| seen.held != Held::Live) {
        let expected = format!("{:#018x}", when_live.address);
        checks.proc("address, the same as when live", &expected, &shown);
    }
}

/// Checks the lists of modules that the kernel printed while the module `name`
/// was held. `taints` are its letters, as `/sys/module/NAME/taint` gave them.
pub fn check_console(held: Held, name: &str, taints: &str, crashes: &[Crash]) -> Vec<StateCheck> {
    let sign = match held {
        Held::Init => "+",
        Held::Exit => "-",
        Held::Live | Held::LiveHidden | Held::Unloaded => "",
    };
    let told = |flags: &str| {
        if flags.is_empty() {
            name.to_owned()
        } else {
            format!("{name}({flags})")
        }
    };
    let mut checks = Checks {
        held,
        line: None,
        done: Vec::new(),
    };
    let with_list = crashes
        .iter()
        .filter(|crash| !crash.modules.is_empty() || crash.last_unloaded.is_some());
    for crash in with_list {
        let line = crash
            .excerpt
            .iter()
            .find(|line| line.contains("Modules linked in:"));
        checks.line = line.map(String::as_str);
        let entries: Vec<String> = crash
            .modules
            .iter()
            .filter(|module| module.name == name)
            .map(|module| told(&module.flags))
            .collect();
        let shown = if entries.is_empty() {
            "absent".to_owned()
        } else {
            entries.join(" ")
        };
        let what = format!("Modules linked in: ({})", crash.title);
        if held == Held::Unloaded {
            checks.same(StateSource::Console, &what, "absent", &shown);
            let unloaded = crash.last_unloaded.as_deref().unwrap_or("none");
            checks.same(StateSource::Console, "last unloaded", name, unloaded);
        } else {
            let expected = told(&format!("{taints}{sign}"));
            checks.same(StateSource::Console, &what, &expected, &shown);
        }
    }
    let seen = if checks.done.is_empty() {
        "none"
    } else {
        "printed"
    };
    checks.line = None;
    checks.same(StateSource::Console, "a list of modules", "printed", seen);
    checks.done
}

#[cfg(test)]
mod tests;
