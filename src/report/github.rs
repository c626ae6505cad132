//! Format `github`: workflow commands that annotate a run, then the summary in
//! Markdown. Where `$GITHUB_STEP_SUMMARY` is set, whoever calls appends the
//! Markdown there; what goes to stdout is the same either way.

use super::metadata;
use super::{Format, RenderError, markdown};
use crate::model::{Outcome, Report, Verdict};

/// The row of the format table.
pub(super) const FORMAT: Format = Format {
    name: "github",
    help: "GitHub annotations and step summary",
    extension: "github.md",
    render,
};

fn render(report: &Report) -> Result<String, RenderError> {
    Ok(format!("{}\n{}", annotations(report), step_summary(report)))
}

/// What goes to `$GITHUB_STEP_SUMMARY`.
pub fn step_summary(report: &Report) -> String {
    markdown::page(report)
}

/// What goes to stdout of a workflow's step.
pub fn annotations(report: &Report) -> String {
    let level = match report.verdict {
        Verdict::Pass => "notice",
        Verdict::Inconclusive => "warning",
        Verdict::Fail | Verdict::Broken => "error",
    };
    let title = format!(
        "modrace {}: Linux {}",
        metadata::headline(report),
        metadata::release(&report.environment)
    );
    let mut out = command(level, &title, &report.verdict_reason);
    for line in metadata::warning_lines(report) {
        out.push_str(&command("warning", "the kernel warned", &line));
    }
    for trial in &report.trials {
        let level = match trial.outcome {
            Outcome::Survived => continue,
            Outcome::Crashed | Outcome::Hung => "error",
            Outcome::Died | Outcome::Broken | Outcome::Unsupported => "warning",
        };
        let told = trial
            .crash
            .as_ref()
            .map_or(&trial.reason, |crash| &crash.title);
        let title = format!("trial {} {}", trial.index, trial.outcome.as_str());
        out.push_str(&command(level, &title, told));
    }
    out
}

/// A workflow command, escaped as GitHub's own toolkit does it
/// (actions/toolkit, packages/core/src/command.ts).
fn command(level: &str, title: &str, message: &str) -> String {
    let data = |text: &str| {
        text.replace('%', "%25")
            .replace('\r', "%0D")
            .replace('\n', "%0A")
    };
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    format!("::{level} title={}::{}\n", property(title), data(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_cannot_begin_a_command_of_its_own() {
        let text = command("error", "a:b,c", "100 %\n::error::x");
        assert_eq!(text, "::error title=a%3Ab%2Cc::100 %25%0A::error::x\n");
    }
}
