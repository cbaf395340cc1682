//! Options of single calls: each begins with `new`, its defaults, and has a method for each field.

/// How to sample.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SampleOptions {
    /// Scale of the noise: eps ~ N(0, temperature²). 1 draws from the model; less gives more typical
    /// images, 0 the most typical one (paper, section 6). Default 0.7.
    pub temperature: f32,
    /// Truncates the normal distribution: values z with |z| above this limit are drawn again, so that
    /// z ~ N(0, 1) given |z| ≤ truncation, and eps = temperature · z. Unlike the temperature, which scales all
    /// values, it only removes rare ones; a limit of 2 redraws about 5 % of them. At least 0.01. Default: none.
    pub truncation: Option<f32>,
    /// Seed of the noise. Default 0.
    pub seed: u64,
    /// Number of the first sample. Sample i of a seed is the same image in every call that draws it.
    /// Default 0.
    pub first: u64,
    /// The class of each sample. Required by conditional models, refused by others.
    pub labels: Option<Vec<i64>>,
}

impl Default for SampleOptions {
    fn default() -> Self {
        Self { temperature: 0.7, truncation: None, seed: 0, first: 0, labels: None }
    }
}

impl SampleOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`SampleOptions::temperature`].
    pub fn temperature(mut self, temperature: f32) -> Self {
        self.temperature = temperature;
        self
    }

    /// Sets [`SampleOptions::truncation`].
    pub fn truncation(mut self, truncation: impl Into<Option<f32>>) -> Self {
        self.truncation = truncation.into();
        self
    }

    /// Sets [`SampleOptions::seed`].
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets [`SampleOptions::first`].
    pub fn first(mut self, first: u64) -> Self {
        self.first = first;
        self
    }

    /// Sets [`SampleOptions::labels`].
    pub fn labels(mut self, labels: impl Into<Option<Vec<i64>>>) -> Self {
        self.labels = labels.into();
        self
    }
}

/// The dequantization noise u in [0, 1): pixel value v stands for the interval [v, v + 1), and v + u
/// is the point of it that is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
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
#[non_exhaustive]
pub struct EncodeOptions {
    /// The dequantization noise. Default [`Noise::Midpoint`].
    pub noise: Noise,
    /// Number of the first image in the stream of uniform noise, for data that comes in several
    /// calls. Default 0.
    pub first: u64,
    /// The class of each image. Required by conditional models, refused by others.
    pub labels: Option<Vec<i64>>,
}

impl EncodeOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`EncodeOptions::noise`].
    pub fn noise(mut self, noise: Noise) -> Self {
        self.noise = noise;
        self
    }

    /// Sets [`EncodeOptions::first`].
    pub fn first(mut self, first: u64) -> Self {
        self.first = first;
        self
    }

    /// Sets [`EncodeOptions::labels`].
    pub fn labels(mut self, labels: impl Into<Option<Vec<i64>>>) -> Self {
        self.labels = labels.into();
        self
    }
}

/// How to compute likelihoods.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ScoreOptions {
    /// Draws of the dequantization noise that are averaged. Default 1.
    pub draws: usize,
    /// Seed of the noise. Default 0.
    pub seed: u64,
    /// Number of the first image in the stream of noise, for data that comes in several calls.
    /// Default 0.
    pub first: u64,
    /// The class of each image. Required by conditional models, refused by others.
    pub labels: Option<Vec<i64>>,
}

impl Default for ScoreOptions {
    fn default() -> Self {
        Self { draws: 1, seed: 0, first: 0, labels: None }
    }
}

impl ScoreOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`ScoreOptions::draws`].
    pub fn draws(mut self, draws: usize) -> Self {
        self.draws = draws;
        self
    }

    /// Sets [`ScoreOptions::seed`].
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets [`ScoreOptions::first`].
    pub fn first(mut self, first: u64) -> Self {
        self.first = first;
        self
    }

    /// Sets [`ScoreOptions::labels`].
    pub fn labels(mut self, labels: impl Into<Option<Vec<i64>>>) -> Self {
        self.labels = labels.into();
        self
    }
}

/// The path from one latent to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Interpolation {
    /// (1 − t)·a + t·b, as in the paper's figure 5.
    #[default]
    Linear,
    /// Spherical interpolation (slerp), along the great circle through a and b: the norm does not decrease in between.
    Spherical,
}
