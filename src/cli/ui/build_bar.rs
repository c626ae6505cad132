//! A lab kernel's build on stderr: a bar on a terminal, a line now and then
//! elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::Ui;
use crate::lab::{BuildEvent, Stage};

/// How often a line is printed where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(20);

/// Shows the events of one kernel's build.
#[derive(Debug)]
pub struct BuildBar<'a> {
    ui: &'a Ui,
    name: String,
    bar: Option<ProgressBar>,
    last_line: Instant,
}

impl<'a> BuildBar<'a> {
    /// For the kernel of that name.
    pub fn new(ui: &'a Ui, name: &str) -> Self {
        let bar = (ui.is_terminal() && !ui.is_quiet()).then(|| {
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self {
            ui,
            name: name.to_owned(),
            bar,
            last_line: Instant::now(),
        }
    }

    /// Shows one event.
    pub fn event(&mut self, event: BuildEvent<'_>) {
        match event {
            BuildEvent::Stage(stage) => self.stage(stage),
            BuildEvent::Unpacked { bytes, total } => {
                self.progress(bytes, Some(total), "unpacking the source", "");
            }
            BuildEvent::Step {
                done,
                expected,
                line,
            } => {
                // More steps than guessed: the bar waits at its end.
                let expected = expected.map(|expected| u64::from(expected.max(done)));
                self.progress(done.into(), expected, "compiling", line);
            }
        }
    }

    fn stage(&mut self, stage: Stage) {
        let text = match stage {
            Stage::Wait => "waiting for another modrace that builds from this source",
            Stage::Unpack => "unpacking the source",
            Stage::Patch => "linking the source, patching",
            Stage::Configure => "configuring",
            Stage::Compile => "compiling",
            Stage::Check => "building the dummy module for it",
        };
        self.last_line = Instant::now();
        match &self.bar {
            Some(bar) => {
                bar.set_style(style("{spinner} {prefix}: {msg} [{elapsed}]"));
                bar.set_prefix(self.name.clone());
                bar.set_message(text);
            }
            None => self.ui.note(&format!("{}: {text}", self.name)),
        }
    }

    fn progress(&mut self, done: u64, total: Option<u64>, what: &str, line: &str) {
        let Some(bar) = &self.bar else {
            if self.last_line.elapsed() >= LINE_EVERY {
                self.last_line = Instant::now();
                let part = total.map_or_else(
                    || format!("{done} steps"),
                    |total| format!("about {} %", done * 100 / total.max(1)),
                );
                self.ui.note(&format!("{}: {what}, {part}", self.name));
            }
            return;
        };
        if let Some(total) = total {
            bar.set_style(style(
                "{spinner} {prefix} {bar:30} {percent:>3} % [{elapsed}] {wide_msg}",
            ));
            bar.set_length(total);
        }
        bar.set_position(done);
        bar.set_message(if line.is_empty() { what } else { line }.to_owned());
    }
}

impl Drop for BuildBar<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
