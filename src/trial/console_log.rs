//! A trial's console log: a file beside the report, or memory, where a template
//! keeps it for its clones.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::listener::Ended;

/// The console's bytes as they came.
#[derive(Debug)]
pub(super) struct Log {
    store: Store,
    /// How the report names it.
    pub(super) name: Option<String>,
}

#[derive(Debug)]
enum Store {
    None,
    Memory(Vec<u8>),
    File(File, PathBuf),
}

impl Log {
    /// One that is kept in memory.
    pub(super) fn in_memory() -> Self {
        Self {
            store: Store::Memory(Vec::new()),
            name: None,
        }
    }

    /// The log of a trial, in the folder `logs` if there is one.
    pub(super) fn create(logs: Option<&Path>, index: u32) -> Result<Self, Ended> {
        let Some(logs) = logs else {
            return Ok(Self {
                store: Store::None,
                name: None,
            });
        };
        let path = logs.join(format!("trial-{index:04}.console.log"));
        std::fs::create_dir_all(logs).map_err(|error| Ended::file(logs, &error))?;
        let file = File::create(&path).map_err(|error| Ended::file(&path, &error))?;
        // The report stands beside the folder of logs.
        let folder = logs.file_name().map_or(logs, Path::new);
        let name = folder
            .join(path.file_name().unwrap_or_default())
            .display()
            .to_string();
        Ok(Self {
            store: Store::File(file, path),
            name: Some(name),
        })
    }

    /// What is kept in memory; nothing of a file.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        match self.store {
            Store::Memory(bytes) => bytes,
            Store::None | Store::File(..) => Vec::new(),
        }
    }

    /// What is kept in memory is written to a log that is a file.
    pub(super) fn move_to(self, mut log: Self) -> Result<Self, Ended> {
        if let Store::Memory(bytes) = &self.store {
            log.write(bytes)?;
        }
        Ok(log)
    }

    /// Adds what came.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        match &mut self.store {
            Store::None => Ok(()),
            Store::Memory(kept) => {
                kept.extend_from_slice(bytes);
                Ok(())
            }
            Store::File(file, path) => file
                .write_all(bytes)
                .map_err(|error| Ended::file(path, &error)),
        }
    }
}
