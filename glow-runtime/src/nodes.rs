//! Which provider runs which node, learnt from a run under ONNX Runtime's profiler.
use crate::folders::TemporaryFolder;
use crate::graph::Port;
use crate::session::{Model, SessionOptions};
use crate::{Error, GraphKind};
use ort::memory::Allocator;
use ort::session::{Session, SessionInputValue};
use ort::value::DynTensor;
use std::borrow::Cow;
use std::path::Path;

/// A node of the graph that is executed, and what executes it; see [`Glow::nodes`](crate::Glow::nodes).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    /// Its name. A node that fuses several has a name of ONNX Runtime's own.
    pub name: String,
    /// Its operator, such as `Conv`.
    pub operator: String,
    /// ONNX Runtime's name of the provider, such as `CUDAExecutionProvider`.
    pub provider: String,
}

/// Runs one image of zeros in a session of its own, and reads the profile. Every version of ONNX Runtime
/// has profiles; the calls that tell the same without a run are in the newest ones only.
pub(crate) fn nodes(
    model: &Model,
    kind: GraphKind,
    inputs: &[Port],
    options: &SessionOptions,
) -> Result<Vec<Node>, Error> {
    let temporary = std::env::temp_dir();
    let folder = TemporaryFolder::new(&temporary)
        .map_err(|source| Error::Write { path: temporary.clone(), source })?;
    let failed = |source: ort::Error| Error::Run { graph: kind, source: source.into() };
    let builder = options.builder(inputs)?.with_profiling(folder.path().join("profile"));
    let builder = builder.map_err(|error| failed(error.into()))?;
    let mut session = model.commit(builder).map_err(failed)?;
    let profile = run(&mut session, inputs).map_err(failed)?;
    read(Path::new(&profile))
}

fn run(session: &mut Session, inputs: &[Port]) -> ort::Result<String> {
    let mut feed: Vec<(Cow<'_, str>, SessionInputValue<'_>)> = Vec::new();
    for port in inputs {
        let shape: Vec<usize> = [&[1], &port.shape[..]].concat();
        let tensor = DynTensor::new(&Allocator::default(), port.element.onnx(), shape)?;
        feed.push((port.name.as_str().into(), tensor.into()));
    }
    session.run(feed)?;
    session.end_profiling()
}

fn read(profile: &Path) -> Result<Vec<Node>, Error> {
    let path = || profile.to_path_buf();
    let text = std::fs::read(profile).map_err(|source| Error::Read { path: path(), source })?;
    let events: Vec<serde_json::Value> = serde_json::from_slice(&text)
        .map_err(|error| Error::Read { path: path(), source: std::io::Error::other(error) })?;
    let node = |event: &serde_json::Value| {
        let part = |name: &str| event["args"][name].as_str().map(String::from);
        // One event a node; others tell of its fences, or of the whole run.
        let name = event["name"].as_str()?.strip_suffix("_kernel_time")?.to_string();
        Some(Node { name, operator: part("op_name")?, provider: part("provider")? })
    };
    Ok(events.iter().filter_map(node).collect())
}
