//! The loaded model.
use crate::arrays::{self, Flat, Images, Labels};
use crate::attributes::Attributes;
use crate::errors::{Raised, Result, argument};
use glow_runtime::images::{self, GridOptions};
use glow_runtime::{EncodeOptions, Glow, Interpolation, Noise, Provider, SampleOptions, ScoreOptions};
use numpy::ndarray::{Array3, Array4};
use numpy::{PyArray1, PyArray2, PyArray3, PyArray4, PyReadonlyArray3, PyReadonlyArray4};
use pyo3::prelude::*;
use std::mem::ManuallyDrop;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a model was loaded, and with it the one ONNX Runtime that a process can have.
static STARTED: AtomicBool = AtomicBool::new(false);

/// Flat latents, and log-likelihoods.
type EncodedArrays<'py> = (Bound<'py, PyArray2<f32>>, Bound<'py, PyArray1<f32>>);

/// Images, and the flow's own x.
type DecodedArrays<'py> = (Bound<'py, PyArray4<u8>>, Bound<'py, PyArray4<f32>>);

/// Mean log-likelihoods, standard errors, bits/dim, and whether they are reliable.
type ScoreArrays<'py> = (
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<bool>>,
);

#[pyclass(module = "glow._glow", frozen)]
pub struct Model {
    glow: ManuallyDrop<Glow>,
    process: u32,
}

impl Drop for Model {
    fn drop(&mut self) {
        // ONNX Runtime would wait for threads that a forked process does not have.
        if self.process == std::process::id() {
            // SAFETY: this is the only place that drops it, and it is not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.glow) };
        }
    }
}

