//! Latents of a batch of images: the whole of what the flow makes of them.
mod arithmetic;
mod npy;
mod safetensors;

use crate::Error;
use glow_models::LatentShape;
use ndarray::{Array2, Array4, ArrayView2, Axis, Slice, concatenate, s};
use std::ops::Range;

/// The latents `eps_0` … `eps_{L-1}` of a batch, one array [N, c, h, w] a level. They are one value:
/// an image comes back only from all of its levels. Under the model they are standard normal.
///
/// ```
/// use glow_runtime::{LatentShape, Latents};
///
/// let shapes = [
///     LatentShape { channels: 6, height: 4, width: 4 },
///     LatentShape { channels: 24, height: 2, width: 2 },
/// ];
/// let mean = Latents::zeros(1, &shapes);
/// assert_eq!(mean.flat().dim(), (1, 8 * 8 * 3));
/// assert_eq!(Latents::from_flat(mean.flat().view(), &shapes)?, mean);
/// # Ok::<(), glow_runtime::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Latents {
    /// At least one; all in standard layout and of the same batch.
    levels: Vec<Array4<f32>>,
}

impl Latents {
    /// Latents from one array [N, c, h, w] a level. Whether they suit a model is checked when they
    /// are used with it.
    ///
    /// # Errors
    /// [`Error::Shape`] without any level, or if the levels differ in N.
    pub fn from_levels(levels: Vec<Array4<f32>>) -> Result<Self, Error> {
        let Some(first) = levels.first() else {
            let expected = "at least one level".to_string();
            return Err(Error::Shape { array: "latents".into(), expected, actual: vec![0] });
        };
        let batch = first.dim().0;
        for (level, array) in levels.iter().enumerate() {
            if array.dim().0 != batch {
                return Err(Error::Shape {
                    array: format!("eps_{level}"),
                    expected: format!("[{batch}, c, h, w] as eps_0 has"),
                    actual: array.shape().to_vec(),
                });
            }
        }
        let standard = |array: Array4<f32>| match array.is_standard_layout() {
            true => array,
            false => array.as_standard_layout().into_owned(),
        };
        Ok(Self { levels: levels.into_iter().map(standard).collect() })
    }

    /// The most typical latents: all zero.
    ///
    /// # Panics
    /// If there are no shapes.
    pub fn zeros(batch: usize, shapes: &[LatentShape]) -> Self {
        assert!(!shapes.is_empty(), "latents have at least one level");
        let zeros = |s: &LatentShape| Array4::zeros((batch, s.channels, s.height, s.width));
        Self { levels: shapes.iter().map(zeros).collect() }
    }

    /// The levels, finest first.
    pub fn levels(&self) -> &[Array4<f32>] {
        &self.levels
    }

    /// The levels, finest first.
    pub fn into_levels(self) -> Vec<Array4<f32>> {
        self.levels
    }

    /// Number of images, N.
    pub fn batch(&self) -> usize {
        self.levels[0].dim().0
    }

    /// Shape of each level, without the batch.
    pub fn shapes(&self) -> Vec<LatentShape> {
        let shape = |level: &Array4<f32>| {
            let (_, channels, height, width) = level.dim();
            LatentShape { channels, height, width }
        };
        self.levels.iter().map(shape).collect()
    }

    /// One row an image, [N, H·W·C]: `eps_0` … `eps_{L-1}` one after the other, each in row-major
    /// c, h, w order.
    pub fn flat(&self) -> Array2<f32> {
        let dims = self.shapes().iter().map(LatentShape::len).sum();
        let mut flat = Array2::zeros((self.batch(), dims));
        let mut begin = 0;
        for (level, shape) in self.levels.iter().zip(self.shapes()) {
            let rows = level.to_shape((self.batch(), shape.len())).expect("as many numbers");
            flat.slice_mut(s![.., begin..begin + shape.len()]).assign(&rows);
            begin += shape.len();
        }
        flat
    }

    /// The inverse of [`Latents::flat`], for levels of the given shapes
    /// ([`Architecture::latent_shapes`](crate::Architecture::latent_shapes)).
    ///
    /// # Errors
    /// [`Error::Shape`] if the rows do not hold as many numbers as the shapes.
    pub fn from_flat(flat: ArrayView2<'_, f32>, shapes: &[LatentShape]) -> Result<Self, Error> {
        let dims: usize = shapes.iter().map(LatentShape::len).sum();
        if flat.ncols() != dims || shapes.is_empty() {
            return Err(Error::Shape {
                array: "flat latents".into(),
                expected: format!("[N, {dims}]"),
                actual: flat.shape().to_vec(),
            });
        }
        let mut latents = Self::zeros(flat.nrows(), shapes);
        let mut begin = 0;
        for (level, shape) in latents.levels.iter_mut().zip(shapes) {
            let columns = flat.slice(s![.., begin..begin + shape.len()]);
            let dim = level.dim();
            level.assign(&columns.to_shape(dim).expect("as many numbers"));
            begin += shape.len();
        }
        Ok(latents)
    }

    /// The latents of some of the images, in the order given; an image may be given twice.
    ///
    /// # Errors
    /// [`Error::Option`] for an index that is not in the batch.
    pub fn select(&self, images: &[usize]) -> Result<Self, Error> {
        if let Some(image) = images.iter().find(|&&image| image >= self.batch()) {
            return Err(Error::Option {
                option: "image",
                value: image.to_string(),
                allowed: "must be in the batch",
            });
        }
        Ok(Self { levels: self.levels.iter().map(|level| level.select(Axis(0), images)).collect() })
    }

