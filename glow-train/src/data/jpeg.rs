//! Whether a JPEG file is all there.
//!
//! The decoder fills what is missing at the end of a file with gray and reports success, which
//! would train a model on half-gray images without a word.

/// Whether `bytes`, a JPEG file, reach the end-of-image marker of its image.
///
/// Walks from segment to segment, so that a whole thumbnail inside a truncated file does not count.
pub(super) fn is_complete(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    // Within compressed data, 0xFF is followed by 0x00 or a restart marker; between segments it may
    // be repeated as padding.
    while let Some(at) = rest.iter().position(|&byte| byte == 0xFF) {
        let Some(&marker) = rest.get(at + 1) else {
            return false;
        };
        rest = match marker {
            0xD9 => return true,
            0xFF => &rest[at + 1..],
            0x00 | 0x01 | 0xD0..=0xD8 => &rest[at + 2..],
            // Everything else is a segment that begins with its length, two bytes included.
            _ => match rest.get(at + 2..at + 4) {
                Some(&[high, low]) => {
                    let length = usize::from(u16::from_be_bytes([high, low]));
                    rest.get(at + 2 + length..).unwrap_or_default()
                }
                _ => return false,
            },
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_truncation_is_noticed() {
        let mut file = std::io::Cursor::new(Vec::new());
        let image = image::RgbImage::from_fn(40, 30, |x, y| image::Rgb([x as u8, y as u8, 99]));
        image.write_to(&mut file, image::ImageFormat::Jpeg).unwrap();
        let file = file.into_inner();
        assert!(is_complete(&file));
        for length in 0..file.len() {
            assert!(!is_complete(&file[..length]), "{length} of {}", file.len());
        }
        // Data after the image does no harm.
        assert!(is_complete(&[&file[..], b"\xFF\xDAmore"].concat()));
    }

    #[test]
    fn a_thumbnail_does_not_count() {
        let mut file = vec![0xFF, 0xD8, 0xFF, 0xE1, 0, 6, 0xFF, 0xD8, 0xFF, 0xD9];
        assert!(!is_complete(&file));
        file.extend([0xFF, 0xDA, 0, 2, 1, 0xFF, 0, 2, 0xFF, 0xD0, 3, 0xFF, 0xFF, 0xD9]);
        assert!(is_complete(&file));
    }
}