#[pymethods]
impl Model {
    /// `found` is the library's folder that is used unless another one was started already.
    #[new]
    #[allow(clippy::too_many_arguments, reason = "they are named in Python")]
    #[pyo3(signature = (path, *, providers, threads, sessions, max_batch, memory_budget, warm_up, cache, only, verify,
        check, onnxruntime, found))]
    fn new(
        py: Python<'_>,
        path: Option<PathBuf>,
        providers: Option<Vec<String>>,
        threads: Option<usize>,
        sessions: Option<usize>,
        max_batch: Option<usize>,
        memory_budget: Option<usize>,
        warm_up: Vec<usize>,
        cache: Option<PathBuf>,
        only: Option<String>,
        verify: bool,
        check: bool,
        onnxruntime: Option<PathBuf>,
        found: Option<PathBuf>,
    ) -> Result<Self> {
        let mut builder = Glow::builder().verify(verify).check(check).warm_up(warm_up);
        if let Some(names) = providers {
            let parse = |name: &String| {
                name.parse::<Provider>().map_err(|error| argument(format!("providers = {names:?}: {error}")))
            };
            builder = builder.providers(names.iter().map(parse).collect::<Result<Vec<_>>>()?);
        }
        for (number, set) in [
            (threads, glow_runtime::GlowBuilder::threads as fn(_, _) -> _),
            (sessions, glow_runtime::GlowBuilder::sessions),
            (max_batch, glow_runtime::GlowBuilder::max_batch),
            (memory_budget, glow_runtime::GlowBuilder::memory_budget),
        ] {
            if let Some(number) = number {
                builder = set(builder, number);
            }
        }
        if let Some(folder) = cache {
            builder = builder.cache(folder);
        }
        builder = match only.as_deref() {
            None => builder,
            Some("encoder") => builder.encoder_only(),
            Some("decoder") => builder.decoder_only(),
            Some(other) => {
                return Err(argument(format!(
                    "only = {other:?} is out of range: \"encoder\", \"decoder\" or None"
                )));
            }
        };
        let found = found.filter(|_| !STARTED.load(Ordering::Relaxed));
        if let Some(library) = onnxruntime.or(found) {
            builder = builder.onnxruntime(library);
        }
        let glow = ManuallyDrop::new(py.detach(|| -> Result<Glow> {
            match path {
                Some(folder) => Ok(builder.load(folder)?),
                None => faces64(builder),
            }
        })?);
        STARTED.store(true, Ordering::Relaxed);
        Ok(Self { glow, process: std::process::id() })
    }

    /// `model.json`.
    fn manifest(&self) -> Result<String> {
        serde_json::to_string(self.glow.manifest()).map_err(|error| argument(error.to_string()))
    }

    fn folder(&self) -> Option<PathBuf> {
        self.glow.folder().map(Into::into)
    }

    fn providers(&self) -> Vec<String> {
        self.glow.providers().iter().map(ToString::to_string).collect()
    }

    fn passed_over(&self) -> Vec<(String, String)> {
        self.glow
            .passed_over()
            .iter()
            .map(|(provider, reason)| (provider.to_string(), reason.clone()))
            .collect()
    }

    fn onnxruntime(&self) -> (PathBuf, String) {
        let library = self.glow.onnxruntime();
        (library.path.clone(), library.version.clone())
    }

    fn max_batch(&self) -> usize {
        self.glow.max_batch()
    }

    /// Rows, columns and channels of an image.
    fn shape(&self) -> (usize, usize, usize) {
        let a = self.glow.architecture();
        (a.height, a.width, a.channels)
    }

    #[allow(clippy::too_many_arguments, reason = "they are named in Python")]
    fn sample<'py>(
        &self,
        py: Python<'py>,
        n: usize,
        temperature: f32,
        truncation: Option<f32>,
        seed: u64,
        first: u64,
        labels: Labels<'py>,
    ) -> Result<Bound<'py, PyArray4<u8>>> {
        let options = sampling(temperature, truncation, seed, first, &labels);
        let images = py.detach(|| self.glow.sample(n, &options))?;
        Ok(PyArray4::from_owned_array(py, images))
    }

    fn sample_latents<'py>(
        &self,
        py: Python<'py>,
        n: usize,
        temperature: f32,
        truncation: Option<f32>,
        seed: u64,
        first: u64,
    ) -> Result<Bound<'py, PyArray2<f32>>> {
        let options = sampling(temperature, truncation, seed, first, &None);
        let latents = py.detach(|| self.glow.sample_latents(n, &options))?;
        Ok(arrays::flat(py, &latents))
    }

    /// Uniform noise of a seed, or its middle without one.
    fn encode<'py>(
        &self,
        py: Python<'py>,
        images: Images<'py>,
        seed: Option<u64>,
        first: u64,
        labels: Labels<'py>,
    ) -> Result<EncodedArrays<'py>> {
        let noise = seed.map_or(Noise::Midpoint, |seed| Noise::Uniform { seed });
        let options = EncodeOptions::new().noise(noise).first(first).labels(arrays::labels(&labels));
        let images = images.as_array();
        let encoded = py.detach(|| self.glow.encode(images, &options))?;
        Ok((arrays::flat(py, &encoded.latents), PyArray1::from_vec(py, encoded.log_prob)))
    }

    /// The images, and the flow's own x.
    fn decode<'py>(
        &self,
        py: Python<'py>,
        latents: Flat<'py>,
        labels: Labels<'py>,
    ) -> Result<DecodedArrays<'py>> {
        let (flat, labels) = (latents.as_array(), arrays::labels(&labels));
        let decoded = py.detach(|| -> Result<_> {
            let latents = arrays::latents(&self.glow, flat)?;
            Ok(self.glow.decode(&latents, labels.as_deref())?)
        })?;
        Ok((PyArray4::from_owned_array(py, decoded.images), PyArray4::from_owned_array(py, decoded.x)))
    }

    fn reconstruct<'py>(
        &self,
        py: Python<'py>,
        images: Images<'py>,
        labels: Labels<'py>,
    ) -> Result<Bound<'py, PyArray4<u8>>> {
        let (images, labels) = (images.as_array(), arrays::labels(&labels));
        let images = py.detach(|| self.glow.reconstruct(images, labels.as_deref()))?;
        Ok(PyArray4::from_owned_array(py, images))
    }

    fn quantize<'py>(&self, py: Python<'py>, images: Images<'py>) -> Bound<'py, PyArray4<u8>> {
        let images = images.as_array();
        PyArray4::from_owned_array(py, py.detach(|| self.glow.quantize(images)))
    }

    fn score<'py>(
        &self,
        py: Python<'py>,
        images: Images<'py>,
        draws: usize,
        seed: u64,
        first: u64,
        labels: Labels<'py>,
    ) -> Result<ScoreArrays<'py>> {
        let options = scoring(draws, seed, first, &labels);
        let images = images.as_array();
        let scores = py.detach(|| self.glow.score(images, &options))?;
        let array = |of: fn(&glow_runtime::Score) -> f64| PyArray1::from_iter(py, scores.iter().map(of));
        Ok((
            array(|score| score.log_prob),
            array(|score| score.standard_error.unwrap_or(f64::NAN)),
            array(|score| score.bits_per_dim),
            PyArray1::from_iter(py, scores.iter().map(|score| score.reliable)),
        ))
    }

    fn complexity_corrected<'py>(
        &self,
        py: Python<'py>,
        images: Images<'py>,
        draws: usize,
        seed: u64,
        first: u64,
        labels: Labels<'py>,
    ) -> Result<Bound<'py, PyArray1<f64>>> {
        let options = scoring(draws, seed, first, &labels);
        let images = images.as_array();
        let scores = py.detach(|| self.glow.complexity_corrected(images, &options))?;
        Ok(PyArray1::from_vec(py, scores))
    }

    #[allow(clippy::too_many_arguments, reason = "they are named in Python")]
    fn interpolate<'py>(
        &self,
        py: Python<'py>,
        a: Flat<'py>,
        b: Flat<'py>,
        steps: usize,
        spherical: bool,
        labels: Labels<'py>,
    ) -> Result<Bound<'py, PyArray4<u8>>> {
        let (a, b, labels) = (a.as_array(), b.as_array(), arrays::labels(&labels));
        let way = if spherical { Interpolation::Spherical } else { Interpolation::Linear };
        let images = py.detach(|| -> Result<_> {
            let (a, b) = (arrays::latents(&self.glow, a)?, arrays::latents(&self.glow, b)?);
            Ok(self.glow.interpolate(&a, &b, steps, way, labels.as_deref())?)
        })?;
        Ok(PyArray4::from_owned_array(py, images))
    }

    fn attributes(&self, py: Python<'_>) -> Result<Attributes> {
        let attributes = py.detach(|| self.glow.attributes())?;
        Ok(Attributes::new(attributes, self.glow.manifest().latent_shapes.clone()))
    }

    /// None of the bundle's.
    fn no_attributes(&self) -> Attributes {
        let manifest = self.glow.manifest();
        Attributes::new(glow_runtime::Attributes::new(manifest), manifest.latent_shapes.clone())
    }

    fn edit<'py>(
        &self,
        py: Python<'py>,
        images: Images<'py>,
        attributes: &Attributes,
        strengths: Vec<(String, f32)>,
        labels: Labels<'py>,
    ) -> Result<Bound<'py, PyArray4<u8>>> {
        let (images, labels) = (images.as_array(), arrays::labels(&labels));
        let strengths: Vec<(&str, f32)> =
            strengths.iter().map(|(name, strength)| (&**name, *strength)).collect();
        let images = py.detach(|| {
            attributes.with(|attributes| self.glow.edit(images, attributes, &strengths, labels.as_deref()))
        })?;
        Ok(PyArray4::from_owned_array(py, images))
    }

    /// An image file at the model's size.
    fn read<'py>(&self, py: Python<'py>, path: PathBuf) -> Result<Bound<'py, PyArray3<u8>>> {
        let pixels: Array3<u8> = py.detach(|| images::read(path, &*self.glow))?;
        Ok(PyArray3::from_owned_array(py, pixels))
    }

    /// An image of any size at the model's.
    fn fit<'py>(
        &self,
        py: Python<'py>,
        pixels: PyReadonlyArray3<'py, u8>,
    ) -> Result<Bound<'py, PyArray4<u8>>> {
        let pixels = pixels.as_array();
        let fitted: Array4<u8> = py.detach(|| -> Result<_> {
            let image = arrays::dynamic(pixels)?;
            Ok(images::to_array([image], &*self.glow)?)
        })?;
        Ok(PyArray4::from_owned_array(py, fitted))
    }

    fn health(&self) -> Result<()> {
        Ok(self.glow.health()?)
    }
}

