//! The shape of an image.
use std::fmt;

#[cfg(feature = "datasets")]
use crate::DataError;

/// The shape of the images that a model takes, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageShape {
    /// Rows, 1 to 32,768.
    pub height: usize,
    /// Columns, 1 to 32,768.
    pub width: usize,
    /// 1 (gray) or 3 (RGB).
    pub channels: usize,
}

impl ImageShape {
    /// [height, width, channels].
    pub fn sizes(&self) -> [usize; 3] {
        [self.height, self.width, self.channels]
    }

    /// Bytes of one image: height · width · channels.
    pub fn bytes(&self) -> usize {
        self.height * self.width * self.channels
    }

    #[cfg(feature = "datasets")]
    pub(crate) fn check(&self) -> Result<(), DataError> {
        let sides = 1..=32_768;
        if !sides.contains(&self.height) || !sides.contains(&self.width) {
            return Err(DataError::Option {
                problem: format!("the image size {self}: sides are 1 to 32768 pixels"),
            });
        }
        if self.channels != 1 && self.channels != 3 {
            return Err(DataError::Option {
                problem: format!("{} channels: give 1 for gray or 3 for RGB", self.channels),
            });
        }
        Ok(())
    }
}

/// `WIDTH×HEIGHT`, as image sizes are commonly written.
impl fmt::Display for ImageShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×{}", self.width, self.height)
    }
}
