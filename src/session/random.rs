//! Random numbers for seeds and names. Nothing secret depends on them, so they
//! come from `/dev/urandom`: `getrandom(2)` waits until the kernel has gathered
//! entropy, which takes minutes in a guest that has just booted and has no source
//! of it (random(4)).

use std::fs::File;
use std::io::Read;

use super::exit::Failure;

/// 64 random bits.
pub(super) fn bits() -> Result<u64, Failure> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")
        .and_then(|mut urandom| urandom.read_exact(&mut bytes))
        .map_err(|error| Failure::broken(format!("no random numbers, /dev/urandom: {error}")))?;
    Ok(u64::from_ne_bytes(bytes))
}
