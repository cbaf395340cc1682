//! Whether a JPEG file is all there.
//!
//! Decoders fill what is missing at the end of a file with gray and report success, so that a model
//! would see half-gray images without a word.

/// Whether `bytes`, a JPEG file, reach the end-of-image marker of its image.
///
/// Walks from segment to segment, so that a whole thumbnail inside a truncated file does not count.
pub fn jpeg_is_complete(bytes: &[u8]) -> bool {
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

    /// Two segments, compressed data with a stuffed 0xFF and a restart marker, the end.
    const FILE: [u8; 22] = [
        0xFF, 0xD8, 0xFF, 0xDB, 0, 4, 1, 2, 0xFF, 0xDA, 0, 3, 9, 0x12, 0xFF, 0x00, 0x34, 0xFF, 0xD0, 0x56,
        0xFF, 0xD9,
    ];

    #[test]
    fn every_truncation_is_noticed() {
        assert!(jpeg_is_complete(&FILE));
        for length in 0..FILE.len() {
            assert!(!jpeg_is_complete(&FILE[..length]), "{length} of {}", FILE.len());
        }
        // Data after the image does no harm.
        assert!(jpeg_is_complete(&[&FILE[..], b"\xFF\xDAmore"].concat()));
    }

    #[test]
    fn a_thumbnail_does_not_count() {
        let mut file = vec![0xFF, 0xD8, 0xFF, 0xE1, 0, 6, 0xFF, 0xD8, 0xFF, 0xD9];
        assert!(!jpeg_is_complete(&file));
        file.extend([0xFF, 0xDA, 0, 2, 1, 0xFF, 0, 2, 0xFF, 0xD0, 3, 0xFF, 0xFF, 0xD9]);
        assert!(jpeg_is_complete(&file));
    }
}
