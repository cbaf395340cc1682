//! Which provider runs which node, learnt from a run under ONNX Runtime's profiler.
use crate::load::cache;
use crate::ports::{self, Port};
use crate::session::{Model, SessionOptions};
use crate::{Error, Glow, GraphKind, Provider};
use ort::memory::Allocator;
use ort::session::{Session, SessionInputValue};
use ort::value::DynTensor;
use std::borrow::Cow;
use std::path::Path;

/// A node of the graph that is executed, and what executes it; see [`Glow::nodes`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Node {
    /// Its name. A node that fuses several has a name of ONNX Runtime's own.
    pub name: String,
    /// Its operator, such as `Conv`.
    pub operator: String,
    /// ONNX Runtime's name of the provider, such as `CUDAExecutionProvider`.
    pub provider: String,
}

impl Glow {
    /// Which provider runs which node of a graph. This runs one image in a further session, under ONNX
    /// Runtime's profiler; the session is made of the same graph as the others, on the CPU that which ONNX Runtime has optimised, with the
    /// same options. The profile is a file in the temporary folder.
    ///
    /// # Errors
    /// [`Error::NotLoaded`] for a graph that was left out, [`Error::Run`], [`Error::Write`] and [`Error::Read`] if the
    /// profile cannot be made, and those of [`GlowBuilder::load`](crate::GlowBuilder::load).
    pub fn nodes(&self, graph: GraphKind) -> Result<Vec<Node>, Error> {
        let model = self.models.iter().find(|(kind, _)| *kind == graph).map(|(_, model)| model);
        let inputs = ports::of(graph, self.architecture()).inputs;
        // A CUDA graph is captured of what is bound, and hides its nodes from the profiler.
        let providers =
            self.session_options.providers.iter().cloned().map(Provider::without_graphs).collect();
        let options = SessionOptions { providers, captures: false, ..self.session_options.clone() };
        nodes(model.ok_or(Error::NotLoaded { graph })?, graph, &inputs, &options)
    }
}

/// Runs one image of zeros in a session of its own, and reads the profile. Every version of ONNX Runtime
/// has profiles; the calls that tell the same without a run are in the newest ones only.
fn nodes(
    model: &Model,
    kind: GraphKind,
    inputs: &[Port],
    options: &SessionOptions,
) -> Result<Vec<Node>, Error> {
    let temporary = std::env::temp_dir();
    let folder = cache::temporary(&temporary).map_err(Error::writing(&temporary))?;
    let failed = Error::run(kind);
    let builder = options.builder(inputs)?.with_profiling(folder.path().join("profile"));
    let builder = builder.map_err(|error| failed(error.into()))?;
    let mut session = model.commit(builder).map_err(&failed)?;
    let profile = run(&mut session, inputs, options.batch.unwrap_or(1)).map_err(&failed)?;
    read(Path::new(&profile))
}

fn run(session: &mut Session, inputs: &[Port], batch: usize) -> ort::Result<String> {
    let mut feed: Vec<(Cow<'_, str>, SessionInputValue<'_>)> = Vec::new();
    for port in inputs {
        let shape: Vec<usize> = [&[batch], &port.shape[..]].concat();
        let tensor = DynTensor::new(&Allocator::default(), port.element.onnx(), shape)?;
        feed.push((port.name.as_str().into(), tensor.into()));
    }
    session.run(feed)?;
    session.end_profiling()
}

fn read(profile: &Path) -> Result<Vec<Node>, Error> {
    let reading = Error::reading(profile);
    let text = std::fs::read(profile).map_err(&reading)?;
    let events: Vec<serde_json::Value> =
        serde_json::from_slice(&text).map_err(|error| reading(error.into()))?;
    let node = |event: &serde_json::Value| {
        let part = |name: &str| event["args"][name].as_str().map(String::from);
        // One event a node; others tell of its fences, or of the whole run.
        let name = event["name"].as_str()?.strip_suffix("_kernel_time")?.to_string();
        Some(Node { name, operator: part("op_name")?, provider: part("provider")? })
    };
    Ok(events.iter().filter_map(node).collect())
}