impl Model {
    pub fn glow(&self) -> &Glow {
        &self.glow
    }
}

/// The model that comes with the package.
#[cfg(feature = "faces64")]
fn faces64(builder: glow_runtime::GlowBuilder) -> Result<Glow> {
    Ok(builder.load_bytes(glow_faces64::bundle())?)
}

#[cfg(not(feature = "faces64"))]
fn faces64(_: glow_runtime::GlowBuilder) -> Result<Glow> {
    let built = "this package was built without the feature faces64, and has no model of its own";
    Err(argument(format!("path is missing: {built}; name a bundle's folder")))
}

fn sampling(
    temperature: f32,
    truncation: Option<f32>,
    seed: u64,
    first: u64,
    labels: &Labels<'_>,
) -> SampleOptions {
    SampleOptions::new()
        .temperature(temperature)
        .truncation(truncation)
        .seed(seed)
        .first(first)
        .labels(arrays::labels(labels))
}

fn scoring(draws: usize, seed: u64, first: u64, labels: &Labels<'_>) -> ScoreOptions {
    ScoreOptions::new().draws(draws).seed(seed).first(first).labels(arrays::labels(labels))
}

/// Images on one sheet, uint8 [height, width, C].
#[pyfunction]
pub fn grid<'py>(
    py: Python<'py>,
    images: PyReadonlyArray4<'py, u8>,
    columns: usize,
    padding: usize,
    scale: usize,
) -> Result<Bound<'py, PyArray3<u8>>> {
    let images = images.as_array();
    let channels = images.dim().3;
    let sheet = py.detach(|| {
        images::grid(images, &GridOptions::new().columns(columns).padding(padding).scale(scale))
    })?;
    let dim = (sheet.height() as usize, sheet.width() as usize, channels);
    let bytes = if channels == 1 { sheet.into_luma8().into_raw() } else { sheet.into_rgb8().into_raw() };
    let pixels = Array3::from_shape_vec(dim, bytes).expect("a sheet has the images' channels");
    Ok(PyArray3::from_owned_array(py, pixels))
}

/// The image files below a folder, sorted.
#[pyfunction]
pub fn list_images(py: Python<'_>, folder: PathBuf) -> Result<Vec<PathBuf>> {
    py.detach(|| images::list(folder)).map_err(Raised::from)
}
