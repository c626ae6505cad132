//! The `Code:` line of a crash as instructions, the faulting one marked. The
//! line's first byte may lie within an instruction. Where the function begins in
//! the line, it is read from there; else from the first byte from which on the
//! faulting instruction begins one. Before it has found its way such a reading
//! may be wrong for an instruction or two, far before the faulting one.

use super::instructions::{Flow, Instruction, Mode, decode_elsewhere};
use crate::model::{CodeInstruction, Crash};

/// Instructions shown before the faulting one and behind it.
const AROUND: usize = 6;

/// The instructions around a crash's faulting one; none where the line is not
/// there, or is of no x86. `name` tells what lies at a distance from the
/// faulting instruction, where that is known.
pub(super) fn disassemble(
    crash: &Crash,
    name: &dyn Fn(i64) -> Option<String>,
) -> Vec<CodeInstruction> {
    let mode = |name: &str| crash.registers.contains_key(name);
    let mode = if mode("RAX") || mode("RIP") {
        Mode::Bits64
    } else if mode("EAX") || mode("EIP") {
        Mode::Bits32
    } else {
        return Vec::new();
    };
    let Some((bytes, at)) = crash.code.as_deref().and_then(bytes) else {
        return Vec::new();
    };
    let offset = crash.faulting_offset.map(usize::try_from);
    let begins = offset.and_then(|offset| at.checked_sub(offset.ok()?));
    around(&bytes, at, begins, mode, name)
}

/// The bytes of a line, and the index of the faulting instruction's first.
fn bytes(line: &str) -> Option<(Vec<u8>, usize)> {
    let mut bytes = Vec::new();
    let mut marked = None;
    for word in line.split_ascii_whitespace() {
        let digits = match word.strip_prefix('<') {
            Some(rest) => {
                marked = Some(bytes.len());
                rest.strip_suffix('>')?
            }
            None => word,
        };
        // arm's words have eight digits.
        if digits.len() != 2 {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
    }
    Some((bytes, marked?))
}

fn around(
    bytes: &[u8],
    at: usize,
    begins: Option<usize>,
    mode: Mode,
    name: &dyn Fn(i64) -> Option<String>,
) -> Vec<CodeInstruction> {
    // Only distances count: a base in the middle keeps all of them positive.
    const BASE: u64 = 1 << 30;
    let faulting = BASE + at as u64;
    let from = |start: usize| {
        let all = decode_elsewhere(mode, &bytes[start..], BASE + start as u64);
        let middle = all.iter().position(|one| one.address == faulting)?;
        // Nothing was passed over as what no instruction begins with.
        let whole = all[..=middle]
            .windows(2)
            .all(|two| two[0].next == two[1].address);
        (whole && all[0].address == BASE + start as u64).then_some((all, middle))
    };
    let Some((all, middle)) = begins.into_iter().chain(0..=at).find_map(from) else {
        return Vec::new();
    };
    let first = middle.saturating_sub(AROUND);
    let shown = all.iter().skip(first).take(middle - first + AROUND + 1);
    shown
        .map(|one| {
            let within = |address: u64| usize::try_from(address - BASE).unwrap_or(usize::MAX);
            let own = bytes.get(within(one.address)..within(one.next));
            let own = own.unwrap_or_default().iter();
            let hex: Vec<String> = own.map(|byte| format!("{byte:02x}")).collect();
            CodeInstruction {
                offset: one.address.cast_signed() - faulting.cast_signed(),
                bytes: hex.join(" "),
                text: text(one, faulting, name),
            }
        })
        .collect()
}

/// An instruction's text, with a jump's target by name or by its distance.
fn text(one: &Instruction, faulting: u64, name: &dyn Fn(i64) -> Option<String>) -> String {
    let words: Vec<&str> = one.text.split_whitespace().collect();
    let (Flow::Call(Some(target)) | Flow::Jump(Some(target)) | Flow::Branch(target)) = one.flow
    else {
        return words.join(" ");
    };
    // Kernels of 32 bits wrap around.
    let distance = target.wrapping_sub(faulting).cast_signed();
    let told = name(distance).unwrap_or_else(|| match distance {
        0.. => format!(".+{distance:#x}"),
        _ => format!(".-{:#x}", distance.unsigned_abs()),
    });
    let kept = words.len().saturating_sub(1);
    format!("{} {told}", words[..kept].join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crash(register: &str, code: &str) -> Crash {
        let mut crash = Crash {
            code: Some(code.to_owned()),
            ..Crash::default()
        };
        crash.registers.insert(register.to_owned(), "0".to_owned());
        crash
    }

    fn told(crash: &Crash) -> Vec<(i64, String)> {
        let told = disassemble(crash, &|_| None).into_iter();
        told.map(|one| (one.offset, one.text)).collect()
    }

    #[test]
    fn a_function_that_begins_in_the_line_is_read_from_there() {
        // Read from the first byte, the third instruction would be another one.
        let line = "ff 48 8b 3d 10 20 30 00 e8 01 02 03 00 <0f> 0b 48 89 c7";
        let mut crash = crash("RAX", line);
        crash.faulting_offset = Some(12);
        assert_eq!(
            told(&crash),
            [
                (-12, "mov 0x302010(%rip),%rdi".to_owned()),
                (-5, "call .+0x30201".to_owned()),
                (0, "ud2".to_owned()),
                (2, "mov %rax,%rdi".to_owned()),
            ]
        );
    }

    #[test]
    fn any_other_is_read_so_that_the_faulting_instruction_begins_one() {
        // The first byte ends an instruction that the line does not have whole.
        let line = "00 5d c3 55 48 89 e5 8b 17 83 fa 03 75 02 <0f> 0b 31 c0";
        let told = told(&crash("RAX", line));
        let texts: Vec<&str> = told.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(
            texts[1..],
            [
                "push %rbp",
                "mov %rsp,%rbp",
                "mov (%rdi),%edx",
                "cmp $3,%edx",
                "jne .+0x2",
                "ud2",
                "xor %eax,%eax"
            ]
        );
    }

    #[test]
    fn what_is_no_x86_or_has_no_mark_is_left_as_it_is() {
        assert!(told(&crash("RAX", "0f 0b 48 89 c7")).is_empty());
        assert!(told(&crash("x0", "d4210000 <d4210000>")).is_empty());
        assert!(told(&crash("RAX", "d4210000 <d4210000>")).is_empty());
    }

    #[test]
    fn a_32_bit_kernel_has_32_bit_instructions() {
        let told = told(&crash("EAX", "<40> 89 c8"));
        assert_eq!(told[0], (0, "inc %eax".to_owned()));
    }
}
