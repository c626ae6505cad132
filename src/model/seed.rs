//! Seeds: one for the run, one derived for each trial.

/// Seeds stay below 2^53, so that every reader of JSON keeps them whole.
pub const MAX_SEED: u64 = (1 << 53) - 1;

/// The seed of trial `index` (from 0) in a run seeded with `run_seed`: the
/// output of `SplitMix64` (Steele, Lea, Flood, OOPSLA 2014) at that position,
/// so that it depends on nothing but the two, in whatever order trials run.
pub fn trial_seed(run_seed: u64, index: u32) -> u64 {
    const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut z = run_seed.wrapping_add(GOLDEN_GAMMA.wrapping_mul(u64::from(index) + 1));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) & MAX_SEED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trial_seeds_differ_and_do_not_depend_on_order() {
        let forward: Vec<u64> = (0..100).map(|i| trial_seed(7, i)).collect();
        let mut backward: Vec<u64> = (0..100).rev().map(|i| trial_seed(7, i)).collect();
        backward.reverse();
        assert_eq!(forward, backward);
        let mut unique = forward.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), forward.len());
        assert!(forward.iter().all(|&seed| seed <= MAX_SEED));
    }
}
