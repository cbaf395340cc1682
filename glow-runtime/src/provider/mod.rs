//! Execution providers.
mod text;

pub use text::ParseProviderError;

use glow_models::{Int8Layout, Precision};

/// An execution provider of ONNX Runtime: it runs the nodes of a graph on some kind of device.
///
/// [`GlowBuilder::providers`](crate::GlowBuilder::providers) takes a list of them. Each node goes to the first
/// that can run it, and every provider in the list must be usable: one that is not is an error
/// that says why. Only [`Provider::Auto`] falls back.
///
/// In text, as the program `glow` takes it: `auto`, `cpu`, `cuda`, `cuda:1`, `tensorrt:0/fp16`,
/// `openvino`, `openvino:CPU/bf16`.
///
/// Bundles in int8 run on the CPU and with OpenVINO. Those exported for TensorRT run there too; CUDA has no integer
/// convolutions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Provider {
    /// CUDA if that works, otherwise OpenVINO if this crate is built with it and the library has it,
    /// otherwise the CPU. It must be alone in its list. [`Glow::providers`](crate::Glow::providers) tells
    /// which one it chose, [`Glow::passed_over`](crate::Glow::passed_over) why it did not choose the ones before.
    Auto,
    /// ONNX Runtime's own kernels on the CPU.
    #[default]
    Cpu,
    /// An NVIDIA GPU, through cuDNN and cuBLAS.
    Cuda(Cuda),
    /// An NVIDIA GPU, through an engine that TensorRT builds for it: this takes minutes at the first loading, and
    /// is not repeated if there is a [cache](crate::GlowBuilder::cache).
    TensorRt(TensorRt),
    /// Intel's OpenVINO, the fastest on many CPUs, those of AMD too. Needs an ONNX Runtime that is built
    /// with it (`make setup OPENVINO=1`).
    #[cfg(feature = "openvino")]
    OpenVino(OpenVino),
}

/// Options of [`Provider::Cuda`].
///
/// ```
/// use glow_runtime::{Cuda, Provider};
///
/// let provider = Provider::Cuda(Cuda::default().device(1).nhwc(true).option("fuse_conv_bias", "1"));
/// assert_eq!(provider.to_string(), "CUDA, device 1");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Cuda {
    /// Number of the GPU. Default 0.
    pub device: u32,
    /// Whether each batch size is captured as a CUDA graph, which saves the cost of
    /// launching thousands of kernels. Every node must then run on the GPU. Default false.
    ///
    /// Experimental. CUDA must be the only provider, and there must be one [session](crate::GlowBuilder::sessions).
    /// Each graph of the model runs on a thread of its own, whoever calls, as ONNX Runtime captures for the thread that
    /// runs. While a batch size is captured, at its first run, nothing in the process may allocate
    /// memory of a GPU: this crate sees to that for itself, and other code that uses the GPU must be idle. So
    /// [warm up](crate::GlowBuilder::warm_up) every size while loading.
    pub graphs: bool,
    /// Whether products may be computed in TF32, with ten bits of mantissa: faster, and reconstruction
    /// is no longer exact. Default false. cuDNN may use it in spite of this;
    /// `NVIDIA_TF32_OVERRIDE=0` in the environment forbids it to every library.
    pub tf32: bool,
    /// The most bytes of the GPU's memory that each graph's session may take for weights and activations; what cuDNN
    /// needs for its convolutions is not in it. Beyond it a call fails with
    /// [`RunFailure::OutOfMemory`](crate::RunFailure::OutOfMemory). Default: no limit.
    pub memory_limit: Option<usize>,
    /// Whether convolutions get their tensors in the layout NHWC, which tensor cores want: faster in half precision.
    /// ONNX Runtime must be built with such kernels. Default false.
    pub nhwc: bool,
    /// How cuDNN's algorithm for a convolution is found, at the first run of each batch size. Default
    /// [`ConvSearch::Exhaustive`].
    pub search: ConvSearch,
    /// Further options of ONNX Runtime's CUDA provider, by its own names; they override the others.
    pub options: Vec<(String, String)>,
}

/// How cuDNN's algorithm for a convolution is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ConvSearch {
    /// All are timed. This takes seconds for each new batch size, and memory as the hungriest algorithm needs it.
    #[default]
    Exhaustive,
    /// cuDNN's own guess: at once, and mostly the same.
    Heuristic,
    /// The algorithm that needs no further memory.
    Default,
}