    /// The latents of a range of the images.
    ///
    /// # Errors
    /// [`Error::Option`] for a range that leaves the batch.
    pub fn slice(&self, images: Range<usize>) -> Result<Self, Error> {
        if images.start > images.end || images.end > self.batch() {
            return Err(Error::Option {
                option: "images",
                value: format!("{images:?}"),
                allowed: "must be in the batch",
            });
        }
        let part = |level: &Array4<f32>| level.slice_axis(Axis(0), Slice::from(images.clone())).to_owned();
        Ok(Self { levels: self.levels.iter().map(part).collect() })
    }

    /// Several batches of one model behind each other.
    ///
    /// # Errors
    /// [`Error::Shape`] if they are of different models, or there is none.
    pub fn concat(batches: &[Self]) -> Result<Self, Error> {
        let Some(first) = batches.first() else { return Self::from_levels(Vec::new()) };
        for batch in batches {
            batch.same_shapes(first)?;
        }
        let level = |level: usize| {
            let parts: Vec<_> = batches.iter().map(|batch| batch.levels[level].view()).collect();
            concatenate(Axis(0), &parts).expect("the shapes agree")
        };
        Ok(Self { levels: (0..first.levels.len()).map(level).collect() })
    }

    /// Checks that the latents suit a model of these shapes.
    pub(crate) fn check(&self, shapes: &[LatentShape]) -> Result<(), Error> {
        if self.levels.len() != shapes.len() {
            return Err(Error::Shape {
                array: "latents".into(),
                expected: format!("{} levels", shapes.len()),
                actual: vec![self.levels.len()],
            });
        }
        for (level, (array, shape)) in self.levels.iter().zip(shapes).enumerate() {
            if array.shape()[1..] != [shape.channels, shape.height, shape.width] {
                return Err(Error::Shape {
                    array: format!("eps_{level}"),
                    expected: format!("[N, {}, {}, {}]", shape.channels, shape.height, shape.width),
                    actual: array.shape().to_vec(),
                });
            }
        }
        Ok(())
    }

    fn same_shapes(&self, other: &Self) -> Result<(), Error> {
        self.check(&other.shapes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn shapes() -> [LatentShape; 2] {
        [LatentShape { channels: 2, height: 2, width: 3 }, LatentShape { channels: 4, height: 1, width: 2 }]
    }

    /// Image i holds 100·i, 100·i + 1, … in flat order.
    pub(super) fn counted(batch: usize) -> Latents {
        let flat = Array2::from_shape_fn((batch, 20), |(i, j)| (100 * i + j) as f32);
        Latents::from_flat(flat.view(), &shapes()).unwrap()
    }

    #[test]
    fn flat_is_each_level_in_row_major_order() {
        let latents = counted(2);
        assert_eq!(latents.shapes(), shapes());
        assert_eq!(latents.levels()[0][[1, 1, 0, 2]], 100.0 + 6.0 + 2.0);
        assert_eq!(latents.levels()[1][[0, 3, 0, 1]], 12.0 + 6.0 + 1.0);
        let flat = latents.flat();
        assert_eq!(flat.row(1).to_vec(), (100..120).map(|v| v as f32).collect::<Vec<_>>());
        assert_eq!(Latents::from_flat(flat.view(), &shapes()).unwrap(), latents);
        // Neither the layout of the rows nor that of the levels matters.
        let columns = flat.t().as_standard_layout().into_owned();
        assert_eq!(Latents::from_flat(columns.t(), &shapes()).unwrap(), latents);
        let mut reversed: Vec<_> = latents.levels().to_vec();
        for level in &mut reversed {
            level.invert_axis(Axis(0));
        }
        let reversed = Latents::from_levels(reversed).unwrap();
        assert_eq!(reversed.flat().row(0), flat.row(1));
    }

    #[test]
    fn parts_and_the_whole() {
        let latents = counted(3);
        assert_eq!(latents.select(&[2, 0, 2]).unwrap().flat()[[2, 0]], 200.0);
        let (head, tail) = (latents.slice(0..1).unwrap(), latents.slice(1..3).unwrap());
        assert_eq!(Latents::concat(&[head, tail]).unwrap(), latents);
        assert_eq!(latents.slice(1..1).unwrap().batch(), 0);
    }

    #[test]
    fn misuse_is_named() {
        let levels = counted(2).into_levels();
        let other = Latents::zeros(2, &shapes()[..1]);
        #[allow(clippy::reversed_empty_ranges)]
        let cases = [
            (Latents::from_levels(vec![]), "latents has shape [0], expected at least one level"),
            (
                Latents::from_levels(vec![levels[0].clone(), counted(1).into_levels().remove(1)]),
                "eps_1 has shape [1, 4, 1, 2], expected [2, c, h, w]",
            ),
            (
                Latents::from_flat(Array2::zeros((1, 19)).view(), &shapes()),
                "has shape [1, 19], expected [N, 20]",
            ),
            (counted(2).select(&[2]), "image = 2"),
            (counted(2).slice(1..3), "images = 1..3"),
            (counted(2).slice(2..1), "images = 2..1"),
            (Latents::concat(&[]), "at least one level"),
            (Latents::concat(&[counted(2), other.clone()]), "latents has shape [1], expected 2 levels"),
            (counted(2).add(&other), "expected 2 levels"),
            (counted(2).lerp(&counted(3), 0.5), "has shape [3], expected a batch of 2, or of 1"),
        ];
        for (result, expected) in cases {
            let error = result.expect_err(expected).to_string();
            assert!(error.contains(expected), "{error:?} does not say {expected:?}");
        }
    }
}
