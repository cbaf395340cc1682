//! Reducing images by exact area averaging.
//!
//! Each pixel of the result is the mean of the rectangle of the source that it covers, where
//! source pixels that lie partly inside count by the part that does. The rectangle's sides are
//! independent, so rows are averaged first and columns after them. Sums are kept in `f32` and
//! rounded once, at the end, to the nearest byte.

/// A rectangle of an image, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crop {
    pub top: usize,
    pub left: usize,
    pub height: usize,
    pub width: usize,
}

impl Crop {
    /// The largest rectangle in the middle of a `height` × `width` image with the aspect ratio of
    /// `to_height` × `to_width`, to the nearest pixel. At least as large as the latter if the image
    /// is.
    pub fn centre(height: usize, width: usize, to_height: usize, to_width: usize) -> Self {
        let (crop_height, crop_width) = if width * to_height >= height * to_width {
            (height, round_div(height * to_width, to_height))
        } else {
            (round_div(width * to_height, to_width), width)
        };
        Self {
            top: (height - crop_height) / 2,
            left: (width - crop_width) / 2,
            height: crop_height,
            width: crop_width,
        }
    }
}

fn round_div(a: usize, b: usize) -> usize {
    (a + b / 2) / b
}

/// Reduces the part `crop` of an image of `C` channels and `row_width` columns to `height` ×
/// `width`, neither of which exceeds the crop's.
pub(crate) fn reduce<const C: usize>(
    pixels: &[u8],
    row_width: usize,
    crop: Crop,
    height: usize,
    width: usize,
) -> Vec<u8> {
    debug_assert!(crop.height >= height && crop.width >= width);
    let columns = spans(crop.width, width);
    let mut narrow = Vec::with_capacity(crop.height * width * C);
    for row in pixels.chunks_exact(row_width * C).skip(crop.top).take(crop.height) {
        let row = &row[crop.left * C..];
        for span in &columns {
            let mut sum = [0.0f32; C];
            for (pixel, weight) in row[span.first * C..].chunks_exact(C).zip(&span.weights) {
                for (sum, &value) in sum.iter_mut().zip(pixel) {
                    *sum += weight * f32::from(value);
                }
            }
            narrow.extend_from_slice(&sum);
        }
    }

    let mut reduced = Vec::with_capacity(height * width * C);
    let mut sums = vec![0.0f32; width * C];
    for span in spans(crop.height, height) {
        sums.fill(0.0);
        let rows = narrow[span.first * width * C..].chunks_exact(width * C);
        for (row, weight) in rows.zip(&span.weights) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += weight * value;
            }
        }
        // A cast truncates and saturates, so that half is added to round.
        reduced.extend(sums.iter().map(|sum| (sum + 0.5) as u8));
    }
    reduced
}

/// The source pixels `first`, `first` + 1, … that one pixel of the result covers, with the part of
/// the result that each makes up. The parts sum to one.
struct Span {
    first: usize,
    weights: Vec<f32>,
}

