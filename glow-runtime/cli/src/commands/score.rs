//! `glow score`
use crate::failure::Misuse;
use crate::inputs::{Batch, ImageInput, ImageReader, is_collection};
use crate::outputs::{print, say};
use crate::progress::Progress;
use crate::runtime::Runtime;
use anyhow::Result;
use clap::Args;
use glow_runtime::{Glow, OodScore, ReferenceScores, Score, ScoreKind, ScoreOptions, images};
use std::path::{Path, PathBuf};

#[derive(Args)]
#[command(after_help = "Examples:\n  glow score photos/ --draws 4 > scores.tsv\n  \
    glow score my-model.glow photos/ --reference held-out/ --save-reference faces.json > ood.tsv\n  \
    glow score my-model.glow more/ --reference faces.json > ood.tsv\n\n\
    Prints one line an image: path, log p in nats, its standard error over the draws, bits/dim. More draws\n\
    of the dequantization noise give steadier numbers.\n\n\
    With --reference, a set of images known to be of the kind and not used in training, also how far each\n\
    image is from it, in standard deviations, and p: how probable a distance at least as large is in the\n\
    set. A likelihood alone does not tell images of another kind: smooth ones are often more likely than\n\
    those of the model's own kind, hence distances to both sides count, and --complexity takes the image's\n\
    bits/dim as PNG off before comparing.")]
pub struct Arguments {
    #[command(flatten)]
    input: ImageInput,
    /// Draws of the dequantization noise that are averaged
    #[arg(long, value_name = "N", default_value_t = 1)]
    draws: usize,
    /// Seed of the noise
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Compare with a reference set: a folder of images, a data set KIND:PATH, or a file of --save-reference
    #[arg(long, value_name = "DIR|KIND:PATH|FILE.json")]
    reference: Option<PathBuf>,
    /// Compare bits/dim less those of the image as PNG
    #[arg(long, requires = "reference")]
    complexity: bool,
    /// Keep the reference set's scores for the next time
    #[arg(long, value_name = "FILE.json", requires = "reference")]
    save_reference: Option<PathBuf>,
    /// Print a JSON object a line instead of a table
    #[arg(long)]
    json: bool,
}

pub fn run(runtime: &Runtime, arguments: &Arguments) -> Result<()> {
    let glow = arguments.input.model()?.load(runtime.builder().encoder_only())?;
    let scorer = Scorer { glow: &glow, arguments };
    let reference = arguments.reference.as_deref().map(|path| scorer.reference(path)).transpose()?;
    if let (Some(reference), Some(path)) = (&reference, &arguments.save_reference) {
        reference.save(path)?;
        say(&format!("wrote the scores of {} images to {}", reference.scores().len(), path.display()));
    }
    let mut reader = arguments.input.open(&glow)?;
    let mut progress = Progress::new("scored", reader.total());
    if !arguments.json {
        let more = if reference.is_some() { "\tcompared\ttypicality\tp_value" } else { "" };
        print(&format!("image\tlog_prob\tstandard_error\tbits_per_dim{more}"))?;
    }
    let (mut count, mut sum, mut unreliable) = (0, 0.0, 0);
    while let Some(batch) = progress.aside(|| reader.next(glow.max_batch()))? {
        let scores = scorer.scores(&batch, count)?;
        let compared = match reference {
            Some(_) => scorer.compared(&batch, &scores)?,
            None => Vec::new(),
        };
        progress.add(scores.len());
        for (place, (path, score)) in batch.paths.iter().zip(&scores).enumerate() {
            count += 1;
            sum += score.bits_per_dim;
            unreliable += usize::from(!score.reliable);
            let compared = reference.as_ref().map(|reference| {
                let value = compared[place];
                (value, reference.compare(value))
            });
            let line = match arguments.json {
                true => json(path, score, compared),
                false => line(path, score, compared),
            };
            progress.aside(|| print(&line))?;
        }
    }
    drop(progress);
    let bits = glow.architecture().n_bits;
    say(&format!("mean of {count} images: {:.5} bits/dim at {bits} bits", sum / count as f64));
    if unreliable > 0 {
        say(&format!(
            "{unreliable} of them, marked with ~, are so far from the images that this 8-bit bundle was calibrated on that \
             their scores may be off: score them with an fp32 or fp16 bundle"
        ));
    }
    Ok(())
}

struct Scorer<'a> {
    glow: &'a Glow,
    arguments: &'a Arguments,
}

impl Scorer<'_> {
    fn scores(&self, batch: &Batch, first: usize) -> Result<Vec<Score>> {
        let options = ScoreOptions::new()
            .draws(self.arguments.draws)
            .seed(self.arguments.seed)
            .first(first as u64)
            .labels(batch.labels.clone());
        Ok(self.glow.score(&batch.pixels, &options)?)
    }

    /// What is compared with the reference set.
    fn compared(&self, batch: &Batch, scores: &[Score]) -> Result<Vec<f64>> {
        let bits: Vec<f64> = scores.iter().map(|score| score.bits_per_dim).collect();
        if !self.arguments.complexity {
            return Ok(bits);
        }
        let png = images::png_bits_per_dim(&self.glow.quantize(&batch.pixels))?;
        Ok(bits.iter().zip(png).map(|(bits, png)| bits - png).collect())
    }

    fn reference(&self, path: &Path) -> Result<ReferenceScores> {
        let kind =
            if self.arguments.complexity { ScoreKind::ComplexityCorrected } else { ScoreKind::BitsPerDim };
        if !is_collection(path) {
            let reference = ReferenceScores::load(path, self.glow.manifest())?;
            if reference.kind() != kind {
                let how = if self.arguments.complexity { "without" } else { "with" };
                let text = format!("{} was made {how} --complexity; do the same here", path.display());
                return Err(Misuse(text).into());
            }
            return Ok(reference);
        }
        let (class, part) = (&self.arguments.input.class, &self.arguments.input.part);
        let mut reader = ImageReader::open(&[path.into()], usize::MAX, class, part, self.glow.manifest())?;
        let mut progress = Progress::new("scored for reference", reader.total());
        let mut all = Vec::new();
        while let Some(batch) = progress.aside(|| reader.next(self.glow.max_batch()))? {
            let scores = self.scores(&batch, all.len())?;
            progress.add(scores.len());
            all.extend(self.compared(&batch, &scores)?);
        }
        Ok(ReferenceScores::new(self.glow.manifest(), kind, all)?)
    }
}

fn line(path: &Path, score: &Score, compared: Option<(f64, OodScore)>) -> String {
    let error = score.standard_error.map_or("-".to_string(), |error| format!("{error:.3}"));
    let (path, nats, bits) = (path.display(), score.log_prob, score.bits_per_dim);
    let more = compared.map_or(String::new(), |(value, ood)| {
        format!("\t{value:.5}\t{:.3}\t{:.5}", ood.typicality, ood.p_value)
    });
    let mark = if score.reliable { "" } else { "~" };
    format!("{path}\t{nats:.3}\t{error}\t{mark}{bits:.5}{more}")
}

fn json(path: &Path, score: &Score, compared: Option<(f64, OodScore)>) -> String {
    let mut line = serde_json::json!({
        "image": path.display().to_string(),
        "log_prob": score.log_prob,
        "standard_error": score.standard_error,
        "bits_per_dim": score.bits_per_dim,
        "reliable": score.reliable,
    });
    if let Some((value, ood)) = compared {
        line["compared"] = value.into();
        line["typicality"] = ood.typicality.into();
        line["p_value"] = ood.p_value.into();
        line["p_value_high"] = ood.p_value_high.into();
    }
    line.to_string()
}
