//! Options of single calls; each is made with `..Default::default()`.

/// How to sample.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleOptions {
    /// Scale of the noise: eps ~ N(0, temperature²). 1 draws from the model; less gives more typical
    /// images, 0 the most typical one (paper, section 6). Default 0.7.
    pub temperature: f32,
    /// Draws every z again whose size is above this limit: the truncation of the normal distribution,
    /// z ~ N(0, 1) given |z| ≤ truncation, of which eps is temperature · z. It cuts off the rare values
    /// and leaves the others as they are, where the temperature shrinks all; 2 draws about a twentieth
    /// of them again. At least 0.01; default none.
    pub truncation: Option<f32>,
    /// Seed of the noise. Default 0.
    pub seed: u64,
    /// Number of the first sample: sample i of a seed is the same image in whatever call it is drawn.
    /// Default 0.
    pub first: u64,
    /// One class a sample; for conditional models, and only for those.
    pub labels: Option<Vec<i64>>,
}

impl Default for SampleOptions {
    fn default() -> Self {
        Self { temperature: 0.7, truncation: None, seed: 0, first: 0, labels: None }
    }
}

/// The dequantization noise u in [0, 1): pixel value v stands for the interval [v, v + 1), and v + u
/// is the point of it that is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Noise {
    /// u = 0.5: the same latents each time, and the safest ones to decode.
    #[default]
    Midpoint,
    /// u uniform in [0, 1), a multiple of 2⁻¹⁶, as in training; needed for likelihoods.
    Uniform {
        /// Seed; the noise of image i of a batch depends on the seed and on i alone.
        seed: u64,
    },
}

/// How to encode.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EncodeOptions {
    /// The dequantization noise. Default [`Noise::Midpoint`].
    pub noise: Noise,
    /// Number of the first image in the stream of uniform noise, for data that comes in several
    /// calls. Default 0.
    pub first: u64,
    /// One class an image; for conditional models, and only for those.
    pub labels: Option<Vec<i64>>,
}

/// How to compute likelihoods.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreOptions {
    /// Draws of the dequantization noise that are averaged. Default 1.
    pub draws: usize,
    /// Seed of the noise. Default 0.
    pub seed: u64,
    /// Number of the first image in the stream of noise, for data that comes in several calls.
    /// Default 0.
    pub first: u64,
    /// One class an image; for conditional models, and only for those.
    pub labels: Option<Vec<i64>>,
}

impl Default for ScoreOptions {
    fn default() -> Self {
        Self { draws: 1, seed: 0, first: 0, labels: None }
    }
}

/// The way from one latent to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Interpolation {
    /// (1 − t)·a + t·b, as in the paper's figure 5.
    #[default]
    Linear,
    /// Along the great circle through a and b, so that the norm does not sink in between.
    Spherical,
}
