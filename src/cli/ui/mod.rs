//! The only place that prints. Results go to stdout; progress and words go to
//! stderr. A closed pipe ends the output, never the program.

mod build_bar;
pub mod progress;
pub mod summary;

use std::io::{IsTerminal, Write};

pub use build_bar::BuildBar;

use super::Failure;
use crate::model::ExitCode;

/// The terminal, or what stands for it.
#[derive(Debug)]
pub struct Ui {
    terminal: bool,
    quiet: bool,
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
        }
    }

    /// The same, without notes if `quiet`.
    #[must_use]
    pub fn quiet(&self, quiet: bool) -> Self {
        Self {
            quiet: self.quiet || quiet,
            ..*self
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
        let _closed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// Words on the way: stderr, one line, unless quiet.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            let _closed = writeln!(std::io::stderr().lock(), "modrace: {text}");
        }
    }

    /// A failure, causes and hint: stderr. Returns its exit code.
    pub fn failure(&self, failure: &Failure) -> ExitCode {
        let mut err = std::io::stderr().lock();
        let mut told = failure.error.to_string();
        let _closed = write!(err, "modrace: {told}");
        for cause in failure.error.chain().skip(1) {
            let cause = cause.to_string();
            // Some libraries repeat their cause in their own text.
            if !told.contains(&cause) {
                let _closed = write!(err, ": {cause}");
                told = cause;
            }
        }
        let _closed = writeln!(err);
        if let Some(hint) = &failure.hint {
            let _closed = writeln!(err, "  hint: {hint}");
        }
        failure.code
    }
}

/// Prints what clap has to say: help and version are results, the rest is a
/// usage error.
pub fn usage(error: &clap::Error) -> ExitCode {
    let _closed = error.print();
    if error.use_stderr() {
        ExitCode::Usage
    } else {
        ExitCode::Survived
    }
}
