//! The race: loaders that load and unload the module against readers of a
//! target that shows it, released together by a gate and perturbed by chaos techniques.
//! Says what it counts on the flight recorder; judges nothing.

pub mod action;
pub mod auto;
pub mod chaos;
pub mod crash_rule;
mod crew;
mod engine;
mod gate;
mod line_check;
mod loader;
mod placement;
mod processes;
pub mod races;
mod read_counter;
mod target_reader;
pub mod targets;
mod worker;

pub use auto::{READ_POLICIES, ReadPolicy};
pub use engine::{Race, RaceError, RaceSpec, Starting};
pub use placement::{PlacedWorker, Placement, Role};
pub use target_reader::shows;
