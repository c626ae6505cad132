//! What QEMU's monitor prints of registers and memory, read. Pure.

/// The registers that a stack is walked by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Registers {
    pub(super) ip: u64,
    pub(super) sp: u64,
    pub(super) bp: u64,
    /// In user space.
    pub(super) user: bool,
}

/// Every CPU's, from the answer to `info registers -a`.
pub(super) fn of_all(text: &str) -> Vec<(u32, Registers)> {
    let mut all: Vec<(u32, Registers)> = Vec::new();
    for line in text.lines() {
        if let Some(number) = line.trim().strip_prefix("CPU#") {
            if let Ok(number) = number.parse() {
                all.push((number, Registers::default()));
            }
            continue;
        }
        let Some((_, registers)) = all.last_mut() else {
            continue;
        };
        for word in line.split_ascii_whitespace() {
            let Some((name, value)) = word.split_once('=') else {
                continue;
            };
            let number = u64::from_str_radix(value, 16);
            match (name, number) {
                ("RIP", Ok(number)) => registers.ip = number,
                ("RSP", Ok(number)) => registers.sp = number,
                ("RBP", Ok(number)) => registers.bp = number,
                ("CPL", Ok(level)) => registers.user = level == 3,
                _ => {}
            }
        }
    }
    all
}

/// The words of an answer to `x /gx`: what stands behind each line's address.
pub(super) fn words(text: &str) -> Vec<u64> {
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    lines
        .flat_map(|(_, words)| words.split_ascii_whitespace())
        .map_while(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_and_memory_are_read_as_qemu_prints_them() {
        let text = "\r\nCPU#0\r\nRAX=0000000000000000 RBX=ffffffff81a0b2c0 RCX=0 RDX=0\r\n\
            RSI=0000000000000000 RDI=0000000000000000 RBP=ffffc90000003e48 \
            RSP=ffffc90000003e48\r\nR8 =0000000000000001 R9 =0000000000000000 R10=0 R11=0\r\n\
            RIP=ffffffff8102d4c5 RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1\r\n\
            \r\nCPU#1\r\nRBP=00007f RSP=00007ffd\r\nRIP=0000000000401000 RFL=00000202 [-------] \
            CPL=3 II=0\r\n";
        let all = of_all(text);
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].1.ip, 0xffff_ffff_8102_d4c5);
        assert_eq!(all[0].1.bp, all[0].1.sp);
        assert!(!all[0].1.user && all[1].1.user);

        let text = "ffffc90000003e48: 0xffffc90000003e80 0xffffffff8100f31b\r\n\
            ffffc90000003e58: 0x0000000000000000 0x0000000000000001\r\n\
            Cannot access memory at address 0xffffc90000004000\r\n";
        let read = [0xffff_c900_0000_3e80, 0xffff_ffff_8100_f31b, 0, 1];
        assert_eq!(words(text), read);
    }
}
