//! Providers in ONNX Runtime's words: options, what they need, and what its messages about them mean.
use crate::library::{Library, Preference};
#[cfg(feature = "openvino")]
use crate::provider::OpenVino;
use crate::provider::{ConvSearch, Cuda, Provider, TensorRt};
use crate::{Error, OnnxRuntimeCode};
use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider, ExecutionProviderDispatch};
use std::path::{Path, PathBuf};

/// The lists of providers to try, one after the other; several only for [`Provider::Auto`].
pub(crate) fn alternatives(asked: &[Provider]) -> Vec<Vec<Provider>> {
    if asked != [Provider::Auto] {
        return vec![asked.to_vec()];
    }
    vec![
        vec![Provider::Cuda(Default::default()), Provider::Cpu],
        #[cfg(feature = "openvino")]
        vec![Provider::OpenVino(Default::default())],
        vec![Provider::Cpu],
    ]
}

/// Which of the checkout's own libraries the providers need.
pub(crate) fn preference(providers: &[Provider]) -> Preference {
    if providers.iter().any(Provider::is_openvino) {
        Preference::OpenVino
    } else if cfg!(feature = "openvino") && providers == [Provider::Auto] {
        Preference::CudaThenOpenVino
    } else {
        Preference::Usual
    }
}

/// What a provider's options depend on besides themselves.
pub(crate) struct Setting<'a> {
    #[cfg_attr(not(feature = "openvino"), allow(dead_code, reason = "OpenVINO has threads of its own"))]
    pub threads: usize,
    /// Folder for what the provider compiles; its name tells what it was compiled from and for.
    pub cache: Option<&'a Path>,
    /// Whether the graph has 8-bit integers, which TensorRT must be allowed.
    pub int8: bool,
    /// Whether the provider is the only one, and so must take every node.
    pub alone: bool,
    /// Inputs of the graph, with their shapes behind the batch axis.
    pub inputs: &'a [(String, Vec<usize>)],
}

