//! Loading a bundle.
use crate::graph::{Graph, SessionOptions};
use crate::{Error, Glow, GraphKind, library};
use glow_models::{Architecture, Bundle, WEIGHTS_FILE};
use std::path::{Path, PathBuf};

/// What executes the graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Provider {
    /// ONNX Runtime's own kernels on the CPU.
    #[default]
    Cpu,
}

impl std::fmt::Display for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu => f.write_str("CPU"),
        }
    }
}

/// How a bundle is loaded; see [`Glow::builder`].
///
/// ```no_run
/// # fn main() -> Result<(), glow_runtime::Error> {
/// let sampler = glow_runtime::Glow::builder().threads(2).decoder_only().load("models/faces")?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct GlowBuilder {
    provider: Provider,
    threads: Option<usize>,
    spinning: bool,
    onnxruntime: Option<PathBuf>,
    only: Option<GraphKind>,
    verify: bool,
    max_batch: Option<usize>,
}

impl Default for GlowBuilder {
    fn default() -> Self {
        Self {
            provider: Provider::default(),
            threads: None,
            spinning: false,
            onnxruntime: None,
            only: None,
            verify: true,
            max_batch: None,
        }
    }
}

impl GlowBuilder {
    /// What executes the graphs. Default [`Provider::Cpu`].
    pub fn provider(mut self, provider: Provider) -> Self {
        self.provider = provider;
        self
    }

    /// Threads that work on one call. Default: one a physical core.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Whether threads wait for work by spinning: faster for a server that is never idle, but for a
    /// while after each call it keeps the cores busy. Default false.
    pub fn spinning(mut self, spinning: bool) -> Self {
        self.spinning = spinning;
        self
    }

    /// The ONNX Runtime library, or the folder that it is in. Default: the first of
    ///
    /// 1. the environment variable `ORT_DYLIB_PATH`,
    /// 2. the executable's folder,
    /// 3. the folder that `make setup` fills, of the checkout that this crate was compiled in.
    ///
    /// A process uses one library: the first that a bundle was loaded with. To ask for another one
    /// later is an error; not to ask is not.
    pub fn onnxruntime(mut self, path: impl Into<PathBuf>) -> Self {
        self.onnxruntime = Some(path.into());
        self
    }

    /// Loads only what [`Glow::encode`] and [`Glow::log_prob`] need.
    pub fn encoder_only(mut self) -> Self {
        self.only = Some(GraphKind::Encoder);
        self
    }

    /// Loads only what [`Glow::sample`] and [`Glow::decode`] need.
    pub fn decoder_only(mut self) -> Self {
        self.only = Some(GraphKind::Decoder);
        self
    }

    /// Whether size and SHA-256 of each file that is loaded are compared with the manifest; takes a
    /// second for about a gigabyte. Default true.
    pub fn verify(mut self, verify: bool) -> Self {
        self.verify = verify;
        self
    }

    /// The most images that run at once: larger batches go through in chunks, to the same result.
    /// Default: 32, and fewer where the network's activations are so large that it would take
    /// gigabytes.
    pub fn max_batch(mut self, images: usize) -> Self {
        self.max_batch = Some(images);
        self
    }

    /// Loads the bundle in a folder.
    ///
    /// # Errors
    /// [`Error::Bundle`] if files are missing or damaged, [`Error::Load`] and [`Error::Graph`] if
    /// they are not a Glow's, [`Error::LibraryNotFound`] and its like without an ONNX Runtime that
    /// can be used, [`Error::Option`] for 0 threads or a `max_batch` of 0.
    pub fn load(self, folder: impl AsRef<Path>) -> Result<Glow, Error> {
        for (option, value) in [("threads", self.threads), ("max_batch", self.max_batch)] {
            if value == Some(0) {
                return Err(Error::Option { option, value: "0".into(), allowed: "at least 1" });
            }
        }
        let bundle = Bundle::open(folder.as_ref())?;
        let kinds = match self.only {
            Some(kind) => vec![kind],
            None => vec![GraphKind::Encoder, GraphKind::Decoder],
        };
        if self.verify {
            for file in kinds.iter().map(|kind| kind.file()).chain([WEIGHTS_FILE]) {
                bundle.verify(file)?;
            }
        }
        for kind in &kinds {
            bundle.check_graph(kind.file())?;
        }
        let library = library::start(self.onnxruntime.as_deref())?;
        let options = SessionOptions { threads: self.threads, spinning: self.spinning };
        let architecture = &bundle.manifest().architecture;
        let graph = |kind: GraphKind| {
            if !kinds.contains(&kind) {
                return Ok(None);
            }
            Graph::load(&library, &bundle.path(kind.file()), kind, architecture, &options).map(Some)
        };
        Ok(Glow {
            encoder: graph(GraphKind::Encoder)?,
            decoder: graph(GraphKind::Decoder)?,
            provider: self.provider,
            onnxruntime: library.info,
            chunk: self.max_batch.unwrap_or_else(|| chunk(architecture)),
            bundle,
        })
    }
}

/// Bytes that one hidden activation of a chunk may take; a few of them are alive at once.
const ACTIVATION_BUDGET: usize = 64 << 20;

/// The default of `max_batch`.
fn chunk(architecture: &Architecture) -> usize {
    let activation =
        size_of::<f32>() * architecture.hidden * (architecture.height / 2) * (architecture.width / 2);
    (ACTIVATION_BUDGET / activation).clamp(1, 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_shrink_as_images_grow() {
        let of = |size| chunk(&Architecture { height: size, width: size, ..Default::default() });
        assert_eq!([32, 64, 128, 256, 1024].map(of), [32, 32, 8, 2, 1]);
    }
}
