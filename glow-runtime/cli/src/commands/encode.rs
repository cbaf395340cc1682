//! `glow encode`
use crate::inputs::ImageInput;
use crate::outputs::{check_file, is_npy, print, say};
use crate::progress::Progress;
use crate::runtime::Runtime;
use anyhow::Result;
use clap::{Args, ValueEnum};
use glow_runtime::{EncodeOptions, Latents, Noise};
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = "Example:\n  glow encode photos/ --out latents.safetensors\n\n\
    Prints one line an image: its number in the file of latents, a tab, its path.")]
pub struct Arguments {
    #[command(flatten)]
    input: ImageInput,
    /// The file to write: safetensors with eps_0 … eps_{L-1}, float32 [N, c, h, w] each; or, if it ends in
    /// .npy, numpy's format with the flat latents, float32 [N, H·W·C]
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Dequantization noise: the middle of each pixel value, or uniform as in training
    #[arg(long, value_enum, default_value_t = NoiseKind::Midpoint)]
    noise: NoiseKind,
    /// Seed of uniform noise
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum NoiseKind {
    Midpoint,
    Uniform,
}

pub fn run(runtime: &Runtime, arguments: &Arguments) -> Result<()> {
    check_file(&arguments.out, &arguments.input.paths()?)?;
    let glow = arguments.input.model()?.load(runtime.builder().encoder_only())?;
    let noise = match arguments.noise {
        NoiseKind::Midpoint => Noise::Midpoint,
        NoiseKind::Uniform => Noise::Uniform { seed: arguments.seed },
    };
    let mut reader = arguments.input.open(&glow)?;
    let mut progress = Progress::new("encoded", reader.total());
    let (mut latents, mut paths) = (Vec::new(), Vec::new());
    while let Some(batch) = progress.aside(|| reader.next(glow.max_batch()))? {
        let options = EncodeOptions::new().noise(noise).first(paths.len() as u64).labels(batch.labels);
        latents.push(glow.encode(&batch.pixels, &options)?.latents);
        progress.add(batch.paths.len());
        paths.extend(batch.paths);
    }
    drop(progress);
    let latents = Latents::concat(&latents)?;
    match is_npy(&arguments.out) {
        true => latents.save_npy(&arguments.out)?,
        false => latents.save(&arguments.out)?,
    }
    say(&format!("wrote the latents of {} images to {}", paths.len(), arguments.out.display()));
    paths.iter().enumerate().try_for_each(|(number, path)| print(&format!("{number}\t{}", path.display())))
}
