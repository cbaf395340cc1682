//! `glow score`
use crate::arguments::Runtime;
use crate::inputs::ImageInput;
use crate::outputs::{print, say};
use crate::progress::Progress;
use anyhow::Result;
use clap::Args;
use glow_runtime::ScoreOptions;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = "Example:\n  glow score models/faces photos/ --draws 4 > scores.tsv\n\n\
    Prints one line an image: path, log p in nats, bits/dim. More draws of the dequantization noise\n\
    give steadier numbers.")]
pub struct Arguments {
    /// The bundle's folder
    bundle: PathBuf,
    #[command(flatten)]
    input: ImageInput,
    /// Draws of the dequantization noise that are averaged
    #[arg(long, value_name = "N", default_value_t = 1)]
    draws: usize,
    /// Seed of the noise
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print a JSON object a line instead of a table
    #[arg(long)]
    json: bool,
}

pub fn run(runtime: &Runtime, arguments: &Arguments) -> Result<()> {
    let glow = runtime.builder().encoder_only().load(&arguments.bundle)?;
    let mut reader = arguments.input.open(glow.architecture())?;
    let mut progress = Progress::new("scored", reader.total());
    let (mut count, mut sum) = (0, 0.0);
    if !arguments.json {
        print("image\tlog_prob\tbits_per_dim")?;
    }
    while let Some(batch) = progress.aside(|| reader.next(glow.max_batch()))? {
        let options = ScoreOptions {
            draws: arguments.draws,
            seed: arguments.seed,
            first: count as u64,
            labels: batch.labels,
        };
        let scores = glow.log_prob(&batch.pixels, &options)?;
        progress.add(scores.len());
        for (path, &log_prob) in batch.paths.iter().zip(&scores) {
            let bits_per_dim = glow.architecture().bits_per_dim(log_prob);
            count += 1;
            sum += bits_per_dim;
            let path = path.display();
            let line = match arguments.json {
                true => serde_json::json!({
                    "image": path.to_string(), "log_prob": log_prob, "bits_per_dim": bits_per_dim,
                })
                .to_string(),
                false => format!("{path}\t{log_prob:.3}\t{bits_per_dim:.5}"),
            };
            progress.aside(|| print(&line))?;
        }
    }
    drop(progress);
    let bits = glow.architecture().n_bits;
    say(&format!("mean of {count} images: {:.5} bits/dim at {bits} bits", sum / count as f64));
    Ok(())
}
