//! Many images as one: the sheet that sample grids are drawn on.

/// Brightness of the lines between the images.
const PAPER: u8 = 255;

/// How images are laid out on a [`Grid`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GridLayout {
    /// Images a row.
    pub columns: usize,
    /// Width of the white margin around every image, in pixels.
    pub padding: usize,
    /// Every pixel is drawn as scale × scale, so that small images can be seen.
    pub scale: usize,
}

/// A sheet of images, row by row; uint8 pixels [height, width, channels].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grid {
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
    /// Channels, as in the images.
    pub channels: usize,
    /// height · width · channels bytes.
    pub pixels: Vec<u8>,
}

impl Grid {
    /// Lays out `images`, uint8 [n, height, width, channels] row-major, where `shape` is the latter
    /// three.
    ///
    /// # Panics
    /// If `images` is no whole number of images, or a number of the layout is 0 where it may not be.
    pub fn new(images: &[u8], shape: [usize; 3], layout: GridLayout) -> Self {
        let [h, w, channels] = shape;
        let GridLayout { columns, padding, scale } = layout;
        assert!(columns > 0 && scale > 0 && images.len().is_multiple_of(h * w * channels));
        let n = images.len() / (h * w * channels);
        let columns = columns.min(n.max(1));
        let rows = n.div_ceil(columns);
        let (cell_height, cell_width) = (h * scale + padding, w * scale + padding);
        let (height, width) = (rows * cell_height + padding, columns * cell_width + padding);
        let mut pixels = vec![PAPER; height * width * channels];
        for (index, image) in images.chunks_exact(h * w * channels).enumerate() {
            let top = padding + index / columns * cell_height;
            let left = padding + index % columns * cell_width;
            for y in 0..h * scale {
                for x in 0..w * scale {
                    let from = (y / scale * w + x / scale) * channels;
                    let to = ((top + y) * width + left + x) * channels;
                    pixels[to..to + channels].copy_from_slice(&image[from..from + channels]);
                }
            }
        }
        Self { height, width, channels, pixels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_stand_row_by_row_on_white() {
        let layout = GridLayout { columns: 2, padding: 1, scale: 1 };
        let grid = Grid::new(&[1, 2, 3], [1, 1, 1], layout);
        assert_eq!((grid.height, grid.width), (5, 5));
        let w = PAPER;
        #[rustfmt::skip]
        assert_eq!(grid.pixels, [
            w, w, w, w, w,
            w, 1, w, 2, w,
            w, w, w, w, w,
            w, 3, w, w, w,
            w, w, w, w, w,
        ]);
        let scaled = Grid::new(&[7, 8], [1, 2, 1], GridLayout { columns: 1, padding: 0, scale: 2 });
        assert_eq!(scaled.pixels, [7, 7, 8, 8, 7, 7, 8, 8]);
    }
}
