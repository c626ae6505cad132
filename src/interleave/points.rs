//! From what a side ran, undisturbed, to the points at which it is stopped.
//! Pure.

use std::collections::{BTreeMap, HashSet};

use super::machine::{Ran, Touch};
use crate::decode::instructions::{Flow, Instruction, find};

/// Kernel stacks are at least as large, and aligned to it (x86: `THREAD_SIZE`).
const STACK: u64 = 16 << 10;
/// A conflict is looked for in words of this many bytes.
const WORD: u64 = 8;

/// An instruction at which a side is stopped, before it runs for the first time
/// in the call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// Its address.
    pub address: u64,
    /// As an assembler writes it.
    pub text: String,
    /// Where it calls, if it does so by name.
    pub calls: Option<u64>,
    /// Whether it is a call at all.
    pub is_call: bool,
    /// What it touched that the other side can touch too.
    pub touches: Vec<Touch>,
    /// The module's state, where it touched it: whether it was written.
    pub state: Option<bool>,
}

/// The points of one side, in the order in which it first ran them: each
/// instruction that touched memory other than its own stack, each call, and
/// whatever `always` is one. `state` is the address of the module's state.
pub fn points(
    trace: &[Ran],
    code: &[Instruction],
    state: Option<u64>,
    always: &dyn Fn(u64) -> bool,
) -> Vec<Point> {
    let stacks = stacks(trace, code);
    let mut order: Vec<u64> = Vec::new();
    let mut touches: BTreeMap<u64, Vec<Touch>> = BTreeMap::new();
    for ran in trace {
        let known = touches.entry(ran.address).or_insert_with(|| {
            order.push(ran.address);
            Vec::new()
        });
        for touch in &ran.touches {
            if !stacks.contains(&(touch.memory / STACK)) && !known.contains(touch) {
                known.push(*touch);
            }
        }
    }
    let point = |address: u64| {
        let one = find(code, address)?;
        let touched = touches.get(&address)?;
        let (is_call, calls) = match one.flow {
            Flow::Call(target) => (true, target),
            _ => (false, None),
        };
        if touched.is_empty() && !is_call && !always(address) {
            return None;
        }
        let of_state: Vec<&Touch> = touched
            .iter()
            .filter(|touch| state.is_some_and(|state| overlaps(touch, state)))
            .collect();
        Some(Point {
            address,
            text: one.text.clone(),
            calls,
            is_call,
            touches: touched.clone(),
            state: (!of_state.is_empty()).then(|| of_state.iter().any(|touch| touch.store)),
        })
    };
    order.into_iter().filter_map(point).collect()
}

fn overlaps(touch: &Touch, address: u64) -> bool {
    touch.memory <= address && address < touch.memory + u64::from(touch.bytes)
}

/// The stacks that the side's calls left their return addresses on.
fn stacks(trace: &[Ran], code: &[Instruction]) -> HashSet<u64> {
    trace
        .iter()
        .filter(|ran| find(code, ran.address).is_some_and(|one| matches!(one.flow, Flow::Call(_))))
        .filter_map(|ran| ran.touches.iter().rfind(|touch| touch.store))
        .map(|touch| touch.memory / STACK)
        .collect()
}

/// Whether two points touch the same memory, and one of them writes it.
pub fn conflict(one: &Point, other: &Point) -> bool {
    one.touches.iter().any(|a| {
        other
            .touches
            .iter()
            .any(|b| (a.store || b.store) && a.memory / WORD == b.memory / WORD)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::instructions::decode;

    fn ran(address: u64, touches: &[(u64, bool)]) -> Ran {
        Ran {
            address,
            order: 0,
            touches: touches
                .iter()
                .map(|&(memory, store)| Touch {
                    memory,
                    bytes: 4,
                    store,
                })
                .collect(),
        }
    }

    #[test]
    fn the_stack_is_no_point_and_a_call_is_one() {
        // push %rbx; call; movl $3,(%rbx); pop %rbx
        let code = decode(
            &[0x53, 0xe8, 0, 0, 0, 0, 0xc7, 0x03, 3, 0, 0, 0, 0x5b],
            0x100,
        );
        let stack = 0xffff_c900_0000_3f00;
        let module = 0xffff_ffff_a000_0000;
        let trace = [
            ran(0x100, &[(stack, true)]),
            ran(0x101, &[(stack - 8, true)]),
            ran(0x106, &[(module, true)]),
            ran(0x10c, &[(stack, false)]),
        ];
        let points = points(&trace, &code, Some(module), &|_| false);
        let told: Vec<(u64, bool, Option<bool>)> = points
            .iter()
            .map(|point| (point.address, point.is_call, point.state))
            .collect();
        assert_eq!(told, [(0x101, true, None), (0x106, false, Some(true))]);
        assert!(conflict(&points[1], &points[1]));
        assert!(!conflict(&points[0], &points[1]));
    }
}
