//! A saved report, read with what is needed to tell it from others.

use std::io::Read;
use std::path::Path;

use anyhow::Context;
use sha2::{Digest, Sha256};

use super::exit::Failure;
use crate::build::config::hex;
use crate::model::{ExitCode, Report, Source};
use crate::report;

/// A report with its file's name and digest.
#[derive(Debug)]
pub struct SavedReport {
    /// The file, as it was named.
    pub name: String,
    /// What is in it.
    pub report: Report,
    /// What tells it from others.
    pub source: Source,
}

/// Reads a report, `-` for stdin. A file that cannot be read or is no report is
/// broken input, exit code 3: the command line was right.
pub fn load(file: &Path) -> Result<SavedReport, Failure> {
    let name = file.display().to_string();
    let mut bytes = Vec::new();
    let done = if name == "-" {
        std::io::stdin().read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|mut open| open.read_to_end(&mut bytes))
    };
    done.with_context(|| format!("{name}: cannot be read"))
        .map_err(|error| Failure::new(ExitCode::Broken, error))?;
    let report = report::read(&name, &bytes)?;
    let source = Source {
        started: report.started.clone(),
        command: report.command.clone(),
        seed: report.seed,
        run_id: report.run_id.clone(),
        sha256: hex(&Sha256::digest(&bytes)),
    };
    Ok(SavedReport {
        name,
        report,
        source,
    })
}
