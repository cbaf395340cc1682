//! Data sets made of others: a part set aside for validation, several in a row, other labels.

use std::sync::Arc;

use crate::order::hash_name;
use crate::{DataError, Dataset, Example, ImageShape};

/// The indices of `names` to train on and those to set aside, both ascending; `None` if there are
/// too few to divide.
///
/// The names of the lowest hashes are set aside: which they are depends neither on the order of
/// the names nor, but at the margin, on which others there are.
pub(crate) fn divide<'a>(
    names: impl Iterator<Item = &'a str>,
    fraction: f64,
    seed: u64,
) -> Option<(Vec<usize>, Vec<usize>)> {
    let mut ranked: Vec<(u64, usize)> =
        names.enumerate().map(|(index, name)| (hash_name(seed, name), index)).collect();
    if ranked.len() < 2 {
        return None;
    }
    ranked.sort_unstable();
    let wanted = (ranked.len() as f64 * fraction).round() as usize;
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

/// Several data sets of one shape, one after the other.
pub(crate) struct Concatenated(Vec<Arc<dyn Dataset>>);

impl Concatenated {
    /// The parts, of which there is at least one, as one data set.
    pub fn of(mut parts: Vec<Arc<dyn Dataset>>) -> Arc<dyn Dataset> {
        match parts.len() {
            1 => parts.swap_remove(0),
            _ => Arc::new(Self(parts)),
        }
    }

    /// The part of image `index`, and its number there.
    fn locate(&self, mut index: usize) -> (&dyn Dataset, usize) {
        for part in &self.0 {
            if index < part.len() {
                return (&**part, index);
            }
            index -= part.len();
        }
        panic!("an index below len");
    }
}

impl Dataset for Concatenated {
    fn len(&self) -> usize {
        self.0.iter().map(|part| part.len()).sum()
    }

    fn shape(&self) -> ImageShape {
        self.0[0].shape()
    }

    fn load(&self, index: usize, chance: u64) -> Result<Example, DataError> {
        let (part, index) = self.locate(index);
        part.load(index, chance)
    }

    fn get(&self, index: usize) -> Result<Option<Example>, DataError> {
        let (part, index) = self.locate(index);
        part.get(index)
    }

    fn name(&self, index: usize) -> String {
        let (part, index) = self.locate(index);
        part.name(index)
    }

    fn classes(&self) -> &[String] {
        self.0[0].classes()
    }
}

/// A data set with its classes in another order, perhaps among further ones.
pub(crate) struct Relabelled {
    inner: Arc<dyn Dataset>,
    /// For each label of `inner` the one here.
    labels: Vec<u32>,
    classes: Vec<String>,
}

impl Relabelled {
    /// # Panics
    /// If a class of `inner` is not among `classes`.
    pub fn new(inner: Arc<dyn Dataset>, classes: Vec<String>) -> Self {
        let place = |name| classes.iter().position(|class| class == name).expect("a known class") as u32;
        let labels = inner.classes().iter().map(place).collect();
        Self { inner, labels, classes }
    }

    fn relabel(&self, example: Example) -> Example {
        Example { label: self.labels[example.label as usize], ..example }
    }
}

impl Dataset for Relabelled {
    fn len(&self) -> usize {
        self.inner.len()
    }

    fn shape(&self) -> ImageShape {
        self.inner.shape()
    }

    fn load(&self, index: usize, chance: u64) -> Result<Example, DataError> {
        self.inner.load(index, chance).map(|example| self.relabel(example))
    }

    fn get(&self, index: usize) -> Result<Option<Example>, DataError> {
        Ok(self.inner.get(index)?.map(|example| self.relabel(example)))
    }

    fn name(&self, index: usize) -> String {
        self.inner.name(index)
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn divided(names: &[String], fraction: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
        divide(names.iter().map(String::as_str), fraction, seed).unwrap()
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
