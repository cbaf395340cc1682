//! Pictures that cost a decoder what photographs cost it.
use super::random_bytes;
use image::{Rgb, RgbImage};
use std::path::Path;

/// Writes `n` JPEG files of CelebA's size, 178×218: smooth shapes with some noise, about 9 kB each.
///
/// # Panics
/// If they cannot be written.
pub fn write_photographs(n: usize, folder: &Path) {
    std::fs::create_dir_all(folder).expect("a folder");
    for number in 0..n {
        let mut byte = random_bytes(number as u32 + 1);
        let phase = number as f32;
        let picture = RgbImage::from_fn(178, 218, |x, y| {
            let (x, y) = (x as f32, y as f32);
            let shade =
                |period: f32| 128.0 + 100.0 * ((x + phase) / period).sin() * (y / period + phase).cos();
            Rgb([shade(31.0), shade(23.0), shade(47.0)].map(|shade| (shade + f32::from(byte() / 16)) as u8))
        });
        picture.save(folder.join(format!("{number}.jpg"))).expect("a picture");
    }
}