/// Options of [`Provider::TensorRt`].
///
/// TensorRT computes float32 convolutions and products in TF32, with ten bits of mantissa, and ONNX Runtime has
/// no option against it: set `NVIDIA_TF32_OVERRIDE=0` in the environment, before the process first uses
/// CUDA, where reconstruction must be exact.
///
/// Alone in its list, TensorRT must take every node, and its engines are built for [`TensorRt::batches`] at loading.
/// With other providers behind it, each part of a graph that it takes becomes an engine whose range of batch sizes is
/// learnt from the runs: loading runs all three of [`TensorRt::batches`], so that no call builds one anew.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TensorRt {
    /// Number of the GPU. Default 0.
    pub device: u32,
    /// Whether TensorRT may compute in half precision. It chooses where, by speed: not only in the coupling networks, as
    /// bundles in fp16 do, but anywhere in the flow as well, so that likelihoods and reconstructions are less
    /// exact than the bundle's card says. Bundles in fp16 need it. Default false.
    pub fp16: bool,
    /// The smallest, the usual and the largest batch that the engine is built for. Smaller batches are filled
    /// up, larger ones go through in chunks. Default 1, 8 and 32.
    pub batches: [usize; 3],
    /// The most bytes of the GPU's memory that an engine may take for intermediate results. Default: TensorRT's own
    /// limit, all of the memory.
    pub workspace: Option<usize>,
    /// Further options of ONNX Runtime's TensorRT provider, by its own names; they override the others.
    pub options: Vec<(String, String)>,
}

impl Default for TensorRt {
    fn default() -> Self {
        Self { device: 0, fp16: false, batches: [1, 8, 32], workspace: None, options: Vec::new() }
    }
}

/// Options of [`Provider::OpenVino`].
#[cfg(feature = "openvino")]
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenVino {
    /// OpenVINO's name of the device, such as `CPU`, `GPU` or `GPU.1`. Default `CPU`.
    pub device: String,
    /// Number format of the products. Default [`OpenVinoPrecision::F32`].
    pub precision: OpenVinoPrecision,
    /// Further options of ONNX Runtime's OpenVINO provider, by its own names; they override the others.
    pub options: Vec<(String, String)>,
}

#[cfg(feature = "openvino")]
impl Default for OpenVino {
    fn default() -> Self {
        Self { device: "CPU".into(), precision: OpenVinoPrecision::F32, options: Vec::new() }
    }
}

/// OpenVINO's hint for the number format of products.
#[cfg(feature = "openvino")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OpenVinoPrecision {
    /// 32-bit float: reconstruction is exact.
    #[default]
    F32,
    /// bfloat16, on CPUs that have it; on others OpenVINO computes in float.
    Bf16,
    /// Half precision, on GPUs.
    F16,
}

impl Cuda {
    /// Sets [`Cuda::device`].
    pub fn device(mut self, device: u32) -> Self {
        self.device = device;
        self
    }

    /// Sets [`Cuda::graphs`].
    pub fn graphs(mut self, graphs: bool) -> Self {
        self.graphs = graphs;
        self
    }

    /// Sets [`Cuda::tf32`].
    pub fn tf32(mut self, tf32: bool) -> Self {
        self.tf32 = tf32;
        self
    }

    /// Sets [`Cuda::memory_limit`].
    pub fn memory_limit(mut self, bytes: impl Into<Option<usize>>) -> Self {
        self.memory_limit = bytes.into();
        self
    }

    /// Sets [`Cuda::nhwc`].
    pub fn nhwc(mut self, nhwc: bool) -> Self {
        self.nhwc = nhwc;
        self
    }

    /// Sets [`Cuda::search`].
    pub fn search(mut self, search: ConvSearch) -> Self {
        self.search = search;
        self
    }

    /// Adds to [`Cuda::options`].
    pub fn option(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.push((name.into(), value.into()));
        self
    }
}

impl TensorRt {
    /// Sets [`TensorRt::device`].
    pub fn device(mut self, device: u32) -> Self {
        self.device = device;
        self
    }

    /// Sets [`TensorRt::fp16`].
    pub fn fp16(mut self, fp16: bool) -> Self {
        self.fp16 = fp16;
        self
    }

    /// Sets [`TensorRt::batches`].
    pub fn batches(mut self, batches: [usize; 3]) -> Self {
        self.batches = batches;
        self
    }

    /// Sets [`TensorRt::workspace`].
    pub fn workspace(mut self, bytes: impl Into<Option<usize>>) -> Self {
        self.workspace = bytes.into();
        self
    }

    /// Adds to [`TensorRt::options`].
    pub fn option(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.push((name.into(), value.into()));
        self
    }
}

