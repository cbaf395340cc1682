//! Sums, multiples and ways between latents.
use super::Latents;
use crate::Error;
use crate::options::Interpolation;
use ndarray::{Array, Array4, Axis, RemoveAxis, Zip};
use std::ops::Range;

impl Latents {
    /// The sum. A batch of one, such as a direction, is added to every image of the other.
    ///
    /// # Errors
    /// [`Error::Shape`] if the two are of different models or batches.
    pub fn add(&self, other: &Self) -> Result<Self, Error> {
        self.zip(other, |a, b| a + b)
    }

    /// The difference self − other; a batch of one stands for every image of the other batch.
    ///
    /// # Errors
    /// [`Error::Shape`] if the two are of different models or batches.
    pub fn sub(&self, other: &Self) -> Result<Self, Error> {
        self.zip(other, |a, b| a - b)
    }

    /// The mean over the images, a batch of one.
    ///
    /// # Errors
    /// [`Error::Shape`] for an empty batch, which has none.
    pub fn mean(&self) -> Result<Self, Error> {
        if self.batch() == 0 {
            let expected = "at least one image".to_string();
            return Err(Error::Shape { array: "latents".into(), expected, actual: vec![0] });
        }
        let mean = |level: &Array4<f32>| {
            // In float64, so that the sum of many images loses nothing.
            let mut sum = Array::<f64, _>::zeros(level.raw_dim().remove_axis(Axis(0)));
            level.outer_iter().for_each(|image| sum.zip_mut_with(&image, |sum, &v| *sum += f64::from(v)));
            sum.mapv(|sum| (sum / self.batch() as f64) as f32).insert_axis(Axis(0))
        };
        Ok(Self { levels: self.levels.iter().map(mean).collect() })
    }

    /// These latents with some of their levels, finest first, from others: the coarse levels of one image
    /// and the fine ones of another, say. A batch of one stands for every image of the other batch.
    ///
    /// # Errors
    /// [`Error::Shape`] if the two are of different models or batches, [`Error::Option`] for levels
    /// that there are not.
    pub fn with_levels_of(&self, other: &Self, levels: Range<usize>) -> Result<Self, Error> {
        let (mut mixed, other) = self.broadcast(other)?;
        let given = format!("{levels:?}");
        let Some(to) = mixed.levels.get_mut(levels.clone()) else {
            return Err(Error::Option {
                option: "levels",
                value: given,
                allowed: "must be levels of the model",
            });
        };
        to.clone_from_slice(&other.levels[levels]);
        Ok(mixed)
    }

    /// Every number times `factor`.
    pub fn scale(&self, factor: f32) -> Self {
        Self { levels: self.levels.iter().map(|level| level * factor).collect() }
    }

    /// (1 − t)·self + t·other; 0 gives `self` and 1 `other`, exactly. A batch of one stands for every
    /// image of the other batch.
    ///
    /// # Errors
    /// [`Error::Shape`] if the two are of different models or batches.
    pub fn lerp(&self, other: &Self, t: f32) -> Result<Self, Error> {
        self.zip(other, |a, b| (1.0 - t) * a + t * b)
    }

    /// Spherical interpolation of each image's flat latent:
    /// sin((1 − t)·θ)/sin θ · self + sin(t·θ)/sin θ · other, θ the angle between the two. The norm of
    /// typical latents, about √(H·W·C), is kept on the way. Where θ is near 0 or π, as
    /// [`Latents::lerp`].
    ///
    /// # Errors
    /// [`Error::Shape`] if the two are of different models or batches.
    pub fn slerp(&self, other: &Self, t: f32) -> Result<Self, Error> {
        let (a, b) = self.broadcast(other)?;
        let (mut flat, to) = (a.flat(), b.flat());
        for (mut from, to) in flat.axis_iter_mut(Axis(0)).zip(to.axis_iter(Axis(0))) {
            let dot = |x: ndarray::ArrayView1<'_, f32>, y: ndarray::ArrayView1<'_, f32>| -> f64 {
                x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
            };
            let norms = (dot(from.view(), from.view()) * dot(to, to)).sqrt();
            let angle = (dot(from.view(), to) / norms).clamp(-1.0, 1.0).acos();
            let t = f64::from(t);
            // Also where a norm is zero and the angle NaN.
            let (of_a, of_b) = if angle.sin() > 1e-6 {
                (((1.0 - t) * angle).sin() / angle.sin(), (t * angle).sin() / angle.sin())
            } else {
                (1.0 - t, t)
            };
            Zip::from(&mut from).and(&to).for_each(|a, &b| *a = of_a as f32 * *a + of_b as f32 * b);
        }
        Self::from_flat(flat.view(), &self.shapes())
    }

    /// `steps` latents from a to b for each pair of images, both ends included: those of the first
    /// pair, then those of the second, and so on.
    ///
    /// # Errors
    /// [`Error::Shape`] if the two are of different models or batches, [`Error::Option`] for fewer
    /// than two steps.
    pub fn interpolate(a: &Self, b: &Self, steps: usize, way: Interpolation) -> Result<Self, Error> {
        if steps < 2 {
            return Err(Error::Option {
                option: "steps",
                value: steps.to_string(),
                allowed: "at least 2, the two ends",
            });
        }
        let rows: Vec<Self> = (0..steps)
            .map(|step| {
                let t = step as f32 / (steps - 1) as f32;
                match way {
                    Interpolation::Linear => a.lerp(b, t),
                    Interpolation::Spherical => a.slerp(b, t),
                }
            })
            .collect::<Result<_, _>>()?;
        let pairs = rows[0].batch();
        let by_pair: Vec<usize> =
            (0..pairs).flat_map(|pair| (0..steps).map(move |step| step * pairs + pair)).collect();
        Self::concat(&rows)?.select(&by_pair)
    }

