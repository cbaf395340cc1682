//! What a scheduler can be asked for.
use crate::glow::{DECODED, ENCODED};
use crate::partial::Partial;
use crate::ports::{Output, Owned, PerLevel, Wanted};
use crate::score::Tally;
use crate::{
    Decoded, EncodeOptions, Encoded, Error, Glow, GraphKind, Latents, Noise, SampleOptions, Score,
    ScoreOptions,
};
use glow_models::random::{self, Purpose};
use ndarray::{Array4, s};
use std::ops::Range;
use std::time::{Duration, Instant};

/// Work for a [`Scheduler`](super::Scheduler), which gives a `T`: the same, bit by bit, as the method of
/// [`Glow`] that it is named after.
#[derive(Debug)]
#[must_use = "a job is not done before it is submitted"]
pub struct Job<T> {
    pub(super) input: JobInput,
    pub(super) finish: Finish<T>,
    pub(super) deadline: Option<Instant>,
}

/// Makes the result of what the graph gave for all of the job's images.
pub(super) type Finish<T> = fn(&Glow, &JobInput, PerLevel<Output>) -> Result<T, Error>;

impl Job<Array4<u8>> {
    /// Draws `n` images, as [`Glow::sample`].
    pub fn sample(n: usize, options: SampleOptions) -> Self {
        let finish: Finish<_> = |glow, input, outputs| glow.images(input.images(), outputs).complete(DECODED);
        Self::new(JobInput::Sample { n, options }, finish)
    }
}

impl Job<Partial<Array4<u8>>> {
    /// Draws `n` images, as [`Glow::sample_partial`].
    pub fn sample_partial(n: usize, options: SampleOptions) -> Self {
        let finish: Finish<_> = |glow, input, outputs| Ok(glow.images(input.images(), outputs));
        Self::new(JobInput::Sample { n, options }, finish)
    }
}

impl Job<Encoded> {
    /// Encodes images [N, H, W, C], as [`Glow::encode`].
    pub fn encode(images: Array4<u8>, options: EncodeOptions) -> Self {
        let EncodeOptions { noise, first, labels } = options;
        let noise = match noise {
            Noise::Midpoint => NoiseInput::Midpoint,
            Noise::Uniform { seed } => NoiseInput::Uniform { seed, first },
        };
        Self::encoding(images, noise, labels)
    }

    /// Encodes images [N, H, W, C] with the dequantization noise [N, H, W, C] in [0, 1) given, as
    /// [`Glow::encode_with`].
    pub fn encode_with(images: Array4<u8>, noise: Array4<f32>, labels: Option<Vec<i64>>) -> Self {
        Self::encoding(images, NoiseInput::Given(noise), labels)
    }

    fn encoding(images: Array4<u8>, noise: NoiseInput, labels: Option<Vec<i64>>) -> Self {
        let input = JobInput::Encode { images, noise, labels, draws: 1, latents: true };
        Self::new(input, |glow, input, outputs| glow.encoded(input.images(), outputs).complete(ENCODED))
    }
}

impl Job<Vec<Score>> {
    /// The likelihood of images [N, H, W, C], as [`Glow::score`]. Each draw of the noise counts as an image.
    pub fn score(images: Array4<u8>, options: ScoreOptions) -> Self {
        let ScoreOptions { draws, seed, first, labels } = options;
        let noise = NoiseInput::Uniform { seed, first };
        let input = JobInput::Encode { images, noise, labels, draws, latents: false };
        Self::new(input, |glow, input, outputs| {
            let JobInput::Encode { images, .. } = input else { unreachable!("made above") };
            let log_prob = outputs.last().map_or(&[][..], |output| &output.floats);
            Tally::scores(glow, log_prob, images.dim().0)
        })
    }
}

impl Job<Decoded> {
    /// Decodes latents, as [`Glow::decode`].
    pub fn decode(latents: Latents, labels: Option<Vec<i64>>) -> Self {
        let input = JobInput::Decode { latents, labels };
        Self::new(input, |glow, input, outputs| glow.decoded(input.images(), outputs).complete(DECODED))
    }
}

impl<T> Job<T> {
    fn new(input: JobInput, finish: Finish<T>) -> Self {
        Self { input, finish, deadline: None }
    }

    /// Gives the job up if it is not done within this time from now on: its result is [`Error::Deadline`] then, and
    /// what has not begun of it is not computed. Default: none, or that of
    /// [`SchedulerOptions::deadline`](super::SchedulerOptions::deadline).
    pub fn within(self, time: Duration) -> Self {
        Self { deadline: Instant::now().checked_add(time), ..self }
    }

    /// Images that the job counts for in the queue.
    pub fn images(&self) -> usize {
        self.input.images()
    }
}

