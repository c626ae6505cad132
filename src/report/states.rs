//! The module's states as text: each state with the line that showed it, and
//! what was expected above what was seen where a check failed. Judges nothing.

use crate::model::{StateCheck, StateSource};

/// One state from one source, as it is told.
struct Told<'a> {
    title: String,
    line: Option<&'a str>,
    checks: Vec<&'a StateCheck>,
}

impl Told<'_> {
    fn failed(&self) -> impl Iterator<Item = &StateCheck> {
        self.checks.iter().copied().filter(|check| !check.ok)
    }

    fn score(&self) -> String {
        let good = self.checks.len() - self.failed().count();
        format!("{good} of {} checks ok", self.checks.len())
    }
}

/// The states, plain.
pub fn states_text(checks: &[StateCheck]) -> String {
    let mut out = String::new();
    for told in told(checks) {
        out.push_str(&format!("{}: {}\n", told.title, told.score()));
        if let Some(line) = told.line {
            out.push_str(&format!("  {line}\n"));
        }
        for check in told.failed() {
            out.push_str(&format!(
                "  FAIL {}\n    expected: {}\n    seen:     {}\n",
                check.what, check.expected, check.seen
            ));
        }
    }
    out
}

/// The states as a table, and what failed under it. The text is told `escape`d
/// where Markdown would read it as its own.
pub(super) fn states_markdown(checks: &[StateCheck], escape: fn(&str) -> String) -> String {
    let mut out = "| state | checks | line |\n|---|---|---|\n".to_owned();
    let told = told(checks);
    for one in &told {
        out.push_str(&format!(
            "| {} | {} | {} |\n",
            escape(&one.title),
            one.score(),
            one.line.map(escape).unwrap_or_default()
        ));
    }
    for (one, check) in told
        .iter()
        .flat_map(|one| one.failed().map(move |check| (one, check)))
    {
        out.push_str(&format!(
            "\n**{}, {}**\n\n- expected: {}\n- seen: {}\n",
            escape(&one.title),
            escape(&check.what),
            escape(&check.expected),
            escape(&check.seen)
        ));
    }
    out
}

/// Checks of one state stand together, those of the console apart.
fn told(checks: &[StateCheck]) -> Vec<Told<'_>> {
    let mut all: Vec<Told<'_>> = Vec::new();
    for check in checks {
        let place = if check.source == StateSource::Console {
            "list of modules on the console"
        } else {
            StateSource::ProcModules.as_str()
        };
        let title = format!("{}, {place}", check.held.as_str());
        let line = check.line.as_deref();
        match all.iter_mut().find(|told| told.title == title) {
            Some(told) => {
                told.line = told.line.or(line);
                told.checks.push(check);
            }
            None => all.push(Told {
                title,
                line,
                checks: vec![check],
            }),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Held;

    fn check(what: &str, expected: &str, seen: &str) -> StateCheck {
        StateCheck {
            held: Held::Init,
            source: StateSource::ProcModules,
            what: what.to_owned(),
            expected: expected.to_owned(),
            seen: seen.to_owned(),
            line: Some("dummy_module 14015 1 - Loading 0xffffffffa03a5000 (OE)".to_owned()),
            ok: expected == seen,
        }
    }

    #[test]
    fn what_was_expected_stands_above_what_was_seen() {
        let checks = [
            check("state", "Loading", "Loading"),
            check("flag", "+", "none"),
        ];
        assert_eq!(
            states_text(&checks),
            "in init, /proc/modules: 1 of 2 checks ok\n\
             \x20 dummy_module 14015 1 - Loading 0xffffffffa03a5000 (OE)\n\
             \x20 FAIL flag\n    expected: +\n    seen:     none\n"
        );
        let table = states_markdown(&checks, str::to_owned);
        assert!(table.contains("- expected: +\n- seen: none\n"), "{table}");
    }
}
