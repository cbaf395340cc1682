//! What executes the graphs.
use crate::Error;
use crate::library::Library;
use ort::ep::{self, ExecutionProviderDispatch};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// An execution provider: what executes a graph's nodes, on which device.
///
/// [`GlowBuilder::providers`](crate::GlowBuilder::providers) takes a list of them. The nodes go to the
/// first that can run them, and every provider in the list must be usable: one that is not is an error
/// that says why. Only [`Provider::Auto`] falls back.
///
/// In text, as the program `glow` takes it: `auto`, `cpu`, `cuda`, `cuda:1`, `tensorrt:0/fp16`,
/// `openvino`, `openvino:CPU/bf16`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Provider {
    /// CUDA if that works, otherwise OpenVINO if this crate is built with it and the library has it,
    /// otherwise the CPU. It must be alone in its list; [`Glow::providers`](crate::Glow::providers) tells
    /// what it came to.
    Auto,
    /// ONNX Runtime's own kernels on the CPU.
    #[default]
    Cpu,
    /// An NVIDIA GPU, through cuDNN and cuBLAS.
    Cuda(Cuda),
    /// An NVIDIA GPU, through an engine that TensorRT builds for it: minutes at the first loading, and
    /// none later if there is a [cache](crate::GlowBuilder::cache).
    TensorRt(TensorRt),
    /// Intel's OpenVINO, the fastest on many CPUs, those of AMD too. Needs an ONNX Runtime that is built
    /// with it (`make setup OPENVINO=1`).
    #[cfg(feature = "openvino")]
    OpenVino(OpenVino),
}

/// Options of [`Provider::Cuda`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cuda {
    /// Number of the GPU. Default 0.
    pub device: u32,
    /// Whether each batch size is captured as a CUDA graph at its second run, which takes the cost of
    /// launching thousands of kernels away. Every node must then run on the GPU. Default false.
    pub graphs: bool,
    /// Whether products may be computed in TF32, with ten bits of mantissa: faster, and reconstruction
    /// is no longer exact. Default false.
    pub tf32: bool,
}

/// Options of [`Provider::TensorRt`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorRt {
    /// Number of the GPU. Default 0.
    pub device: u32,
    /// Whether TensorRT may compute in half precision. Default false.
    pub fp16: bool,
    /// The smallest, the usual and the largest batch that the engine is built for. A batch outside of it
    /// would have the engine rebuilt, so calls go through in chunks of at most the largest. Default 1, 8
    /// and 32.
    pub batches: [usize; 3],
}

impl Default for TensorRt {
    fn default() -> Self {
        Self { device: 0, fp16: false, batches: [1, 8, 32] }
    }
}

/// Options of [`Provider::OpenVino`].
#[cfg(feature = "openvino")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenVino {
    /// OpenVINO's name of the device, such as `CPU`, `GPU` or `GPU.1`. Default `CPU`.
    pub device: String,
    /// Number format of the products. Default [`OpenVinoPrecision::F32`].
    pub precision: OpenVinoPrecision,
}

#[cfg(feature = "openvino")]
impl Default for OpenVino {
    fn default() -> Self {
        Self { device: "CPU".into(), precision: OpenVinoPrecision::F32 }
    }
}

/// OpenVINO's hint for the number format of products.
#[cfg(feature = "openvino")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OpenVinoPrecision {
    /// 32-bit float: reconstruction is exact.
    #[default]
    F32,
    /// bfloat16, on CPUs that have it; on others OpenVINO computes in float.
    Bf16,
    /// Half precision, on GPUs.
    F16,
}

#[cfg(feature = "openvino")]
impl OpenVinoPrecision {
    fn name(self) -> &'static str {
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
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
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
                Ok(if name == "auto" { Self::Auto } else { Self::Cpu })
            }
            "cuda" => {
                without(precision, "precision")?;
                Ok(Self::Cuda(Cuda { device: number()?, ..Default::default() }))
            }
            "tensorrt" => {
                let fp16 = match precision {
                    None | Some("fp32") => false,
                    Some("fp16") => true,
                    Some(other) => {
                        return Err(format!("TensorRT's precision is fp32 or fp16, not {other:?}"));
                    }
                };
                Ok(Self::TensorRt(TensorRt { device: number()?, fp16, ..Default::default() }))
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
                Ok(Self::OpenVino(OpenVino { device: device.unwrap_or("CPU").into(), precision }))
            }
            #[cfg(not(feature = "openvino"))]
            "openvino" => Err("this build has no OpenVINO: build with the feature `openvino`".into()),
            other => {
                Err(format!("{other:?} is no provider; there are auto, cpu, cuda, tensorrt and openvino"))
            }
        }
    }
}

/// What a provider's options depend on besides themselves.
pub(crate) struct Setting<'a> {
    #[cfg_attr(not(feature = "openvino"), allow(dead_code, reason = "OpenVINO has threads of its own"))]
    pub threads: usize,
    /// Folder for what the provider compiles; its name tells what it was compiled from and for.
    pub cache: Option<&'a Path>,
    /// Inputs of the graph, with their shapes behind the batch axis.
    pub inputs: &'a [(String, Vec<usize>)],
}

