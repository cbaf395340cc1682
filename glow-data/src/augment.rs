//! Random changes to training images: mirroring and shifts.
use crate::ImageShape;
use crate::order::Augmentation;

/// Appends the changed image to `out`. What a shift uncovers is the image reflected at its border, the
/// border's own pixels not repeated.
pub(crate) fn augment(pixels: &[u8], shape: ImageShape, change: Augmentation, out: &mut Vec<u8>) {
    if change == Augmentation::default() {
        return out.extend_from_slice(pixels);
    }
    let (down, right) = change.shift;
    for row in 0..shape.height {
        let row = reflect(row as isize - down, shape.height);
        for column in 0..shape.width {
            let column = reflect(column as isize - right, shape.width);
            let column = if change.flip { shape.width - 1 - column } else { column };
            let at = (row * shape.width + column) * shape.channels;
            out.extend_from_slice(&pixels[at..at + shape.channels]);
        }
    }
}

/// The place within 0 to `len` − 1 that mirrors at both ends lead to: … 2 1 | 0 1 2 … n | n−1 n−2 …
fn reflect(place: isize, len: usize) -> usize {
    let last = len as isize - 1;
    let folded = place.rem_euclid((2 * last).max(1));
    folded.min(2 * last - folded).max(0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_mirrored_then_shifted_with_reflected_borders() {
        let shape = ImageShape { height: 2, width: 4, channels: 1 };
        let pixels = [0, 1, 2, 3, 10, 11, 12, 13];
        for (flip, shift, expected) in [
            (false, (0, 0), pixels),
            (true, (0, 0), [3, 2, 1, 0, 13, 12, 11, 10]),
            (false, (0, 1), [1, 0, 1, 2, 11, 10, 11, 12]),
            (false, (0, -2), [2, 3, 2, 1, 12, 13, 12, 11]),
            (false, (1, 0), [10, 11, 12, 13, 0, 1, 2, 3]),
            (true, (0, 1), [2, 3, 2, 1, 12, 13, 12, 11]),
        ] {
            let mut out = Vec::new();
            augment(&pixels, shape, Augmentation { flip, shift }, &mut out);
            assert_eq!(out, expected, "{flip} {shift:?}");
        }
        let mut out = Vec::new();
        let one = ImageShape { height: 1, width: 1, channels: 3 };
        augment(&[1, 2, 3], one, Augmentation { flip: true, shift: (3, -3) }, &mut out);
        assert_eq!(out, [1, 2, 3]);
    }
}
