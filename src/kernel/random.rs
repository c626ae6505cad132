//! The kernel's random pool.

use std::fs::File;
use std::io;

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::sys;

/// Mixes `seed` into the pool and has the kernel draw its keys anew: two copies
/// of one machine draw different numbers from then on (random(4)). Needs
/// `CAP_SYS_ADMIN`.
pub fn stir(seed: u64) -> io::Result<()> {
    let pool = File::options().write(true).open("/dev/urandom")?;
    let mut bytes = [0; 32];
    Xoshiro256PlusPlus::seed_from_u64(seed).fill_bytes(&mut bytes);
    sys::add_entropy(&pool, bytes)?;
    // Linux 4.14 and later; older ones draw them anew with what is added.
    match sys::reseed(&pool) {
        Err(error) if error.raw_os_error() == Some(nix::libc::EINVAL) => Ok(()),
        done => done,
    }
}
