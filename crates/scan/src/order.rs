//! The order in which targets are probed: rounds over all hosts, each round in the same evenly spread order, each host
//! with another port. What an index stands for is the caller's; which hosts are at work at a time, `target`'s.

/// The order in which a space of `n` addresses is visited: place j is position (j·s + c) mod n.
///
/// *Each position comes once.* s is coprime to n, so it generates the additive group of the integers mod n: j·s + c takes every
/// value once while j runs through n consecutive integers, and `place` undoes `position` with the inverse of s.
///
/// *Nobody sees a burst.* s/n is close to a noble number, whose continued fraction ends in ones; such numbers are the worst to
/// approximate by fractions, and the points j·s/n therefore spread evenly over the circle at every scale: any window of
/// consecutive places divides it into gaps of at most three lengths (the three-distance theorem: Sós 1958, Świerczkowski
/// 1959). With no partial quotient of s/n above A, of W consecutive places a contiguous network that is the share x of the
/// space gets W·x, give or take 2·(3 + (1/ln φ + A/ln(A + 1))·ln W) (Kuipers and Niederreiter, "Uniform Distribution of
/// Sequences", 1974, chapter 2, theorem 3.4; twice, because a network may begin anywhere). Measured, the deviation stays
/// below four where a random order has √(W·x). Every address comes once in n places, whatever the network.
///
/// One step is an addition. Random access takes one multiplication and one remainder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spread {
    n: u64,
    step: u64,
    start: u64,
    /// step · inverse ≡ 1 (mod n).
    inverse: u64,
}

/// Largest partial quotient that a step is taken with at once. There is always a step with none above five as far as anybody
/// has found (Zaremba's conjecture); near a noble number some thirtieth of the candidates have none above this.
const GOOD_QUOTIENT: u64 = 5;

/// Candidates looked at on each side of the noble number before the best of them is taken.
const CANDIDATES: u64 = 4_096;

impl Spread {
    /// The order of `0..n` that belongs to the seed.
    pub fn new(n: u64, seed: u64) -> Self {
        let n = n.max(1);
        // [0; a, b, 1, 1, 1, …]: nine noble numbers between 0.22 and 0.72.
        let (a, b) = (1 + mix(seed) % 3, 1 + mix(seed ^ 1) % 3);
        let golden = (1.0 + 5f64.sqrt()) / 2.0;
        let noble = 1.0 / (a as f64 + 1.0 / (b as f64 + 1.0 / golden));
        let middle = (noble * n as f64) as u64;
        let candidates = (0..CANDIDATES.min(n)).flat_map(|d| [middle.checked_add(d), middle.checked_sub(d + 1)]).flatten();
        let mut best = (u64::MAX, 1 % n);
        for step in candidates.filter(|&step| step < n && gcd(step, n) == 1) {
            let quotient = largest_quotient(step, n);
            if quotient < best.0 {
                best = (quotient, step);
            }
            if quotient <= GOOD_QUOTIENT {
                break;
            }
        }
        Spread { n, step: best.1, start: mix(seed ^ 2) % n, inverse: inverse(best.1, n) }
    }

    /// The position of a place.
    pub fn position(&self, place: u64) -> u64 {
        let moved = mul_mod(place % self.n, self.step, self.n);
        self.add(moved, self.start)
    }

    /// The position that follows another.
    pub fn next(&self, position: u64) -> u64 {
        self.add(position, self.step)
    }

    /// The place of a position.
    pub fn place(&self, position: u64) -> u64 {
        let from_start = if position >= self.start { position - self.start } else { position + self.n - self.start };
        mul_mod(from_start, self.inverse, self.n)
    }

    fn add(&self, a: u64, b: u64) -> u64 {
        // Both are below n, which is at most 2^63.
        let sum = a + b;
        if sum >= self.n { sum - self.n } else { sum }
    }
}

