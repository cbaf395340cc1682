//! Whether a loaded model gives an image back.
use crate::provider::Provider;
use crate::{EncodeOptions, Error, Glow, SampleOptions};
use glow_models::Precision;

/// Encodes and decodes a sample of the model's own: the kind of image that the model knows best, so that what does
/// not come back lies with the provider.
pub(super) fn check(glow: &Glow) -> Result<(), Error> {
    let labels = (glow.architecture().classes > 0).then(|| vec![0]);
    let sample = glow.decode(&glow.sample_latents(1, &SampleOptions::new())?, labels.as_deref())?;
    let latents = glow.encode(&sample.images, &EncodeOptions::new().labels(labels.clone()))?.latents;
    let back = glow.decode(&latents, labels.as_deref())?;
    // What lies beyond the largest step is drawn in full white, and comes back as that step.
    let (images, expected) = (glow.quantize(&back.images), glow.quantize(&sample.images));
    let pairs = images.iter().zip(&expected);
    let mut difference = pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0);
    // The x of the sample is in the middle of no step. A decoder that gives the same again does not see its latents.
    if back.x == sample.x {
        difference = u8::MAX;
    }
    let overridden = std::env::var_os("NVIDIA_TF32_OVERRIDE").is_some_and(|value| value == "0");
    let exact = glow.providers().iter().all(|provider| computes_in_float(provider, overridden));
    let allowed = allowed(glow.manifest().precision, exact, glow.architecture().n_bits);
    if difference > allowed {
        return Err(Error::Check { difference, allowed });
    }
    Ok(())
}

/// The largest difference of 255 that is no sign of wrong arithmetic.
fn allowed(precision: Precision, exact: bool, n_bits: u32) -> u8 {
    let step = 1u8.checked_shl(8 - n_bits).unwrap_or(1);
    match precision {
        // In float the values come back within a fraction of a step.
        Precision::Fp32 if exact => 0,
        Precision::Fp32 | Precision::Fp16 => step.saturating_mul(4),
        // As much as an export lets pass.
        Precision::Int8 => step.saturating_mul(4).max(16),
    }
}

/// Whether a provider's products are in 32-bit float. `overridden`: whether the environment forbids TF32 to NVIDIA's
/// libraries.
fn computes_in_float(provider: &Provider, overridden: bool) -> bool {
    match provider {
        Provider::Auto | Provider::Cpu => true,
        Provider::Cuda(cuda) => {
            let by_name = cuda.options.iter().rfind(|(name, _)| name == "use_tf32");
            let tf32 = by_name.map_or(cuda.tf32, |(_, value)| !matches!(value.as_str(), "0" | "false"));
            !tf32 || overridden
        }
        Provider::TensorRt(engine) => !engine.fp16 && overridden,
        #[cfg(feature = "openvino")]
        Provider::OpenVino(options) => options.precision == crate::OpenVinoPrecision::F32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cuda, TensorRt};

    #[test]
    fn only_float_must_be_exact() {
        assert_eq!(allowed(Precision::Fp32, true, 8), 0);
        assert_eq!([8, 5, 1].map(|bits| allowed(Precision::Fp32, false, bits)), [4, 32, 255]);
        assert_eq!([8, 5, 1].map(|bits| allowed(Precision::Int8, true, bits)), [16, 32, 255]);
    }

    #[test]
    fn options_tell_what_is_less_than_float() {
        let cuda = |cuda: Cuda| Provider::Cuda(cuda);
        let engine = |fp16| Provider::TensorRt(TensorRt::default().fp16(fp16));
        for (provider, expected) in [
            (Provider::Cpu, [true, true]),
            (cuda(Cuda::default()), [true, true]),
            (cuda(Cuda::default().tf32(true)), [false, true]),
            (cuda(Cuda::default().option("use_tf32", "1")), [false, true]),
            (cuda(Cuda::default().tf32(true).option("use_tf32", "0")), [true, true]),
            (engine(false), [false, true]),
            (engine(true), [false, false]),
        ] {
            assert_eq!([false, true].map(|set| computes_in_float(&provider, set)), expected, "{provider}");
        }
    }
}
