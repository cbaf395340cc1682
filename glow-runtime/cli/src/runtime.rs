//! Arguments that every command takes: how ONNX Runtime runs.
use crate::outputs;
use clap::Args;
use glow_runtime::{Glow, GlowBuilder, LoadStep, Provider};
use std::path::PathBuf;

/// How ONNX Runtime runs.
#[derive(Args)]
pub struct Runtime {
    /// Threads [default: one a physical core]
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<usize>,
    /// What executes the model, in order of preference: cpu, cuda, cuda:1, tensorrt, tensorrt:0/fp16,
    /// openvino, openvino:CPU/bf16, or auto alone; without cpu in the list, nothing runs there
    #[arg(long, global = true, value_name = "LIST", value_delimiter = ',', default_value = "cpu")]
    pub provider: Vec<Provider>,
    /// Folder for what is made of the model for this machine, so that it loads faster the next time; for
    /// TensorRT, minutes faster
    #[arg(long, global = true, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// ONNX Runtime's library, or its folder [default: ORT_DYLIB_PATH, the program's folder,
    /// `lib` beside that, the checkout's, the system's]
    #[arg(long, global = true, value_name = "PATH")]
    pub onnxruntime: Option<PathBuf>,
    /// Do not encode and decode an image after loading to see whether the provider computes accurately
    #[arg(long, global = true)]
    pub no_check: bool,
}

impl Runtime {
    /// The options for loading a bundle.
    pub fn builder(&self) -> GlowBuilder {
        let mut builder = Glow::builder()
            .providers(self.provider.iter().cloned())
            .check(!self.no_check)
            .on_progress(report);
        if let Some(folder) = &self.cache {
            builder = builder.cache(folder);
        }
        if let Some(threads) = self.threads {
            builder = builder.threads(threads);
        }
        if let Some(path) = &self.onnxruntime {
            builder = builder.onnxruntime(path);
        }
        builder
    }
}

/// Tells of what takes long, such as the building of an engine, and of what is not as it was asked for.
fn report(step: LoadStep) {
    match step {
        LoadStep::Building { graph, elapsed }
            if elapsed.as_secs() >= 5 && elapsed.as_secs().is_multiple_of(5) =>
        {
            outputs::say(&format!("building the {graph} for {} s", elapsed.as_secs()));
        }
        LoadStep::PassedOver { provider, reason } => {
            outputs::say(&format!("{provider} is passed over: {reason}"));
        }
        LoadStep::CacheDamaged { entry, reason } => {
            outputs::say(&format!("the cache's {} is made again: {reason}", entry.display()));
        }
        LoadStep::WaitingForCache { entry } => {
            outputs::say(&format!("waiting for another process that fills the cache's {}", entry.display()));
        }
        LoadStep::NotCached { reason, .. } => {
            outputs::say(&format!("nothing is kept in the cache: {reason}"));
        }
        LoadStep::NotShared { reason } => {
            outputs::say(&format!("each session has weights of its own, as {reason}"));
        }
        _ => {}
    }
}
