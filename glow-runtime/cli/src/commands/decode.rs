//! `glow decode`
use crate::class::Class;
use crate::failure::Misuse;
use crate::model::{self, Model};
use crate::outputs::{ImageOutput, is_npy};
use crate::progress::Progress;
use crate::runtime::Runtime;
use anyhow::{Result, bail};
use clap::Args;
use glow_runtime::Latents;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = "Example:\n  glow decode latents.safetensors --out decoded/")]
pub struct Arguments {
    /// A file that `glow encode` wrote, safetensors or .npy; before it the bundle's folder [default: faces64,
    /// the model that comes with this program]
    #[arg(required = true, num_args = 1..=2, value_name = "BUNDLE|LATENTS")]
    arguments: Vec<PathBuf>,
    #[command(flatten)]
    class: Class,
    #[command(flatten)]
    output: ImageOutput,
}

pub fn run(runtime: &Runtime, arguments: &Arguments) -> Result<()> {
    let (bundle, [file]) = model::split(&arguments.arguments)? else {
        let text = "two arguments are given, and the first is no bundle: give [BUNDLE] LATENTS";
        return Err(Misuse(text.into()).into());
    };
    arguments.output.check(std::slice::from_ref(file))?;
    let model = Model::choose(bundle)?;
    let shapes = model.bundle()?.manifest().latent_shapes.clone();
    let latents = match is_npy(file) {
        true => Latents::load_npy(file, &shapes)?,
        false => Latents::load(file)?,
    };
    if latents.batch() == 0 {
        bail!("{} holds the latents of no image", file.display());
    }
    let glow = model.load(runtime.builder().decoder_only())?;
    let mut writer = arguments.output.begin("image", None)?;
    let mut progress = Progress::new("decoded", latents.batch());
    for begin in (0..latents.batch()).step_by(glow.max_batch()) {
        let part = latents.slice(begin..latents.batch().min(begin + glow.max_batch()))?;
        let labels = arguments.class.labels(glow.manifest(), part.batch())?;
        let decoded = glow.decode_partial(&part, labels.as_deref())?;
        progress.aside(|| writer.add(decoded.map(|decoded| decoded.images)))?;
        progress.add(part.batch());
    }
    drop(progress);
    writer.finish()
}
