//! The gradient of the loss, with as much of the forward pass kept in memory as asked for.
//!
//! Automatic differentiation keeps every layer's activations. A flow need not: the input of a step follows
//! from its output (Gomez et al. 2017, "The Reversible Residual Network"), so the backward pass needs the
//! last output and one step's activations at a time. Whatever is kept, a step's gradient is computed by
//! the same code; only the small parts (affine maps, priors) are left to libtorch's automatic
//! differentiation.
use super::glow::{Encoded, Glow, Level};
use super::gradients::{Gradients, Slots, differentiate};
use super::linear::{LinearMap, LinearMaps};
use super::prior::MissingLabels;
use super::squeeze::{halves, unsqueeze};
use super::step::StepCache;
use crate::torch::no_grad;
use glow_models::Memory;
use tch::{Kind, Tensor};

/// The loss of a batch as a weighted sum: log_prob · Σ log p(image) + label_bits · Σ −log₂ p(label).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossWeights {
    /// Weight of each image's log p, in nats; negative, since the loss falls as log p rises.
    pub log_prob: f64,
    /// Weight of each label's −log₂ p.
    pub label_bits: f64,
}

/// What differentiating the loss gives besides the gradient by the parameters; nothing of it carries
/// autograd history.
#[derive(Debug)]
pub struct Differentiated {
    /// The encoding of the images.
    pub encoded: Encoded,
    /// The loss's gradient by x, [N, C, H, W].
    pub by_x: Tensor,
    /// With [`Memory::Reversible`], a scalar: the largest |recomputed − given| of a number of x. It bounds
    /// how far the inputs that the gradient was computed at were off.
    pub drift: Option<Tensor>,
}

/// What the forward pass of one level leaves for its backward pass.
struct LevelTape {
    /// The level's affine maps; recomputed where there are none, so that memory does not grow with depth.
    linear: Option<(LinearMaps, Vec<LinearMap>)>,
    steps: StepsTape,
    /// The half that was split off.
    z2: Option<Tensor>,
}

/// What the steps of a level leave, first step first.
enum StepsTape {
    /// [`Memory::Autograd`]: all activations.
    Caches(Vec<StepCache>),
    /// [`Memory::Checkpoint`]: the inputs.
    Inputs(Vec<Tensor>),
    /// [`Memory::Reversible`].
    Nothing,
}

impl StepsTape {
    fn new(memory: Memory) -> Self {
        match memory {
            Memory::Autograd => Self::Caches(Vec::new()),
            Memory::Checkpoint => Self::Inputs(Vec::new()),
            Memory::Reversible => Self::Nothing,
        }
    }

    fn keep(&mut self, cache: StepCache) {
        match self {
            Self::Caches(caches) => caches.push(cache),
            Self::Inputs(inputs) => inputs.push(cache.x),
            Self::Nothing => {}
        }
    }
}

impl Glow {
    /// Encodes x [N, C, H, W] and differentiates the loss. The gradient by the parameters is written into
    /// `gradients`, over its old values.
    ///
    /// The results of the three kinds of `memory` differ by rounding alone.
    ///
    /// # Errors
    /// The model has classes, and there are no labels.
    ///
    /// # Panics
    /// If libtorch fails, as in [`Glow::encode`]; and if the parameters do not require gradients (see
    /// [`Parameters::require_grad`](super::Parameters::require_grad)).
    pub fn gradient_into(
        &self,
        x: &Tensor,
        labels: Option<&Tensor>,
        weights: LossWeights,
        memory: Memory,
        gradients: &mut Gradients,
    ) -> Result<Differentiated, MissingLabels> {
        self.gradient_by_sections(x, labels, weights, memory, gradients, |_| ())
    }