impl Provider {
    pub(crate) fn is_cpu(&self) -> bool {
        matches!(self, Self::Cpu)
    }

    /// Whether its tensors are on an NVIDIA GPU, and on which.
    pub(crate) fn cuda_device(&self) -> Option<u32> {
        match self {
            Self::Cuda(options) => Some(options.device),
            Self::TensorRt(options) => Some(options.device),
            _ => None,
        }
    }

    pub(crate) fn captures_graphs(&self) -> bool {
        matches!(self, Self::Cuda(Cuda { graphs: true, .. }))
    }

    /// The most images at once that it allows.
    pub(crate) fn max_batch(&self) -> Option<usize> {
        match self {
            Self::TensorRt(options) => Some(options.batches[2]),
            _ => None,
        }
    }

    /// The options in ONNX Runtime's words; `None` for the CPU, which is always there.
    pub(crate) fn dispatch(&self, setting: &Setting<'_>) -> Option<ExecutionProviderDispatch> {
        let provider = match self {
            Self::Auto | Self::Cpu => return None,
            Self::Cuda(options) => cuda(options).build(),
            Self::TensorRt(options) => tensorrt(options, setting).build(),
            #[cfg(feature = "openvino")]
            Self::OpenVino(options) => openvino(options, setting).build(),
        };
        Some(provider.error_on_failure())
    }

    /// The error of a provider that ONNX Runtime does not come to terms with.
    pub(crate) fn unusable(&self, message: &str) -> Error {
        Error::Provider { provider: self.clone(), reason: reason(message) }
    }

    /// Looks for what the provider needs, so that what is missing has a clear error instead of the
    /// loader's.
    pub(crate) fn check(&self, library: &Library) -> Result<(), Error> {
        let (available, file, setup) = match self {
            Self::Auto | Self::Cpu => return Ok(()),
            Self::Cuda(_) => (available::<ep::CUDA>(), "cuda", "make setup CUDA=1"),
            Self::TensorRt(_) => (available::<ep::TensorRT>(), "tensorrt", "make setup CUDA=1"),
            #[cfg(feature = "openvino")]
            Self::OpenVino(_) => (available::<ep::OpenVINO>(), "openvino", "make setup OPENVINO=1"),
        };
        let unusable = |reason: String| Err(Error::Provider { provider: self.clone(), reason });
        let path = &library.info.path;
        if !available {
            return unusable(format!(
                "{} (version {}) is built without it; run `{setup}`, or give the path of another library",
                path.display(),
                library.info.version
            ));
        }
        let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        let needed = beside(path, &format!("{prefix}onnxruntime_providers_{file}{suffix}"));
        if !needed.exists() {
            return unusable(format!("{} is not there; run `{setup}`", needed.display()));
        }
        if let Self::TensorRt(options) = self
            && (options.batches[0] == 0 || !options.batches.is_sorted())
        {
            return unusable("its batches must be the smallest, the usual and the largest, from 1 on".into());
        }
        Ok(())
    }
}

/// ONNX Runtime's message without the place in its sources, and with the way out where it is known.
fn reason(message: &str) -> String {
    const HINTS: [(&str, &str); 5] = [
        ("libcuda.so.1", "NVIDIA's driver is not installed"),
        ("libnvinfer", "install TensorRT 10"),
        ("cannot open shared object file", "run `make setup CUDA=1`, or install CUDA 13 and cuDNN 9"),
        ("fallback to CPU EP", "to let these nodes run there, add the CPU to the list"),
        ("driver version is insufficient", "install a newer driver of NVIDIA"),
    ];
    // "FILE:LINE FUNCTION [ONNXRuntimeError] : 1 : FAIL : what happened"
    let what = message.rsplit("[ONNXRuntimeError] : ").next().unwrap_or(message);
    let code = |text: &str| text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    let what = match what.splitn(3, " : ").collect::<Vec<_>>()[..] {
        [number, name, rest] if code(number) && code(name) => rest,
        _ => what,
    };
    let hint = HINTS.iter().find(|(sign, _)| what.contains(sign));
    hint.map_or_else(|| what.trim().into(), |(_, hint)| format!("{}; {hint}", what.trim()))
}

fn available<E: ep::ExecutionProvider>() -> bool {
    E::is_available().unwrap_or(false)
}

/// Providers lie where the library itself is, behind any link to it.
fn beside(library: &Path, file: &str) -> PathBuf {
    let library = library.canonicalize().unwrap_or_else(|_| library.into());
    library.with_file_name(file)
}

fn cuda(options: &Cuda) -> ep::CUDA {
    ep::CUDA::default()
        .with_device_id(options.device as i32)
        .with_tf32(options.tf32)
        .with_cuda_graph(options.graphs)
        // What the searches for a convolution's algorithm leave behind is otherwise rounded up.
        .with_arena_extend_strategy(ep::ArenaExtendStrategy::SameAsRequested)
}

