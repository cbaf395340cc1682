//! Results of which a part may be missing.
use crate::Error;

/// A result for several images, of which some may have failed: a model that is given latents far from those that it
/// knows can compute numbers that are NaN or infinite.
///
/// ```
/// # use glow_runtime::{Glow, SampleOptions};
/// # let bundle = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tests/bundle");
/// # let glow = Glow::load(bundle)?;
/// let samples = glow.sample_partial(8, &SampleOptions::new().temperature(1.0))?;
/// for i in samples.non_finite {
///     eprintln!("sample {i} is left out");
/// }
/// # Ok::<(), glow_runtime::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use = "some images may have failed"]
#[non_exhaustive]
pub struct Partial<T> {
    /// The result for all images of the call, in their order. The images that failed are black.
    pub value: T,
    /// The places in the batch of those that failed, in ascending order.
    pub non_finite: Vec<usize>,
}

impl<T> Partial<T> {
    /// Something else of the same images.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Partial<U> {
        Partial { value: make(self.value), non_finite: self.non_finite }
    }

    /// The result if nothing is missing, otherwise the error that names what is.
    pub(crate) fn complete(self, (array, hint): (&'static str, &'static str)) -> Result<T, Error> {
        match self.non_finite.is_empty() {
            true => Ok(self.value),
            false => Err(Error::NonFinite { array, images: self.non_finite, hint }),
        }
    }
}

/// Images by their places, each once and in ascending order.
pub(crate) fn ascending(images: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut images: Vec<usize> = images.collect();
    images.sort_unstable();
    images.dedup();
    images
}
