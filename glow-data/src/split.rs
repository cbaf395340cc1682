//! Setting images aside for validation.

use std::sync::Arc;

use crate::order::hash_name;
use crate::{DataError, Dataset, Example, ImageShape, OpenOptions};

/// The indices of `names` to train on and those to set aside, both ascending; `None` if there are
/// too few to divide.
///
/// The names of the lowest hashes are set aside: which they are depends neither on the order of
/// the names nor, but at the margin, on which others there are.
pub(crate) fn divide<'a>(
    names: impl Iterator<Item = &'a str>,
    options: &OpenOptions,
) -> Option<(Vec<usize>, Vec<usize>)> {
    let mut ranked: Vec<(u64, usize)> =
        names.enumerate().map(|(index, name)| (hash_name(options.seed, name), index)).collect();
    if ranked.len() < 2 {
        return None;
    }
    ranked.sort_unstable();
    let wanted = (ranked.len() as f64 * options.validation_fraction).round() as usize;
    let train = ranked.split_off(wanted.clamp(1, ranked.len() - 1));
    let indices = |part: Vec<(u64, usize)>| {
        let mut indices: Vec<usize> = part.into_iter().map(|(_, index)| index).collect();
        indices.sort_unstable();
        indices
    };
    Some((indices(train), indices(ranked)))
}

/// Some images of another data set.
struct Subset {
    whole: Arc<dyn Dataset>,
    indices: Vec<usize>,
}

impl Dataset for Subset {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn shape(&self) -> ImageShape {
        self.whole.shape()
    }

    fn load(&self, index: usize, chance: u64) -> Result<Example, DataError> {
        self.whole.load(self.indices[index], chance)
    }

    fn get(&self, index: usize) -> Result<Option<Example>, DataError> {
        self.whole.get(self.indices[index])
    }

    fn name(&self, index: usize) -> String {
        self.whole.name(self.indices[index])
    }

    fn classes(&self) -> &[String] {
        self.whole.classes()
    }
}

/// The parts of `whole` with these indices.
pub(crate) fn subsets(
    whole: Arc<dyn Dataset>,
    (train, validation): (Vec<usize>, Vec<usize>),
) -> (Arc<dyn Dataset>, Arc<dyn Dataset>) {
    let subset = |indices| Subset { whole: whole.clone(), indices };
    (Arc::new(subset(train)), Arc::new(subset(validation)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn divided(names: &[String], fraction: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
        let options = OpenOptions { validation_fraction: fraction, seed, ..OpenOptions::default() };
        divide(names.iter().map(String::as_str), &options).unwrap()
    }

    #[test]
    fn each_name_is_in_one_part() {
        let names: Vec<String> = (0..100).map(|i| format!("{i}.png")).collect();
        for (fraction, wanted) in [(0.0, 1), (0.1, 10), (0.255, 26), (0.999_999, 99)] {
            let (train, validation) = divided(&names, fraction, 0);
            assert_eq!(validation.len(), wanted);
            let mut all = [train, validation].concat();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..100));
        }
        assert_ne!(divided(&names, 0.1, 0), divided(&names, 0.1, 1));
    }

    #[test]
    fn names_decide_and_not_their_order() {
        let mut names: Vec<String> = (0..50).map(|i| format!("{i}.png")).collect();
        let aside = |names: &[String]| {
            let (_, validation) = divided(names, 0.2, 5);
            let mut aside: Vec<_> = validation.iter().map(|&i| names[i].clone()).collect();
            aside.sort();
            aside
        };
        let before = aside(&names);
        names.reverse();
        assert_eq!(aside(&names), before);
    }
}
