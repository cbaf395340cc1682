//! Sessions of ONNX Runtime, and the tensors that are bound to their inputs and outputs.
use crate::graph::{Element, Input, Output, Port};
use crate::library::Library;
use crate::provider::{Provider, Setting};
use crate::weights::{Constants, Weights};
use crate::{Error, GraphKind};
use ort::AsPointer;
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::builder::{GraphOptimizationLevel, PrepackedWeights, SessionBuilder};
use ort::session::{IoBinding, NoSelectedOutputs, RunOptions, Session};
use ort::value::DynTensor;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// How sessions are made.
#[derive(Clone)]
pub(crate) struct SessionOptions {
    pub library: Library,
    pub providers: Vec<Provider>,
    pub threads: usize,
    pub spinning: bool,
    /// Where providers keep what they compile.
    pub cache: Option<PathBuf>,
    /// Whether sessions share what kernels make of the constants, which those of 8-bit convolutions cannot.
    pub prepacking: bool,
}

/// Sessions are created one at a time: concurrent creation has crashed ONNX Runtime.
static CREATION: Mutex<()> = Mutex::new(());

impl SessionOptions {
    /// A builder with everything but the constants.
    pub fn builder(&self, inputs: &[Port]) -> Result<SessionBuilder, Error> {
        let setting = Setting {
            threads: self.threads,
            cache: self.cache.as_deref(),
            inputs: &inputs.iter().map(|port| (port.name.clone(), port.shape.clone())).collect::<Vec<_>>(),
        };
        let environment = |source: ort::Error| Error::Environment { source: source.into() };
        let mut builder = self.plain_builder().map_err(environment)?;
        for provider in &self.providers {
            provider.check(&self.library)?;
            let Some(dispatch) = provider.dispatch(&setting) else { continue };
            builder = builder
                .with_execution_providers([dispatch])
                .map_err(|error| provider.unusable(error.message()))?;
        }
        if !self.providers.iter().any(Provider::is_cpu) {
            // Otherwise nodes that the provider does not take would land on the CPU unseen.
            builder = builder.with_disable_cpu_fallback().map_err(|error| environment(error.into()))?;
        }
        Ok(builder)
    }

    fn plain_builder(&self) -> ort::Result<SessionBuilder> {
        let builder = Session::builder(&self.library.environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_op_spinning(self.spinning)?
            .with_inter_op_spinning(self.spinning)?
            // Between calls they would take the cores from the other graph's threads.
            .with_config_entry("session.force_spinning_stop", "1")?
            .with_intra_threads(self.threads)?;
        Ok(builder)
    }

    /// Has ONNX Runtime optimise a graph for this machine's CPU and write what comes out, the large
    /// constants to a file of that name beside it.
    pub fn optimise(&self, graph: &Path, into: &Path, constants: &str) -> ort::Result<()> {
        let _one_at_a_time = CREATION.lock().unwrap_or_else(PoisonError::into_inner);
        self.plain_builder()?
            .with_optimized_model_path(into)?
            .with_config_entry("session.optimized_model_external_initializers_file_name", constants)?
            .with_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "256")?
            .commit_from_file(graph)?;
        Ok(())
    }
}

/// A graph's file, and what a session needs besides it.
pub(crate) struct Model {
    pub path: PathBuf,
    /// Constants that all sessions share, for the CPU.
    pub constants: Option<Constants>,
    /// What kernels make of the constants, likewise.
    pub prepacked: Option<PrepackedWeights>,
    /// Whether the graph has been optimised for this machine before.
    pub optimised: bool,
}

impl Model {
    pub fn session(&self, inputs: &[Port], options: &SessionOptions) -> Result<Session, Error> {
        let builder = options.builder(inputs)?;
        self.commit(builder).map_err(|source| match &options.providers[0] {
            Provider::Cpu => Error::Load { path: self.path.clone(), source: source.into() },
            provider => provider.unusable(source.message()),
        })
    }

    pub fn commit(&self, mut builder: SessionBuilder) -> ort::Result<Session> {
        let _one_at_a_time = CREATION.lock().unwrap_or_else(PoisonError::into_inner);
        if self.optimised {
            builder = builder.with_optimization_level(GraphOptimizationLevel::Disable)?;
        }
        if let Some(constants) = &self.constants {
            builder = constants.add_to(builder)?;
        }
        if let Some(prepacked) = &self.prepacked {
            builder = builder.with_prepacked_weights(prepacked)?;
        }
        builder.commit_from_file(&self.path)
    }
}

/// A session that one thread at a time uses, with tensors of its own for its inputs and outputs: a call
/// copies to and from them, and allocates nothing.
pub(crate) struct Worker {
    // Dropped before the session, and that before the weights.
    bound: Vec<Bound>,
    session: Session,
    /// The GPU that the bound tensors are on.
    device: Option<u32>,
    captures_graphs: bool,
    _weights: Option<Arc<Weights>>,
}

/// The tensors of one batch size.
struct Bound {
    batch: usize,
    binding: IoBinding,
    inputs: Vec<Buffer>,
    outputs: Vec<Buffer>,
    /// For CUDA graphs: which one is to be captured or replayed.
    options: Option<RunOptions<NoSelectedOutputs>>,
}

/// A tensor in memory, and the one on the device that it is copied to or from.
struct Buffer {
    host: DynTensor,
    device: Option<DynTensor>,
}

