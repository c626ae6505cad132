//! Trials one after another, the machine dying in each, nobody touching it.

use crate::machine::{Kernel, Machine};

#[test]
fn explore() {
    let machine = Machine::new(Kernel::Vulnerable);
    let script = std::fs::read_to_string(std::env::var("SCRIPT").unwrap()).unwrap();
    let boot = machine.boot(&script);
    eprintln!("{}", boot.console);
}
