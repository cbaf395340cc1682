//! `glow edit`
use crate::inputs::ImageInput;
use crate::outputs::ImageOutput;
use crate::progress::Progress;
use crate::runtime::Runtime;
use anyhow::Result;
use clap::Args;
use glow_runtime::{EncodeOptions, Latents};
use std::path::PathBuf;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  glow edit models/faces anna.jpg --attribute Smiling=1 --attribute Male=-0.5 --out anna.png\n  \
    glow edit models/faces photos/ --attribute Smiling=1 --steps 7 --out smiles.png\n\n\
    Strength 1 goes as far as the mean of the images with the attribute is from that of those without.\n\
    With --steps, each image becomes a row of the grid, from the strengths given times -1 to times 1;\n\
    with an odd number the image itself is in the middle. `glow attributes fit` makes attributes."
)]
pub struct Arguments {
    /// The bundle's folder
    bundle: PathBuf,
    #[command(flatten)]
    input: ImageInput,
    /// An attribute and how far to go along it; may be given several times
    #[arg(long, required = true, value_name = "NAME=STRENGTH", value_parser = strength)]
    attribute: Vec<(String, f32)>,
    /// Draw a row of N strengths for each image
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=1000))]
    steps: Option<u32>,
    #[command(flatten)]
    output: ImageOutput,
}

fn strength(text: &str) -> Result<(String, f32), String> {
    let (name, strength) = text.split_once('=').ok_or("write NAME=STRENGTH, such as Smiling=1")?;
    match strength.parse::<f32>() {
        Ok(strength) if strength.is_finite() => Ok((name.into(), strength)),
        _ => Err(format!("{strength:?} is not a number")),
    }
}

pub fn run(runtime: &Runtime, arguments: &Arguments) -> Result<()> {
    let factors: Vec<f32> = match arguments.steps {
        None => vec![1.0],
        Some(steps) => (0..steps).map(|step| 2.0 * step as f32 / (steps - 1) as f32 - 1.0).collect(),
    };
    arguments.output.check(&arguments.input.paths())?;
    let glow = runtime.builder().load(&arguments.bundle)?;
    let attributes = glow.attributes()?;
    // Names are checked before anything is encoded.
    for (name, _) in &arguments.attribute {
        attributes.get(name)?;
    }
    let mut reader = arguments.input.open(&glow)?;
    let mut writer = arguments.output.begin("edited", arguments.steps.map(|steps| steps as usize))?;
    let mut progress = Progress::new("decoded", reader.total() * factors.len());
    while let Some(batch) = progress.aside(|| reader.next(glow.max_batch()))? {
        let options = EncodeOptions::new().labels(batch.labels.clone());
        let latents = glow.encode(&batch.pixels, &options)?.latents;
        // Image by image, so that a grid has a row for each.
        for (image, path) in batch.paths.iter().enumerate() {
            let one = latents.slice(image..image + 1)?;
            let steps: Vec<Latents> = factors
                .iter()
                .map(|factor| {
                    let strengths: Vec<(&str, f32)> =
                        arguments.attribute.iter().map(|(name, s)| (name.as_str(), factor * s)).collect();
                    attributes.apply(&one, &strengths)
                })
                .collect::<Result<_, _>>()?;
            let labels = batch.labels.as_ref().map(|labels| vec![labels[image]; factors.len()]);
            let images = glow.decode(&Latents::concat(&steps)?, labels.as_deref())?.images;
            progress.aside(|| writer.add_of(Some(path), images))?;
            progress.add(factors.len());
        }
    }
    drop(progress);
    writer.finish()
}
