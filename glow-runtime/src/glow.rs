//! The loaded model.
use crate::graph::Graph;
use crate::options::{EncodeOptions, Interpolation, Noise, SampleOptions};
use crate::partial::{Partial, ascending};
use crate::ports::{Input, Output, PerLevel, Wanted};
use crate::progress::LoadTimes;
use crate::session::{Models, SessionOptions};
use crate::{Architecture, Attributes, Error, GraphKind, Latents, Manifest, OnnxRuntime, Provider, trace};
use glow_models::Bundle;
use glow_models::random::{self, Purpose};
use ndarray::{Array4, ArrayView4, Axis};
use smallvec::smallvec;
use std::path::Path;

/// A Glow, ready to sample, encode, decode and score.
///
/// All methods take `&self`, and a `Glow` is `Send + Sync`: threads can share one, and their calls
/// are served in the order in which they come. Large batches go through in chunks
/// ([`GlowBuilder::max_batch`](crate::GlowBuilder::max_batch)), with the same results. A process that is forked
/// gets [`Error::Forked`] of every call, and must not drop a `Glow` that it inherited.
pub struct Glow {
    pub(crate) bundle: Bundle,
    pub(crate) encoder: Option<Graph>,
    pub(crate) decoder: Option<Graph>,
    pub(crate) chunk: usize,
    /// For further sessions.
    pub(crate) session_options: SessionOptions,
    pub(crate) models: Models,
    pub(crate) times: LoadTimes,
    pub(crate) passed_over: Vec<(Provider, String)>,
}

/// The result of [`Glow::encode`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Encoded {
    /// The latents.
    pub latents: Latents,
    /// ln p(image) in nats, one value for each image, including the discretisation term −ln(2^n_bits)·H·W·C. It is
    /// that of a single draw of the dequantization noise; see [`Glow::log_prob`].
    pub log_prob: Vec<f32>,
}

/// The result of [`Glow::decode`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Decoded {
    /// Images [N, H, W, C].
    pub images: Array4<u8>,
    /// The flow's own output [N, H, W, C]: x = v / 2^n_bits − 0.5, where v in [0, 2^n_bits) is the
    /// dequantized pixel value that the image has rounded down.
    pub x: Array4<f32>,
}

impl Glow {
    /// Loads the model that comes with the project, which the executable then holds (8 MB): faces at 64×64
    /// pixels with ten attributes. With options, give [`glow_faces64::bundle`] to
    /// [`GlowBuilder::load_bytes`](crate::GlowBuilder::load_bytes).
    ///
    /// **It was trained on CelebA, and is for non-commercial research only.**
    ///
    /// # Errors
    /// Those of [`GlowBuilder::load_bytes`](crate::GlowBuilder::load_bytes).
    #[cfg(feature = "faces64")]
    pub fn faces64() -> Result<Self, Error> {
        crate::GlowBuilder::default().load_bytes(glow_faces64::bundle())
    }

    /// The bundle's manifest.
    pub fn manifest(&self) -> &Manifest {
        self.bundle.manifest()
    }

    /// The model's hyperparameters.
    pub fn architecture(&self) -> &Architecture {
        &self.manifest().architecture
    }

    /// The bundle's folder; `None` if it was loaded from memory.
    pub fn folder(&self) -> Option<&Path> {
        self.bundle.folder()
    }

    /// The execution providers in use, in order of preference. For [`Provider::Auto`], those that it chose.
    pub fn providers(&self) -> &[Provider] {
        &self.session_options.providers
    }

    /// The providers that [`Provider::Auto`] tried without success, and the reason for each. Empty if its first choice
    /// works, or if the providers were named explicitly.
    pub fn passed_over(&self) -> &[(Provider, String)] {
        &self.passed_over
    }

    /// Whether the devices still work. After a fatal device error, such as a CUDA error that invalidates the
    /// process's context, the failing call returns [`Error::Run`], and all later calls return
    /// [`Error::Unavailable`] immediately.
    ///
    /// # Errors
    /// [`Error::Unavailable`] once the device of a graph is lost.
    pub fn health(&self) -> Result<(), Error> {
        [&self.encoder, &self.decoder].into_iter().flatten().try_for_each(Graph::health)
    }

    /// The time that each step of loading took.
    pub fn load_times(&self) -> LoadTimes {
        self.times
    }

