//! Named directions in latent space.
use crate::arrays::{self, Flat};
use crate::errors::{Result, argument};
use glow_runtime::{Error, FitOptions, LatentShape, Latents, Method};
use numpy::{PyArray1, PyArray2, PyReadonlyArray1};
use pyo3::prelude::*;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// A mutex of its own, as the library runs without Python's lock. It is taken only without that lock, so that neither
/// waits for the other.
#[pyclass(module = "glow._glow", frozen)]
pub struct Attributes {
    attributes: Mutex<glow_runtime::Attributes>,
    shapes: Vec<LatentShape>,
}

/// Method, penalty, whether orthogonalised, images with and without it, accuracy on images held out.
type Statistics = (String, Option<f64>, bool, usize, usize, Option<f64>);

#[pymethods]
impl Attributes {
    fn names(&self, py: Python<'_>) -> Vec<String> {
        py.detach(|| self.with(|attributes| attributes.iter().map(|one| one.name().to_string()).collect()))
    }

    fn direction<'py>(&self, py: Python<'py>, name: &str) -> Result<Bound<'py, PyArray1<f32>>> {
        let get = |attributes: &glow_runtime::Attributes| Ok(attributes.get(name)?.direction().clone());
        let direction = py.detach(|| self.with(get)).map_err(|error: Error| error)?;
        Ok(PyArray1::from_owned_array(py, direction))
    }

    fn statistics(&self, py: Python<'_>, name: &str) -> Result<Statistics> {
        let get = |attributes: &glow_runtime::Attributes| Ok(attributes.get(name)?.statistics().clone());
        let fit = py.detach(|| self.with(get)).map_err(|error: Error| error)?;
        let (method, penalty) = match fit.method {
            Method::Ridge { penalty } => ("ridge", Some(penalty)),
            Method::Logistic { penalty } => ("logistic", Some(penalty)),
            _ => ("mean-difference", None),
        };
        Ok((method.into(), penalty, fit.orthogonalised, fit.positives, fit.negatives, fit.held_out_accuracy))
    }

    fn apply<'py>(
        &self,
        py: Python<'py>,
        latents: Flat<'py>,
        strengths: Vec<(String, f32)>,
    ) -> Result<Bound<'py, PyArray2<f32>>> {
        let flat = latents.as_array();
        let strengths: Vec<(&str, f32)> =
            strengths.iter().map(|(name, strength)| (&**name, *strength)).collect();
        let moved = py.detach(|| {
            let latents = Latents::from_flat(flat, &self.shapes)?;
            self.with(|attributes| attributes.apply(&latents, &strengths))
        })?;
        Ok(arrays::flat(py, &moved))
    }

    fn project<'py>(&self, py: Python<'py>, latents: Flat<'py>) -> Result<Bound<'py, PyArray2<f64>>> {
        let flat = latents.as_array();
        let coordinates = py.detach(|| {
            let latents = Latents::from_flat(flat, &self.shapes)?;
            self.with(|attributes| attributes.project(&latents))
        })?;
        Ok(PyArray2::from_owned_array(py, coordinates))
    }

    #[allow(clippy::too_many_arguments, reason = "they are named in Python")]
    fn fit(
        &self,
        py: Python<'_>,
        name: &str,
        latents: Flat<'_>,
        labels: PyReadonlyArray1<'_, bool>,
        method: &str,
        penalty: Option<f64>,
        orthogonalise: bool,
    ) -> Result<()> {
        let method = match (method, penalty) {
            ("mean-difference", None) => Method::MeanDifference,
            ("mean-difference", Some(_)) => {
                return Err(argument("penalty is for the methods ridge and logistic".into()));
            }
            ("ridge", None) => Method::RIDGE,
            ("ridge", Some(penalty)) => Method::Ridge { penalty },
            ("logistic", None) => Method::LOGISTIC,
            ("logistic", Some(penalty)) => Method::Logistic { penalty },
            (other, _) => {
                let allowed = "mean-difference, ridge or logistic";
                return Err(argument(format!("method = {other:?} is out of range: {allowed}")));
            }
        };
        let options = FitOptions::new().method(method).orthogonalise(orthogonalise);
        let (flat, labels) = (latents.as_array(), labels.as_array().to_vec());
        Ok(py.detach(|| {
            let mut attributes = self.attributes.lock().unwrap_or_else(PoisonError::into_inner);
            attributes.fit(name, flat, &labels, &options).map(|_| ())
        })?)
    }

    fn remove(&self, py: Python<'_>, name: &str) -> Result<()> {
        Ok(py.detach(|| {
            self.attributes.lock().unwrap_or_else(PoisonError::into_inner).remove(name).map(|_| ())
        })?)
    }

    fn save(&self, py: Python<'_>, folder: PathBuf) -> Result<()> {
        Ok(py.detach(|| self.with(|attributes| attributes.save(folder)))?)
    }
}

impl Attributes {
    pub fn new(attributes: glow_runtime::Attributes, shapes: Vec<LatentShape>) -> Self {
        Self { attributes: Mutex::new(attributes), shapes }
    }

    /// Call it without Python's lock.
    pub fn with<T>(&self, use_it: impl FnOnce(&glow_runtime::Attributes) -> T) -> T {
        use_it(&self.attributes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
