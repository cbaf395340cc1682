//! The gradient of the loss, with as much of the forward pass kept in memory as asked for.
//!
//! Automatic differentiation keeps every layer's activations. A flow need not: the input of a step follows
//! from its output (Gomez et al. 2017, "The Reversible Residual Network"), so going back needs the last
//! output alone, and one step's activations at a time. Whatever is kept, a step's gradient is computed by
//! the same code; only the small parts (mixing, priors) are left to libtorch's automatic differentiation.
use super::Parameters;
use super::coupling::halves;
use super::glow::{Encoded, Glow, Level};
use super::squeeze::{squeeze, unsqueeze};
use glow_models::Memory;
use tch::Tensor;

/// Trained parameters with their places in the architecture's order.
#[derive(Debug)]
pub(super) struct Leaves(Vec<(usize, Tensor)>);

impl Leaves {
    /// Those whose names begin with one of `prefixes`.
    pub(super) fn of(parameters: &Parameters, prefixes: &[&str]) -> Self {
        let all = parameters.trained().enumerate();
        let chosen = all.filter(|(_, (parameter, _))| prefixes.iter().any(|p| parameter.name.starts_with(p)));
        Self(chosen.map(|(index, (_, tensor))| (index, tensor)).collect())
    }
}

/// The gradient by every trained parameter, in the architecture's order.
#[derive(Debug)]
pub struct Gradients {
    flat: Tensor,
    /// Views of `flat`, in the parameters' shapes.
    parts: Vec<Tensor>,
}

impl Gradients {
    /// Zeros: a parameter that the loss does not depend on keeps them.
    pub(super) fn zeros(leaves: &Leaves) -> Self {
        let length = leaves.0.iter().map(|(_, leaf)| leaf.numel() as i64).sum::<i64>();
        let like = &leaves.0.first().expect("every model has parameters").1;
        let flat = Tensor::zeros([length], (like.kind(), like.device()));
        let mut begin = 0;
        let part = |(_, leaf): &(usize, Tensor)| {
            let part = flat.narrow(0, begin, leaf.numel() as i64).view(leaf.size().as_slice());
            begin += leaf.numel() as i64;
            part
        };
        let parts = leaves.0.iter().map(part).collect();
        Self { flat, parts }
    }

    /// One tensor a trained parameter, in its shape.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Tensor> {
        self.parts.iter()
    }

    /// Those of some parameters, in their order: views to be written to.
    ///
    /// # Panics
    /// If they are not N.
    pub(super) fn of<const N: usize>(&self, leaves: &Leaves) -> [Tensor; N] {
        assert_eq!(leaves.0.len(), N);
        std::array::from_fn(|index| self.parts[leaves.0[index].0].shallow_clone())
    }

    /// All of them one after the other, in the order of [`Parameters::flat`].
    pub fn flat(&self) -> Tensor {
        self.flat.shallow_clone()
    }
}

/// Writes the gradient of a scalar by the parameters of `leaves` into `gradients`; returns that by `inputs`.
pub(super) fn backward<const N: usize>(
    loss: &Tensor,
    inputs: [&Tensor; N],
    leaves: &[&Leaves],
    gradients: &mut Gradients,
) -> [Tensor; N] {
    let leaves: Vec<&(usize, Tensor)> = leaves.iter().flat_map(|leaves| &leaves.0).collect();
    let mut by: Vec<&Tensor> = inputs.to_vec();
    by.extend(leaves.iter().map(|(_, leaf)| leaf));
    let mut found = Tensor::run_backward(&[loss], &by, false, false).into_iter();
    let of_inputs = std::array::from_fn(|index| {
        let gradient = found.next().expect("one gradient an input");
        if gradient.defined() { gradient } else { Tensor::zeros_like(inputs[index]).detach() }
    });
    tch::no_grad(|| {
        for ((index, _), gradient) in leaves.into_iter().zip(found) {
            if gradient.defined() {
                gradients.parts[*index].copy_(&gradient);
            }
        }
    });
    of_inputs
}

/// The loss of a batch as a weighted sum: log_prob · Σ log p(image) + label_bits · Σ −log₂ p(label).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossWeights {
    /// Of each image's log p, in nats; negative, as a loss falls where it rises.
    pub log_prob: f64,
    /// Of each label's −log₂ p.
    pub label_bits: f64,
}

impl Glow {
    /// A gradient of zeros, for [`Glow::gradient_into`].
    pub fn zero_gradients(&self) -> Gradients {
        Gradients::zeros(&self.leaves)
    }

    /// Encodes x [N, C, H, W] and differentiates the loss; what is returned holds no graph.
    ///
    /// The results of the three kinds of `memory` differ by rounding alone.
    pub fn gradient(
        &self,
        x: &Tensor,
        labels: Option<&Tensor>,
        weights: LossWeights,
        memory: Memory,
    ) -> (Encoded, Gradients) {
        let mut gradients = self.zero_gradients();
        (self.gradient_into(x, labels, weights, memory, &mut gradients), gradients)
    }

