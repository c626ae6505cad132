//! modrace: races module loading and unloading against readers of
//! `/proc/modules`, and says what a Linux kernel did under it.
//!
//! The rooms, from the top floor down, and what each may import.
//! `tests/layering.rs` reads this table and holds the code to it.
//!
//! ```text
//! room       imports
//! cli        crash decode lab model procfs race report session
//! session    bare build console crash decode disk interleave kernel lab model procfs race recorder report runner states stats trial verdict vm
//! report     build disk model procfs stats verdict
//! states     build crash judge kernel model procfs recorder trial vm
//! bare       build console crash disk judge kernel model recorder runner trial vm
//! trial      judge kernel model race recorder vm
//! judge      console crash kernel model race recorder vm
//! runner     build kernel model procfs race recorder vm
//! interleave crash decode kernel model vm
//! lab        build
//! race       kernel model procfs recorder
//! vm         kernel model recorder
//! recorder   kernel model
//! kernel     build model
//! decode     build model
//! verdict    model stats
//! build      disk
//! crash      console model
//! stats
//! console
//! procfs
//! disk
//! model
//! ```
//!
//! - `cli`: arguments, one file per command; `cli/ui` is the only place that prints
//! - `session`: what a command does: kernels made ready, schedules, controls
//! - `report`: one file per format over the same record
//! - `states`: the module held in each of its states, and checked
//! - `bare`: a trial on the machine itself, and its recovery after a death
//! - `trial`: a trial in a VM, and trials one after another
//! - `judge`: evidence of one trial → one outcome; the only judge
//! - `runner`: a trial as the machine performs it: as PID 1, or as a worker
//! - `lab`: kernels built from source, with and without a fix
//! - `race`: the engine, targets, chaos techniques; `race/auto` aims
//! - `interleave`: two sides of a race forced into one order after another
//! - `vm`: QEMU, and what host and guest say to each other
//! - `recorder`: the page of counters that outlives the guest
//! - `kernel`: the live kernel's interfaces; all unsafe code
//! - `verdict`: from trials to a verdict, and the sentence that says why
//! - `build`: Kbuild, module and kernel images, the cache
//! - `crash`: bytes of a log → crashes
//! - `decode`: addresses → names, lines of the source, instructions
//! - `stats`: times → statistics; mathematics without words
//! - `disk`: files that are there after a crash
//! - `console`, `procfs`: bytes → lines; `model`: the records that all speak in

pub mod bare;
pub mod build;
pub mod cli;
pub mod console;
pub mod crash;
pub mod decode;
pub mod disk;
pub mod interleave;
pub mod judge;
pub mod kernel;
pub mod lab;
pub mod model;
pub mod procfs;
pub mod race;
pub mod recorder;
pub mod report;
pub mod runner;
pub mod session;
pub mod states;
pub mod stats;
pub mod trial;
pub mod verdict;
pub mod vm;
