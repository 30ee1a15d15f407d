//! The order in which targets are probed: a seeded permutation of an index space, computed index by index, so that no list
//! is kept and no target sees its probes in a row. What an index stands for is the caller's.

/// A permutation of `0..n`.
///
/// A balanced Feistel network permutes `0..2^2w`, the smallest such range that holds `0..n`: each round maps (l, r) to
/// (r, l ^ f(r)), which can be undone whatever f is, so every round, and all of them together, is one to one. Values of n
/// and above are sent through again ("cycle walking", Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002):
/// following the cycle of a permutation from a start below n always comes back below n, at the latest at the start itself,
/// and two starts never meet, because the walk can be undone as well. So every index below n comes exactly once. Since
/// 2^2w is less than 4n (or 4), the walk takes fewer than four steps on average.
#[derive(Clone, Debug)]
pub(crate) struct Permutation {
    n: u64,
    half_bits: u32,
    keys: [u64; ROUNDS],
}

/// Four rounds make a pseudorandom permutation of a good round function (Luby and Rackoff, 1988). Nobody attacks the order;
/// it only has to look like no order.
const ROUNDS: usize = 4;

impl Permutation {
    /// The permutation of `0..n` that belongs to the seed. `n` is at most 2^63.
    pub fn new(n: u64, seed: u64) -> Self {
        debug_assert!(n <= 1 << 63);
        let bits = 64 - n.saturating_sub(1).leading_zeros();
        let mut state = seed;
        let keys = std::array::from_fn(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            mix(state)
        });
        Permutation { n, half_bits: bits.div_ceil(2).max(1), keys }
    }

    /// Number of indices.
    pub fn len(&self) -> u64 {
        self.n
    }

    /// Where index `i` goes; `i` is below `n`.
    pub fn at(&self, i: u64) -> u64 {
        debug_assert!(i < self.n);
        let mut x = i;
        loop {
            x = self.feistel(x);
            if x < self.n {
                return x;
            }
        }
    }

    fn feistel(&self, x: u64) -> u64 {
        let mask = (1u64 << self.half_bits) - 1;
        let (mut left, mut right) = (x >> self.half_bits, x & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        left << self.half_bits | right
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): every bit of the input moves every bit of the output.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_index_comes_exactly_once() {
        for n in (0..200).chain([255, 256, 257, 1_000, 4_096, 65_535, 70_001]) {
            let order = Permutation::new(n, n ^ 7);
            let mut seen = vec![false; n as usize];
            for i in 0..n {
                let at = order.at(i) as usize;
                assert!(!std::mem::replace(&mut seen[at], true), "{at} of {n} came twice");
            }
            assert_eq!(order.len(), n);
        }
    }

    proptest! {
        #[test]
        fn large_spaces_stay_one_to_one(n in 1u64..=1 << 63, seed: u64, i: u64, j: u64) {
            let order = Permutation::new(n, seed);
            let (i, j) = (i % n, j % n);
            prop_assert!(order.at(i) < n);
            prop_assert_eq!(i == j, order.at(i) == order.at(j));
        }
    }

    #[test]
    fn another_seed_is_another_order() {
        let walk = |seed| (0..1_000).map(|i| Permutation::new(1_000, seed).at(i)).collect::<Vec<_>>();
        assert_eq!(walk(1), walk(1));
        assert_ne!(walk(1), walk(2));
    }

    #[test]
    fn no_target_sees_a_burst() {
        // 256 hosts × 256 ports; a window of 512 probes falls on one host twice on average.
        let order = Permutation::new(65_536, 42);
        for start in (0..65_536 - 512).step_by(97) {
            let mut per_host = [0u8; 256];
            (start..start + 512).for_each(|i| per_host[(order.at(i) / 256) as usize] += 1);
            // The chance that a Poisson variable of mean 2 exceeds 16 is under 1e-10.
            assert!(per_host.iter().all(|&n| n <= 16), "{:?}", per_host.iter().max());
        }
    }
}
