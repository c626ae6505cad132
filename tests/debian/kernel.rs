//! The stock kernel of the Debian disk with the fix taken out: the two calls that
//! `free_module()` makes around the store of `MODULE_STATE_UNFORMED`, to take and
//! to give back `module_mutex`, are made to do nothing.

use std::io::Read;

use regex::bytes::Regex;

/// Five bytes that do nothing, in place of a call.
const NOTHING: [u8; 5] = [0x0f, 0x1f, 0x44, 0, 0];
/// Where a bzImage says how many sectors its set-up takes, and where in what
/// follows its payload is (Documentation/arch/x86/boot.rst).
const SETUP_SECTS: usize = 0x1f1;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

/// The kernel inside a boot image, without the fix.
pub(crate) fn vulnerable(boot_image: &[u8]) -> Vec<u8> {
    let mut kernel = unpacked(boot_image);
    // mov $module_mutex,%rdi; call mutex_lock; movl $3,(reg) or 0(%rbp);
    // mov $module_mutex,%rdi; call mutex_unlock
    let store = r"(?:\xc7[\x00-\x07]|\xc7[\x40-\x47]\x00)\x03\x00\x00\x00";
    let call = r"\x48\xc7\xc7(.{4})\xe8.{4}";
    let pattern = Regex::new(&format!("(?s-u){call}{store}{call}")).unwrap();
    let found: Vec<_> = pattern
        .captures_iter(&kernel)
        .filter(|found| found[1] == found[2])
        .map(|found| found.get(0).unwrap().range())
        .collect();
    assert_eq!(found.len(), 1, "stores of UNFORMED under module_mutex");
    let lock = found[0].start + 7;
    let unlock = found[0].end - 5;
    for at in [lock, unlock] {
        kernel[at..at + 5].copy_from_slice(&NOTHING);
    }
    kernel
}

/// The ELF file inside a boot image that is packed by LZ4, as Debian's cloud
/// kernel is; its last four bytes say how large it is.
fn unpacked(boot_image: &[u8]) -> Vec<u8> {
    let word = |at: usize| {
        let bytes = boot_image[at..at + 4].try_into().unwrap();
        usize::try_from(u32::from_le_bytes(bytes)).unwrap()
    };
    let start = (usize::from(boot_image[SETUP_SECTS]) + 1) * 512 + word(PAYLOAD_OFFSET);
    let payload = &boot_image[start..start + word(PAYLOAD_LENGTH) - 4];
    let mut kernel = Vec::new();
    lz4_flex::frame::FrameDecoder::new(payload)
        .read_to_end(&mut kernel)
        .expect("a kernel packed by LZ4");
    assert!(kernel.starts_with(b"\x7fELF"));
    kernel
}
