//! The two graphs of a bundle.
use glow_models::{DECODER_FILE, ENCODER_FILE};
use std::fmt;

/// One of a bundle's two graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GraphKind {
    /// Images to latents and log-likelihoods.
    Encoder,
    /// Latents to images.
    Decoder,
}

impl fmt::Display for GraphKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Encoder => "encoder",
            Self::Decoder => "decoder",
        })
    }
}

impl GraphKind {
    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::Encoder => ENCODER_FILE,
            Self::Decoder => DECODER_FILE,
        }
    }

    pub(crate) fn other(self) -> Self {
        match self {
            Self::Encoder => Self::Decoder,
            Self::Decoder => Self::Encoder,
        }
    }

    /// The builder's method that loads this graph alone.
    pub(crate) fn only(self) -> &'static str {
        match self {
            Self::Encoder => "encoder_only()",
            Self::Decoder => "decoder_only()",
        }
    }
}
