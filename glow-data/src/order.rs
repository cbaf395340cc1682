//! Which image comes when: a pure function of the seed and the image's number in the run.
//!
//! The numbers of a run are cut into epochs, and each epoch is a permutation of the data set
//! computed element by element. Nothing is stored, so any point of a run can be resumed at and
//! any number of threads can work on any part of it. The hash is that of
//! [`glow_models::random`], which never changes.
use glow_models::random::{Purpose, hash, hash_words};

/// Enough that not even small permutations show a pattern.
const ROUNDS: u64 = 8;

/// The order of images in a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    /// Images in the data set, at least one.
    pub len: u64,
    pub seed: u64,
    /// Permute each epoch, or keep the data set's own order.
    pub shuffle: bool,
    /// Mirror half of the images, chosen anew in every epoch.
    pub flip: bool,
    /// Move each image by up to so many pixels, chosen anew in every epoch.
    pub shift: usize,
}

/// What is done to an image before it is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Augmentation {
    /// Mirror it left to right.
    pub flip: bool,
    /// Then move it down by the first and right by the second number of pixels.
    pub shift: (isize, isize),
}

impl Order {
    /// 64 random bits for image number `image`, by which a data set that crops at random picks the place.
    pub fn chance(&self, image: u64) -> u64 {
        hash(self.seed, Purpose::Crop, image)
    }

    /// The index in the data set of image number `image`, and what to do to it.
    pub fn at(&self, image: u64) -> (usize, Augmentation) {
        let (epoch, position) = (image / self.len, image % self.len);
        let index = if self.shuffle {
            permute(position, self.len, hash(self.seed, Purpose::Order, epoch))
        } else {
            position
        };
        let flip = self.flip && hash(self.seed, Purpose::Flip, image) & 1 == 1;
        let choices = 2 * self.shift as u64 + 1;
        let chance = hash(self.seed, Purpose::Shift, image);
        let offset = |chance: u64| (chance % choices) as isize - self.shift as isize;
        (index as usize, Augmentation { flip, shift: (offset(chance >> 32), offset(chance & 0xFFFF_FFFF)) })
    }
}

/// Element `position` of a permutation of `0..len` that `key` selects.
///
/// A Feistel network permutes the numbers of an even count of bits, whatever its round function;
/// following it until it leads back below `len` restricts that to a permutation of `0..len`. The
/// network spans fewer than four times `len`, so that four steps are enough on average.
fn permute(position: u64, len: u64, key: u64) -> u64 {
    let bits = u64::BITS - (len - 1).leading_zeros();
    let half = bits.div_ceil(2).max(1);
    let mask = (1 << half) - 1;
    let mut value = position;
    loop {
        let (mut high, mut low) = (value >> half, value & mask);
        for round in 0..ROUNDS {
            (high, low) = (low, high ^ (hash_words(&[key, round, low]) & mask));
        }
        value = high << half | low;
        if value < len {
            return value;
        }
    }
}

/// A hash of `name`, for ranking names by chance.
pub(crate) fn hash_name(seed: u64, name: &str) -> u64 {
    // FNV-1a takes in bytes; the mixing of `hash` makes up for its weak high bits.
    let fnv = name
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325, |h: u64, byte| (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3));
    hash(seed, Purpose::Split, fnv)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(len: u64, seed: u64) -> Order {
        Order { len, seed, shuffle: true, flip: true, shift: 2 }
    }

    fn epoch(order: Order, epoch: u64) -> Vec<usize> {
        let first = epoch * order.len;
        (first..first + order.len).map(|i| order.at(i).0).collect()
    }

    #[test]
    fn every_epoch_is_a_permutation() {
        for len in (1..70).chain([255, 256, 257, 5085]) {
            for e in [0, 1, 1000] {
                let mut indices = epoch(order(len, 3), e);
                indices.sort_unstable();
                assert!(indices.into_iter().eq(0..len as usize), "{len}");
            }
        }
    }

    #[test]
    fn epochs_and_seeds_differ() {
        assert_ne!(epoch(order(100, 0), 0), epoch(order(100, 0), 1));
        assert_ne!(epoch(order(100, 0), 0), epoch(order(100, 1), 0));
    }

    #[test]
    fn the_order_never_changes() {
        // A run that is resumed by a later version must go on in the same order.
        assert_eq!(epoch(order(10, 0), 0), [3, 0, 8, 6, 7, 1, 9, 4, 5, 2]);
    }

    #[test]
    fn positions_are_uniform() {
        for len in [5u64, 12, 100] {
            let trials = 400 * len;
            for position in [0, len / 2, len - 1] {
                let mut counts = vec![0u32; len as usize];
                for e in 0..trials {
                    counts[order(len, 9).at(e * len + position).0] += 1;
                }
                // Chi-squared has the mean len − 1 and the variance 2 (len − 1).
                let expected = 400.0;
                let chi: f64 = counts.iter().map(|&c| (f64::from(c) - expected).powi(2) / expected).sum();
                let freedom = (len - 1) as f64;
                assert!(chi < freedom + 5.0 * (2.0 * freedom).sqrt(), "{len} {position} {chi}");
            }
        }
    }

    #[test]
    fn half_are_flipped_and_only_on_request() {
        let flipped = (0..10_000).filter(|&i| order(100, 0).at(i).1.flip).count();
        assert!((4800..5200).contains(&flipped), "{flipped}");
        let plain = Order { flip: false, shift: 0, ..order(100, 0) };
        assert!((0..1000).all(|i| plain.at(i).1 == Augmentation::default()));
    }

    #[test]
    fn every_shift_comes_about_equally_often() {
        let mut counts = [0; 25];
        for i in 0..10_000 {
            let (down, right) = order(100, 0).at(i).1.shift;
            counts[((down + 2) * 5 + right + 2) as usize] += 1;
        }
        assert!(counts.iter().all(|&count| (320..480).contains(&count)), "{counts:?}");
    }
}
