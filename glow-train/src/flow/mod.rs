//! The flow on tch: every layer in both directions, with its log-determinant.
//!
//! Tensors are [N, C, H, W] in channels-last memory, in which convolutions on CPUs run about twice as
//! fast. Nothing here depends on the element type: training runs in f32, the tests in f64; the coupling
//! networks alone may run in bfloat16.
//!
//! Each file uses only those above it:
//!
//! | file | is |
//! | --- | --- |
//! | `dequantize` | from pixels to x and back |
//! | `squeeze` | 2×2 pixels into channels; the halves of the channels |
//! | `rows` | pixels as rows of a matrix, patches, products |
//! | `parameters` | a model's tensors by name, in one flat buffer |
//! | `gradients` | the flat gradient, and automatic differentiation into it |
//! | `actnorm`, `permutation`, `zeros_conv`, `network`, `coupling` | the layers |
//! | `linear` | actnorm and permutation of a level's steps as affine maps |
//! | `prior` | the Gaussians of the latents, and the classifier |
//! | `step`, `glow` | a step; levels, encoding and decoding |
//! | `initialise` | actnorms from data |
//! | `backward` | the gradient of the loss |
//! | `diagnose` | the first layer that is not finite |
mod actnorm;
mod backward;
mod coupling;
mod dequantize;
mod diagnose;
mod glow;
mod gradients;
mod initialise;
mod linear;
mod network;
mod parameters;
mod permutation;
mod prior;
mod rows;
mod squeeze;
mod step;
#[cfg(test)]
mod tests;
mod zeros_conv;

pub use backward::{Differentiated, LossWeights};
pub use dequantize::{dequantize, to_pixels, uniform_noise};
pub use glow::{Encoded, Glow};
pub use gradients::Gradients;
pub use parameters::Parameters;
pub(crate) use parameters::{tensor_bytes, tensor_from_bytes};
pub use prior::MissingLabels;
