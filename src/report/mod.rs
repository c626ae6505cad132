//! Reports on disk and in people's hands: one file per format over the same
//! record.

pub mod write;
