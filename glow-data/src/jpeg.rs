//! Whether a JPEG file is all there.
//!
//! Decoders fill what is missing at the end of a file with gray and report success, so that a model
//! would see half-gray images without a word.

use std::io::Cursor;

use image::codecs::jpeg::JpegDecoder;
use image::{DynamicImage, ImageDecoder};

/// Larger images are not examined for what lies before a missing end marker.
const MAX_DECODED_BYTES: u64 = 512 << 20;

/// Whether `bytes`, a JPEG file, hold the whole image of (width, height) that its header declares: they
/// reach its end-of-image marker, or lack that marker alone.
pub(crate) fn is_complete(bytes: &[u8], dimensions: (u32, u32)) -> bool {
    suffices(bytes.len(), dimensions) && (reaches_end_marker(bytes) || lacks_end_marker_alone(bytes))
}

/// Whether so many bytes can hold an image of that size at all: of each block of 8×8 pixels at least the code
/// of its mean is stored, of one bit or more. So a small file that declares a large image is not decoded.
fn suffices(bytes: usize, (width, height): (u32, u32)) -> bool {
    u64::from(width.div_ceil(8)) * u64::from(height.div_ceil(8)) <= 8 * bytes as u64
}

/// Walks from segment to segment, so that a whole thumbnail inside a truncated file does not count.
pub(crate) fn reaches_end_marker(bytes: &[u8]) -> bool {
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

/// Whether the compressed data are complete although the file has no end marker: then it makes no
/// difference what follows them. Decoded with zeros after the data and with ones, a cut image differs.
///
/// Only for images of one scan: where a file has several, whole ones may be missing at its end.
fn lacks_end_marker_alone(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_suffix(b"\xFF").unwrap_or(bytes);
    if !has_one_scan(bytes) {
        return false;
    }
    // 0xFF 0x00 is the byte 0xFF within compressed data; the longest code and its bits take 27 bits, and a
    // block has 64 of them.
    let decoded = |filler: &[u8]| {
        let file = [bytes, &filler.repeat(256), b"\xFF\xD9"].concat();
        let decoder = JpegDecoder::new(Cursor::new(file)).ok()?;
        if decoder.total_bytes() > MAX_DECODED_BYTES {
            return None;
        }
        DynamicImage::from_decoder(decoder).ok()
    };
    match (decoded(b"\0"), decoded(b"\xFF\0")) {
        (Some(zeros), Some(ones)) => zeros == ones,
        _ => false,
    }
}

/// Whether the header declares a sequential image whose first scan has all of its components.
fn has_one_scan(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(2..).unwrap_or_default();
    let mut components = None;
    while let [0xFF, marker, more @ ..] = rest {
        let Some(&[high, low]) = more.get(..2) else { return false };
        let length = usize::from(u16::from_be_bytes([high, low]));
        match marker {
            0xFF => {
                rest = &rest[1..];
                continue;
            }
            // Baseline and extended sequential: length, precision, height, width, components.
            0xC0 | 0xC1 => components = more.get(7).copied(),
            0xC2..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => return false,
            0xDA => return components.is_some() && more.get(2).copied() == components,
            _ => {}
        }
        rest = more.get(length..).unwrap_or_default();
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
        assert!(is_complete(&FILE, (8, 8)));
        for length in 0..FILE.len() {
            assert!(!is_complete(&FILE[..length], (8, 8)), "{length} of {}", FILE.len());
        }
        // Data after the image does no harm.
        assert!(is_complete(&[&FILE[..], b"\xFF\xDAmore"].concat(), (8, 8)));
    }

    #[test]
    fn a_thumbnail_does_not_count() {
        let mut file = vec![0xFF, 0xD8, 0xFF, 0xE1, 0, 6, 0xFF, 0xD8, 0xFF, 0xD9];
        assert!(!is_complete(&file, (8, 8)));
        file.extend([0xFF, 0xDA, 0, 2, 1, 0xFF, 0, 2, 0xFF, 0xD0, 3, 0xFF, 0xFF, 0xD9]);
        assert!(is_complete(&file, (8, 8)));
    }

    #[test]
    fn a_file_is_as_long_as_its_blocks_need() {
        // 22 bytes have 176 bits: a bit for each of 16 × 11 blocks.
        assert!(is_complete(&FILE, (128, 88)) && is_complete(&FILE, (121, 81)));
        assert!(!is_complete(&FILE, (129, 88)) && !is_complete(&FILE, (65_535, 65_535)));
    }
}