fn tensorrt(options: &TensorRt, setting: &Setting<'_>) -> ep::TensorRT {
    let shapes = |batch: usize| {
        let shape = |(name, shape): &(String, Vec<usize>)| {
            let rest: String = shape.iter().map(|n| format!("x{n}")).collect();
            format!("{name}:{batch}{rest}")
        };
        setting.inputs.iter().map(shape).collect::<Vec<_>>().join(",")
    };
    let [min, opt, max] = options.batches.map(shapes);
    let provider = ep::TensorRT::default()
        .with_device_id(options.device as i32)
        .with_fp16(options.fp16)
        .with_profile_min_shapes(min)
        .with_profile_opt_shapes(opt)
        .with_profile_max_shapes(max);
    match setting.cache {
        Some(folder) => provider
            .with_engine_cache(true)
            .with_engine_cache_path(folder.display())
            .with_timing_cache(true)
            .with_timing_cache_path(folder.display()),
        None => provider,
    }
}

#[cfg(feature = "openvino")]
fn openvino(options: &OpenVino, setting: &Setting<'_>) -> ep::OpenVINO {
    use ort::ep::ArbitrarilyConfigurableExecutionProvider;
    let hint = format!(
        r#"{{"{}":{{"INFERENCE_PRECISION_HINT":"{}"}}}}"#,
        options.device.split('.').next().unwrap_or("CPU"),
        options.precision.name()
    );
    let provider = ep::OpenVINO::default()
        .with_device_type(&options.device)
        .with_num_threads(setting.threads)
        .with_arbitrary_config("load_config", hint);
    match setting.cache {
        Some(folder) => provider.with_cache_dir(folder.display()),
        None => provider,
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
            ("cuda:3", Provider::Cuda(Cuda { device: 3, ..Default::default() })),
            ("tensorrt:1/fp16", Provider::TensorRt(TensorRt { device: 1, fp16: true, ..Default::default() })),
        ];
        for (text, provider) in cases {
            assert_eq!(text.parse(), Ok(provider), "{text}");
        }
        for (text, expected) in [
            ("gpu", "no provider"),
            ("cuda:x", "no number"),
            ("cpu:0", "takes no device"),
            ("cuda/fp16", "takes no precision"),
            ("tensorrt/int8", "fp32 or fp16"),
        ] {
            let error = text.parse::<Provider>().unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn reasons_are_stripped_and_have_a_way_out() {
        let loader = "/onnxruntime_src/core/session/provider_bridge_ort.cc:2043 onnxruntime::Provider& \
                      onnxruntime::ProviderLibrary::Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load \
                      library x.so with error: libcuda.so.1: cannot open shared object file";
        let expected = "Failed to load library x.so with error: libcuda.so.1: cannot open shared object \
                        file; NVIDIA's driver is not installed";
        assert_eq!(reason(loader), expected);
        assert_eq!(
            reason("CUDA failure 100: no CUDA-capable device"),
            "CUDA failure 100: no CUDA-capable device"
        );
    }

    fn setting<'a>(inputs: &'a [(String, Vec<usize>)], cache: Option<&'a Path>) -> Setting<'a> {
        Setting { threads: 2, cache, inputs }
    }

    #[test]
    fn the_options_of_cuda() {
        let options = format!("{:?}", cuda(&Cuda { device: 1, graphs: true, tf32: false }));
        for expected in ["\"device_id\": \"1\"", "\"enable_cuda_graph\": \"true\"", "\"use_tf32\": \"false\""]
        {
            assert!(options.contains(expected), "{options} lacks {expected}");
        }
    }

    #[test]
    fn the_options_of_tensorrt() {
        let inputs = [("eps_0".to_string(), vec![6, 4, 4]), ("eps_1".to_string(), vec![24, 2, 2])];
        let all = TensorRt { device: 0, fp16: true, batches: [1, 4, 16] };
        let options = format!("{:?}", tensorrt(&all, &setting(&inputs, Some(Path::new("/engines")))));
        for expected in [
            "\"trt_profile_min_shapes\": \"eps_0:1x6x4x4,eps_1:1x24x2x2\"",
            "\"trt_profile_opt_shapes\": \"eps_0:4x6x4x4,eps_1:4x24x2x2\"",
            "\"trt_profile_max_shapes\": \"eps_0:16x6x4x4,eps_1:16x24x2x2\"",
            "\"trt_fp16_enable\": \"true\"",
            "\"trt_engine_cache_enable\": \"true\"",
            "\"trt_engine_cache_path\": \"/engines\"",
        ] {
            assert!(options.contains(expected), "{options} lacks {expected}");
        }
        let uncached = format!("{:?}", tensorrt(&all, &setting(&inputs, None)));
        assert!(!uncached.contains("cache"), "{uncached}");
    }

    #[cfg(feature = "openvino")]
    #[test]
    fn the_options_of_openvino() {
        let provider: Provider = "openvino:CPU/bf16".parse().unwrap();
        let Provider::OpenVino(options) = &provider else { panic!("{provider}") };
        let text = format!("{:?}", openvino(options, &setting(&[], Some(Path::new("/blobs")))));
        for expected in ["\"device_type\": \"CPU\"", "bf16", "\"num_of_threads\": \"2\"", "/blobs"] {
            assert!(text.contains(expected), "{text} lacks {expected}");
        }
    }
}
