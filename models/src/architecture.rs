//! The hyperparameters that fix what a model computes, and their limits.
use crate::fields::hyperparameters;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How the channels are mixed between two couplings (paper, section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Permutation {
    /// The channels in reverse order.
    Reverse,
    /// A fixed random permutation.
    Shuffle,
    /// The invertible 1×1 convolution in LU form, W = P·L·(U + diag(sign_s·exp(log_s))).
    Invconv,
    /// The invertible 1×1 convolution with W itself as the parameter.
    InvconvPlain,
}

impl Permutation {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Reverse, Self::Shuffle, Self::Invconv, Self::InvconvPlain];
}

/// How a coupling layer changes the second half of the channels (paper, table 1 and section 3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coupling {
    /// z2 ← z2 + shift.
    Additive,
    /// z2 ← (z2 + shift) · sigmoid(raw + 2), see [`RAW_SCALE_OFFSET`].
    Affine,
}

impl Coupling {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Additive, Self::Affine];
}

/// Every stored log scale counts this many times, which raises its learning rate (published code): a
/// scale is exp(3·logs).
pub const LOGSCALE_FACTOR: f64 = 3.0;

/// Added to the raw scale of an affine coupling: the layer starts near the identity, sigmoid(2) ≈ 0.88
/// (published code).
pub const RAW_SCALE_OFFSET: f64 = 2.0;

hyperparameters! {
    /// The hyperparameters that fix what a model computes (paper, section 3 and table 4).
    pub struct Architecture {
        /// Image height in pixels; a multiple of 2^levels.
        height: usize = 32,
        /// Image width in pixels; a multiple of 2^levels.
        width: usize = 32,
        /// Image channels: 1 (grayscale) or 3 (RGB).
        channels: usize = 3,
        /// Bits a colour channel, 1 to 8; fewer than 8 discard the lowest bits.
        n_bits: u32 = 8,
        /// Levels of the multi-scale architecture (L in the paper).
        levels: usize = 3,
        /// Steps of flow a level (K in the paper).
        depth: usize = 32,
        /// Channels of the two hidden layers of a coupling network (w in the published code).
        hidden: usize = 512,
        /// The coupling: "additive" or "affine".
        coupling: Coupling = Coupling::Additive,
        /// The channel mixing: "invconv" (1×1 convolution, LU form), "invconv-plain", "shuffle" or "reverse".
        permutation: Permutation = Permutation::Invconv,
        /// Whether 3×3 convolutions see a channel that marks the padded border, as in the published code.
        edge_bias: bool = true,
        /// Whether mean and scale of the top prior are learned.
        learn_top: bool = true,
        /// Number of classes that the top prior is conditioned on; 0 for an unconditional model.
        classes: usize = 0,
    }
}

/// A hyperparameter outside of what can be built.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ArchitectureError {
    /// A value outside its range.
    #[error("{field} = {value} is out of range: {allowed}")]
    OutOfRange {
        /// The hyperparameter.
        field: &'static str,
        /// Its value.
        value: usize,
        /// What is allowed.
        allowed: String,
    },
    /// The image cannot be squeezed `levels` times.
    #[error(
        "{field} = {value} is not a multiple of 2^levels = {factor}: choose another size or fewer levels"
    )]
    NotDivisible {
        /// `height` or `width`.
        field: &'static str,
        /// Its value.
        value: usize,
        /// 2^levels.
        factor: usize,
    },
    /// More parameters than any machine that this is written for could hold.
    #[error("the model would have more than {limit} parameters: choose a smaller depth, hidden or levels")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
}

/// The most parameters a model may have: 16 GiB in fp32.
const MAX_PARAMETERS: u64 = 1 << 32;