    /// The same; hands each of [`Gradients::sections`] to `completed` as soon as it is there, while the others
    /// are still to be computed.
    ///
    /// # Errors
    /// As for [`Glow::gradient_into`].
    ///
    /// # Panics
    /// As for [`Glow::gradient_into`].
    pub fn gradient_by_sections(
        &self,
        x: &Tensor,
        labels: Option<&Tensor>,
        weights: LossWeights,
        memory: Memory,
        gradients: &mut Gradients,
        mut completed: impl FnMut(Tensor),
    ) -> Result<Differentiated, MissingLabels> {
        let mut eps = Vec::with_capacity(self.levels.len());
        let mut level_log_prob = Vec::with_capacity(self.levels.len());
        let mut tapes = Vec::with_capacity(self.levels.len());
        let z = no_grad(|| {
            self.walk(x, |_, level, z| {
                let (maps, of_steps) = level.differentiable_maps(x.kind());
                let mut steps = StepsTape::new(memory);
                let output = level.forward(z, &maps, &of_steps, |cache| steps.keep(cache));
                level_log_prob.push(output.log_prob);
                // A copy: a view would hold the whole of z.
                let z2 = output.eps.is_some().then(|| halves(&output.z).1.copy());
                eps.extend(output.eps);
                let linear = (memory == Memory::Autograd).then_some((maps, of_steps));
                tapes.push(LevelTape { linear, steps, z2 });
                Ok(output.z)
            })
        })?;
        let mut z = z.detach().set_requires_grad(true);
        let top = self.score_top(&z, labels)?;
        let mut loss = top.log_prob.sum(x.kind()) * weights.log_prob;
        if let Some(bits) = &top.label_bits {
            loss += bits.sum(x.kind()) * weights.label_bits;
        }
        let slots: Vec<&Slots> =
            [&self.top.slots].into_iter().chain(self.classifier.as_ref().map(|c| &c.slots)).collect();
        let [mut g] = differentiate(&loss, [&z], &slots, gradients);
        *level_log_prob.last_mut().expect("a model has at least one level") += top.log_prob.detach();
        eps.push(top.eps.detach());

        z = z.detach();
        let mut complete = |section: Tensor| {
            if section.numel() > 0 {
                completed(section);
            }
        };
        complete(gradients.section(self.levels.len()));
        for (number, (level, tape)) in self.levels.iter().zip(tapes).enumerate().rev() {
            (z, g) = level.backward(tape, z, g, weights.log_prob, gradients);
            complete(gradients.section(number));
        }
        let label_bits = top.label_bits.map(|bits| bits.detach());
        Ok(Differentiated {
            encoded: Encoded::new(self.architecture(), eps, level_log_prob, label_bits),
            by_x: g,
            drift: (memory == Memory::Reversible).then(|| no_grad(|| (z - x).abs().max())),
        })
    }
}

impl Level {
    /// The affine maps of the steps with autograd history, and each one in the flow's element type without.
    fn differentiable_maps(&self, kind: Kind) -> (LinearMaps, Vec<LinearMap>) {
        let maps = tch::with_grad(|| self.linear.maps());
        let of_steps = no_grad(|| maps.forward(kind));
        (maps, of_steps)
    }

    /// Back through the level: z is its output that goes on, g the loss's gradient by it, `g_log_prob` by
    /// each image's log-probability. Returns the same of the level's input, before the squeeze.
    fn backward(
        &self,
        tape: LevelTape,
        mut z: Tensor,
        mut g: Tensor,
        g_log_prob: f64,
        gradients: &mut Gradients,
    ) -> (Tensor, Tensor) {
        let LevelTape { linear, mut steps, z2 } = tape;
        if let Some((split, z2)) = self.split.as_ref().zip(z2) {
            let (z1, z2) = (z.set_requires_grad(true), z2.set_requires_grad(true));
            let loss = split.given(&z1).score(&z2).1.sum(z1.kind()) * g_log_prob;
            let [by_z1, by_z2] = differentiate(&loss, [&z1, &z2], &[&split.conv.slots], gradients);
            g = Tensor::cat(&[g + by_z1, by_z2], 1); // [N, C, H, W]
            z = Tensor::cat(&[z1.detach(), z2.detach()], 1);
        }
        let images = z.size()[0] as f64;
        let (maps, of_steps) = linear.unwrap_or_else(|| self.differentiable_maps(z.kind()));
        let mut by_maps = Vec::with_capacity(of_steps.len());
        no_grad(|| {
            let mut inverses = match steps {
                StepsTape::Nothing => maps.inverse(z.kind()),
                _ => Vec::new(),
            };
            for (step, map) in self.steps.iter().zip(&of_steps).rev() {
                let cache = match &mut steps {
                    StepsTape::Caches(caches) => caches.pop().expect("one a step"),
                    StepsTape::Inputs(inputs) => step.forward(&inputs.pop().expect("one a step"), map).2,
                    StepsTape::Nothing => step.recompute(&z, &inverses.pop().expect("one a step")),
                };
                z = cache.x.shallow_clone();
                let (by_x, by_map) = step.backward(cache, map, &g, g_log_prob, gradients);
                g = by_x;
                by_maps.push(by_map);
            }
        });
        by_maps.reverse();
        self.linear.backward(&maps, &by_maps, self.pixels * images * g_log_prob, gradients);
        (unsqueeze(&z), unsqueeze(&g))
    }
}
