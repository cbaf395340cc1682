//! What the coupling networks are given: z1 of each step of flow, over images and samples.
use super::networks;
use crate::ExportError;
use crate::Reference;
use crate::verify::{Images, Samples};
use ndarray::{Array3, ArrayView3, Axis};
use rayon::prelude::*;

/// z1 [C/2, h, w] of every step of flow, one map an image, by the network's name.
#[derive(Debug)]
pub(crate) struct CouplingInputs(Vec<(String, Vec<Array3<f32>>)>);

impl CouplingInputs {
    /// Runs the float64 evaluation over images with dequantisation noise, and over half as many samples
    /// of the model: the decoder's networks see what samples are made of. Which images, the noise and
    /// the samples decide the result, the number of threads does not.
    ///
    /// # Errors
    /// [`ExportError::NoSamples`]; [`ExportError::NotFiniteImage`] if an image leads to numbers that are not finite.
    pub fn collect(reference: &Reference, images: &Images) -> Result<Self, ExportError> {
        let architecture = reference.architecture();
        let (n, noise) = (images.len(), images.noise());
        let Samples { latents, labels, .. } = Samples::draw(reference, n.div_ceil(2))?;
        let run = |run: usize| {
            let mut maps = Vec::new();
            let mut see = |step: &str, z1: ArrayView3<'_, f64>| {
                maps.push((format!("{step}.coupling"), z1.mapv(|value| value as f32)));
                reference.network(step, z1)
            };
            if run < n {
                let pixels = images.pixels.index_axis(Axis(0), run);
                let x = reference.dequantise(pixels, noise.index_axis(Axis(0), run));
                reference.encode_through(x.view(), images.label(run), &mut see);
            } else {
                let eps: Vec<_> =
                    latents.iter().map(|level| level.index_axis(Axis(0), run - n).mapv(f64::from)).collect();
                let label = labels.as_ref().map(|labels| labels[run - n] as usize);
                reference.decode_through(&eps, label, &mut see);
            }
            maps.sort_by(|a, b| a.0.cmp(&b.0));
            maps
        };
        let runs: Vec<_> = (0..n + n.div_ceil(2)).into_par_iter().map(run).collect();
        let mut inputs: Vec<_> = networks(architecture).map(|name| (name, Vec::new())).collect();
        inputs.sort_by(|a, b| a.0.cmp(&b.0));
        for (run, maps) in runs.into_iter().enumerate() {
            if maps.iter().any(|(_, map)| map.iter().any(|value| !value.is_finite())) {
                return Err(ExportError::NotFiniteImage { image: run });
            }
            for ((name, all), (seen, map)) in inputs.iter_mut().zip(maps) {
                assert_eq!(*name, seen, "every run passes every network once");
                all.push(map);
            }
        }
        Ok(Self(inputs))
    }

    /// Each network's name and maps.
    pub fn maps(&self) -> &[(String, Vec<Array3<f32>>)] {
        &self.0
    }
}
