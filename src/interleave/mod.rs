//! Interleavings: the two sides of a race, forced into one order after another
//! by a QEMU plugin. The plugin stops and lets go; all deciding is here.

pub mod arch;
pub mod calls;
pub mod coverage;
pub mod driver;
pub mod guest;
pub mod machine;
pub mod memory;
pub mod noise;
pub mod points;
pub mod round;
pub mod schedule;
pub mod search;
pub mod sides;
pub mod standing;
