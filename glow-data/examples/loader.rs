//! Images a second that a data set's loader gives when nothing else runs, for `KIND:PATH SIDE [RANDOM_CROP]`.
//!
//! `cargo run --release -p glow-data --features datasets --example loader -- celeba:celeba 64`
use std::time::{Duration, Instant};

use glow_data::{ImageShape, Loader, LoaderOptions, OpenOptions};
use glow_models::Data;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, spec, side, crop @ ..] = &arguments[..] else {
        return Err("KIND:PATH SIDE [RANDOM_CROP]".into());
    };
    let side = side.parse()?;
    let shape = ImageShape { height: side, width: side, channels: 3 };
    let random_crop = crop.first().map_or(Ok(0), |crop| crop.parse())?;
    // Nothing kept: what is measured is reading and decoding.
    let options = OpenOptions {
        data: Data { cache_bytes: 0, random_crop, ..Data::default() },
        ..OpenOptions::default()
    };
    let started = Instant::now();
    let splits = glow_data::open(&spec.parse()?, shape, &options)?;
    println!(
        "opened {} and {} images in {:.2?}",
        splits.train.len(),
        splits.validation.len(),
        started.elapsed()
    );
    let mut images = 0;
    let started = Instant::now();
    for batch in Loader::new(splits.train, &LoaderOptions::default())? {
        images += batch?.count;
        if started.elapsed() > Duration::from_secs(5) {
            break;
        }
    }
    println!("{:.0} images/s", images as f64 / started.elapsed().as_secs_f64());
    Ok(())
}
