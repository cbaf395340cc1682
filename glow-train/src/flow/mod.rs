//! The flow on tch: every layer in both directions, with its log-determinant.
//!
//! Tensors are [N, C, H, W] in channels-last memory, in which convolutions on CPUs run about twice as
//! fast. Nothing here depends on the element type: training runs in f32, the tests in f64; the coupling
//! networks alone may run in bfloat16.
mod actnorm;
mod conv;
mod coupling;
mod dequantize;
mod glow;
mod gradient;
mod mixing;
mod network;
mod parameters;
mod patches;
mod permutation;
mod prior;
mod squeeze;
mod step;

pub use dequantize::{dequantize, to_pixels, uniform_noise};
pub use glow::{Encoded, Glow};
pub use gradient::{Gradients, LossWeights};
pub use parameters::Parameters;
pub(crate) use parameters::{tensor_bytes, tensor_from_bytes};
