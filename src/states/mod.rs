//! The states experiment: the module held in init, live and in exit, and what
//! the kernel shows of it each time. `hold` holds and looks, on the machine it
//! runs on; `check` judges what was seen and touches nothing; `vm` has it done
//! in disposable guests, and reads the kernel's own list off the console.

mod check;
mod heard;
mod hold;
mod vm;

use std::path::Path;

pub use check::{check_console, check_observed};
pub use hold::{HoldError, fit, observe_all};
pub use vm::{StatesError, StatesVm, check_died};

use crate::vm::protocol::{GuestMessage, Task};

/// Does a guest's part of the experiment.
pub fn perform(task: Task, module: &Path, folder: &Path, say: &mut dyn FnMut(GuestMessage)) {
    let done = match task {
        Task::Race | Task::LockStep => Ok(()),
        Task::States => observe_all(module, true, &mut |observed| {
            say(GuestMessage::State(Box::new(observed)));
        }),
        Task::CrashIn(held) => {
            hold::crash_in(held, module, folder, &mut || say(GuestMessage::Held))
        }
    };
    // After sysrq-c nobody comes here.
    say(GuestMessage::StatesEnded {
        failed: done.err().map(|error| error.to_string()),
    });
}