/// What goes into a graph, image by image.
#[derive(Debug)]
pub(super) enum JobInput {
    Sample {
        n: usize,
        options: SampleOptions,
    },
    Decode {
        latents: Latents,
        labels: Option<Vec<i64>>,
    },
    Encode {
        images: Array4<u8>,
        noise: NoiseInput,
        labels: Option<Vec<i64>>,
        /// All images with the first draw of the noise come first, then all with the second.
        draws: usize,
        /// Whether the latents are wanted, besides the likelihoods.
        latents: bool,
    },
}

/// The dequantization noise of a [`JobInput::Encode`].
#[derive(Debug)]
pub(super) enum NoiseInput {
    Midpoint,
    /// `first` is the number of the first image in the stream.
    Uniform {
        seed: u64,
        first: u64,
    },
    Given(Array4<f32>),
}

impl JobInput {
    pub fn graph(&self) -> GraphKind {
        match self {
            Self::Encode { .. } => GraphKind::Encoder,
            Self::Decode { .. } | Self::Sample { .. } => GraphKind::Decoder,
        }
    }

    pub fn images(&self) -> usize {
        match self {
            Self::Sample { n, .. } => *n,
            Self::Decode { latents, .. } => latents.batch(),
            Self::Encode { images, draws, .. } => images.dim().0.saturating_mul(*draws),
        }
    }

    /// Checks what the call itself would check.
    pub fn check(&self, glow: &Glow) -> Result<(), Error> {
        glow.graph(self.graph())?.health()?;
        match self {
            Self::Sample { n, options } => {
                glow.check_sampling(*n, options)?;
                glow.check_labels(options.labels.as_deref(), *n)?;
            }
            Self::Decode { latents, labels } => {
                glow.check_latents(latents)?;
                glow.check_labels(labels.as_deref(), latents.batch())?;
            }
            Self::Encode { images, noise, draws, labels, .. } => {
                Tally::check_draws(*draws)?;
                glow.check_images("images", images.shape())?;
                if let NoiseInput::Given(noise) = noise {
                    glow.check_noise(noise.view(), images.shape())?;
                }
                glow.check_labels(labels.as_deref(), images.dim().0)?;
            }
        }
        Ok(())
    }

    /// What it wants of a graph's outputs, of which there are so many.
    pub fn wanted(&self, outputs: usize) -> Wanted {
        match self {
            Self::Sample { .. } => Wanted::IMAGES,
            Self::Encode { latents: false, .. } => Wanted::last(outputs),
            Self::Encode { .. } | Self::Decode { .. } => Wanted::ALL,
        }
    }

    /// Appends the inputs of some images to a batch, one buffer for each of the graph's.
    pub fn append(&self, glow: &Glow, range: Range<usize>, batch: &mut [Owned]) {
        match self {
            Self::Sample { options, .. } => {
                for i in range {
                    let index = options.first.wrapping_add(i as u64);
                    let mut z = random::normal(options.seed, Purpose::Latents, index, options.truncation);
                    for (buffer, shape) in batch.iter_mut().zip(&glow.manifest().latent_shapes) {
                        let eps = z.by_ref().take(shape.len()).map(|z| options.temperature * z);
                        buffer.floats().extend(eps);
                    }
                    append_label(options.labels.as_deref(), i, batch);
                }
            }
            Self::Decode { latents, labels } => {
                for (buffer, level) in batch.iter_mut().zip(latents.levels()) {
                    let rows = level.slice(s![range.clone(), .., .., ..]);
                    buffer
                        .floats()
                        .extend_from_slice(rows.as_slice().expect("latents are in standard layout"));
                }
                range.for_each(|i| append_label(labels.as_deref(), i, batch));
            }
            Self::Encode { images, noise, labels, .. } => {
                let n = images.dim().0;
                for i in range {
                    let (draw, image) = ((i / n) as u64, i % n);
                    batch[0].bytes().extend(images.slice(s![image, .., .., ..]));
                    let dims = glow.architecture().dims();
                    let buffer = batch[1].floats();
                    match noise {
                        NoiseInput::Midpoint => buffer.extend(std::iter::repeat_n(0.5, dims)),
                        NoiseInput::Uniform { seed, first } => {
                            let index = first.wrapping_add(image as u64);
                            buffer.extend(random::noise(*seed, Purpose::Noise { draw }, index).take(dims));
                        }
                        NoiseInput::Given(noise) => buffer.extend(noise.slice(s![image, .., .., ..])),
                    }
                    append_label(labels.as_deref(), image, batch);
                }
            }
        }
    }
}

/// The label is the last input of a conditional model.
fn append_label(labels: Option<&[i64]>, image: usize, batch: &mut [Owned]) {
    if let (Some(labels), Some(last)) = (labels, batch.last_mut()) {
        last.labels().push(labels[image]);
    }
}