fn mul_mod(a: u64, b: u64, n: u64) -> u64 {
    // Most spaces are smaller than 2^32, where this need not be done in 128 bits.
    match a.checked_mul(b) {
        Some(product) => product % n,
        None => (u128::from(a) * u128::from(b) % u128::from(n)) as u64,
    }
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The largest partial quotient of the continued fraction of s/n, in which the last one is counted as the two it can be
/// written as: […, q] = […, q - 1, 1].
fn largest_quotient(s: u64, n: u64) -> u64 {
    let (mut a, mut b, mut largest) = (n, s, 0);
    while b != 0 {
        let quotient = a / b;
        (a, b) = (b, a % b);
        largest = largest.max(if b == 0 { quotient.saturating_sub(1) } else { quotient });
    }
    largest
}

/// The inverse of `a` mod `n`, given that they have no common divisor (extended Euclidean algorithm).
fn inverse(a: u64, n: u64) -> u64 {
    let (mut r, mut next_r) = (i128::from(n), i128::from(a));
    let (mut t, mut next_t) = (0i128, 1i128);
    while next_r != 0 {
        let quotient = r / next_r;
        (r, next_r) = (next_r, r - quotient * next_r);
        (t, next_t) = (next_t, t - quotient * next_t);
    }
    t.rem_euclid(i128::from(n)) as u64
}

/// Which question a host is asked in which round.
///
/// In round r a host is asked π((r + o) mod P), o being a hash of its address. r ↦ r + o is one to one mod P and π a
/// permutation, so P rounds ask a host every question once. The offset keeps a round from asking everybody the same: in any
/// round all questions are under way. The first `early` questions are rotated among themselves and come first.
#[derive(Clone, Debug)]
pub(crate) struct Rotation {
    /// π: questions in the order of the seed, the early ones first.
    at: Vec<u32>,
    /// π's inverse.
    rank: Vec<u32>,
    early: u32,
}

impl Rotation {
    /// A rotation of `0..questions`, in which those that `is_early` picks come before the others.
    pub fn new(questions: u32, seed: u64, is_early: impl Fn(u32) -> bool) -> Self {
        let order = Permutation::new(questions.into(), seed);
        let shuffled = || (0..u64::from(questions)).map(|i| order.at(i) as u32);
        let mut at: Vec<u32> = shuffled().filter(|&q| is_early(q)).collect();
        let early = at.len() as u32;
        at.extend(shuffled().filter(|&q| !is_early(q)));
        let mut rank = vec![0; at.len()];
        at.iter().enumerate().for_each(|(i, &q)| rank[q as usize] = i as u32);
        Rotation { at, rank, early }
    }

    /// The question of a round for the host with this hash.
    pub fn question(&self, round: u32, hash: u64) -> u32 {
        let (first, len, within) = self.class(round, round < self.early);
        self.at[(first + rotate(within, offset(hash, len), len)) as usize]
    }

    /// The round in which the host with this hash is asked a question.
    pub fn round(&self, question: u32, hash: u64) -> u32 {
        let rank = self.rank[question as usize];
        let (first, len, within) = self.class(rank, rank < self.early);
        first + rotate(within, len - offset(hash, len), len)
    }

    fn class(&self, at: u32, early: bool) -> (u32, u32, u32) {
        if early { (0, self.early, at) } else { (self.early, self.at.len() as u32 - self.early, at - self.early) }
    }
}

/// A number below `len` that depends on the hash (Lemire, "Fast Random Integer Generation in an Interval", 2019).
fn offset(hash: u64, len: u32) -> u32 {
    (((hash >> 32) * u64::from(len)) >> 32) as u32
}

fn rotate(at: u32, by: u32, len: u32) -> u32 {
    let sum = at + by;
    if sum >= len { sum - len } else { sum }
}

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

    const SIZES: [u64; 15] = [1, 2, 3, 4, 5, 6, 7, 8, 30, 255, 256, 257, 1_000, 4_096, 65_536];

    #[test]
    fn every_position_comes_exactly_once_and_knows_its_place() {
        for n in SIZES {
            for seed in 0..12 {
                let spread = Spread::new(n, seed);
                let mut seen = vec![false; n as usize];
                let mut position = spread.position(0);
                for place in 0..n {
                    assert_eq!(position, spread.position(place), "{n} {seed}");
                    assert_eq!(spread.place(position), place, "{n} {seed}");
                    assert!(!std::mem::replace(&mut seen[position as usize], true), "{position} of {n} came twice");
                    position = spread.next(position);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn large_spaces_are_one_to_one_as_well(n in 1u64..=1 << 47, seed: u64, place: u64) {
            let spread = Spread::new(n, seed);
            let place = place % n;
            let position = spread.position(place);
            prop_assert!(position < n);
            prop_assert_eq!(spread.place(position), place);
            prop_assert_eq!(spread.next(position), spread.position((place + 1) % n));
        }
    }

    /// How far the number of visits of a network may be from its share, by the theorem.
    fn bound(spread: &Spread, window: u64) -> f64 {
        let a = largest_quotient(spread.step, spread.n) as f64;
        let golden = (1.0 + 5f64.sqrt()) / 2.0;
        2.0 * (3.0 + (1.0 / golden.ln() + a / (a + 1.0).ln()) * (window as f64).ln())
    }

    #[test]
    fn every_network_gets_its_share_of_every_window() {
        for (n, seeds) in [(65_536u64, 4), (16_384, 2), (65_521, 2), (10_000, 4)] {
            for seed in 0..seeds {
                let spread = Spread::new(n, seed);
                assert!(largest_quotient(spread.step, n) <= GOOD_QUOTIENT, "{n} {seed}");
                let mut worst = 0f64;
                for network in [16u64, 256, 1_024, n / 4] {
                    for window in [256u64, 1_000, 4_096, n / 8] {
                        for start in (0..n).step_by((n / 3) as usize) {
                            let mut visits = vec![0u32; n.div_ceil(network) as usize];
                            let mut position = spread.position(start);
                            for _ in 0..window {
                                visits[(position / network) as usize] += 1;
                                position = spread.next(position);
                            }
                            // The last network may be cut off.
                            for &count in &visits[..(n / network) as usize] {
                                let share = window as f64 * network as f64 / n as f64;
                                worst = worst.max((f64::from(count) - share).abs());
                                assert!((f64::from(count) - share).abs() <= bound(&spread, window));
                            }
                        }
                    }
                }
                assert!(worst <= 4.0, "{n} {seed}: {worst}");
            }
        }
    }

    #[test]
    fn rounds_ask_every_host_every_question_once_and_early_ones_first() {
        for (questions, early) in [(1u32, 0u32), (1, 1), (2, 1), (7, 3), (42, 42), (1_000, 40)] {
            let rotation = Rotation::new(questions, 5, |q| q < early);
            for host in 0..20u64 {
                let hash = mix(host);
                let asked: Vec<u32> = (0..questions).map(|round| rotation.question(round, hash)).collect();
                assert!((0..questions).all(|round| rotation.round(asked[round as usize], hash) == round));
                assert!(asked[..early as usize].iter().all(|&q| q < early));
                let mut sorted = asked.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..questions).collect::<Vec<_>>());
            }
        }
        let rotation = Rotation::new(1_000, 5, |_| false);
        let mut first: Vec<u32> = (0..1_000).map(|host| rotation.question(0, mix(host))).collect();
        first.sort_unstable();
        first.dedup();
        assert!(first.len() > 500, "a round asks everybody something else: {}", first.len());
    }

    #[test]
    fn every_index_of_a_permutation_comes_exactly_once() {
        for n in (0..200).chain([255, 256, 257, 1_000, 4_096, 65_535, 70_001]) {
            let order = Permutation::new(n, n ^ 7);
            let mut seen = vec![false; n as usize];
            for i in 0..n {
                let at = order.at(i) as usize;
                assert!(!std::mem::replace(&mut seen[at], true), "{at} of {n} came twice");
            }
        }
    }

    proptest! {
        #[test]
        fn large_permutations_stay_one_to_one(n in 1u64..=1 << 63, seed: u64, i: u64, j: u64) {
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
}
