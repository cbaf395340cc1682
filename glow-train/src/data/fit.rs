//! Bringing images to the model's shape, with this module's errors; the work is in glow-models, which
//! applications share, so that they see the pixels that training saw.

use std::path::Path;

use glow_models::Misfit;

use super::{DataError, ImageShape};

impl ImageShape {
    /// [height, width, channels].
    pub(super) fn sizes(self) -> [usize; 3] {
        [self.height, self.width, self.channels]
    }
}

/// The error for a data set whose `count` images, the first of them in `file`, are all misfits.
pub(super) fn misfits(misfit: Misfit, file: &Path, count: usize) -> DataError {
    let file = file.into();
    match misfit {
        Misfit::Gray => DataError::Gray { file, count },
        Misfit::TooSmall { height, width, model_height, model_width } => {
            DataError::TooSmall { file, height, width, model_height, model_width, count }
        }
    }
}