#[cfg(feature = "openvino")]
impl OpenVino {
    /// Sets [`OpenVino::device`].
    pub fn device(mut self, device: impl Into<String>) -> Self {
        self.device = device.into();
        self
    }

    /// Sets [`OpenVino::precision`].
    pub fn precision(mut self, precision: OpenVinoPrecision) -> Self {
        self.precision = precision;
        self
    }

    /// Adds to [`OpenVino::options`].
    pub fn option(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.push((name.into(), value.into()));
        self
    }
}

impl Provider {
    pub(crate) fn is_cpu(&self) -> bool {
        matches!(self, Self::Cpu)
    }

    pub(crate) fn is_openvino(&self) -> bool {
        #[cfg(feature = "openvino")]
        return matches!(self, Self::OpenVino(_));
        #[cfg(not(feature = "openvino"))]
        return false;
    }

    /// Whether its tensors are on an NVIDIA GPU, and on which.
    pub(crate) fn cuda_device(&self) -> Option<u32> {
        match self {
            Self::Cuda(options) => Some(options.device),
            Self::TensorRt(options) => Some(options.device),
            _ => None,
        }
    }

    /// Whether it compiles the graphs into something that a cache can keep.
    pub(crate) fn compiles(&self) -> bool {
        matches!(self, Self::TensorRt(_)) || self.is_openvino()
    }

    /// The batch sizes that loading must run, as the provider learns from them what it is to be ready for.
    pub(crate) fn to_learn(providers: &[Self]) -> Vec<usize> {
        match providers {
            [_] => Vec::new(),
            all => all
                .iter()
                .filter_map(|provider| match provider {
                    Self::TensorRt(options) => Some(options.batches),
                    _ => None,
                })
                .flatten()
                .collect(),
        }
    }

    pub(crate) fn captures_graphs(&self) -> bool {
        matches!(self, Self::Cuda(Cuda { graphs: true, .. }))
    }

    /// The same, without CUDA graphs.
    pub(crate) fn without_graphs(self) -> Self {
        match self {
            Self::Cuda(options) => Self::Cuda(options.graphs(false)),
            other => other,
        }
    }

    /// The fewest and the most images at once that it allows.
    pub(crate) fn batches(&self) -> Option<(usize, usize)> {
        match self {
            Self::TensorRt(options) => Some((options.batches[0], options.batches[2])),
            _ => None,
        }
    }

    /// Why it cannot run bundles of this precision and, of int8, of this layout, and the way out; `None` if it can.
    pub(crate) fn refuses(&self, precision: Precision, layout: Int8Layout) -> Option<&'static str> {
        match (self, precision) {
            (Self::TensorRt(_), Precision::Int8) if layout == Int8Layout::TensorRt => None,
            (Self::Cuda(_) | Self::TensorRt(_), Precision::Int8) => Some(
                "the bundle is in int8, in a quantised form that it does not run in integers; export it in fp32 or fp16 \
                 for a GPU, or with `--precision int8 --for tensorrt` for TensorRT",
            ),
            (Self::TensorRt(TensorRt { fp16: false, .. }), Precision::Fp16) => Some(
                "the bundle is in fp16, for which TensorRT must be allowed half precision: `tensorrt:0/fp16`",
            ),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensorrt_learns_where_it_may_fall_back() {
        let (cuda, tensorrt) = (Provider::Cuda(Cuda::default()), Provider::TensorRt(TensorRt::default()));
        assert_eq!(Provider::to_learn(&[tensorrt.clone(), cuda.clone()]), [1, 8, 32]);
        assert!(Provider::to_learn(&[tensorrt]).is_empty());
        assert!(Provider::to_learn(&[cuda, Provider::Cpu]).is_empty());
    }

    #[test]
    fn gpus_refuse_what_their_kernels_do_not_take() {
        let (cuda, tensorrt) = (Provider::Cuda(Cuda::default()), Provider::TensorRt(TensorRt::default()));
        let half = Provider::TensorRt(TensorRt::default().fp16(true));
        for (provider, expected) in [
            (&Provider::Cpu, [false, false, false, false]),
            (&cuda, [false, false, true, true]),
            (&tensorrt, [false, true, true, false]),
            (&half, [false, false, true, false]),
        ] {
            let refused = [
                (Precision::Fp32, Int8Layout::Cpu),
                (Precision::Fp16, Int8Layout::Cpu),
                (Precision::Int8, Int8Layout::Cpu),
                (Precision::Int8, Int8Layout::TensorRt),
            ]
            .map(|(precision, layout)| provider.refuses(precision, layout).is_some());
            assert_eq!(refused, expected, "{provider}");
        }
    }
}
