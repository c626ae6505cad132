//! Writing a report: whole or not at all. Each save is a temporary file beside
//! the target, synced and renamed over it, so that a crash at any moment leaves
//! the last complete one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;
use thiserror::Error;

use crate::disk;
use crate::model::Report;

/// The word in a default file name while a run is under way.
const RUNNING: &str = "running";
/// Who may read a report.
const MODE: u32 = 0o644;

/// A report could not be written.
#[derive(Debug, Error)]
#[error("writing the report {}", .path.display())]
pub struct WriteError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Where a run's report goes.
#[derive(Debug)]
pub struct ReportFile {
    path: PathBuf,
    named_by_verdict: bool,
}

impl ReportFile {
    /// The file that the user named.
    pub fn at(path: PathBuf) -> Self {
        Self {
            path,
            named_by_verdict: false,
        }
    }

    /// `FOLDER/<utc>-<kernel>-<verdict>.json`. Until there is a verdict, the
    /// last word is `running`.
    pub fn named(folder: &Path, kernel: &str, started: SystemTime) -> Self {
        let name = format!("{}-{}-{RUNNING}.json", stamp(started), slug(kernel));
        Self {
            path: folder.join(name),
            named_by_verdict: true,
        }
    }

    /// A file that another process began: its name says whether the verdict is
    /// to be part of it.
    pub fn resume(path: PathBuf) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let named_by_verdict = name.ends_with(&format!("-{RUNNING}.json"));
        Self {
            path,
            named_by_verdict,
        }
    }

    /// Where it is now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses to replace what is not an ordinary file: a rename would put one
    /// in the place of `/dev/null`.
    pub fn check(&self) -> Result<(), WriteError> {
        match fs::metadata(&self.path) {
            Ok(found) if !found.is_file() => Err(WriteError {
                path: self.path.clone(),
                source: io::Error::other("there is something that is not a file; - means stdout"),
            }),
            _ => Ok(()),
        }
    }

    /// The folder for what is too large for the report, beside it.
    pub fn logs(&self) -> PathBuf {
        let name = self
            .path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let name = name
            .strip_suffix(&format!("-{RUNNING}"))
            .unwrap_or(&name)
            .to_owned();
        self.path.with_file_name(format!("{name}.logs"))
    }

    /// Replaces the file.
    pub fn save(&self, report: &Report) -> Result<(), WriteError> {
        save_as_json(&self.path, report)
    }

    /// Replaces the file for the last time and gives it its final name.
    pub fn finish(mut self, report: &Report) -> Result<PathBuf, WriteError> {
        if self.named_by_verdict {
            let before = self.path.clone();
            let name = self
                .path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let end = format!("-{}.json", report.verdict.as_str());
            self.path
                .set_file_name(name.replace(&format!("-{RUNNING}.json"), &end));
            self.save(report)?;
            // It is absent where nothing was saved yet.
            let _ = fs::remove_file(before);
        } else {
            self.save(report)?;
        }
        Ok(self.path)
    }
}

/// Replaces a file by a record in JSON.
pub fn save_as_json(path: &Path, record: &impl Serialize) -> Result<(), WriteError> {
    to_json(record)
        .and_then(|json| disk::replace(path, &json, MODE))
        .map_err(|source| WriteError {
            path: path.to_owned(),
            source,
        })
}

/// A record as it stands in its file.
pub fn to_json(report: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut json = serde_json::to_vec_pretty(report)?;
    json.push(b'\n');
    Ok(json)
}

/// `20261122T181500Z`
fn stamp(time: SystemTime) -> String {
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.chars().filter(|c| !matches!(c, '-' | ':')).collect()
}

/// A kernel's name as part of a file name.
fn slug(kernel: &str) -> String {
    let name = Path::new(kernel)
        .file_name()
        .map_or(kernel.into(), |name| name.to_string_lossy());
    let safe: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') {
                c
            } else {
                '-'
            }
        })
        .collect();
    safe.trim_matches(['-', '.']).chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_name_says_when_what_and_how() {
        let file = ReportFile::named(
            Path::new("reports"),
            "lab:vulnerable",
            SystemTime::UNIX_EPOCH,
        );
        assert_eq!(
            file.path(),
            Path::new("reports/19700101T000000Z-lab-vulnerable-running.json")
        );
        assert_eq!(
            file.logs(),
            Path::new("reports/19700101T000000Z-lab-vulnerable.logs")
        );
    }

    #[test]
    fn a_device_or_a_folder_is_never_replaced() {
        assert!(ReportFile::at("/dev/null".into()).check().is_err());
        assert!(ReportFile::at("/tmp".into()).check().is_err());
        assert!(
            ReportFile::at("/nonexistent/report.json".into())
                .check()
                .is_ok()
        );
    }

    #[test]
    fn a_kernel_path_becomes_its_last_part() {
        assert_eq!(slug("/boot/vmlinuz-6.1.0 x"), "vmlinuz-6.1.0-x");
        assert_eq!(slug("lab:fixed"), "lab-fixed");
    }
}
