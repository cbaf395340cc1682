//! Finds the images of a folder that are not of the kind that a model knows.
//!
//! ```text
//! cargo run --release -p glow-runtime --features image --example ood_scores -- BUNDLE REFERENCE_DIR DIR
//! ```
//!
//! REFERENCE_DIR holds images of the kind that were not used in training. Prints the images of DIR, the most
//! foreign first.
use glow_runtime::{Glow, ReferenceScores, ScoreKind, ScoreOptions, images};
use ndarray::{Axis, stack};
use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bundle, reference, folder] = &arguments[..] else {
        return Err("usage: ood_scores BUNDLE REFERENCE_DIR DIR".into());
    };
    let glow = Glow::builder().encoder_only().load(bundle)?;

    // A likelihood alone finds simple images likely, of whatever kind: their bits as PNG are taken off.
    let known = scores(&glow, reference)?.into_iter().map(|(_, score)| score).collect();
    let reference = ReferenceScores::new(glow.manifest(), ScoreKind::ComplexityCorrected, known)?;
    let mut compared: Vec<_> =
        scores(&glow, folder)?.into_iter().map(|(path, score)| (path, reference.compare(score))).collect();
    compared.sort_by(|(_, a), (_, b)| b.typicality.total_cmp(&a.typicality));
    for (path, score) in compared {
        println!("{:8.2}  p = {:.4}  {}", score.typicality, score.p_value, path.display());
    }
    Ok(())
}

/// Scores of the images of a folder that can be read.
fn scores(glow: &Glow, folder: &str) -> Result<Vec<(PathBuf, f64)>, Box<dyn Error>> {
    let mut scores = Vec::new();
    for paths in images::list(folder)?.chunks(glow.max_batch()) {
        let (mut read, mut pixels) = (Vec::new(), Vec::new());
        for path in paths {
            match images::read(path, glow) {
                Ok(image) => {
                    read.push(path.clone());
                    pixels.push(image);
                }
                Err(error) => eprintln!("skipped: {error}"),
            }
        }
        if !pixels.is_empty() {
            let views: Vec<_> = pixels.iter().map(|image| image.view()).collect();
            let options = ScoreOptions::new().first(scores.len() as u64);
            scores
                .extend(read.into_iter().zip(glow.complexity_corrected(&stack(Axis(0), &views)?, &options)?));
        }
    }
    Ok(scores)
}
