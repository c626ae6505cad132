//! Machine code → instructions, as far as schedules need to know them: where
//! one begins, what it writes, and where control goes. The decoder is iced-x86,
//! and this file is the only one that knows it.

use std::ops::Range;

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Formatter, GasFormatter, Instruction as Iced,
    InstructionInfoFactory, OpAccess, OpKind, Register,
};

/// Where control goes after an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// To the next one.
    Next,
    /// Into a function, and from there to the next one. None: the target is
    /// computed.
    Call(Option<u64>),
    /// To another place. None: computed.
    Jump(Option<u64>),
    /// To this place or the next one.
    Branch(u64),
    /// Nowhere that is known: a return, or a trap.
    End,
}

/// What an instruction writes to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// Bytes.
    pub bytes: usize,
    /// Distance from the register that the address is computed from.
    pub offset: i64,
    /// The address is computed from one register that is not the stack's.
    pub through_pointer: bool,
}

/// An instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Its address.
    pub address: u64,
    /// The one after it.
    pub next: u64,
    /// As an assembler writes it.
    pub text: String,
    /// Where control goes.
    pub flow: Flow,
    /// What it writes to memory itself: not a call's return address, nor what
    /// it writes under the bus lock.
    pub write: Option<Write>,
}

/// How wide a kernel's registers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// i386.
    Bits32,
    /// x86-64.
    Bits64,
}

/// The instructions of a function's bytes, on x86-64.
pub fn decode(bytes: &[u8], at: u64) -> Vec<Instruction> {
    decode_with(64, false, bytes, at)
}

/// The same of code that is not where it ran, in either mode: data near it is
/// told by its distance.
pub fn decode_elsewhere(mode: Mode, bytes: &[u8], at: u64) -> Vec<Instruction> {
    let bits = match mode {
        Mode::Bits32 => 32,
        Mode::Bits64 => 64,
    };
    decode_with(bits, true, bytes, at)
}

fn decode_with(bits: u32, relative: bool, bytes: &[u8], at: u64) -> Vec<Instruction> {
    let mut decoder = Decoder::with_ip(bits, bytes, at, DecoderOptions::NONE);
    let mut factory = InstructionInfoFactory::new();
    let mut formatter = GasFormatter::new();
    formatter.options_mut().set_uppercase_hex(false);
    formatter.options_mut().set_rip_relative_addresses(relative);
    let mut all = Vec::new();
    while decoder.can_decode() {
        let iced = decoder.decode();
        if iced.is_invalid() {
            // Padding, or data: nothing that runs begins here.
            continue;
        }
        let mut text = String::new();
        formatter.format(&iced, &mut text);
        all.push(Instruction {
            address: iced.ip(),
            next: iced.next_ip(),
            text,
            flow: flow(&iced),
            write: write(&iced, &mut factory),
        });
    }
    all
}

fn flow(iced: &Iced) -> Flow {
    let direct = || {
        matches!(iced.op0_kind(), OpKind::NearBranch64 | OpKind::NearBranch32)
            .then(|| iced.near_branch_target())
    };
    match iced.flow_control() {
        FlowControl::Call => Flow::Call(direct()),
        FlowControl::IndirectCall => Flow::Call(None),
        FlowControl::UnconditionalBranch => Flow::Jump(direct()),
        FlowControl::IndirectBranch => Flow::Jump(None),
        FlowControl::ConditionalBranch | FlowControl::XbeginXabortXend => {
            direct().map_or(Flow::Next, Flow::Branch)
        }
        FlowControl::Return | FlowControl::Interrupt | FlowControl::Exception => Flow::End,
        FlowControl::Next => Flow::Next,
    }
}

fn write(iced: &Iced, factory: &mut InstructionInfoFactory) -> Option<Write> {
    let stack = |register| matches!(register, Register::RSP | Register::ESP);
    // A locked read-modify-write is a counter or a lock, no store of a state.
    if matches!(flow(iced), Flow::Call(_)) || iced.has_lock_prefix() {
        return None;
    }
    let info = factory.info(iced);
    let used = info.used_memory().iter().find(|used| {
        matches!(
            used.access(),
            OpAccess::Write | OpAccess::ReadWrite | OpAccess::CondWrite | OpAccess::ReadCondWrite
        ) && !stack(used.base())
    })?;
    let plain = used.base() != Register::None
        && used.index() == Register::None
        && !matches!(used.base(), Register::RIP | Register::EIP)
        && !matches!(used.segment(), Register::GS | Register::FS);
    Some(Write {
        bytes: used.memory_size().size(),
        offset: used.displacement().cast_signed(),
        through_pointer: plain,
    })
}

