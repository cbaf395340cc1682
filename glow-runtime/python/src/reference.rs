//! Scores of a reference set.
use crate::errors::{Result, argument};
use crate::model::Model;
use glow_runtime::{ReferenceScores, ScoreKind};
use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use std::path::PathBuf;

#[pyclass(module = "glow._glow", frozen)]
pub struct Reference {
    scores: ReferenceScores,
}

/// Typicality, p-value, p-value of scores as high.
type Compared<'py> = (Bound<'py, PyArray1<f64>>, Bound<'py, PyArray1<f64>>, Bound<'py, PyArray1<f64>>);

#[pymethods]
impl Reference {
    #[new]
    fn new(model: &Model, scores: Vec<f64>, kind: &str) -> Result<Self> {
        let kind = match kind {
            "bits-per-dim" => ScoreKind::BitsPerDim,
            "complexity-corrected" => ScoreKind::ComplexityCorrected,
            other => {
                let allowed = "bits-per-dim or complexity-corrected";
                return Err(argument(format!("kind = {other:?} is out of range: {allowed}")));
            }
        };
        Ok(Self { scores: ReferenceScores::new(model.glow().manifest(), kind, scores)? })
    }

    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf, model: &Model) -> Result<Self> {
        Ok(Self { scores: py.detach(|| ReferenceScores::load(path, model.glow().manifest()))? })
    }

    fn save(&self, py: Python<'_>, path: PathBuf) -> Result<()> {
        Ok(py.detach(|| self.scores.save(path))?)
    }

    fn compare<'py>(&self, py: Python<'py>, scores: PyReadonlyArray1<'py, f64>) -> Compared<'py> {
        let compared: Vec<_> = scores.as_array().iter().map(|&score| self.scores.compare(score)).collect();
        let array = |of: fn(&glow_runtime::OodScore) -> f64| PyArray1::from_iter(py, compared.iter().map(of));
        (array(|score| score.typicality), array(|score| score.p_value), array(|score| score.p_value_high))
    }

    fn kind(&self) -> &'static str {
        match self.scores.kind() {
            ScoreKind::BitsPerDim => "bits-per-dim",
            _ => "complexity-corrected",
        }
    }

    fn scores<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        PyArray1::from_slice(py, self.scores.scores())
    }

    fn mean(&self) -> f64 {
        self.scores.mean()
    }

    fn standard_deviation(&self) -> f64 {
        self.scores.standard_deviation()
    }
}
