//! `glow reconstruct`
use crate::inputs::ImageInput;
use crate::outputs::{Sheet, print};
use crate::progress::Progress;
use crate::runtime::Runtime;
use anyhow::{Result, bail};
use clap::Args;
use ndarray::{Array4, Axis, Slice, concatenate};
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = "Example:\n  glow reconstruct photos/ --out reconstruction.png\n\n\
    The images are compared at the model's size, with the upper n_bits of each value that the model\n\
    sees. The grid shows pairs: an image, and what comes back.")]
pub struct Arguments {
    #[command(flatten)]
    input: ImageInput,
    /// The grid to write
    #[arg(long, value_name = "FILE.png", default_value = "reconstruction.png")]
    out: PathBuf,
    /// The most pairs in the grid
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    show: u32,
    /// Fail if any pixel of any image changes
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    sheet: Sheet,
}

/// Pairs a row of the grid.
const PAIRS: usize = 4;

pub fn run(runtime: &Runtime, arguments: &Arguments) -> Result<()> {
    arguments.sheet.check(&arguments.out, &arguments.input.paths()?)?;
    let glow = arguments.input.model()?.load(runtime.builder())?;
    let mut reader = arguments.input.open(&glow)?;
    let mut progress = Progress::new("reconstructed", reader.total());
    let mut tally = Tally::default();
    let mut pairs: Vec<Array4<u8>> = Vec::new();
    while let Some(batch) = progress.aside(|| reader.next(glow.max_batch()))? {
        let expected = glow.quantize(&batch.pixels);
        let actual = glow.reconstruct(&batch.pixels, batch.labels.as_deref())?;
        let show = batch.paths.len().min((arguments.show as usize).saturating_sub(tally.images));
        for place in 0..show {
            let one = Slice::from(place..place + 1);
            pairs.push(concatenate(
                Axis(0),
                &[expected.slice_axis(Axis(0), one), actual.slice_axis(Axis(0), one)],
            )?);
        }
        tally.add(&expected, &actual);
        progress.add(batch.paths.len());
    }
    drop(progress);
    let views: Vec<_> = pairs.iter().map(|pair| pair.view()).collect();
    let columns = 2 * PAIRS.min(pairs.len());
    arguments.sheet.write(concatenate(Axis(0), &views)?.view(), columns, &arguments.out)?;
    let a = glow.architecture();
    print(&format!("{} images of {}×{} pixels at {} bits", tally.images, a.width, a.height, a.n_bits))?;
    let values = tally.images * a.dims();
    // Rounded down: 100 % is all of them.
    let identical = (1e6 * (values - tally.changed_values) as f64 / values as f64).floor() / 1e4;
    print(&format!(
        "{:10} {:>16} {:>17} {:>21}",
        "precision", "unchanged images", "identical values", "largest error (/255)"
    ))?;
    print(&format!(
        "{:10} {:>16} {:>16.4}% {:>21}",
        glow.manifest().precision.to_string(),
        tally.unchanged,
        identical,
        tally.largest,
    ))?;
    if arguments.strict && tally.unchanged < tally.images {
        bail!("{} images came back changed", tally.images - tally.unchanged);
    }
    Ok(())
}

/// How what comes back differs.
#[derive(Default)]
struct Tally {
    images: usize,
    unchanged: usize,
    changed_values: usize,
    largest: u8,
}

impl Tally {
    fn add(&mut self, expected: &Array4<u8>, actual: &Array4<u8>) {
        for (expected, actual) in expected.outer_iter().zip(actual.outer_iter()) {
            let differences = expected.iter().zip(actual.iter()).map(|(a, b)| a.abs_diff(*b));
            let changed = differences.clone().filter(|&difference| difference > 0).count();
            self.images += 1;
            self.unchanged += usize::from(changed == 0);
            self.changed_values += changed;
            self.largest = self.largest.max(differences.max().unwrap_or(0));
        }
    }
}
