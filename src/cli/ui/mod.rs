//! The only place that prints. Results go to stdout; progress and words go to
//! stderr. A closed pipe ends the output, never the program.

mod build_bar;
mod progress;

use std::cell::RefCell;
use std::io::{IsTerminal, Write};

pub use build_bar::BuildBar;

use self::progress::Progress;
use crate::model::ExitCode;
use crate::report;
use crate::report::write::to_json;
use crate::session::{Event, Failure, Finished};

/// The terminal, or what stands for it.
#[derive(Debug)]
pub struct Ui {
    terminal: bool,
    quiet: bool,
    /// The run under way.
    progress: RefCell<Option<Progress>>,
}

impl Default for Ui {
    fn default() -> Self {
        Self::new()
    }
}

impl Ui {
    /// The process's own stdout and stderr.
    pub fn new() -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
            quiet: false,
            progress: RefCell::new(None),
        }
    }

    /// The same, without notes if `quiet`.
    #[must_use]
    pub fn quiet(&self, quiet: bool) -> Self {
        Self {
            quiet: self.quiet || quiet,
            terminal: self.terminal,
            progress: RefCell::new(None),
        }
    }

    /// Whether stderr is a terminal: a bar there, lines elsewhere.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether only results and failures are wanted.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// A result: stdout, as it is.
    pub fn result(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        // A closed pipe is no reason to stop.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// Words on the way: stderr, one line, unless quiet.
    pub fn note(&self, text: &str) {
        if self.quiet {
            return;
        }
        // A closed pipe is no reason to stop.
        let print = || {
            let _ = writeln!(std::io::stderr().lock(), "modrace: {text}");
        };
        match &*self.progress.borrow() {
            Some(progress) => progress.aside(print),
            None => print(),
        }
    }

    /// Shows an event of a session.
    pub fn hear(&self, event: Event) {
        match event {
            Event::RunStarted { name, trials } => {
                let with_bar = self.terminal && !self.quiet;
                *self.progress.borrow_mut() = Some(Progress::new(with_bar, &name, trials));
            }
            Event::RunEnded => self.end_progress(),
            Event::Of { kernel, event } => self.hear_of(&format!("{kernel} "), &event),
            event => self.hear_of("", &event),
        }
    }

    fn hear_of(&self, which: &str, event: &Event) {
        let line = match &mut *self.progress.borrow_mut() {
            Some(progress) => progress.hear(which, event),
            None => match event {
                Event::Note(text) => Some(text.clone()),
                _ => None,
            },
        };
        if let Some(line) = line {
            self.note(&line);
        }
    }

    fn end_progress(&self) {
        self.progress.borrow_mut().take();
    }

    /// Shows the summary or the report of a session and closes it. Returns the
    /// process's exit code.
    pub fn finished(&self, finished: Finished, json: bool) -> Result<ExitCode, Failure> {
        let (shown, exit, advice) = (&finished.report, finished.exit, finished.advice);
        if json || finished.is_to_stdout() {
            self.result(&String::from_utf8_lossy(&to_json(shown)?));
        } else {
            // Two kernels want a table.
            self.result(&match &shown.baseline {
                Some(_) => report::show(shown),
                None => report::summary(shown),
            });
        }
        if let Some(path) = finished.close()? {
            self.note(&format!("report: {}", path.display()));
        }
        if let Some(advice) = advice {
            self.note(advice);
        }
        Ok(exit)
    }

    /// A failure, causes and hint: stderr. Returns its exit code.
    pub fn failure(&self, failure: &Failure) -> ExitCode {
        self.end_progress();
        let mut err = std::io::stderr().lock();
        let mut told = failure.error.to_string();
        let _ = write!(err, "modrace: {told}");
        for cause in failure.error.chain().skip(1) {
            let cause = cause.to_string();
            // Some libraries repeat their cause in their own text.
            if !told.contains(&cause) {
                let _ = write!(err, ": {cause}");
                told = cause;
            }
        }
        let _ = writeln!(err);
        if let Some(hint) = &failure.hint {
            let _ = writeln!(err, "  hint: {hint}");
        }
        failure.code
    }
}

/// Prints what clap has to say: help and version are results, the rest is a
/// usage error.
pub fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if error.use_stderr() {
        ExitCode::Usage
    } else {
        ExitCode::Survived
    }
}
