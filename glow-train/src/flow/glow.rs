//! The whole flow: squeeze, steps, split, level by level (paper, figure 2).
use super::Parameters;
use super::actnorm::Actnorm;
use super::coupling::{Coupling, halves};
use super::permutation::Permutation;
use super::prior::{Classifier, SplitPrior, TopPrior};
use super::squeeze::{squeeze, unsqueeze};
use glow_models::Architecture;
use tch::{Kind, Tensor};

/// One step of flow: actnorm, permutation, coupling. The first two are one affine map of the channels.
#[derive(Debug)]
struct Step {
    actnorm: Actnorm,
    permutation: Permutation,
    coupling: Coupling,
}

impl Step {
    fn new(parameters: &Parameters, architecture: &Architecture, name: &str) -> Self {
        let actnorm = Actnorm::new(parameters, &format!("{name}.actnorm"));
        let permutation = Permutation::new(
            parameters,
            architecture.permutation,
            &format!("{name}.permutation"),
            actnorm.bias(),
        );
        let coupling = Coupling::new(parameters, architecture.coupling, &format!("{name}.coupling"));
        Self { actnorm, permutation, coupling }
    }

    /// x [N, C, H, W] → y of the same shape; the log-determinant is added to `log_det` [N].
    fn forward(&self, x: &Tensor, log_det: &mut Tensor, initialise: bool) -> Tensor {
        if initialise {
            self.actnorm.initialise(x);
        }
        // W·((x + b)·s) = (W·diag(s))·x + (W·diag(s))·b.
        let (matrix, log_det_matrix) = self.permutation.matrix();
        let matrix = matrix * self.actnorm.scale().to_kind(Kind::Double);
        let shift = matrix.matmul(&self.actnorm.bias().to_kind(Kind::Double));
        let mixed = mix(x, &matrix, &shift);
        let (y, log_det_coupling) = self.coupling.forward(&mixed, initialise);
        let (_, _, h, w) = x.size4().expect("the flow has four axes");
        let per_pixel = self.actnorm.log_det_per_pixel() + log_det_matrix.to_kind(x.kind());
        *log_det = &*log_det + per_pixel * (h * w) as f64;
        if let Some(coupling) = log_det_coupling {
            *log_det = &*log_det + coupling;
        }
        y
    }

    fn inverse(&self, y: &Tensor) -> Tensor {
        let mixed = self.coupling.inverse(y);
        let matrix = self.permutation.matrix().0 * self.actnorm.scale().to_kind(Kind::Double);
        let shift = -self.actnorm.bias().to_kind(Kind::Double);
        mix(&mixed, &Tensor::linalg_inv(&matrix), &shift)
    }
}

/// matrix·x + shift at every pixel; both given in double.
fn mix(x: &Tensor, matrix: &Tensor, shift: &Tensor) -> Tensor {
    let (n, c, h, w) = x.size4().expect("the flow has four axes");
    let rows = x.permute([0, 2, 3, 1]).reshape([n * h * w, c]);
    let mixed = shift.to_kind(x.kind()).addmm(&rows, &matrix.to_kind(x.kind()).transpose(0, 1));
    mixed.reshape([n, h, w, c]).permute([0, 3, 1, 2])
}

/// What encoding gives.
#[derive(Debug)]
pub struct Encoded {
    /// `eps_0` … `eps_{L-1}`, [N, c, h, w] each; standard normal under the model.
    pub eps: Vec<Tensor>,
    /// `[N]`: log p(image) in nats, the discretisation term included.
    pub log_prob: Tensor,
    /// `[N]`: −log₂ p(label) of the classifier, where the model has classes.
    pub label_bits: Option<Tensor>,
}

/// A Glow over given parameters, which it shares: what an optimiser does to them, it sees.
#[derive(Debug)]
pub struct Glow {
    architecture: Architecture,
    levels: Vec<(Vec<Step>, Option<SplitPrior>)>,
    top: TopPrior,
    classifier: Option<Classifier>,
}

