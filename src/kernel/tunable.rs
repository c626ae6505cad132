//! Settings of the kernel that are changed for a race: written under a guard
//! that puts the old value back.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::model::Tunable;

/// A changed setting. Dropping it puts the old value back.
#[derive(Debug)]
pub struct TunableGuard {
    path: PathBuf,
    before: String,
    during: String,
    restored: bool,
}

impl TunableGuard {
    /// Writes `value` to the file at `path`, a sysctl or sysfs attribute.
    pub fn set(path: &Path, value: &str) -> io::Result<Self> {
        let before = fs::read_to_string(path)?.trim_end().to_owned();
        fs::write(path, value)?;
        Ok(Self {
            path: path.to_owned(),
            before,
            during: value.to_owned(),
            restored: false,
        })
    }

    /// What was changed, for the report.
    pub fn record(&self) -> Tunable {
        Tunable {
            path: self.path.display().to_string(),
            before: self.before.clone(),
            during: self.during.clone(),
            restored: self.restored,
        }
    }

    /// Puts the old value back and says what had been changed.
    pub fn restore(mut self) -> Tunable {
        self.put_back();
        self.record()
    }

    fn put_back(&mut self) {
        if !self.restored {
            self.restored = fs::write(&self.path, &self.before).is_ok();
        }
    }
}

impl Drop for TunableGuard {
    fn drop(&mut self) {
        self.put_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_knob_is_put_back_when_dropped() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "0\n").unwrap();
        let guard = TunableGuard::set(file.path(), "1").unwrap();
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "1");
        assert!(!guard.record().restored);
        drop(guard);
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "0");
    }

    #[test]
    fn restoring_says_what_had_been_changed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "7").unwrap();
        let tunable = TunableGuard::set(file.path(), "8").unwrap().restore();
        assert_eq!(
            (
                tunable.before.as_str(),
                tunable.during.as_str(),
                tunable.restored
            ),
            ("7", "8", true)
        );
    }

    #[test]
    fn a_missing_knob_is_an_error() {
        assert!(TunableGuard::set(Path::new("/nonexistent/tunable"), "1").is_err());
    }
}
