//! What no round ran, and whether that leaves the question open: another store
//! of the module's state, another lock taken, or a way around a lock that was
//! taken each time. Pure.

use std::collections::HashSet;

use super::machine::Ran;
use crate::decode::instructions::{Flow, Instruction, find};

/// What has run of a side, in all rounds.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    ran: HashSet<u64>,
    /// From an instruction to the one that ran next.
    steps: HashSet<(u64, u64)>,
}

/// An instruction that never ran, or a branch that never went one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Its address.
    pub address: u64,
    /// The instruction.
    pub text: String,
    /// Why it leaves the question open, if it does.
    pub matters: Option<String>,
}

/// What is looked for in the code.
#[derive(Clone, Copy)]
pub struct Looked<'a> {
    /// Offsets at which stores of the state are known to be made.
    pub state_offsets: &'a [i64],
    /// Bytes of the state.
    pub state_bytes: usize,
    /// The name of a function that takes a lock.
    pub takes_lock: &'a dyn Fn(u64) -> Option<String>,
}

impl Coverage {
    /// Takes in what a round ran.
    pub fn add(&mut self, trace: &[Ran]) {
        for ran in trace {
            self.ran.insert(ran.address);
        }
        for pair in trace.windows(2) {
            self.steps.insert((pair[0].address, pair[1].address));
        }
    }

    /// Whether an instruction ran.
    pub fn has(&self, address: u64) -> bool {
        self.ran.contains(&address)
    }

    /// What never ran of one function's code.
    pub fn gaps(&self, code: &[Instruction], looked: Looked<'_>) -> Vec<Gap> {
        let mut gaps: Vec<Gap> = code
            .iter()
            .filter(|one| !self.has(one.address) && !padding(&one.text))
            .map(|one| Gap {
                address: one.address,
                text: one.text.clone(),
                matters: matters(one, looked),
            })
            .collect();
        gaps.extend(self.ways_around(code, looked));
        gaps.sort_by_key(|gap| gap.address);
        gaps
    }

    /// Branches that ran and always went the way on which a lock is taken before
    /// a store of the state, where the other way leads to that store without it.
    fn ways_around(&self, code: &[Instruction], looked: Looked<'_>) -> Vec<Gap> {
        let stores: Vec<u64> = code
            .iter()
            .filter(|one| self.has(one.address) && is_state_store(one, looked))
            .map(|one| one.address)
            .collect();
        let locks: Vec<(u64, String)> = code
            .iter()
            .filter(|one| self.has(one.address))
            .filter_map(|one| match one.flow {
                Flow::Call(Some(target)) => Some((one.address, (looked.takes_lock)(target)?)),
                _ => None,
            })
            .collect();
        let mut gaps = Vec::new();
        for one in code.iter().filter(|one| self.has(one.address)) {
            let Flow::Branch(target) = one.flow else {
                continue;
            };
            let went = |to: u64| self.steps.contains(&(one.address, to));
            let (seen, unseen) = match (went(target), went(one.next)) {
                (true, false) => (target, one.next),
                (false, true) => (one.next, target),
                _ => continue,
            };
            for (lock, name) in &locks {
                let around = stores.iter().any(|&store| {
                    reaches(code, unseen, store, *lock) && !reaches(code, seen, store, *lock)
                });
                if around {
                    gaps.push(Gap {
                        address: one.address,
                        text: one.text.clone(),
                        matters: Some(format!(
                            "a branch whose other way goes around {name} to a store of the \
                             module's state"
                        )),
                    });
                    break;
                }
            }
        }
        gaps
    }
}

