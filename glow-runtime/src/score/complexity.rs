//! A likelihood corrected by how simple the image is.
use crate::{Error, Glow, ScoreOptions, images};
use ndarray::ArrayView4;

impl Glow {
    /// bits/dim by the model less bits/dim as PNG, for images [N, H, W, C]: S of Serrà et al. 2020, "Input
    /// complexity and out-of-distribution detection with likelihood-based generative models", with PNG as
    /// the general compressor. It is the log-ratio of two models, in bits a number: high where the model
    /// does worse than a compressor that knows no images, low where it knows the kind.
    ///
    /// The PNG is of [`Glow::quantize`] of the image, as the model sees no more of it, and with the file's
    /// fixed parts, which are the same for all images of a model.
    ///
    /// # Errors
    /// Those of [`Glow::score`] and [`images::png_bits_per_dim`].
    pub fn complexity_corrected<'a>(
        &self,
        images: impl Into<ArrayView4<'a, u8>>,
        options: &ScoreOptions,
    ) -> Result<Vec<f64>, Error> {
        let images = images.into();
        let model = self.bits_per_dim(images, options)?;
        let compressed = images::png_bits_per_dim(&self.quantize(images))?;
        Ok(model.iter().zip(compressed).map(|(model, png)| model - png).collect())
    }
}
