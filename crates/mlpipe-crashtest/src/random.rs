//! Numbers that depend on a seed alone, so that a point can be replayed.

/// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// One of several things.
    pub(crate) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// `count` of the things, in their order; all of them when there are fewer.
    pub(crate) fn sample<T: Clone>(&mut self, mut from: Vec<T>, count: usize) -> Vec<T> {
        while from.len() > count {
            from.remove(self.below(from.len() as u64) as usize);
        }
        from
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_gives_the_same_numbers() {
        let numbers = |seed| {
            let mut random = Random::new(seed);
            [random.next(), random.next(), random.below(10)]
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
        assert_eq!(Random::new(0).next(), 0xe220_a839_7b1d_cdaf, "the published first value");
    }

    #[test]
    fn sample_keeps_the_order() {
        let sampled = Random::new(1).sample((0..100).collect(), 10);
        assert_eq!(sampled.len(), 10);
        assert!(sampled.is_sorted());
        assert_eq!(Random::new(1).sample(vec![1, 2], 10), [1, 2]);
    }
}
