//! The flight recorder: a page of counters that guest and host, or a worker
//! process and its watcher, both see. Its layout, its two sides, and what it
//! says at one moment. It outlives whoever writes it.

mod hold;
mod layout;
mod page;
mod snapshot;

pub use hold::Go;
pub use layout::{MAX_WORKERS, Phase, RECORDER_BYTES, RECORDER_MAGIC, Recorder, Slot, Stage, bump};
pub use page::{MappedRecorder, bar_in_guest, create, open, open_in_guest};
pub use snapshot::Snapshot;
