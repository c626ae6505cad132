//! The aimed reader: reads of the target fired into an unload at learned
//! moments. When an unload begins and ends (`unload_clock`, `uevent`), when to
//! read (`delay_estimator`), how (`read_policy`), and the loop that does it.

mod delay_estimator;
mod read_policy;
mod targeted_reader;
mod targeted_reads;
mod uevent;
mod unload_clock;

pub use read_policy::{READ_POLICIES, ReadPolicy};
pub(super) use read_policy::{Schedule, Shape};
pub(super) use targeted_reader::TargetedReader;
pub(super) use targeted_reads::TargetedReads;
pub(super) use unload_clock::{LOADER_PRIORITY, PREEMPTER_PRIORITY, READER_PRIORITY, UnloadClock};
