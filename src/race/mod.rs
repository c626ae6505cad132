//! The race: loaders that load and unload the module against readers of a
//! target that shows it, released together by a gate and perturbed by chaos techniques.
//! Says what it counts on the flight recorder; judges nothing.

mod aim;
mod arms;
pub mod chaos;
mod engine;
mod gate;
mod line_check;
mod lineup;
mod loader;
mod moments;
mod processes;
mod reader;
mod striker;
mod strikes;
mod tally;
pub mod targets;
mod uevent;
mod worker;

pub use arms::{ARMS, Arm};
pub use engine::{Race, RaceError, RaceSpec, Starting};
pub use lineup::{Lineup, Role, Seat};
pub use reader::shows;
