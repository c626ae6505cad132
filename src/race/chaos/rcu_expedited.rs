//! Expedited RCU grace periods. `free_module()` waits for one in every unload
//! (`synchronize_rcu()`), so shorter ones mean more visits to the window.

use std::io;
use std::path::Path;

use super::{ChaosContext, Technique, TechniqueGuard};
use crate::kernel::tunable::TunableGuard;
use crate::model::Tunable;

const SWITCH: &str = "/sys/kernel/rcu_expedited";

pub(super) const TECHNIQUE: Technique = Technique {
    name: "rcu-expedited",
    help: "expedite RCU grace periods, so that an unload takes less time",
    needs: "/sys/kernel/rcu_expedited (Linux 3.10 or later)",
    guests_only: false,
    changes: || vec![SWITCH.into()],
    arm,
};

struct Expedited(TunableGuard);

fn arm(_: &ChaosContext) -> io::Result<Option<Box<dyn TechniqueGuard>>> {
    let tunable = TunableGuard::set(Path::new(SWITCH), "1")?;
    Ok(Some(Box::new(Expedited(tunable))))
}

impl TechniqueGuard for Expedited {
    fn tunables(&self) -> Vec<Tunable> {
        vec![self.0.record()]
    }

    fn disarm(self: Box<Self>) -> Vec<Tunable> {
        vec![self.0.restore()]
    }
}