    /// The ONNX Runtime library in use.
    pub fn onnxruntime(&self) -> &OnnxRuntime {
        &self.session_options.library.info
    }

    /// The most images that run at once; a multiple of it is a good size of a call.
    pub fn max_batch(&self) -> usize {
        self.chunk
    }

    /// Draws `n` images [n, H, W, C]; an empty array for 0. The same as [`Glow::sample_latents`],
    /// then [`Glow::decode`].
    ///
    /// # Errors
    /// Those of the two.
    pub fn sample(&self, n: usize, options: &SampleOptions) -> Result<Array4<u8>, Error> {
        self.sample_partial(n, options)?.complete(DECODED)
    }

    /// As [`Glow::sample`]; samples that are not finite are named, and the others are there.
    ///
    /// # Errors
    /// Those of [`Glow::sample`], but for [`Error::NonFinite`].
    pub fn sample_partial(&self, n: usize, options: &SampleOptions) -> Result<Partial<Array4<u8>>, Error> {
        trace::span!(DEBUG, "sample", images = n);
        self.graph(GraphKind::Decoder)?;
        self.check_labels(options.labels.as_deref(), n)?;
        let latents = self.sample_latents(n, options)?;
        Ok(self.images(n, self.run_decoder(&latents, options.labels.as_deref(), Wanted::IMAGES)?))
    }

    /// Draws the latents of `n` samples, eps = temperature · z, where z ~ N(0, 1), or N(0, 1) given
    /// |z| ≤ truncation. Sample i of a seed is the same whatever `n` is, and in every version of this
    /// crate. The labels play no part.
    ///
    /// # Errors
    /// [`Error::Option`] if the temperature is negative, NaN or infinite, the truncation below 0.01 or
    /// NaN, or `n` images larger than any memory.
    pub fn sample_latents(&self, n: usize, options: &SampleOptions) -> Result<Latents, Error> {
        self.check_sampling(n, options)?;
        let SampleOptions { temperature, truncation, .. } = *options;
        let dims = self.architecture().dims();
        let mut flat = ndarray::Array2::zeros((n, dims));
        for (mut row, i) in flat.outer_iter_mut().zip(0..) {
            let z = random::normal(options.seed, Purpose::Latents, options.first.wrapping_add(i), truncation);
            row.iter_mut().zip(z).for_each(|(to, z)| *to = temperature * z);
        }
        Latents::from_flat(flat.view(), &self.manifest().latent_shapes)
    }