    fn zip(&self, other: &Self, f: impl Fn(f32, f32) -> f32) -> Result<Self, Error> {
        let (a, b) = self.broadcast(other)?;
        let levels = a.levels.iter().zip(&b.levels);
        Ok(Self { levels: levels.map(|(a, b)| Zip::from(a).and(b).map_collect(|&a, &b| f(a, b))).collect() })
    }

    /// Both with the same batch, a batch of one repeated.
    fn broadcast(&self, other: &Self) -> Result<(Self, Self), Error> {
        other.same_shapes(self)?;
        let (a, b) = (self.batch(), other.batch());
        if a == b {
            Ok((self.clone(), other.clone()))
        } else if a == 1 {
            Ok((self.select(&vec![0; b])?, other.clone()))
        } else if b == 1 {
            Ok((self.clone(), other.select(&vec![0; a])?))
        } else {
            Err(Error::Shape {
                array: "the second latents".into(),
                expected: format!("a batch of {a}, or of 1"),
                actual: vec![b],
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{counted, shapes};
    use super::*;

    #[test]
    fn sums_and_multiples() {
        let (all, one) = (counted(3), counted(3).slice(1..2).unwrap());
        let sum = all.add(&one.scale(2.0)).unwrap().flat();
        assert_eq!(sum[[0, 3]], 3.0 + 2.0 * 103.0);
        assert_eq!(sum[[2, 3]], 203.0 + 2.0 * 103.0);
        assert_eq!(one.add(&all).unwrap(), all.add(&one).unwrap());
        assert_eq!(sum.nrows(), 3);
        assert_eq!(all.sub(&all).unwrap(), Latents::zeros(3, &shapes()));
        assert_eq!(all.sub(&one).unwrap().flat()[[2, 19]], 100.0);
    }

    #[test]
    fn the_mean_is_of_the_images() {
        assert_eq!(counted(3).mean().unwrap(), counted(2).slice(1..2).unwrap());
        // A sum in float32 would stop at 2^24.
        let many = Latents::zeros(1, &shapes()).add(&counted(1).scale(0.0)).unwrap();
        let ones =
            Latents::from_levels(many.levels().iter().map(|level| level.mapv(|_| 1.0)).collect()).unwrap();
        let large = ones.scale((1 << 24) as f32).select(&[0; 3]).unwrap();
        let mean = Latents::concat(&[large, ones.clone(), ones]).unwrap().mean().unwrap();
        assert_eq!(mean.flat()[[0, 0]], ((3.0 * f64::from(1 << 24) + 2.0) / 5.0) as f32);
        let error = counted(0).mean().unwrap_err().to_string();
        assert_eq!(error, "latents has shape [0], expected at least one image");
    }

    #[test]
    fn levels_can_be_exchanged() {
        let (a, b) = (counted(2), counted(2).scale(-1.0));
        let mixed = a.with_levels_of(&b.slice(1..2).unwrap(), 1..2).unwrap();
        assert_eq!(mixed.levels()[0], a.levels()[0]);
        assert_eq!(mixed.levels()[1][[0, 3, 0, 1]], -119.0);
        assert_eq!(a.with_levels_of(&b, 0..2).unwrap(), b);
        assert_eq!(a.with_levels_of(&b, 0..0).unwrap(), a);
        let error = a.with_levels_of(&b, 1..3).unwrap_err().to_string();
        assert!(error.starts_with("levels = 1..3 is out of range"), "{error}");
    }

    #[test]
    fn both_ways_begin_and_end_where_they_should() {
        let (a, b) = (counted(2), counted(2).scale(-0.5).add(&counted(1)).unwrap());
        for way in [Interpolation::Linear, Interpolation::Spherical] {
            let steps = Latents::interpolate(&a, &b, 5, way).unwrap().flat();
            assert_eq!(steps.nrows(), 10);
            let near = |row: usize, end: &Latents, image: usize| {
                let end = end.flat();
                for (x, y) in steps.row(row).iter().zip(end.row(image)) {
                    assert!((x - y).abs() <= 1e-3, "{way:?} row {row}: {x} {y}");
                }
            };
            near(0, &a, 0);
            near(4, &b, 0);
            near(5, &a, 1);
            near(9, &b, 1);
        }
        let error = Latents::interpolate(&a, &b, 1, Interpolation::Linear).unwrap_err().to_string();
        assert_eq!(error, "steps = 1 is out of range: at least 2, the two ends");
    }

    #[test]
    fn the_great_circle_keeps_the_norm() {
        let norm = |latents: &Latents| latents.flat().iter().map(|v| v * v).sum::<f32>().sqrt();
        let (mut a, mut b) = (Latents::zeros(1, &shapes()), Latents::zeros(1, &shapes()));
        a.levels[0][[0, 0, 0, 0]] = 2.0;
        b.levels[1][[0, 1, 0, 1]] = 2.0;
        let middle = a.slerp(&b, 0.5).unwrap();
        assert!((norm(&middle) - 2.0).abs() < 1e-6);
        assert!((norm(&a.lerp(&b, 0.5).unwrap()) - 2f32.sqrt()).abs() < 1e-6);
        // Without an angle there is no circle.
        let zero = Latents::zeros(1, &shapes());
        assert_eq!(a.slerp(&zero, 0.25).unwrap(), a.scale(0.75));
        assert_eq!(a.slerp(&a, 0.25).unwrap(), a);
    }
}
