//! Scores of images that are known to be of the kind, with which others are compared.
use crate::{Error, Manifest};
use glow_models::write_atomically;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

const FORMAT: &str = "glow-reference-scores";
const VERSION: u32 = 1;
/// A million scores have about twenty megabytes.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// Which number of an image is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ScoreKind {
    /// bits/dim ([`Score::bits_per_dim`](crate::Score::bits_per_dim)).
    #[default]
    BitsPerDim,
    /// bits/dim less those of the image as PNG ([`Glow::complexity_corrected`](crate::Glow)), with the
    /// feature `image`.
    ComplexityCorrected,
}

/// Scores of a reference set: images that are of the kind that the model was trained on, but were not in
/// the training set. Others are compared with their distribution.
///
/// **A likelihood alone does not tell whether an image is of the kind.** Models like this one often find
/// images of another data set *more* likely than those of their own, smooth ones above all (Nalisnick et
/// al. 2019, "Do deep generative models know what they don't know?"). Hence [`OodScore::typicality`], which
/// is two-sided: too likely counts as unlikely does (Nalisnick et al. 2019, "Detecting out-of-distribution
/// inputs to deep generative models using typicality"). And hence [`ScoreKind::ComplexityCorrected`], which
/// takes the simplicity of an image out of its likelihood (Serrà et al. 2020). Neither is sure for single
/// images: measure on images of both kinds before relying on one.
///
/// ```
/// use glow_runtime::{Glow, ReferenceScores, ScoreKind, ScoreOptions};
/// # use ndarray::Array4;
///
/// # let bundle = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tests/bundle");
/// let glow = Glow::load(bundle)?;
/// # let known = glow.sample(20, &Default::default())?;
/// # let images = Array4::zeros((1, 8, 8, 3));
/// let options = ScoreOptions::new().draws(4);
/// let known = glow.bits_per_dim(&known, &options)?;
/// let reference = ReferenceScores::new(glow.manifest(), ScoreKind::BitsPerDim, known)?;
///
/// for bits in glow.bits_per_dim(&images, &options)? {
///     let score = reference.compare(bits);
///     println!("{:.2} standard deviations from the mean, p = {:.3}", score.typicality, score.p_value);
/// }
/// # Ok::<(), glow_runtime::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ReferenceScores {
    file: Content,
    mean: f64,
    deviation: f64,
    /// |score − mean| of each, sorted.
    distances: Vec<f64>,
}

/// What the file holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Content {
    format: String,
    version: u32,
    model_sha256: String,
    kind: ScoreKind,
    /// Sorted.
    scores: Vec<f64>,
}

/// What a reference set says of an image.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct OodScore {
    /// |score − mean| / standard deviation of the reference set.
    pub typicality: f64,
    /// How probable a distance from the mean at least as large is in the reference set:
    /// (1 + number of references as far away or farther) / (1 + references). Small for images of another
    /// kind, whether too likely or not likely enough.
    pub p_value: f64,
    /// How probable a score at least as high is, counted in the same way: small only for images that are
    /// not likely enough.
    pub p_value_high: f64,
}

impl ReferenceScores {
    /// From the scores of a reference set, bits/dim or what `kind` says, and the manifest of the model
    /// that gave them.
    ///
    /// # Errors
    /// [`Error::Option`] for fewer than two scores, for one that is NaN or infinite, or if all are equal.
    pub fn new(manifest: &Manifest, kind: ScoreKind, scores: Vec<f64>) -> Result<Self, Error> {
        let content = Content {
            format: FORMAT.into(),
            version: VERSION,
            model_sha256: manifest.model_sha256().into(),
            kind,
            scores,
        };
        Self::of(content).map_err(|value| Error::Option {
            option: "scores",
            value,
            allowed: "two or more finite numbers that differ",
        })
    }

