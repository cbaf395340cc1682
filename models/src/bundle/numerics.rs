//! The number format of a bundle: how 8-bit networks are laid out, and what a format costs.
use serde::{Deserialize, Serialize};

/// How the coupling networks of an int8 bundle are laid out, which decides what runs them in integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Int8Layout {
    /// Unsigned activations with a zero point, 32-bit integer biases, answers in steps of 8 bits: what ONNX Runtime's
    /// CPU provider and OpenVINO fuse into integer convolutions.
    #[default]
    Cpu,
    /// Signed symmetric activations without a zero point, biases and answers in float, the ReLU a node of its own: what
    /// TensorRT takes.
    TensorRt,
}

impl Int8Layout {
    /// Every layout.
    pub const ALL: [Self; 2] = [Self::Cpu, Self::TensorRt];
}

impl std::fmt::Display for Int8Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::TensorRt => "tensorrt",
        })
    }
}

/// How an int8 bundle was made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Quantisation {
    /// The layout of its networks.
    pub layout: Int8Layout,
    /// The data set that the 8-bit steps were calibrated on: its kind and its folder's name.
    pub calibration: String,
    /// How many of its images, half as many samples of the model besides.
    pub calibration_images: usize,
    /// Steps of flow whose networks are in fp32 all the same, such as `level0.step05`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<String>,
}

/// What the exporter measured of a bundle's number format, on images that took no part in calibrating it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Numerics {
    /// Images measured on.
    pub images: usize,
    /// Whether those are real ones; else they are samples of the model.
    pub real: bool,
    /// Their mean bits/dim.
    pub bits_per_dim: f64,
    /// The same of the model in fp32, with the same noise.
    pub fp32_bits_per_dim: f64,
    /// The largest absolute output of a convolution of the coupling networks; `None` in fp32. Half precision ends at
    /// 65,504.
    pub largest_activation: Option<LargestActivation>,
    /// Scores above this many bits/dim are not to be relied upon: 8-bit activations are clipped on images far from those
    /// that they were calibrated on. `None` where no such images were found.
    pub reliable_bits_per_dim: Option<f64>,
}

/// The convolution with the largest output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LargestActivation {
    /// The convolution, such as `level0.step05.coupling.conv2`.
    pub layer: String,
    /// Its largest absolute output.
    pub value: f32,
}

impl Numerics {
    /// Whether a score of so many bits/dim can be relied upon.
    pub fn is_reliable(&self, bits_per_dim: f64) -> bool {
        self.reliable_bits_per_dim.is_none_or(|most| bits_per_dim <= most)
    }
}
