//! Providers as text.
use super::{Cuda, Provider, TensorRt};
#[cfg(feature = "openvino")]
use super::{OpenVino, OpenVinoPrecision};
use std::fmt;
use std::str::FromStr;

/// A text that names no [`Provider`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ParseProviderError {
    reason: String,
}

#[cfg(feature = "openvino")]
impl OpenVinoPrecision {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("CPU"),
            Self::Cuda(options) => write!(f, "CUDA, device {}", options.device),
            Self::TensorRt(options) => {
                let precision = if options.fp16 { ", fp16" } else { "" };
                write!(f, "TensorRT, device {}{precision}", options.device)
            }
            #[cfg(feature = "openvino")]
            Self::OpenVino(options) => {
                write!(f, "OpenVINO, device {}, {}", options.device, options.precision.name())
            }
        }
    }
}

/// `NAME[:DEVICE][/PRECISION]`.
impl FromStr for Provider {
    type Err = ParseProviderError;

    fn from_str(text: &str) -> Result<Self, ParseProviderError> {
        parse(text).map_err(|reason| ParseProviderError { reason })
    }
}

fn parse(text: &str) -> Result<Provider, String> {
    let (rest, precision) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
    let (name, device) = rest.split_once(':').map_or((rest, None), |(a, b)| (a, Some(b)));
    let number = || match device {
        None => Ok(0),
        Some(device) => device.parse::<u32>().map_err(|_| format!("{device:?} is no number of a device")),
    };
    let without = |what: Option<&str>, kind: &str| match what {
        None => Ok(()),
        Some(what) => Err(format!("{name} takes no {kind} ({what:?})")),
    };
    match name.to_ascii_lowercase().as_str() {
        name @ ("auto" | "cpu") => {
            without(device, "device")?;
            without(precision, "precision")?;
            Ok(if name == "auto" { Provider::Auto } else { Provider::Cpu })
        }
        "cuda" => {
            without(precision, "precision")?;
            Ok(Provider::Cuda(Cuda::default().device(number()?)))
        }
        "tensorrt" => {
            let fp16 = match precision {
                None | Some("fp32") => false,
                Some("fp16") => true,
                Some(other) => {
                    return Err(format!("TensorRT's precision is fp32 or fp16, not {other:?}"));
                }
            };
            Ok(Provider::TensorRt(TensorRt::default().device(number()?).fp16(fp16)))
        }
        #[cfg(feature = "openvino")]
        "openvino" => {
            let precision = match precision {
                None | Some("f32") => OpenVinoPrecision::F32,
                Some("bf16") => OpenVinoPrecision::Bf16,
                Some("f16") => OpenVinoPrecision::F16,
                Some(other) => {
                    return Err(format!("OpenVINO's precision is f32, bf16 or f16, not {other:?}"));
                }
            };
            Ok(Provider::OpenVino(OpenVino::default().device(device.unwrap_or("CPU")).precision(precision)))
        }
        #[cfg(not(feature = "openvino"))]
        "openvino" => Err("this build has no OpenVINO: build with the feature `openvino`".into()),
        other => Err(format!("{other:?} is no provider; there are auto, cpu, cuda, tensorrt and openvino")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_read_from_text() {
        let cases = [
            ("auto", Provider::Auto),
            ("CPU", Provider::Cpu),
            ("cuda", Provider::Cuda(Cuda::default())),
            ("cuda:3", Provider::Cuda(Cuda::default().device(3))),
            ("tensorrt:1/fp16", Provider::TensorRt(TensorRt::default().device(1).fp16(true))),
        ];
        for (text, provider) in cases {
            assert_eq!(text.parse(), Ok(provider), "{text}");
        }
        for text in ["gpu", "cuda:x", "cpu:0", "cuda/fp16", "tensorrt/int8", ""] {
            assert!(text.parse::<Provider>().is_err(), "{text}");
        }
    }
}