/// The two instructions of the function that exchanges tasks: the one that
/// stores the stack pointer of the task that goes, the one that loads that of
/// the task that comes, and the distance of both in `struct task_struct`.
pub fn task_switch(code: &[Instruction]) -> Option<TaskSwitch> {
    // entry_64.S, __switch_to_asm: movq %rsp, off(%rdi); movq off(%rsi), %rsp.
    let offset = |text: &str, before: &str, after: &str| {
        let number = text.strip_prefix(before)?.strip_suffix(after)?;
        let hex = number.strip_prefix("0x").unwrap_or(number);
        u64::from_str_radix(hex, 16).ok()
    };
    let squeezed = |instruction: &Instruction| instruction.text.replace(' ', "");
    let out = code
        .iter()
        .find_map(|one| Some((one, offset(&squeezed(one), "mov%rsp,", "(%rdi)")?)))?;
    let come = code
        .iter()
        .find(|one| offset(&squeezed(one), "mov", "(%rsi),%rsp") == Some(out.1))?;
    Some(TaskSwitch {
        out: out.0.address,
        come: come.address,
        offset: out.1,
    })
}

/// See [`task_switch`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskSwitch {
    /// The store.
    pub out: u64,
    /// The load.
    pub come: u64,
    /// Of the saved stack pointer, from the task's beginning.
    pub offset: u64,
}

/// Where the call before a return address goes, if there is one. None: no call
/// ends there. `Some(None)`: its target is computed.
pub fn call_before(bytes: &[u8], end: u64) -> Option<Option<u64>> {
    // A direct call has five bytes; an indirect one two to eight.
    let window = bytes.len();
    for length in [5, 2, 3, 6, 7, 4, 8] {
        let Some(from) = window.checked_sub(length) else {
            continue;
        };
        let start = end - length as u64;
        let mut decoder = Decoder::with_ip(64, &bytes[from..], start, DecoderOptions::NONE);
        let iced = decoder.decode();
        if iced.next_ip() == end
            && let Flow::Call(target) = flow(&iced)
        {
            return Some(target);
        }
    }
    None
}

/// The instruction of a list at an address.
pub fn find(code: &[Instruction], address: u64) -> Option<&Instruction> {
    code.binary_search_by_key(&address, |one| one.address)
        .ok()
        .map(|index| &code[index])
}

/// Whether an address lies in a range.
pub fn within(range: &Range<u64>, address: u64) -> bool {
    range.contains(&address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_of_the_state_is_a_write_through_a_pointer() {
        // movl $3,(%rbx); call +0; ret
        let code = decode(&[0xc7, 0x03, 3, 0, 0, 0, 0xe8, 0, 0, 0, 0, 0xc3], 0x1000);
        assert_eq!(
            code[0].write,
            Some(Write {
                bytes: 4,
                offset: 0,
                through_pointer: true
            })
        );
        assert_eq!(code[1].flow, Flow::Call(Some(0x100b)));
        assert_eq!(code[1].write, None);
        assert_eq!(code[2].flow, Flow::End);
    }

    #[test]
    fn what_goes_to_the_stack_is_no_write_through_a_pointer() {
        // push %rbx; mov %eax,8(%rsp)
        let code = decode(&[0x53, 0x89, 0x44, 0x24, 8], 0);
        assert!(code.iter().all(|one| one.write.is_none()), "{code:?}");
    }

    #[test]
    fn the_switch_of_tasks_is_found_by_its_two_moves() {
        // mov %rsp,0x14d8(%rdi); mov 0x14d8(%rsi),%rsp
        let bytes = [
            0x48, 0x89, 0xa7, 0xd8, 0x14, 0, 0, 0x48, 0x8b, 0xa6, 0xd8, 0x14, 0, 0,
        ];
        assert_eq!(
            task_switch(&decode(&bytes, 0x100)),
            Some(TaskSwitch {
                out: 0x100,
                come: 0x107,
                offset: 0x14d8
            })
        );
    }

    #[test]
    fn a_return_address_follows_its_call() {
        let direct = [0x90, 0x90, 0x90, 0xe8, 0xfb, 0, 0, 0];
        assert_eq!(call_before(&direct, 0x1000), Some(Some(0x10fb)));
        let indirect = [0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0xff, 0xd0];
        assert_eq!(call_before(&indirect, 0x1000), Some(None));
        assert_eq!(call_before(&[0x90; 8], 0x1000), None);
    }
}
