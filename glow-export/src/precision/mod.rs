//! The number format of the coupling networks. Folding leaves them in fp32; here they become half
//! precision, or 8-bit integers calibrated on images. All other tensors stay as they are.
mod calibration;
mod convolution;
mod emulation;
mod int8;
mod kept;
mod steps;

pub(crate) use calibration::CouplingInputs;
pub(crate) use emulation::{Emulation, LayerError};
pub use kept::Keep;

use crate::ExportError;
use crate::frozen::{Frozen, Tensor};
use glow_models::{Architecture, Int8Layout};
use half::f16;
use rayon::prelude::*;
use safetensors::Dtype;
use std::collections::HashMap;

/// The convolutions of the coupling networks in half precision. `conv3.border` is added outside of them
/// and stays.
///
/// # Errors
/// [`ExportError::Overflow`] if a weight is over 65504.
pub(crate) fn half(frozen: Frozen) -> Result<Frozen, ExportError> {
    frozen.try_map(|tensor| {
        if coupling_of(&tensor.name).is_none() || tensor.name.ends_with(".border") {
            return Ok(vec![tensor]);
        }
        let halves: Vec<f16> = tensor.array().iter().map(|&value| f16::from_f32(value)).collect();
        if halves.iter().any(|half| !half.is_finite()) {
            return Err(ExportError::Overflow { tensor: tensor.name, format: "fp16" });
        }
        let bytes: Vec<u8> = halves.into_iter().flat_map(f16::to_le_bytes).collect();
        Ok(vec![Tensor { dtype: Dtype::F16, bytes: bytes.into(), ..tensor }])
    })
}

/// The convolutions of the coupling networks in 8-bit integers, see [`int8::quantise`], but for the steps of flow in
/// `kept`, which stay as they are.
pub(crate) fn int8(
    frozen: &Frozen,
    inputs: &CouplingInputs,
    layout: Int8Layout,
    kept: &[String],
) -> Result<Frozen, ExportError> {
    let is_kept = |network: &str| kept.iter().any(|step| network.strip_suffix(COUPLING) == Some(step));
    let quantised: Vec<_> = inputs
        .maps()
        .par_iter()
        .filter(|(network, _)| !is_kept(network))
        .map(|(network, maps)| Ok((network.clone(), int8::quantise(frozen, network, maps, layout)?)))
        .collect::<Result<_, ExportError>>()?;
    let mut quantised: HashMap<String, Vec<Tensor>> = quantised.into_iter().collect();
    frozen.clone().try_map(|tensor| match coupling_of(&tensor.name) {
        // The first tensor of a network makes way for all of its new ones.
        Some(network) if !is_kept(network) => Ok(quantised.remove(network).unwrap_or_default()),
        _ => Ok(vec![tensor]),
    })
}

/// What the name of a step of flow's network has behind the step's.
const COUPLING: &str = ".coupling";

/// Name of each coupling network.
fn networks(architecture: &Architecture) -> impl Iterator<Item = String> {
    let depth = architecture.depth;
    (0..architecture.levels).flat_map(move |level| {
        (0..depth).map(move |step| format!("{}{COUPLING}", Architecture::step_name(level, step)))
    })
}

/// The coupling network that a tensor belongs to.
fn coupling_of(tensor: &str) -> Option<&str> {
    tensor.find(".coupling.").map(|at| &tensor[..at + ".coupling".len()])
}
