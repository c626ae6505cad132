//! A positive control: the report of an earlier run that crashed a kernel under
//! the same settings. With it a clean run can say that it would have crashed.

use std::path::PathBuf;

use super::exit::Failure;
use super::request::{DEFAULT_CONFIDENCE, check_confidence};
use super::saved_report::{self, SavedReport};
use crate::model::{ExitCode, Report, Settings};
use crate::report::{check_control, with_control};

/// Which control a run is to have.
#[derive(Clone, Debug)]
pub struct ControlRequest {
    /// The control's report, if there is to be one.
    pub report: Option<PathBuf>,
    /// How sure to be of the comparison, between 0.5 and 1.
    pub confidence: f64,
}

impl Default for ControlRequest {
    fn default() -> Self {
        Self {
            report: None,
            confidence: DEFAULT_CONFIDENCE,
        }
    }
}

/// A control that fits the run.
#[derive(Debug)]
pub struct Control {
    saved: SavedReport,
    confidence: f64,
}

impl ControlRequest {
    /// Reads the control, if one is named, and checks that it fits.
    pub fn read(&self, settings: &Settings) -> Result<Option<Control>, Failure> {
        check_confidence(self.confidence)?;
        let Some(path) = &self.report else {
            return Ok(None);
        };
        let saved = saved_report::load(path)?;
        check_control((&saved.name, &saved.report), settings).map_err(|error| {
            Failure::from(error).code(ExitCode::Usage).hint(format!(
                "give this run the settings of {}, or make a control with this run's",
                path.display()
            ))
        })?;
        Ok(Some(Control {
            saved,
            confidence: self.confidence,
        }))
    }
}

impl Control {
    /// The report, set against the control.
    pub fn apply(self, report: Report) -> Result<Report, Failure> {
        let SavedReport {
            name,
            report: control,
            source,
        } = self.saved;
        let control = (name.as_str(), control, source);
        with_control(("this run", report), control, self.confidence)
            .map_err(|error| Failure::from(error).code(ExitCode::Broken))
    }
}
