//! Seeds: one for the run, every other one derived from it.

/// Seeds stay below 2^53, so that every reader of JSON keeps them whole.
pub const MAX_SEED: u64 = (1 << 53) - 1;

/// What a seed is for. Streams of different domains have nothing in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// A trial of a run; its seed stands in reports, and its derivation stays.
    Trial,
    /// A template of a run.
    Template,
    /// A race of a check.
    Race,
    /// A worker of a trial.
    Worker,
    /// An agent of a chaos technique.
    Agent,
    /// An unload, for which readers choose how to read.
    Unload,
}

impl Domain {
    /// Set apart from a seed by exclusive or: any constants that differ.
    fn constant(self) -> u64 {
        match self {
            Self::Trial => 0,
            Self::Template => 0x7465_6d70_6c61_7465,
            Self::Race => 0x7261_6365_7261_6365,
            Self::Worker => 0x776f_726b_6572_0001,
            Self::Agent => 0x6167_656e_7400_0001,
            Self::Unload => 0x756e_6c6f_6164_0001,
        }
    }
}

/// The seed number `index` (from 0) of a domain, below a seed: the output of
/// `SplitMix64` (Steele, Lea, Flood, OOPSLA 2014) at that position, so that it
/// depends on nothing but the three, in whatever order they are asked for.
pub fn derive(seed: u64, domain: Domain, index: u64) -> u64 {
    const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
    let start = seed ^ domain.constant();
    let mut z = start.wrapping_add(GOLDEN_GAMMA.wrapping_mul(index.wrapping_add(1)));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) & MAX_SEED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_differ_and_do_not_depend_on_order() {
        let domains = [
            Domain::Trial,
            Domain::Template,
            Domain::Race,
            Domain::Worker,
            Domain::Agent,
            Domain::Unload,
        ];
        let all = |order: &mut dyn Iterator<Item = u64>| -> Vec<u64> {
            let indexes: Vec<u64> = order.collect();
            let of = |domain| indexes.iter().map(move |&i| derive(7, domain, i));
            domains.into_iter().flat_map(of).collect()
        };
        let forward = all(&mut (0..100));
        let mut unique = forward.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), forward.len());
        assert!(forward.iter().all(|&seed| seed <= MAX_SEED));
        let mut backward = all(&mut (0..100).rev());
        backward.sort_unstable();
        assert_eq!(backward, unique);
    }

    /// Reports of earlier versions are still validated.
    #[test]
    fn the_seeds_of_trials_stay() {
        assert_eq!(
            derive(0, Domain::Trial, 0),
            0xe220_a839_7b1d_cdaf & MAX_SEED
        );
    }
}
