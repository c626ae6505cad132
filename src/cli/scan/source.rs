//! Where a log's bytes come from: a file, stdin, and either of them gzip or
//! xz. Feeds a scanner; knows nothing of crashes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::crash::Scanner;

/// Bytes handed over at a time.
const CHUNK: usize = 1 << 20;

/// A log that can't be read.
#[derive(Debug, Error)]
#[error("can't read {}", path.display())]
pub(super) struct Unreadable {
    path: PathBuf,
    source: io::Error,
}

/// Reads a log to its end. `each` gets every chunk, and once more at the end.
pub(super) fn read(
    path: &Path,
    mut each: impl FnMut(&[u8], bool, &mut Scanner),
) -> Result<(), Unreadable> {
    let mut scanner = Scanner::new();
    let done = open(path).and_then(|mut log| {
        let mut chunk = vec![0; CHUNK];
        loop {
            match log.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(count) => each(&chunk[..count], false, &mut scanner),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    });
    // What was read before an error still counts.
    each(&[], true, &mut scanner);
    done.map_err(|source| Unreadable {
        path: path.to_owned(),
        source,
    })
}

fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    let raw: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path)?)
    };
    let mut buffered = BufReader::with_capacity(CHUNK, raw);
    let begins = buffered.fill_buf()?;
    if begins.starts_with(&[0x1f, 0x8b]) {
        Ok(Box::new(flate2::read::MultiGzDecoder::new(buffered)))
    } else if begins.starts_with(b"\xfd7zXZ\0") {
        Ok(Box::new(liblzma::read::XzDecoder::new_multi_decoder(
            buffered,
        )))
    } else {
        Ok(Box::new(buffered))
    }
}