/// Whether control can go from one instruction to another without passing a
/// third.
fn reaches(code: &[Instruction], from: u64, to: u64, without: u64) -> bool {
    let mut seen = HashSet::new();
    let mut open = vec![from];
    while let Some(address) = open.pop() {
        if address == without || !seen.insert(address) {
            continue;
        }
        if address == to {
            return true;
        }
        let Some(one) = find(code, address) else {
            continue;
        };
        match one.flow {
            Flow::Next | Flow::Call(_) => open.push(one.next),
            Flow::Jump(Some(target)) => open.push(target),
            Flow::Branch(target) => open.extend([target, one.next]),
            Flow::Jump(None) | Flow::End => {}
        }
    }
    false
}

fn matters(one: &Instruction, looked: Looked<'_>) -> Option<String> {
    if is_state_store(one, looked) {
        return Some("a store of the module's state".to_owned());
    }
    match one.flow {
        Flow::Call(Some(target)) | Flow::Jump(Some(target)) => {
            let name = (looked.takes_lock)(target)?;
            Some(format!("where {name} takes a lock"))
        }
        _ => None,
    }
}

fn is_state_store(one: &Instruction, looked: Looked<'_>) -> bool {
    one.write.is_some_and(|write| {
        write.through_pointer
            && write.bytes == looked.state_bytes
            && looked.state_offsets.contains(&write.offset)
    })
}

/// What assemblers fill the space between functions with.
fn padding(text: &str) -> bool {
    text.starts_with("nop") || text.starts_with("int3") || text.starts_with("cs nop")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::instructions::decode;

    /// 100: test %eax,%eax; 102: je 109; 104: call 200; 109: movl $3,(%rbx);
    /// 10f: ret; 110: movl $3,(%rbx); 116: jmp 10f
    const CODE: [u8; 24] = [
        0x85, 0xc0, 0x74, 0x05, 0xe8, 0xf7, 0, 0, 0, 0xc7, 0x03, 3, 0, 0, 0, 0xc3, 0xc7, 0x03, 3,
        0, 0, 0, 0xeb, 0xf7,
    ];

    fn looked(takes_lock: &dyn Fn(u64) -> Option<String>) -> Looked<'_> {
        Looked {
            state_offsets: &[0],
            state_bytes: 4,
            takes_lock,
        }
    }

    fn lock(target: u64) -> Option<String> {
        (target == 0x200).then(|| "mutex_lock".to_owned())
    }

    fn ran(addresses: &[u64]) -> Vec<Ran> {
        addresses
            .iter()
            .map(|&address| Ran {
                address,
                order: 0,
                touches: Vec::new(),
            })
            .collect()
    }

    #[test]
    fn a_second_store_that_never_ran_and_a_way_around_the_lock_matter() {
        let code = decode(&CODE, 0x100);
        let mut coverage = Coverage::default();
        coverage.add(&ran(&[0x100, 0x102, 0x104, 0x109, 0x10f]));
        let told: Vec<(u64, bool)> = coverage
            .gaps(&code, looked(&lock))
            .iter()
            .map(|gap| (gap.address, gap.matters.is_some()))
            .collect();
        assert_eq!(told, [(0x102, true), (0x110, true), (0x116, false)]);
    }

    #[test]
    fn a_branch_that_went_both_ways_does_not() {
        let code = decode(&CODE, 0x100);
        let mut coverage = Coverage::default();
        coverage.add(&ran(&[0x100, 0x102, 0x104, 0x109, 0x10f]));
        coverage.add(&ran(&[0x100, 0x102, 0x109, 0x10f]));
        coverage.add(&ran(&[0x110, 0x116]));
        assert_eq!(coverage.gaps(&code, looked(&lock)), []);
    }

    #[test]
    fn a_lock_that_never_was_taken_matters() {
        let code = decode(&CODE, 0x100);
        let mut coverage = Coverage::default();
        coverage.add(&ran(&[0x100, 0x102, 0x109, 0x10f, 0x110, 0x116]));
        let gaps = coverage.gaps(&code, looked(&lock));
        assert_eq!(gaps.len(), 1);
        assert_eq!(gaps[0].address, 0x104);
        assert!(gaps[0].matters.is_some());
    }
}
