//! Why a build tool did not do its work, and what it said it missed.

use std::io;
use std::process::ExitStatus;

/// Why a tool did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// It could not be started.
    #[error("cannot run `{program}`")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// Its output could not be read or kept.
    #[error("cannot keep the output of `{program}`")]
    Output {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// It said that it failed.
    #[error("`{program}` failed ({status}){}", tail_text(tail))]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines that it printed.
        tail: Vec<String>,
    },
    /// Told to stop; the tool and its children are gone.
    #[error("interrupted")]
    Interrupted,
}

impl MakeError {
    /// What the tool itself missed, as its last lines tell: a program or a
    /// header file.
    pub fn missing(&self) -> Option<String> {
        match self {
            Self::Start { program, .. } if self.is_missing() => Some(program.clone()),
            Self::Failed { tail, .. } => tail.iter().find_map(|line| missing_in(line)),
            _ => None,
        }
    }

    /// The last lines that it printed.
    pub fn tail(&self) -> &[String] {
        match self {
            Self::Failed { tail, .. } => tail,
            _ => &[],
        }
    }

    /// Whether the program is not installed.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Start { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// `sh: 1: gcc-12: not found`, `make: gcc-12: No such file or directory` (make
/// runs simple commands itself), `fatal error: libelf.h: No such file…`.
fn missing_in(line: &str) -> Option<String> {
    let header = line.split_once("fatal error: ");
    let before = line
        .strip_suffix(": not found")
        .or_else(|| line.strip_suffix(": command not found"))
        .or_else(|| line.strip_suffix(": No such file or directory"))?;
    let name = match header {
        Some(_) => before.rsplit(' ').next()?,
        None => before.rsplit(": ").next()?,
    };
    // A path is a file of the tree, not a thing to install.
    let is_program = header.is_some() || !name.contains(['/', ' ', '.']);
    (is_program && !name.is_empty()).then(|| name.to_owned())
}

fn tail_text(tail: &[String]) -> String {
    if tail.is_empty() {
        return String::new();
    }
    format!("; its last lines:\n    {}", tail.join("\n    "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tool_missed_is_read_from_its_words() {
        for (line, missing) in [
            ("/bin/sh: 1: gcc-12: not found", Some("gcc-12")),
            ("make[1]: gcc-12: No such file or directory", Some("gcc-12")),
            ("sh: line 3: flex: command not found", Some("flex")),
            (
                "x.h:7:10: fatal error: libelf.h: No such file or directory",
                Some("libelf.h"),
            ),
            ("ls: ./include/x: No such file or directory", None),
            ("main.c:3: error: expected `;`", None),
        ] {
            assert_eq!(missing_in(line).as_deref(), missing, "{line}");
        }
    }
}