impl Provider {
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
    pub(crate) fn unusable(&self, error: &ort::Error) -> Error {
        let code = OnnxRuntimeCode::of(error.code());
        Error::Provider { provider: self.clone(), reason: reason(error.message()), code }
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
        let unusable = |reason: String| Err(Error::Provider { provider: self.clone(), reason, code: None });
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

/// Options by ONNX Runtime's own names, which come last and so override the others.
fn with_options<E: ArbitrarilyConfigurableExecutionProvider>(provider: E, options: &[(String, String)]) -> E {
    options.iter().fold(provider, |provider, (name, value)| provider.with_arbitrary_config(name, value))
}

fn cuda(options: &Cuda) -> ep::CUDA {
    let provider = ep::CUDA::default()
        .with_device_id(options.device as i32)
        .with_tf32(options.tf32)
        .with_cuda_graph(options.graphs)
        // What the searches for a convolution's algorithm leave behind is otherwise rounded up.
        .with_arena_extend_strategy(ep::ArenaExtendStrategy::SameAsRequested)
        .with_prefer_nhwc(options.nhwc)
        .with_conv_algorithm_search(match options.search {
            ConvSearch::Exhaustive => ep::cuda::ConvAlgorithmSearch::Exhaustive,
            ConvSearch::Heuristic => ep::cuda::ConvAlgorithmSearch::Heuristic,
            ConvSearch::Default => ep::cuda::ConvAlgorithmSearch::Default,
        });
    let provider = match options.memory_limit {
        Some(bytes) => provider.with_memory_limit(bytes),
        None => provider,
    };
    with_options(provider, &options.options)
}

fn tensorrt(options: &TensorRt, setting: &Setting<'_>) -> ep::TensorRT {
    let shapes = |batch: usize| {
        let shape = |(name, shape): &(String, Vec<usize>)| {
            let rest: String = shape.iter().map(|n| format!("x{n}")).collect();
            format!("{name}:{batch}{rest}")
        };
        setting.inputs.iter().map(shape).collect::<Vec<_>>().join(",")
    };
    let mut provider = ep::TensorRT::default()
        .with_device_id(options.device as i32)
        .with_fp16(options.fp16)
        .with_int8(setting.int8);
    if setting.alone {
        // Ranges that are given must be given for the inputs of every part of a graph, whose names nobody knows before:
        // where a node may fall to another provider, they are left to the runs.
        let [min, opt, max] = options.batches.map(shapes);
        provider =
            provider.with_profile_min_shapes(min).with_profile_opt_shapes(opt).with_profile_max_shapes(max);
    }
    if let Some(bytes) = options.workspace {
        provider = provider.with_max_workspace_size(bytes);
    }
    if let Some(folder) = setting.cache {
        provider = provider
            .with_engine_cache(true)
            .with_engine_cache_path(folder.display())
            .with_timing_cache(true)
            .with_timing_cache_path(folder.display());
    }
    with_options(provider, &options.options)
}

#[cfg(feature = "openvino")]
fn openvino(options: &OpenVino, setting: &Setting<'_>) -> ep::OpenVINO {
    let hint = format!(
        r#"{{"{}":{{"INFERENCE_PRECISION_HINT":"{}"}}}}"#,
        options.device.split('.').next().unwrap_or("CPU"),
        options.precision.name()
    );
    let mut provider = ep::OpenVINO::default()
        .with_device_type(&options.device)
        .with_num_threads(setting.threads)
        .with_arbitrary_config("load_config", hint);
    if let Some(folder) = setting.cache {
        provider = provider.with_cache_dir(folder.display());
    }
    with_options(provider, &options.options)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        Setting { threads: 2, cache, int8: true, alone: true, inputs }
    }

    #[test]
    fn the_options_of_cuda() {
        let options = format!(
            "{:?}",
            cuda(
                &Cuda::default()
                    .device(1)
                    .graphs(true)
                    .memory_limit(1 << 30)
                    .nhwc(true)
                    .search(ConvSearch::Heuristic)
                    .option("fuse_conv_bias", "1")
            )
        );
        for expected in [
            "\"fuse_conv_bias\": \"1\"",
            "\"gpu_mem_limit\": \"1073741824\"",
            "\"cudnn_conv_algo_search\": \"HEURISTIC\"",
            "\"device_id\": \"1\"",
            "\"enable_cuda_graph\": \"true\"",
            "\"use_tf32\": \"false\"",
            "\"prefer_nhwc\": \"true\"",
        ] {
            assert!(options.contains(expected), "{options} lacks {expected}");
        }
    }

    #[test]
    fn the_options_of_tensorrt() {
        let inputs = [("eps_0".to_string(), vec![6, 4, 4]), ("eps_1".to_string(), vec![24, 2, 2])];
        let all = TensorRt::default().fp16(true).batches([1, 4, 16]);
        let options = format!("{:?}", tensorrt(&all, &setting(&inputs, Some(Path::new("/engines")))));
        for expected in [
            "\"trt_profile_min_shapes\": \"eps_0:1x6x4x4,eps_1:1x24x2x2\"",
            "\"trt_profile_opt_shapes\": \"eps_0:4x6x4x4,eps_1:4x24x2x2\"",
            "\"trt_profile_max_shapes\": \"eps_0:16x6x4x4,eps_1:16x24x2x2\"",
            "\"trt_fp16_enable\": \"true\"",
            "\"trt_int8_enable\": \"true\"",
            "\"trt_engine_cache_enable\": \"true\"",
            "\"trt_engine_cache_path\": \"/engines\"",
        ] {
            assert!(options.contains(expected), "{options} lacks {expected}");
        }
        let behind = Setting { alone: false, ..setting(&inputs, None) };
        let behind = format!("{:?}", tensorrt(&all.clone().workspace(1 << 20), &behind));
        assert!(
            !behind.contains("profile") && behind.contains("\"trt_max_workspace_size\": \"1048576\""),
            "{behind}"
        );
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
