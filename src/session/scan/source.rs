//! Where a log's bytes come from: a file, stdin, each packed or not, a
//! journal's records, parts of pstore in their order. Feeds a scanner; knows
//! nothing of crashes.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::input::Log;
use crate::build::compression;
use crate::console::{JournalFormat, JournalReader, pstore_part};
use crate::crash::{ScanEvent, Scanner};

/// Bytes handed over at a time.
const CHUNK: usize = 1 << 20;

/// A log that can't be read.
#[derive(Debug, Error)]
#[error("can't read {}: {reason}", path.display())]
pub struct Unreadable {
    path: PathBuf,
    reason: String,
}

impl Unreadable {
    pub(super) fn new(path: &Path, error: &dyn std::error::Error) -> Self {
        let mut reason = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !reason.contains(&text) {
                reason = format!("{reason}: {text}");
            }
            cause = error.source();
        }
        Self {
            path: path.to_owned(),
            reason,
        }
    }
}

/// Reads a log to its end, or until `each` has seen enough. What was read
/// before an error still counts.
pub fn read(
    log: &Log,
    mut each: impl FnMut(ScanEvent) -> ControlFlow<()>,
) -> Result<(), Unreadable> {
    let mut scanner = Scanner::new();
    let mut done = Ok(());
    let mut journal = None;
    for path in &log.files {
        let fed = feed(path, log.is_pstore(), &mut journal, |bytes, journal| {
            let events = scanner.feed(bytes);
            events
                .into_iter()
                .try_for_each(|event| each(placed(event, journal)))
        });
        match fed {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => return Ok(()),
            Err(error) => {
                done = Err(error);
                break;
            }
        }
    }
    let last = scanner.finish();
    let _ = last
        .into_iter()
        .try_for_each(|event| each(placed(event, journal.as_ref())));
    done
}

/// An event whose offset is one in the file, not in the lines that a journal's
/// records became.
fn placed(mut event: ScanEvent, journal: Option<&JournalReader>) -> ScanEvent {
    if let Some(journal) = journal {
        match &mut event {
            ScanEvent::Sign(sign) => sign.offset = journal.place(sign.offset),
            ScanEvent::Crash(crash) => crash.offset = journal.place(crash.offset),
        }
    }
    event
}

/// Feeds a file's text to `each`.
fn feed(
    path: &Path,
    part: bool,
    journal: &mut Option<JournalReader>,
    mut each: impl FnMut(&[u8], Option<&JournalReader>) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, Unreadable> {
    let unreadable = |error: &dyn std::error::Error| Unreadable::new(path, error);
    let raw: Box<dyn Read + Send> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).map_err(|error| unreadable(&error))?)
    };
    let buffered = BufReader::with_capacity(CHUNK, raw);
    let (_, mut text) = compression::reader(buffered).map_err(|error| unreadable(&error))?;
    let mut chunk = vec![0; CHUNK];
    *journal = None;
    let mut lines = Vec::new();
    let mut first = true;
    loop {
        let count = match text.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(unreadable(&error)),
        };
        let mut bytes = &chunk[..count];
        if std::mem::take(&mut first) {
            *journal = JournalFormat::of(bytes).map(JournalReader::new);
            if part {
                bytes = behind_part_line(bytes);
            }
        }
        let flow = match journal.as_mut() {
            None => each(bytes, None),
            Some(journal) => {
                lines.clear();
                journal.feed(bytes, &mut lines);
                each(&lines, Some(journal))
            }
        };
        if flow.is_break() {
            return Ok(flow);
        }
    }
    let mut last = Vec::new();
    if let Some(journal) = journal.as_mut() {
        journal.finish(&mut last);
    } else if part {
        // A part may end in the middle of nothing; the next begins a line.
        last.push(b'\n');
    }
    Ok(each(&last, journal.as_ref()))
}

/// The text behind a part's first line.
fn behind_part_line(bytes: &[u8]) -> &[u8] {
    let end = bytes
        .iter()
        .position(|&b| b == b'\n')
        .unwrap_or(bytes.len());
    let line = String::from_utf8_lossy(&bytes[..end]);
    if pstore_part(&line).is_some() {
        bytes.get(end + 1..).unwrap_or_default()
    } else {
        bytes
    }
}
