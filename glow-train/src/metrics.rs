//! `metrics.jsonl`: one JSON object a line.
use crate::error::TrainError;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// One line. Absent numbers are left out.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Metrics {
    /// Optimisation steps done.
    pub step: u64,
    /// Epochs done, with fraction.
    pub epoch: f64,
    /// Training images seen, repeats counted.
    pub images_seen: u64,
    /// "train", "validation" or "samples".
    pub split: &'static str,
    /// Mean bits/dim since the last line of this split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits_per_dim: Option<f64>,
    /// What each level's log-determinants and latents add to the bits/dim, from the first; n_bits more
    /// make it up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level_bits_per_dim: Option<Vec<f64>>,
    /// Mean −log₂ p(label) of the classifier, in bits, where the model has classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_bits: Option<f64>,
    /// Standard error of a validation's mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standard_error: Option<f64>,
    /// Images of a validation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<usize>,
    /// Bits a colour channel, without which bits/dim mean nothing.
    pub n_bits: u32,
    /// Learning rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// Norm of the gradient, mean since the last line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradient_norm: Option<f64>,
    /// Share of the steps since the last line whose gradient was clipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clipped_steps: Option<f64>,
    /// Training images a second since the last line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images_per_s: Option<f64>,
    /// Share of the time since the last line in which the step waited for data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_wait: Option<f64>,
    /// With reversible training, the largest |recomputed − given| of a number of x since the last line; one
    /// step of n-bit pixels is 2^−n.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reversible_drift: Option<f64>,
    /// Steps not taken so far because loss or gradient were not finite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped_steps: Option<u64>,
    /// Temperature of a sample grid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// File of a sample grid, relative to the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

impl Metrics {
    /// The numbers of this line that are worth drawing over steps, named SPLIT/FIELD.
    pub fn scalars(&self) -> Vec<(String, f64)> {
        const COORDINATES: [&str; 5] = ["step", "images_seen", "n_bits", "temperature", "images"];
        let line = serde_json::to_value(self).expect("metrics are plain numbers and text");
        let mut scalars = Vec::new();
        for (name, value) in line.as_object().into_iter().flatten() {
            let tag = format!("{}/{name}", self.split);
            match value {
                serde_json::Value::Number(number) if !COORDINATES.contains(&name.as_str()) => {
                    scalars.extend(number.as_f64().map(|number| (tag, number)));
                }
                serde_json::Value::Array(numbers) => {
                    let numbers = numbers.iter().enumerate();
                    scalars.extend(numbers.filter_map(|(i, n)| Some((format!("{tag}/{i}"), n.as_f64()?))));
                }
                _ => {}
            }
        }
        scalars
    }
}

/// The file, open at its end.
#[derive(Debug)]
pub struct MetricsFile {
    path: PathBuf,
    file: File,
    /// The lines of the step that a run goes on from.
    noted: Vec<serde_json::Value>,
}

impl MetricsFile {
    /// Opens or makes the file. Lines of steps after `step` are dropped: they were written between
    /// the checkpoint that a run goes on from and its end.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn open(path: &Path, step: u64) -> Result<Self, TrainError> {
        let write = |source| TrainError::Write { path: path.into(), source };
        let mut noted = Vec::new();
        if path.exists() {
            let text = std::fs::read_to_string(path)
                .map_err(|source| TrainError::Read { path: path.into(), source })?;
            let kept: String =
                text.lines().filter(|line| line_step(line) <= step).map(|l| format!("{l}\n")).collect();
            let last = text.lines().filter(|line| line_step(line) == step);
            noted.extend(last.filter_map(|line| serde_json::from_str(line).ok()));
            glow_models::write_atomically(path, |out| out.write_all(kept.as_bytes())).map_err(write)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(write)?;
        Ok(Self { path: path.into(), file, noted })
    }

    /// The lines of the step that a run goes on from.
    pub fn noted(&self) -> &[serde_json::Value] {
        &self.noted
    }

    /// Appends a line, unless the run that is resumed has noted one of the same step, split and file.
    /// Whether it was appended.
    ///
    /// # Errors
    /// The line cannot be written; nothing of it stays, and the next one may be tried.
    pub fn append(&mut self, metrics: &Metrics) -> Result<bool, TrainError> {
        let line = serde_json::to_value(metrics).expect("metrics are plain numbers and text");
        let same = |noted: &serde_json::Value| {
            ["step", "split", "file"].iter().all(|&key| noted.get(key) == line.get(key))
        };
        if self.noted.iter().any(same) {
            return Ok(false);
        }
        let mut line = serde_json::to_string(metrics).expect("metrics are plain numbers and text");
        line.push('\n');
        append(&mut self.file, line.as_bytes())
            .map_err(|source| TrainError::Write { path: self.path.clone(), source })?;
        Ok(true)
    }
}

/// Appends bytes to a file, all or none of them.
pub(crate) fn append(file: &mut File, bytes: &[u8]) -> std::io::Result<()> {
    let end = file.metadata()?.len();
    file.write_all(bytes).inspect_err(|_| {
        let _ = file.set_len(end);
    })
}

/// The step of a line; a half-written one counts as the last of all, and is dropped.
fn line_step(line: &str) -> u64 {
    serde_json::from_str::<serde_json::Value>(line)
        .ok()
        .and_then(|value| value.get("step")?.as_u64())
        .unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reopening_drops_what_came_after_the_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut file = MetricsFile::open(&path, 0).unwrap();
        for step in [10, 20, 30] {
            file.append(&Metrics { step, split: "train", ..Default::default() }).unwrap();
        }
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"step\": 4").unwrap();
        let mut file = MetricsFile::open(&path, 20).unwrap();
        file.append(&Metrics { step: 25, split: "train", ..Default::default() }).unwrap();
        // What the last step's line says is not said again.
        assert!(!file.append(&Metrics { step: 20, split: "train", ..Default::default() }).unwrap());
        assert!(file.append(&Metrics { step: 20, split: "validation", ..Default::default() }).unwrap());
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().map(line_step).collect::<Vec<_>>(), [10, 20, 25, 20]);
    }
}