/// Divides `from` source pixels evenly among `to` results.
fn spans(from: usize, to: usize) -> Vec<Span> {
    // In units of 1/to of a source pixel every border is an integer: a source pixel is `to` long
    // and a result `from`, so that overlaps are exact.
    let span = |i: usize| {
        let (start, end) = (i * from, (i + 1) * from);
        let (first, last) = (start / to, (end - 1) / to);
        let overlap = |s: usize| end.min((s + 1) * to) - start.max(s * to);
        Span { first, weights: (first..=last).map(|s| overlap(s) as f32 / from as f32).collect() }
    };
    (0..to).map(span).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(height: usize, width: usize) -> Crop {
        Crop::centre(height, width, height, width)
    }

    fn noise(len: usize) -> Vec<u8> {
        // Fibonacci hashing: neighbours have nothing in common.
        (1..=len as u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
    }

    #[test]
    fn averages_whole_pixels() {
        #[rustfmt::skip]
        let pixels = [
            10, 20, 0, 255,
            30, 40, 255, 0,
        ];
        // (10 + 20 + 30 + 40) / 4 = 25; 127.5 rounds up.
        assert_eq!(reduce::<1>(&pixels, 4, whole(2, 4), 1, 2), [25, 128]);
    }

    #[test]
    fn averages_parts_of_pixels() {
        // 3 → 2: (a + b/2) / 1.5 and (b/2 + c) / 1.5.
        assert_eq!(reduce::<1>(&[0, 30, 90], 3, whole(1, 3), 1, 2), [10, 70]);
        assert_eq!(reduce::<1>(&[0, 30, 90], 1, whole(3, 1), 2, 1), [10, 70]);
        // 5 → 3 pixels of 5/3 each: (a + 2b/3), (b/3 + c + d/3), (2d/3 + e), times 3/5.
        let pixels = [50, 100, 150, 200, 250];
        assert_eq!(reduce::<1>(&pixels, 5, whole(1, 5), 1, 3), [70, 150, 230]);
    }

    #[test]
    fn keeps_channels_apart() {
        let pixels = [0, 100, 200, 10, 110, 210];
        assert_eq!(reduce::<3>(&pixels, 2, whole(1, 2), 1, 1), [5, 105, 205]);
    }

    #[test]
    fn same_size_is_unchanged() {
        let pixels = noise(7 * 5 * 3);
        assert_eq!(reduce::<3>(&pixels, 5, whole(7, 5), 7, 5), pixels);
    }

    #[test]
    fn constant_stays_constant_at_every_size() {
        for value in [0, 1, 127, 254, 255] {
            let pixels = vec![value; 31 * 29];
            for (height, width) in [(1, 1), (2, 3), (17, 28), (30, 29)] {
                let reduced = reduce::<1>(&pixels, 29, whole(31, 29), height, width);
                assert!(reduced.iter().all(|&v| v == value), "{value} {height}×{width}");
            }
        }
    }

    #[test]
    fn mean_is_preserved() {
        let mean = |v: &[u8]| v.iter().map(|&b| f64::from(b)).sum::<f64>() / v.len() as f64;
        let pixels = noise(89 * 97);
        for (height, width) in [(1, 1), (8, 8), (64, 64), (89, 32), (61, 97), (88, 96)] {
            let reduced = reduce::<1>(&pixels, 97, whole(89, 97), height, width);
            // Rounding errs by at most a half, and by far less on average over many pixels.
            let allowed = 0.5 / (reduced.len() as f64).sqrt() + 1e-3;
            assert!((mean(&reduced) - mean(&pixels)).abs() <= allowed, "{height}×{width}");
        }
    }

    #[test]
    fn agrees_with_integration_over_a_fine_grid() {
        // Enlarging exactly by the target's size makes the boxes whole: the mean is then exact.
        let (h, w, to_h, to_w) = (11, 13, 7, 5);
        let pixels = noise(h * w);
        let reduced = reduce::<1>(&pixels, w, whole(h, w), to_h, to_w);
        for y in 0..to_h {
            for x in 0..to_w {
                let mut sum = 0u64;
                for fine_y in y * h..(y + 1) * h {
                    for fine_x in x * w..(x + 1) * w {
                        sum += u64::from(pixels[fine_y / to_h * w + fine_x / to_w]);
                    }
                }
                let exact = sum as f64 / (h * w) as f64;
                let got = f64::from(reduced[y * to_w + x]);
                assert!((got - exact).abs() <= 0.5 + 1e-3, "({y}, {x}): {got}, {exact}");
            }
        }
    }

    #[test]
    fn crops_the_middle() {
        let crop = |top, left, height, width| Crop { top, left, height, width };
        assert_eq!(Crop::centre(109, 89, 64, 64), crop(10, 0, 89, 89));
        assert_eq!(Crop::centre(100, 301, 32, 32), crop(0, 100, 100, 100));
        assert_eq!(Crop::centre(90, 90, 32, 64), crop(22, 0, 45, 90));
        assert_eq!(Crop::centre(32, 32, 32, 32), crop(0, 0, 32, 32));
        // Never smaller than the target, whatever the rounding.
        for height in 5..40 {
            for width in 7..40 {
                let crop = Crop::centre(height, width, 5, 7);
                assert!((5..=height).contains(&crop.height));
                assert!((7..=width).contains(&crop.width));
            }
        }
        // The crop is what gets reduced.
        let pixels = [9, 9, 1, 2, 9, 9, 9, 9, 3, 4, 9, 9];
        let crop = Crop::centre(2, 6, 2, 2);
        assert_eq!(reduce::<1>(&pixels, 6, crop, 2, 2), [1, 2, 3, 4]);
    }
}
