//! A positive control: the report of an earlier run that crashed a kernel under
//! the same settings. With it a clean run can say that it would have crashed.

use std::path::{Path, PathBuf};

use super::report::{Loaded, load};
use super::{Failure, OrFail};
use crate::model::{ExitCode, Report, Settings};
use crate::report::{check_control, with_control};
use crate::verdict;

/// How a control is named on the command line.
#[derive(Debug, clap::Args)]
pub(super) struct ControlArgs {
    /// The report of a run that crashed under the same settings: the positive
    /// control that a PASS needs
    #[arg(long, value_name = "REPORT")]
    control: Option<PathBuf>,
    /// How sure to be with a control, between 0.5 and 0.999999
    #[arg(long, value_name = "LEVEL", default_value_t = 0.999)]
    confidence: f64,
}

/// A control that fits the run.
#[derive(Debug)]
pub(super) struct Control {
    loaded: Loaded,
    confidence: f64,
}

impl ControlArgs {
    /// Reads the control, if one is named, and checks that it fits.
    pub(super) fn read(&self, settings: &Settings) -> Result<Option<Control>, Failure> {
        check_confidence(self.confidence)?;
        let Some(path) = &self.control else {
            return Ok(None);
        };
        let loaded = load(path)?;
        check_control((&loaded.name, &loaded.report), settings)
            .or_fail(ExitCode::Usage)
            .map_err(|failure| failure.hint(repeat(path)))?;
        Ok(Some(Control {
            loaded,
            confidence: self.confidence,
        }))
    }
}

impl Control {
    /// The report, set against the control.
    pub(super) fn apply(self, report: Report) -> Result<Report, Failure> {
        let Loaded {
            name,
            report: control,
            source,
        } = self.loaded;
        with_control(
            ("this run", report),
            (&name, control, source),
            self.confidence,
        )
        .or_fail(ExitCode::Broken)
    }
}

/// A confidence as it may be typed: in every command the same.
pub(super) fn check_confidence(confidence: f64) -> Result<(), Failure> {
    verdict::check_confidence(confidence)
        .map_err(|wrong| Failure::message(ExitCode::Usage, format!("--confidence: {wrong}")))
}

fn repeat(path: &Path) -> String {
    format!(
        "give this run the settings of {}, or make a control with this run's",
        path.display()
    )
}
