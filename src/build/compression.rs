//! Compressed files: told by their first bytes, read as what is inside.

use std::io::{self, BufRead, Read};

use super::zstd_frames::ZstdFrames;

/// Compressed data that could not be unpacked.
#[derive(Debug, thiserror::Error)]
#[error("cannot unpack the {format} data")]
pub struct UnpackError {
    /// Which format its first bytes promise.
    pub format: &'static str,
    /// What the unpacker said.
    pub source: io::Error,
}

/// A compression, by the name that messages use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not compressed.
    Plain,
    /// `.gz`
    Gzip,
    /// `.xz`
    Xz,
    /// `.zst`
    Zstd,
}

impl Packing {
    /// What the first bytes of a file say.
    pub fn of(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }

    /// The word for messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        }
    }
}

/// A reader of what is inside, and how it was packed.
pub fn reader<'a>(
    mut file: impl BufRead + Send + 'a,
) -> Result<(Packing, Box<dyn Read + Send + 'a>), UnpackError> {
    let head = file.fill_buf().map_err(|source| UnpackError {
        format: Packing::Plain.as_str(),
        source,
    })?;
    let packing = Packing::of(head);
    let inside: Box<dyn Read + Send + 'a> = match packing {
        Packing::Plain => Box::new(file),
        Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        Packing::Xz => Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(file)),
        Packing::Zstd => Box::new(ZstdFrames::new(file)),
    };
    Ok((packing, inside))
}
