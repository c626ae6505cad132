//! Expedited RCU grace periods. `free_module()` waits for one in every unload
//! (`synchronize_rcu()`), so shorter ones mean more visits to the window.

use std::io;
use std::path::Path;

use super::{Arena, Armed, Technique};
use crate::kernel::knob::KnobGuard;
use crate::model::Knob;

const SWITCH: &str = "/sys/kernel/rcu_expedited";

pub(super) const TECHNIQUE: Technique = Technique {
    name: "rcu-expedited",
    help: "expedite RCU grace periods, so that an unload takes less time",
    needs: "/sys/kernel/rcu_expedited (Linux 3.12 or later)",
    guests_only: false,
    changes: || vec![SWITCH.into()],
    arm,
};

struct Expedited(KnobGuard);

fn arm(_: &Arena) -> io::Result<Option<Box<dyn Armed>>> {
    let knob = KnobGuard::set(Path::new(SWITCH), "1")?;
    Ok(Some(Box::new(Expedited(knob))))
}

impl Armed for Expedited {
    fn knobs(&self) -> Vec<Knob> {
        vec![self.0.record()]
    }

    fn disarm(self: Box<Self>) -> Vec<Knob> {
        vec![self.0.restore()]
    }
}
