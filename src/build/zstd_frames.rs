//! Zstandard files of any number of frames. `zstd` glues frames when files are
//! joined, `pzstd` and journald write several into one file, and frames of
//! metadata stand between them, to be skipped (RFC 8878, section 3.1).

use std::io::{self, Chain, Cursor, Read};

use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

/// First four bytes of a frame to be skipped, but for the lowest four bits.
const SKIPPABLE: u32 = 0x184d_2a50;
const SKIPPABLE_MASK: u32 = 0xffff_fff0;
/// Bytes of a frame's magic number, and of a skippable frame's length.
const WORD: usize = 4;

/// What was packed, frame after frame.
pub(super) struct ZstdFrames<R: Read> {
    state: State<R>,
}

/// A frame's first word, which was read to know it by, and what follows.
type AfterWord<R> = Chain<Cursor<[u8; WORD]>, R>;

enum State<R: Read> {
    Between(R),
    Inside(Box<StreamingDecoder<AfterWord<R>, FrameDecoder>>),
    Over,
}

impl<R: Read> ZstdFrames<R> {
    pub(super) fn new(file: R) -> Self {
        Self {
            state: State::Between(file),
        }
    }
}

impl<R: Read> Read for ZstdFrames<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            // An error ends it: what follows it has no known place.
            self.state = match std::mem::replace(&mut self.state, State::Over) {
                State::Over => return Ok(0),
                State::Between(file) => next_frame(file)?,
                State::Inside(mut frame) => {
                    let count = frame.read(out)?;
                    if count > 0 {
                        self.state = State::Inside(frame);
                        return Ok(count);
                    }
                    let (_, file) = frame.into_inner().into_inner();
                    State::Between(file)
                }
            };
        }
    }
}

/// The next frame that holds something, or the end.
fn next_frame<R: Read>(mut file: R) -> io::Result<State<R>> {
    loop {
        let Some(magic) = word(&mut file)? else {
            return Ok(State::Over);
        };
        if u32::from_le_bytes(magic) & SKIPPABLE_MASK != SKIPPABLE {
            let whole = Cursor::new(magic).chain(file);
            let frame = StreamingDecoder::new(whole).map_err(io::Error::other)?;
            return Ok(State::Inside(Box::new(frame)));
        }
        let length = word(&mut file)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let length = u64::from(u32::from_le_bytes(length));
        let skipped = io::copy(&mut file.by_ref().take(length), &mut io::sink())?;
        if skipped < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Four bytes, or None at the end of the file.
fn word(file: &mut impl Read) -> io::Result<Option<[u8; WORD]>> {
    let mut bytes = Vec::with_capacity(WORD);
    file.take(WORD as u64).read_to_end(&mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let whole = bytes.try_into();
    whole
        .map(Some)
        .map_err(|_| io::ErrorKind::UnexpectedEof.into())
}