    /// The same into memory that is there already; what it holds is overwritten.
    pub fn gradient_into(
        &self,
        x: &Tensor,
        labels: Option<&Tensor>,
        weights: LossWeights,
        memory: Memory,
        gradients: &mut Gradients,
    ) -> Encoded {
        let zeros = || Tensor::zeros([x.size()[0]], (x.kind(), x.device()));
        let mixing_of = |level: &Level| {
            let maps = tch::with_grad(|| level.mixing.maps());
            let of_steps = tch::no_grad(|| maps.forward(x.kind()));
            (maps, of_steps)
        };
        let mut inputs = Vec::new();
        let mut kept = Vec::new();
        let mut mixings = Vec::with_capacity(self.levels.len());
        let mut split_off = Vec::with_capacity(self.levels.len());
        let mut eps = Vec::with_capacity(self.levels.len());
        let mut level_log_prob = Vec::with_capacity(self.levels.len());
        let mut z = x.shallow_clone();
        tch::no_grad(|| {
            for level in &self.levels {
                z = squeeze(&z);
                let (maps, of_steps) = mixing_of(level);
                let mut log_prob = level.log_det_of_maps(&maps, &z);
                for (step, map) in level.steps.iter().zip(&of_steps) {
                    z = match memory {
                        Memory::Autograd => {
                            let (y, of_step) = step.forward_keeping(&z, map, &mut log_prob);
                            kept.push(of_step);
                            y
                        }
                        Memory::Checkpoint => {
                            inputs.push(z.shallow_clone());
                            step.forward(&z, map, &mut log_prob)
                        }
                        Memory::Reversible => step.forward(&z, map, &mut log_prob),
                    };
                }
                if let Some(split) = &level.split {
                    let (z1, z2) = halves(&z);
                    let (out, log_prob_out) = split.given(&z1).score(&z2);
                    log_prob += log_prob_out;
                    eps.push(out);
                    // A copy: a view would hold the whole of z.
                    split_off.push(z2.copy());
                    z = z1;
                }
                level_log_prob.push(log_prob);
                // Elsewhere they are computed again, so that memory does not grow with depth.
                mixings.push((memory == Memory::Autograd).then_some((maps, of_steps)));
            }
        });

        z = z.detach().set_requires_grad(true);
        let top = self.score_top(&z, labels);
        let mut loss = top.log_prob.sum(x.kind()) * weights.log_prob;
        if let Some(bits) = &top.label_bits {
            loss += bits.sum(x.kind()) * weights.label_bits;
        }
        let [mut g] = backward(&loss, [&z], &[&self.top_leaves], gradients);
        *level_log_prob.last_mut().expect("a model has at least one level") += top.log_prob.detach();
        eps.push(top.eps.detach());
        z = z.detach();

        for level in self.levels.iter().rev() {
            if let Some(split) = &level.split {
                let z1 = z.set_requires_grad(true);
                let z2 = split_off.pop().expect("one a split").set_requires_grad(true);
                let loss = split.given(&z1).score(&z2).1.sum(x.kind()) * weights.log_prob;
                let [by_z1, by_z2] = backward(&loss, [&z1, &z2], &[&split.leaves], gradients);
                g = Tensor::cat(&[g + by_z1, by_z2], 1);
                z = Tensor::cat(&[z1.detach(), z2.detach()], 1);
            }
            let kept_mixing = mixings.pop().expect("one a level");
            let (maps, of_steps) = kept_mixing.unwrap_or_else(|| mixing_of(level));
            let mut by_maps = Vec::with_capacity(of_steps.len());
            tch::no_grad(|| {
                let mut inverses = match memory {
                    Memory::Reversible => maps.inverse(z.kind()),
                    _ => Vec::new(),
                };
                for (step, map) in level.steps.iter().zip(&of_steps).rev() {
                    let of_step = match memory {
                        Memory::Autograd => kept.pop().expect("one a step"),
                        Memory::Checkpoint => {
                            let x = inputs.pop().expect("one a step");
                            step.forward_keeping(&x, map, &mut zeros()).1
                        }
                        Memory::Reversible => step.invert_keeping(&z, &inverses.pop().expect("one a step")),
                    };
                    z = of_step.x.shallow_clone();
                    let (by_x, by_map) = step.backward(of_step, map, &g, weights.log_prob, gradients);
                    g = by_x;
                    by_maps.push(by_map);
                }
            });
            by_maps.reverse();
            let by_log_det = level.pixels * x.size()[0] as f64 * weights.log_prob;
            level.mixing.backward(&maps, &by_maps, by_log_det, gradients);
            z = unsqueeze(&z);
            g = unsqueeze(&g);
        }
        let label_bits = top.label_bits.map(|bits| bits.detach());
        Encoded::new(self.architecture(), eps, level_log_prob, label_bits)
    }
}