impl Architecture {
    /// Checks every hyperparameter against its range, before anything of its size is allocated.
    ///
    /// # Errors
    /// The first hyperparameter that is out of range.
    pub fn validate(&self) -> Result<(), ArchitectureError> {
        let range = |field: &'static str, value: usize, lowest: usize, highest: usize| {
            if (lowest..=highest).contains(&value) {
                return Ok(());
            }
            Err(ArchitectureError::OutOfRange { field, value, allowed: format!("{lowest} to {highest}") })
        };
        range("height", self.height, 2, 8192)?;
        range("width", self.width, 2, 8192)?;
        if self.channels != 1 && self.channels != 3 {
            let allowed = "1 (grayscale) or 3 (RGB)".to_string();
            return Err(ArchitectureError::OutOfRange { field: "channels", value: self.channels, allowed });
        }
        range("n_bits", self.n_bits as usize, 1, 8)?;
        range("levels", self.levels, 1, 12)?;
        range("depth", self.depth, 1, 4096)?;
        range("hidden", self.hidden, 1, 65536)?;
        range("classes", self.classes, 0, 1 << 20)?;
        let factor = 1 << self.levels;
        for (field, value) in [("height", self.height), ("width", self.width)] {
            if value % factor != 0 {
                return Err(ArchitectureError::NotDivisible { field, value, factor });
            }
        }
        if self.parameter_count() > MAX_PARAMETERS {
            return Err(ArchitectureError::TooLarge { limit: MAX_PARAMETERS });
        }
        Ok(())
    }

    /// Numbers in one image: height · width · channels, the "dim" of bits/dim.
    pub fn dims(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Values of a colour channel after the lowest bits are discarded: 2^n_bits.
    pub fn bins(&self) -> u32 {
        1 << self.n_bits
    }

    /// Converts log p(image) in nats into bits/dim: −log p / (ln 2 · H·W·C) (paper, equation 2).
    pub fn bits_per_dim(&self, log_prob: f64) -> f64 {
        -log_prob / (std::f64::consts::LN_2 * self.dims() as f64)
    }

    /// Channels that the last convolution of a coupling network gives, for `channels` of the flow.
    pub fn coupling_outputs(&self, channels: usize) -> usize {
        match self.coupling {
            Coupling::Additive => channels / 2,
            Coupling::Affine => channels,
        }
    }

    /// Input channels of a 3×3 convolution's weight over `channels` of data: one more with edge bias,
    /// the last, which is 1 on the padded border and 0 inside.
    pub fn conv_inputs(&self, channels: usize) -> usize {
        channels + usize::from(self.edge_bias)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absurd_architectures_are_refused_by_name() {
        type Case = (&'static str, fn(&mut Architecture));
        let cases: &[Case] = &[
            ("levels = 60", |a| a.levels = 60),
            ("hidden = 1000000000", |a| a.hidden = 1_000_000_000),
            ("depth = 0", |a| a.depth = 0),
            ("channels = 4", |a| a.channels = 4),
            ("n_bits = 9", |a| a.n_bits = 9),
            ("n_bits = 0", |a| a.n_bits = 0),
            ("width = 36 is not a multiple of 2^levels = 8", |a| a.width = 36),
            ("height = 0", |a| a.height = 0),
            ("more than 4294967296 parameters", |a| (a.depth, a.hidden) = (4096, 65536)),
        ];
        for (expected, change) in cases {
            let mut architecture = Architecture::default();
            change(&mut architecture);
            let error = architecture.validate().expect_err(expected).to_string();
            assert!(error.contains(expected), "{error:?} does not say {expected:?}");
        }
        Architecture::default().validate().unwrap();
    }

    /// The matches have no wildcard: a new kind does not compile until it is counted here, and fails until
    /// `ALL` has it.
    #[test]
    fn all_lists_every_kind_once() {
        let place = |permutation| match permutation {
            Permutation::Reverse => 0,
            Permutation::Shuffle => 1,
            Permutation::Invconv => 2,
            Permutation::InvconvPlain => 3,
        };
        assert_eq!(Permutation::ALL.map(place), [0, 1, 2, 3]);
        let place = |coupling| match coupling {
            Coupling::Additive => 0,
            Coupling::Affine => 1,
        };
        assert_eq!(Coupling::ALL.map(place), [0, 1]);
    }

    #[test]
    fn bits_per_dim_of_a_uniform_image_is_n_bits() {
        let architecture = Architecture::default();
        let uniform = -(architecture.dims() as f64) * (architecture.bins() as f64).ln();
        assert!((architecture.bits_per_dim(uniform) - 8.0).abs() < 1e-12);
    }
}