    /// Encodes images [N, H, W, C] into latents and log-likelihoods.
    ///
    /// # Errors
    /// [`Error::NotLoaded`] without the encoder, [`Error::Shape`] and [`Error::Labels`] for arguments
    /// that do not suit the model, [`Error::NonFinite`] and [`Error::Run`] if the model fails.
    pub fn encode<'a>(
        &self,
        images: impl Into<ArrayView4<'a, u8>>,
        options: &EncodeOptions,
    ) -> Result<Encoded, Error> {
        let images = images.into();
        self.check_images("images", images.shape())?;
        let noise = match options.noise {
            Noise::Midpoint => Array4::from_elem(images.dim(), 0.5),
            Noise::Uniform { seed } => self.noise(images.dim().0, seed, options.first, 0),
        };
        self.encode_with(images, noise.view(), options.labels.as_deref())
    }

    /// As [`Glow::encode`], with the dequantization noise [N, H, W, C] in [0, 1) given.
    ///
    /// # Errors
    /// Those of [`Glow::encode`], and [`Error::Option`] for noise outside of [0, 1).
    pub fn encode_with<'a, 'b>(
        &self,
        images: impl Into<ArrayView4<'a, u8>>,
        noise: impl Into<ArrayView4<'b, f32>>,
        labels: Option<&[i64]>,
    ) -> Result<Encoded, Error> {
        let (images, noise) = (images.into(), noise.into());
        let outputs = self.run_encoder(images, noise, labels, Wanted::ALL)?;
        self.encoded(images.dim().0, outputs).complete(ENCODED)
    }

    /// What the encoder gives, as far as it is wanted.
    pub(crate) fn run_encoder(
        &self,
        images: ArrayView4<'_, u8>,
        noise: ArrayView4<'_, f32>,
        labels: Option<&[i64]>,
        wanted: Wanted,
    ) -> Result<PerLevel<Output>, Error> {
        let graph = self.graph(GraphKind::Encoder)?;
        self.check_images("images", images.shape())?;
        self.check_noise(noise, images.shape())?;
        let n = images.dim().0;
        trace::span!(DEBUG, "encode", images = n);
        let (images, noise) = (images.as_standard_layout(), noise.as_standard_layout());
        let mut inputs: PerLevel<_> = smallvec![
            Input::Bytes(images.as_slice().expect("standard layout")),
            Input::Floats(noise.as_slice().expect("standard layout")),
        ];
        inputs.extend(self.check_labels(labels, n)?.map(Input::Labels));
        graph.run(&inputs, n, self.chunk, wanted)
    }

    /// Decodes latents into images.
    ///
    /// # Errors
    /// [`Error::NotLoaded`] without the decoder, [`Error::Shape`] and [`Error::Labels`] for arguments
    /// that do not suit the model, [`Error::NonFinite`] and [`Error::Run`] if the model fails.
    pub fn decode(&self, latents: &Latents, labels: Option<&[i64]>) -> Result<Decoded, Error> {
        self.decode_partial(latents, labels)?.complete(DECODED)
    }

    /// As [`Glow::decode`]; images that are not finite are named, and the others are there.
    ///
    /// # Errors
    /// Those of [`Glow::decode`], but [`Error::NonFinite`] for the given latents alone.
    pub fn decode_partial(
        &self,
        latents: &Latents,
        labels: Option<&[i64]>,
    ) -> Result<Partial<Decoded>, Error> {
        Ok(self.decoded(latents.batch(), self.run_decoder(latents, labels, Wanted::ALL)?))
    }

    /// The images alone of [`Glow::decode`].
    fn decode_images(&self, latents: &Latents, labels: Option<&[i64]>) -> Result<Array4<u8>, Error> {
        let outputs = self.run_decoder(latents, labels, Wanted::IMAGES)?;
        self.images(latents.batch(), outputs).complete(DECODED)
    }

    fn run_decoder(
        &self,
        latents: &Latents,
        labels: Option<&[i64]>,
        wanted: Wanted,
    ) -> Result<PerLevel<Output>, Error> {
        let graph = self.graph(GraphKind::Decoder)?;
        self.check_latents(latents)?;
        let n = latents.batch();
        trace::span!(DEBUG, "decode", images = n);
        let mut inputs: PerLevel<_> =
            latents.levels().iter().map(|level| Input::Floats(contiguous(level))).collect();
        inputs.extend(self.check_labels(labels, n)?.map(Input::Labels));
        graph.run(&inputs, n, self.chunk, wanted)
    }

    /// The bundle's attributes: named directions in latent space. None if it has no
    /// `attributes.safetensors`.
    ///
    /// # Errors
    /// [`Error::TensorFile`] or [`Error::Attributes`] if the file cannot be read, is malformed, or belongs
    /// to another model.
    pub fn attributes(&self) -> Result<Attributes, Error> {
        Attributes::of(&self.bundle)
    }

    /// Changes attributes of images: encodes them with [`Noise::Midpoint`], moves the latents by
    /// [`Attributes::apply`], and decodes.
    ///
    /// # Errors
    /// Those of the three.
    pub fn edit<'a>(
        &self,
        images: impl Into<ArrayView4<'a, u8>>,
        attributes: &Attributes,
        strengths: &[(&str, f32)],
        labels: Option<&[i64]>,
    ) -> Result<Array4<u8>, Error> {
        self.graph(GraphKind::Decoder)?;
        let options = EncodeOptions::new().labels(labels.map(<[i64]>::to_vec));
        let latents = attributes.apply(&self.encode(images, &options)?.latents, strengths)?;
        self.decode_images(&latents, labels)
    }

    /// Encodes images with [`Noise::Midpoint`] and decodes the latents. What comes back is
    /// [`Glow::quantize`] of the images, but for rounding errors of the flow, which are rare for a
    /// model in float32.
    ///
    /// # Errors
    /// Those of [`Glow::encode`] and [`Glow::decode`].
    pub fn reconstruct<'a>(
        &self,
        images: impl Into<ArrayView4<'a, u8>>,
        labels: Option<&[i64]>,
    ) -> Result<Array4<u8>, Error> {
        self.graph(GraphKind::Decoder)?;
        let options = EncodeOptions::new().labels(labels.map(<[i64]>::to_vec));
        self.decode_images(&self.encode(images, &options)?.latents, labels)
    }

    /// The images as the model sees them, with only the upper n_bits of every value:
    /// floor(v / 2^(8 − n_bits)) · 2^(8 − n_bits).
    pub fn quantize<'a>(&self, images: impl Into<ArrayView4<'a, u8>>) -> Array4<u8> {
        let dropped = 8 - self.architecture().n_bits;
        images.into().mapv(|value| value >> dropped << dropped)
    }

    /// `steps` images from a to b for each pair of latents, including both ends, one pair after the other, with one
    /// label for each pair. The same as [`Latents::interpolate`], then [`Glow::decode`].
    ///
    /// # Errors
    /// Those of the two.
    pub fn interpolate(
        &self,
        a: &Latents,
        b: &Latents,
        steps: usize,
        way: Interpolation,
        labels: Option<&[i64]>,
    ) -> Result<Array4<u8>, Error> {
        let latents = Latents::interpolate(a, b, steps, way)?;
        let labels: Option<Vec<i64>> =
            labels.map(|labels| labels.iter().flat_map(|&label| std::iter::repeat_n(label, steps)).collect());
        self.decode_images(&latents, labels.as_deref())
    }

    pub(crate) fn graph(&self, kind: GraphKind) -> Result<&Graph, Error> {
        let graph = match kind {
            GraphKind::Encoder => &self.encoder,
            GraphKind::Decoder => &self.decoder,
        };
        self.session_options.library.check_process()?;
        graph.as_ref().ok_or(Error::NotLoaded { graph: kind })
    }

    /// What the encoder gave for `n` images.
    pub(crate) fn encoded(&self, n: usize, mut outputs: PerLevel<Output>) -> Partial<Encoded> {
        let non_finite = non_finite(&mut outputs);
        let mut floats = outputs.into_iter().map(|output| output.floats);
        let levels = self.manifest().latent_shapes.iter().zip(floats.by_ref()).map(|(shape, floats)| {
            let dim = (n, shape.channels, shape.height, shape.width);
            Array4::from_shape_vec(dim, floats).expect("the graph's outputs are checked")
        });
        let latents = Latents::from_levels(levels.collect()).expect("levels of the same model");
        let log_prob = floats.next().expect("one output more than levels");
        Partial { value: Encoded { latents, log_prob }, non_finite }
    }

    /// What the decoder gave for `n` latents.
    pub(crate) fn decoded(&self, n: usize, mut outputs: PerLevel<Output>) -> Partial<Decoded> {
        let a = self.architecture();
        let x = std::mem::take(&mut outputs[1].floats);
        let x = Array4::from_shape_vec((n, a.height, a.width, a.channels), x);
        let x = x.expect("the graph's outputs are checked");
        let Partial { value: images, non_finite } = self.images(n, outputs);
        Partial { value: Decoded { images, x }, non_finite }
    }

    /// The images alone of it; those that are not finite are black.
    pub(crate) fn images(&self, n: usize, mut outputs: PerLevel<Output>) -> Partial<Array4<u8>> {
        let non_finite = non_finite(&mut outputs);
        let a = self.architecture();
        let bytes = std::mem::take(&mut outputs[0].bytes);
        let images = Array4::from_shape_vec((n, a.height, a.width, a.channels), bytes);
        let mut images = images.expect("the graph's outputs are checked");
        for &image in &non_finite {
            images.index_axis_mut(Axis(0), image).fill(0);
        }
        Partial { value: images, non_finite }
    }

    /// Uniform dequantization noise for images `first`, `first` + 1, …
    pub(crate) fn noise(&self, n: usize, seed: u64, first: u64, draw: u64) -> Array4<f32> {
        let a = self.architecture();
        let mut noise = Array4::zeros((n, a.height, a.width, a.channels));
        for (mut image, i) in noise.outer_iter_mut().zip(0..) {
            let index = first.wrapping_add(i);
            let values = random::noise(seed, Purpose::Noise { draw }, index);
            image.iter_mut().zip(values).for_each(|(to, value)| *to = value);
        }
        noise
    }

    pub(crate) fn check_sampling(&self, n: usize, options: &SampleOptions) -> Result<(), Error> {
        let temperature = options.temperature;
        if !(temperature.is_finite() && temperature >= 0.0) {
            return Err(Error::Option {
                option: "temperature",
                value: temperature.to_string(),
                allowed: "a finite number, at least 0",
            });
        }
        let truncation = options.truncation;
        if truncation.is_some_and(|limit| !(random::LEAST_TRUNCATION..).contains(&limit)) {
            return Err(Error::Option {
                option: "truncation",
                value: truncation.unwrap_or_default().to_string(),
                allowed: "at least 0.01, or none",
            });
        }
        // More bytes than an array can have; where memory ends before, allocation itself fails.
        if n > isize::MAX as usize / size_of::<f32>() / self.architecture().dims() {
            return Err(Error::Option { option: "n", value: n.to_string(), allowed: "what memory can hold" });
        }
        Ok(())
    }

    pub(crate) fn check_latents(&self, latents: &Latents) -> Result<(), Error> {
        latents.check(&self.manifest().latent_shapes)?;
        for level in latents.levels() {
            let level = contiguous(level);
            finite(level, level.len() / latents.batch().max(1), "the given latent", "")?;
        }
        Ok(())
    }

    pub(crate) fn check_images(&self, array: &str, actual: &[usize]) -> Result<(), Error> {
        let a = self.architecture();
        if actual[1..] == [a.height, a.width, a.channels] {
            return Ok(());
        }
        Err(Error::Shape {
            array: array.into(),
            expected: format!("[N, {}, {}, {}]", a.height, a.width, a.channels),
            actual: actual.to_vec(),
        })
    }

    pub(crate) fn check_noise(&self, noise: ArrayView4<'_, f32>, images: &[usize]) -> Result<(), Error> {
        if noise.shape() != images {
            return Err(Error::Shape {
                array: "noise".into(),
                expected: format!("{images:?} as the images have"),
                actual: noise.shape().to_vec(),
            });
        }
        if let Some(u) = noise.iter().find(|u| !(0.0..1.0).contains(*u)) {
            return Err(Error::Option {
                option: "noise",
                value: u.to_string(),
                allowed: "0 or more, below 1",
            });
        }
        Ok(())
    }

    pub(crate) fn check_labels<'a>(
        &self,
        labels: Option<&'a [i64]>,
        n: usize,
    ) -> Result<Option<&'a [i64]>, Error> {
        let classes = self.architecture().classes;
        let wrong = |reason: String| Err(Error::Labels { reason });
        match labels {
            None if classes == 0 => Ok(None),
            None => wrong(format!(
                "this model is conditional on {classes} classes and needs a label for each image"
            )),
            Some(_) if classes == 0 => wrong("this model is unconditional and takes none".into()),
            Some(labels) if labels.len() != n => wrong(format!("there are {} for {n} images", labels.len())),
            Some(labels) => match labels.iter().find(|label| !(0..classes as i64).contains(*label)) {
                Some(label) => {
                    wrong(format!("{label} is not one of the {classes} classes 0 to {}", classes - 1))
                }
                None => Ok(Some(labels)),
            },
        }
    }
}