/// Batch sizes whose tensors are kept: the whole chunk, what remains of usual calls, and few more.
const BATCHES: usize = 4;

impl Worker {
    pub fn new(session: Session, model: &Model, options: &SessionOptions) -> Self {
        Self {
            bound: Vec::new(),
            session,
            device: options.providers.first().and_then(Provider::cuda_device),
            captures_graphs: options.providers.iter().any(Provider::captures_graphs),
            _weights: model.constants.as_ref().map(|constants| constants.weights()),
        }
    }

    /// Runs the images of `range` and appends what comes out.
    pub fn run(
        &mut self,
        ports: (&[Port], &[Port]),
        inputs: &[Input<'_>],
        range: Range<usize>,
        outputs: &mut [Output],
    ) -> ort::Result<()> {
        let bound = self.bind(ports, range.len())?;
        let Bound { binding, options, .. } = &*bound;
        let options = options.as_ref().map_or(std::ptr::null(), AsPointer::ptr);
        let binding = binding.ptr();
        for ((buffer, port), input) in bound.inputs.iter_mut().zip(ports.0).zip(inputs) {
            let size: usize = port.shape.iter().product();
            let elements = range.start * size..range.end * size;
            match input {
                Input::Bytes(all) => copy(&all[elements], &mut buffer.host)?,
                Input::Floats(all) => copy(&all[elements], &mut buffer.host)?,
                Input::Labels(all) => copy(&all[elements], &mut buffer.host)?,
            }
            if let Some(device) = &mut buffer.device {
                buffer.host.copy_into(device)?;
            }
        }
        // SAFETY: the binding is that of this session, and `&mut self` keeps other threads from both. The
        // crate's own `run_binding` would allocate a handle for each output, which are at hand here.
        unsafe {
            let run = ort::api().RunWithBinding;
            let session = self.session.ptr().cast_mut();
            ort::Error::<()>::result_from_status(run(session, options, binding))?;
        }
        let bound = self.bound.last_mut().expect("bound above");
        for ((buffer, port), output) in bound.outputs.iter_mut().zip(ports.1).zip(outputs) {
            if let Some(device) = &buffer.device {
                device.copy_into(&mut buffer.host)?;
            }
            match port.element {
                Element::U8 => output.bytes.extend_from_slice(buffer.host.try_extract_tensor()?.1),
                _ => output.floats.extend_from_slice(buffer.host.try_extract_tensor()?.1),
            }
        }
        Ok(())
    }

    /// The tensors of a batch size, which become the last of the list.
    fn bind(&mut self, (inputs, outputs): (&[Port], &[Port]), batch: usize) -> ort::Result<&mut Bound> {
        if let Some(place) = self.bound.iter().position(|bound| bound.batch == batch) {
            // The one unused for longest stays first.
            self.bound[place..].rotate_left(1);
        } else {
            // A captured graph stays with its addresses: it can be neither moved nor freed.
            if self.bound.len() == BATCHES && !self.captures_graphs {
                self.bound.remove(0);
            }
            let mut binding = self.session.create_binding()?;
            let inputs = self.buffers(inputs, batch)?;
            for (port, buffer) in &inputs {
                binding.bind_input(&port.name, buffer.device.as_ref().unwrap_or(&buffer.host))?;
            }
            let mut outputs = self.buffers(outputs, batch)?;
            for (port, buffer) in &mut outputs {
                binding.bind_output(&port.name, buffer.device.as_mut().unwrap_or(&mut buffer.host))?;
            }
            let mut options = None;
            if self.captures_graphs {
                let mut run = RunOptions::new()?;
                run.set("gpu_graph_id", batch.to_string())?;
                options = Some(run);
            }
            let [inputs, outputs] = [inputs, outputs].map(|all| all.into_iter().map(|(_, b)| b).collect());
            self.bound.push(Bound { batch, binding, inputs, outputs, options });
        }
        Ok(self.bound.last_mut().expect("not empty"))
    }

    fn buffers<'p>(&self, ports: &'p [Port], batch: usize) -> ort::Result<Vec<(&'p Port, Buffer)>> {
        let device = match self.device {
            None => None,
            Some(id) => Some(Allocator::new(
                &self.session,
                MemoryInfo::new(
                    AllocationDevice::CUDA,
                    id as i32,
                    AllocatorType::Device,
                    MemoryType::Default,
                )?,
            )?),
        };
        let buffer = |port: &'p Port| {
            let shape: Vec<usize> = [&[batch], &port.shape[..]].concat();
            let tensor = |allocator| DynTensor::new(allocator, port.element.onnx(), shape.clone());
            let device = device.as_ref().map(tensor).transpose()?;
            Ok((port, Buffer { host: tensor(&Allocator::default())?, device }))
        };
        ports.iter().map(buffer).collect()
    }
}

fn copy<T: ort::value::PrimitiveTensorElementType + Copy>(from: &[T], to: &mut DynTensor) -> ort::Result<()> {
    to.try_extract_tensor_mut()?.1.copy_from_slice(from);
    Ok(())
}

/// What a graph's worker fails with in the middle of a call.
pub(crate) fn failed(graph: GraphKind) -> impl Fn(ort::Error) -> Error {
    move |source| Error::Run { graph, source: source.into() }
}
