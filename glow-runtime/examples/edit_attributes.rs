//! Changes attributes of a photograph.
//!
//! ```text
//! cargo run --release -p glow-runtime --features image --example edit_attributes -- \
//!     BUNDLE IMAGE OUT.png Smiling=1 Eyeglasses=-0.5 …
//! ```
//!
//! `glow attributes fit` gives a bundle its attributes. Without any NAME=STRENGTH, tells how much the
//! photograph has of each.
use glow_runtime::{EncodeOptions, Glow, images};
use ndarray::Axis;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bundle, image, out, changes @ ..] = &arguments[..] else {
        return Err("usage: edit_attributes BUNDLE IMAGE OUT.png [NAME=STRENGTH …]".into());
    };
    let mut strengths = Vec::new();
    for change in changes {
        let (name, strength) = change.split_once('=').ok_or("write NAME=STRENGTH, such as Smiling=1")?;
        strengths.push((name, strength.parse()?));
    }

    let glow = Glow::load(bundle)?;
    let attributes = glow.attributes()?;
    let photograph = images::read(image, &glow)?.insert_axis(Axis(0));
    let latents = glow.encode(&photograph, &EncodeOptions::default())?.latents;
    if strengths.is_empty() {
        for (attribute, coordinate) in attributes.iter().zip(attributes.project(&latents)?) {
            println!("{:+.2}  {}", coordinate, attribute.name());
        }
        return Ok(());
    }
    let edited = glow.decode(&attributes.apply(&latents, &strengths)?, None)?.images;
    images::write_png(&images::from_array(&edited)?[0], out)?;
    println!("{out}");
    Ok(())
}