impl std::fmt::Debug for Glow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Glow")
            .field("folder", &self.folder())
            .field("encoder", &self.encoder.is_some())
            .field("decoder", &self.decoder.is_some())
            .field("providers", &self.providers())
            .finish_non_exhaustive()
    }
}

fn contiguous(level: &Array4<f32>) -> &[f32] {
    level.as_slice().expect("latents are in standard layout")
}

/// What [`Error::NonFinite`] says of the results.
pub(crate) const DECODED: (&str, &str) =
    ("the decoded value", ": too far out in latent space; try a lower temperature or a shorter way");
pub(crate) const ENCODED: (&str, &str) = ("the latent or the log-likelihood", "");

/// The images that are not finite in some output.
fn non_finite(outputs: &mut [Output]) -> Vec<usize> {
    ascending(outputs.iter_mut().flat_map(|output| output.non_finite.drain(..)))
}

/// Checks that all numbers are finite, `size` of them an image.
fn finite(values: &[f32], size: usize, array: &'static str, hint: &'static str) -> Result<(), Error> {
    if values.iter().all(|value| value.is_finite()) {
        return Ok(());
    }
    let image = |image: &[f32]| image.iter().any(|value| !value.is_finite());
    let images =
        values.chunks(size).enumerate().filter(|(_, values)| image(values)).map(|(i, _)| i).collect();
    Err(Error::NonFinite { array, images, hint })
}
