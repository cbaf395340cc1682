//! `glow interpolate`
use crate::class::Class;
use crate::failure::Misuse;
use crate::inputs::Part;
use crate::model::{self, Model};
use crate::outputs::Sheet;
use crate::progress::Progress;
use crate::runtime::Runtime;
use anyhow::Result;
use clap::Args;
use glow_runtime::{EncodeOptions, Interpolation};
use ndarray::{Array4, Axis, concatenate};
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = "Example:\n  glow interpolate anna.jpg ben.jpg --steps 8 --out between.png\n\n\
    Each row of the grid begins with the first image of a pair and ends with the second.")]
pub struct Arguments {
    /// Image files: the two of a pair, the two of the next, …; before them the bundle's folder [default: faces64,
    /// the model that comes with this program]
    #[arg(required = true, num_args = 2.., value_name = "BUNDLE|A B")]
    arguments: Vec<PathBuf>,
    /// Images a row, both ends included
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(2..=1000))]
    steps: u32,
    /// Go along the great circle instead of the straight line
    #[arg(long)]
    spherical: bool,
    /// The grid to write
    #[arg(long, value_name = "FILE.png", default_value = "interpolation.png")]
    out: PathBuf,
    #[command(flatten)]
    part: Part,
    #[command(flatten)]
    class: Class,
    #[command(flatten)]
    sheet: Sheet,
}

pub fn run(runtime: &Runtime, arguments: &Arguments) -> Result<()> {
    let (bundle, files) = model::split(&arguments.arguments)?;
    let (pairs, rest) = files.as_chunks::<2>();
    if !rest.is_empty() {
        let given = files.len();
        return Err(Misuse(format!("{given} images are given; pairs A B need an even number")).into());
    }
    let way = if arguments.spherical { Interpolation::Spherical } else { Interpolation::Linear };
    let steps = arguments.steps as usize;
    arguments.sheet.check(&arguments.out, files)?;
    let glow = Model::choose(bundle)?.load(runtime.builder())?;
    let mut progress = Progress::new("decoded", pairs.len() * steps);
    let mut rows: Vec<Array4<u8>> = Vec::new();
    for pair in pairs {
        let mut pixels = arguments.part.read(&pair[0], glow.manifest())?.pixels;
        pixels.extend(arguments.part.read(&pair[1], glow.manifest())?.pixels);
        let a = glow.architecture();
        let ends = Array4::from_shape_vec((2, a.height, a.width, a.channels), pixels)?;
        let options = EncodeOptions::new().labels(arguments.class.labels(glow.manifest(), 2)?);
        let latents = glow.encode(&ends, &options)?.latents;
        let (a, b) = (latents.slice(0..1)?, latents.slice(1..2)?);
        rows.push(glow.interpolate(
            &a,
            &b,
            steps,
            way,
            arguments.class.labels(glow.manifest(), 1)?.as_deref(),
        )?);
        progress.add(steps);
    }
    drop(progress);
    let rows: Vec<_> = rows.iter().map(|row| row.view()).collect();
    arguments.sheet.write(concatenate(Axis(0), &rows)?.view(), steps, &arguments.out)
}
