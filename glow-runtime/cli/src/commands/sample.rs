//! `glow sample`
use crate::class::Class;
use crate::model::BundleArgument;
use crate::outputs::ImageOutput;
use crate::progress::Progress;
use crate::runtime::Runtime;
use anyhow::Result;
use clap::Args;
use glow_runtime::SampleOptions;

#[derive(Args)]
#[command(after_help = "Examples:\n  glow sample --count 64 --temperature 0.7 --out faces.png\n  \
    glow sample my-model.glow --out samples/")]
pub struct Arguments {
    #[command(flatten)]
    bundle: BundleArgument,
    /// Number of images
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    count: u64,
    /// Scale of the noise: 1 draws from the model, less gives more typical images
    #[arg(long, value_name = "T", default_value_t = 0.7, allow_negative_numbers = true)]
    temperature: f32,
    /// Draw numbers again that are larger than this before the temperature, such as 2 [default: none]
    #[arg(long, value_name = "LIMIT", allow_negative_numbers = true)]
    truncation: Option<f32>,
    /// Seed: image i of a seed is always the same
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    class: Class,
    #[command(flatten)]
    output: ImageOutput,
}

pub fn run(runtime: &Runtime, arguments: &Arguments) -> Result<()> {
    arguments.output.check(&[])?;
    let glow = arguments.bundle.model()?.load(runtime.builder().decoder_only())?;
    let count = arguments.count as usize;
    let mut writer = arguments.output.begin("sample", None)?;
    let mut progress = Progress::new("sampled", count);
    for first in (0..count).step_by(glow.max_batch()) {
        let n = glow.max_batch().min(count - first);
        let options = SampleOptions::new()
            .temperature(arguments.temperature)
            .truncation(arguments.truncation)
            .seed(arguments.seed)
            .first(first as u64)
            .labels(arguments.class.labels(glow.manifest(), n)?);
        let images = glow.sample_partial(n, &options)?;
        progress.aside(|| writer.add(images))?;
        progress.add(n);
    }
    drop(progress);
    writer.finish()
}