impl Glow {
    /// The flow of `architecture` over `parameters`.
    pub fn new(architecture: &Architecture, parameters: &Parameters) -> Self {
        let levels = architecture
            .level_shapes()
            .iter()
            .enumerate()
            .map(|(level, shape)| {
                let steps = (0..architecture.depth)
                    .map(|step| Step::new(parameters, architecture, &Architecture::step_name(level, step)))
                    .collect();
                (steps, shape.splits.then(|| SplitPrior::new(parameters, level)))
            })
            .collect();
        Self {
            architecture: architecture.clone(),
            levels,
            top: TopPrior::new(parameters, architecture),
            classifier: (architecture.classes > 0).then(|| Classifier::new(parameters)),
        }
    }

    /// The architecture.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Encodes x [N, C, H, W] (see [`dequantize`](super::dequantize)); `labels` `[N]` int64 where the
    /// model has classes.
    pub fn encode(&self, x: &Tensor, labels: Option<&Tensor>) -> Encoded {
        self.run(x, labels, false)
    }

    /// Sets every actnorm from a batch x, layer by layer in encoding order (paper, section 3.1), without
    /// gradients.
    pub fn initialise_actnorm(&self, x: &Tensor, labels: Option<&Tensor>) {
        tch::no_grad(|| self.run(x, labels, true));
    }

    fn run(&self, x: &Tensor, labels: Option<&Tensor>, initialise: bool) -> Encoded {
        let n = x.size()[0];
        let discretisation = -f64::from(self.architecture.bins()).ln() * self.architecture.dims() as f64;
        let mut log_prob = Tensor::full([n], discretisation, (x.kind(), x.device()));
        let mut eps = Vec::with_capacity(self.levels.len());
        let mut z = x.shallow_clone();
        for (steps, split) in &self.levels {
            z = squeeze(&z);
            for step in steps {
                z = step.forward(&z, &mut log_prob, initialise);
            }
            if let Some(split) = split {
                let (z1, z2) = halves(&z);
                let prior = split.given(&z1);
                let out = prior.eps(&z2);
                log_prob += prior.log_prob(&out);
                eps.push(out);
                z = z1;
            }
        }
        let prior = self.top.of(&z, labels);
        let out = prior.eps(&z);
        log_prob += prior.log_prob(&out);
        eps.push(out);
        let label_bits = match (&self.classifier, labels) {
            (Some(classifier), Some(labels)) => Some(classifier.cross_entropy_bits(&z, labels)),
            _ => None,
        };
        Encoded { eps, log_prob, label_bits }
    }

    /// Decodes `eps_0` … `eps_{L-1}` into x [N, C, H, W], the inverse of [`Glow::encode`]. Without
    /// gradients.
    pub fn decode(&self, eps: &[Tensor], labels: Option<&Tensor>) -> Tensor {
        tch::no_grad(|| {
            let top = eps.last().expect("a model has at least one level");
            let mut z = self.top.of(top, labels).z(top);
            for (level, (steps, split)) in self.levels.iter().enumerate().rev() {
                if let Some(split) = split {
                    let z2 = split.given(&z).z(&eps[level]);
                    z = Tensor::cat(&[z, z2], 1);
                }
                for step in steps.iter().rev() {
                    z = step.inverse(&z);
                }
                z = unsqueeze(&z);
            }
            z
        })
    }

    /// Latents of `n` images from a standard normal times `temperature`, on the CPU's generator: a
    /// function of the seed alone.
    pub fn latents(&self, n: usize, temperature: f64, seed: u64, like: &Tensor) -> Vec<Tensor> {
        use rand::SeedableRng;
        use rand_distr::{Distribution, StandardNormal};
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        self.architecture
            .latent_shapes()
            .iter()
            .map(|shape| {
                let values: Vec<f32> =
                    (0..n * shape.len()).map(|_| StandardNormal.sample(&mut random)).collect();
                let size = [n as i64, shape.channels as i64, shape.height as i64, shape.width as i64];
                let eps =
                    Tensor::from_slice(&values).reshape(size).to_kind(like.kind()).to_device(like.device());
                eps * temperature
            })
            .collect()
    }
}
