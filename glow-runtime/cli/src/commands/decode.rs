//! `glow decode`
use crate::class::Class;
use crate::outputs::{ImageOutput, is_npy};
use crate::progress::Progress;
use crate::runtime::Runtime;
use anyhow::{Result, bail};
use clap::Args;
use glow_models::Bundle;
use glow_runtime::Latents;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = "Example:\n  glow decode models/faces latents.safetensors --out decoded/")]
pub struct Arguments {
    /// The bundle's folder
    bundle: PathBuf,
    /// A file that `glow encode` wrote, safetensors or .npy
    latents: PathBuf,
    #[command(flatten)]
    class: Class,
    #[command(flatten)]
    output: ImageOutput,
}

pub fn run(runtime: &Runtime, arguments: &Arguments) -> Result<()> {
    arguments.output.check(std::slice::from_ref(&arguments.latents))?;
    let shapes = match Bundle::open(&arguments.bundle) {
        Ok(bundle) => bundle.manifest().latent_shapes.clone(),
        Err(error) => return Err(glow_runtime::Error::from(error).into()),
    };
    let latents = match is_npy(&arguments.latents) {
        true => Latents::load_npy(&arguments.latents, &shapes)?,
        false => Latents::load(&arguments.latents)?,
    };
    if latents.batch() == 0 {
        bail!("{} holds the latents of no image", arguments.latents.display());
    }
    let glow = runtime.builder().decoder_only().load(&arguments.bundle)?;
    let mut writer = arguments.output.begin("image", None)?;
    let mut progress = Progress::new("decoded", latents.batch());
    for begin in (0..latents.batch()).step_by(glow.max_batch()) {
        let part = latents.slice(begin..latents.batch().min(begin + glow.max_batch()))?;
        let images =
            glow.decode(&part, arguments.class.labels(glow.manifest(), part.batch())?.as_deref())?.images;
        progress.aside(|| writer.add(images))?;
        progress.add(part.batch());
    }
    drop(progress);
    writer.finish()
}
