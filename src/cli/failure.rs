//! How a command fails: the error, the exit code that scripts see, and a hint
//! that can be acted on.

use crate::model::ExitCode;

/// Why a command ended without a result.
#[derive(Debug)]
pub struct Failure {
    /// The process's exit code.
    pub code: ExitCode,
    /// What went wrong, with its causes.
    pub error: anyhow::Error,
    /// The way out, printed last.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure that starts here.
    pub fn new(code: ExitCode, error: impl Into<anyhow::Error>) -> Self {
        Self {
            code,
            error: error.into(),
            hint: None,
        }
    }

    /// A failure told in one line.
    pub fn message(code: ExitCode, text: impl Into<String>) -> Self {
        Self::new(code, anyhow::Error::msg(text.into()))
    }

    /// The same with a way out.
    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hint = Some(text.into());
        self
    }
}

/// Turns an error into a failure with an exit code.
pub trait OrFail<T> {
    /// The value, or a failure with this exit code.
    fn or_fail(self, code: ExitCode) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrFail<T> for Result<T, E> {
    fn or_fail(self, code: ExitCode) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(code, error))
    }
}