    /// The error is what is not allowed of the scores.
    fn of(mut content: Content) -> Result<Self, String> {
        let scores = &mut content.scores;
        if let Some(score) = scores.iter().find(|score| !score.is_finite()) {
            return Err(score.to_string());
        }
        scores.sort_unstable_by(f64::total_cmp);
        let n = scores.len() as f64;
        let mean = scores.iter().sum::<f64>() / n;
        let deviation = (scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
        if !(deviation.is_finite() && deviation > 0.0) {
            return Err(match scores.len() {
                0 | 1 => format!("{} of them", scores.len()),
                n => format!("{n} times {mean}"),
            });
        }
        let mut distances: Vec<f64> = scores.iter().map(|score| (score - mean).abs()).collect();
        distances.sort_unstable_by(f64::total_cmp);
        Ok(Self { file: content, mean, deviation, distances })
    }

    /// Which number of an image is compared.
    pub fn kind(&self) -> ScoreKind {
        self.file.kind
    }

    /// The scores, from the lowest to the highest.
    pub fn scores(&self) -> &[f64] {
        &self.file.scores
    }

    /// Their mean.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Their standard deviation.
    pub fn standard_deviation(&self) -> f64 {
        self.deviation
    }

    /// Compares the score of an image, of the same kind and with as many draws.
    pub fn compare(&self, score: f64) -> OodScore {
        let distance = (score - self.mean).abs();
        let share = |sorted: &[f64], at_least: f64| {
            let farther = sorted.len() - sorted.partition_point(|&other| other < at_least);
            (1 + farther) as f64 / (1 + sorted.len()) as f64
        };
        OodScore {
            typicality: distance / self.deviation,
            p_value: share(&self.distances, distance),
            p_value_high: share(&self.file.scores, score),
        }
    }

    /// Writes a JSON file; it is there whole or not at all.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        write_atomically(path, |out| {
            serde_json::to_writer(&mut *out, &self.file)?;
            out.write_all(b"\n")
        })
        .map_err(|source| Error::Write { path: path.into(), source })
    }

    /// Reads a file that [`ReferenceScores::save`] wrote, for the model of a manifest.
    ///
    /// # Errors
    /// [`Error::Read`], or [`Error::Reference`] if it holds something else, or scores of another model.
    pub fn load(path: impl AsRef<Path>, manifest: &Manifest) -> Result<Self, Error> {
        let path = path.as_ref();
        let read = |source: io::Error| Error::Read { path: path.into(), source };
        let wrong = |reason: String| Error::Reference { path: path.into(), reason };
        let mut text = Vec::new();
        File::open(path).map_err(read)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut text).map_err(read)?;
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(wrong(format!("it is larger than {MAX_FILE_BYTES} bytes")));
        }
        let content: Content = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        if (content.format.as_str(), content.version) != (FORMAT, VERSION) {
            return Err(wrong(format!("it says {:?}, version {}", content.format, content.version)));
        }
        if content.model_sha256 != manifest.model_sha256() {
            return Err(wrong("its scores are those of another model; score the reference set again".into()));
        }
        Self::of(content).map_err(|scores| wrong(format!("scores that cannot be: {scores}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        crate::fixtures::manifest(Default::default())
    }

    fn reference(scores: &[f64]) -> Result<ReferenceScores, Error> {
        ReferenceScores::new(&manifest(), ScoreKind::BitsPerDim, scores.to_vec())
    }

    #[test]
    fn both_tails_count() {
        // Mean 3, standard deviation √2.5.
        let reference = reference(&[5.0, 1.0, 4.0, 2.0, 3.0]).unwrap();
        assert_eq!(reference.scores(), [1.0, 2.0, 3.0, 4.0, 5.0]);
        let cases = [
            // score, distance, references as far away, references as high
            (3.0, 0.0, 5.0, 3.0),
            (4.5, 1.5, 2.0, 1.0),
            (1.0, 2.0, 2.0, 5.0),
            (0.0, 3.0, 0.0, 5.0),
            (9.0, 6.0, 0.0, 0.0),
        ];
        for (score, distance, farther, higher) in cases {
            let compared = reference.compare(score);
            let expected = OodScore {
                typicality: distance / 2.5f64.sqrt(),
                p_value: (1.0 + farther) / 6.0,
                p_value_high: (1.0 + higher) / 6.0,
            };
            assert_eq!(compared, expected, "{score}");
        }
    }

    #[test]
    fn a_saved_file_reads_back_and_others_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reference.json");
        let saved = reference(&[1.0 / 3.0, 2.0, 1e-7]).unwrap();
        saved.save(&path).unwrap();
        assert_eq!(ReferenceScores::load(&path, &manifest()).unwrap(), saved);
        let text = std::fs::read_to_string(&path).unwrap();
        let cases = [
            ("expected value", "scores".to_string()),
            ("EOF", text[..text.len() / 2].to_string()),
            ("it says \"glow\"", text.replace(FORMAT, "glow")),
            ("version 2", text.replace("\"version\":1", "\"version\":2")),
            ("those of another model", text.replace("\"model_sha256\":\"\"", "\"model_sha256\":\"00\"")),
            (
                "scores that cannot be: 2 times 2",
                text.replace("1e-7", "2.0").replace("0.3333333333333333,", ""),
            ),
        ];
        for (expected, text) in cases {
            std::fs::write(&path, text).unwrap();
            let error = ReferenceScores::load(&path, &manifest()).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error:?} does not say {expected:?}");
        }
        for scores in [&[][..], &[1.0], &[2.0, 2.0], &[1.0, f64::NAN]] {
            let error = reference(scores).unwrap_err().to_string();
            assert!(error.contains("two or more finite numbers that differ"), "{error}");
        }
    }
}
