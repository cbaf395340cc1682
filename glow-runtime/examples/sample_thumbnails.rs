//! Draws thumbnails into a folder, one PNG each.
//!
//! ```text
//! cargo run --release -p glow-runtime --features image --example sample_thumbnails -- BUNDLE DIR [COUNT [SEED]]
//! ```
use glow_runtime::{Glow, SampleOptions, images};
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bundle, folder, rest @ ..] = &arguments[..] else {
        return Err("usage: sample_thumbnails BUNDLE DIR [COUNT [SEED]]".into());
    };
    let count: usize = rest.first().map_or(Ok(16), |count| count.parse())?;
    let seed: u64 = rest.get(1).map_or(Ok(0), |seed| seed.parse())?;

    // A sampler needs no encoder.
    let glow = Glow::builder().decoder_only().load(bundle)?;
    std::fs::create_dir_all(folder)?;
    for first in (0..count).step_by(glow.max_batch()) {
        let n = glow.max_batch().min(count - first);
        // Sample i of a seed is the same in whatever call it is drawn.
        let options = SampleOptions::new().seed(seed).first(first as u64);
        for (image, number) in images::from_array(&glow.sample(n, &options)?)?.iter().zip(first..) {
            images::write_png(image, Path::new(folder).join(format!("{number:05}.png")))?;
        }
    }
    println!("{count} thumbnails are in {folder}");
    Ok(())
}
