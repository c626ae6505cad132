//! The QEMU program: found, asked for its version, its command told.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use thiserror::Error;

use super::command::{Origin, VmSpec};

/// Why a machine did not start.
#[derive(Debug, Error)]
pub enum VmError {
    /// The program is not there.
    #[error("QEMU not found: {0}")]
    NotFound(String),
    /// The program does not answer as QEMU does.
    #[error("{path} does not answer --version as QEMU does: {answer}", path = .path.display())]
    NotQemu {
        /// The program.
        path: PathBuf,
        /// The first line that it printed.
        answer: String,
    },
    /// It cannot be instrumented.
    #[error("QEMU {version} ({}) loads no plugins: {why}", .path.display())]
    NoPlugins {
        /// The program.
        path: PathBuf,
        /// Its version.
        version: String,
        /// What it said.
        why: String,
    },
    /// A resource of the host was missing.
    #[error("{what}")]
    Host {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

pub(super) fn host(what: &'static str) -> impl FnOnce(io::Error) -> VmError {
    move |source| VmError::Host { what, source }
}

/// A QEMU program that answered.
#[derive(Clone, Debug)]
pub struct Qemu {
    path: PathBuf,
    version: String,
}

impl Qemu {
    /// Finds QEMU at `path`, or on `PATH`, and asks for its version.
    pub fn find(path: Option<&Path>) -> Result<Self, VmError> {
        let path = path.unwrap_or(Path::new("qemu-system-x86_64"));
        let answer = Command::new(path)
            .arg("--version")
            .stdin(Stdio::null())
            .output();
        let answer = answer.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound if path.components().count() == 1 => {
                VmError::NotFound(format!("no {} on PATH", path.display()))
            }
            _ => VmError::NotFound(format!("{}: {error}", path.display())),
        })?;
        let text = String::from_utf8_lossy(&answer.stdout);
        let first = text.lines().next().unwrap_or_default();
        match first.strip_prefix("QEMU emulator version ") {
            Some(version) => Ok(Self {
                path: path.to_owned(),
                version: version.to_owned(),
            }),
            None => Err(VmError::NotQemu {
                path: path.to_owned(),
                answer: first.to_owned(),
            }),
        }
    }

    /// Its version as it prints it.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The program.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The command that would start this machine, for people. The descriptors
    /// in it are inherited ones.
    pub fn command_line(&self, spec: &VmSpec) -> String {
        let quoted = spec.arguments(Origin::Boot).into_iter().map(|argument| {
            if argument.contains(' ') {
                format!("'{argument}'")
            } else {
                argument
            }
        });
        std::iter::once(self.path.display().to_string())
            .chain(quoted)
            .collect::<Vec<_>>()
            .join(" ")
    }
}
