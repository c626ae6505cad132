//! What a session comes to: the final report, and the steps that wait until it
//! has been shown.

use std::path::PathBuf;

use super::bare::OpenRun;
use super::bare::run_loop::restart;
use super::exit::Failure;
use crate::model::{ExitCode, Report};
use crate::report::write::ReportFile;

/// A session that only has to be shown and closed.
#[derive(Debug)]
pub struct Finished {
    /// The final report.
    pub report: Report,
    /// The process's exit code.
    pub exit: ExitCode,
    /// What the user should do next, if anything.
    pub advice: Option<&'static str>,
    /// Whether this machine is rebooted once all is closed: its kernel has crashed.
    pub reboot: bool,
    /// The report's file; none for stdout.
    file: Option<ReportFile>,
    /// A run on this machine that can be recovered until it is closed.
    open: Option<OpenRun>,
}

impl Finished {
    /// Of a run whose report goes to `file`; none for stdout.
    pub fn new(report: Report, exit: ExitCode, file: Option<ReportFile>) -> Self {
        Self {
            report,
            exit,
            advice: None,
            reboot: false,
            file,
            open: None,
        }
    }

    /// The same of a run on this machine.
    pub(super) fn of_open_run(mut self, open: OpenRun) -> Self {
        self.open = Some(open);
        self
    }

    /// Whether the report goes to stdout.
    pub fn is_to_stdout(&self) -> bool {
        self.file.is_none()
    }

    /// Gives the report's file its final name, and ends what could be recovered
    /// until now. Returns where the report is.
    pub fn close(self) -> Result<Option<PathBuf>, Failure> {
        let path = self
            .file
            .map(|file| file.finish(&self.report))
            .transpose()?;
        if let Some(open) = self.open {
            open.close(&self.report)?;
        }
        if self.reboot {
            return Err(restart());
        }
        Ok(path)
    }
}
