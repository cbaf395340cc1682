//! A session, and the tensors of its inputs and outputs.
use crate::device::{self, Device, Memory};
use crate::host_tensor::HostTensor;
use crate::ports::{Element, Input, Output, Port, Ports, Wanted};
use crate::session::{Model, SessionOptions};
use crate::weights::Weights;
use ort::AsPointer;
use ort::session::{IoBinding, NoSelectedOutputs, RunOptions, Session};
use smallvec::SmallVec;
use std::ffi::{CString, c_char};
use std::ops::Range;
use std::sync::Arc;

/// A session that one thread at a time uses, with tensors of its own for its inputs and outputs: a call
/// copies to and from them, and allocates nothing.
pub(crate) struct Worker {
    // Dropped before the session, and that before the weights.
    bound: Vec<Bound>,
    session: Session,
    ports: Arc<Ports>,
    names: Names,
    device: Option<Arc<dyn Device>>,
    /// Whether each batch size is captured as a CUDA graph.
    captures: bool,
    _weights: Option<Arc<Weights>>,
}

/// What is to be run.
#[derive(Clone)]
pub(crate) struct Work {
    /// Images of the inputs.
    pub range: Range<usize>,
    /// Images that are run, at least as many as there are in the range; what is computed for the others is left out.
    pub batch: usize,
    /// The number of the first in what comes out.
    pub first: usize,
    /// What of the outputs.
    pub wanted: Wanted,
}

/// The tensors of one batch size.
struct Bound {
    batch: usize,
    captured: Option<Captured>,
    inputs: Vec<HostTensor>,
    outputs: Vec<HostTensor>,
}

/// For CUDA graphs, which read and write the same addresses of the GPU at each replay.
struct Captured {
    // Dropped before the memory that it names.
    binding: IoBinding,
    inputs: Vec<Box<dyn Memory>>,
    outputs: Vec<Box<dyn Memory>>,
    /// Which graph is to be captured or replayed.
    options: RunOptions<NoSelectedOutputs>,
}

/// The names of inputs and outputs, as C has them.
struct Names {
    inputs: Vec<CString>,
    outputs: Vec<CString>,
}

/// The batch sizes whose tensors are kept, those used last: enough for the powers of two up to 32.
const BATCHES: usize = 6;

/// As many as most models have inputs, without the heap.
type Few<T> = SmallVec<[T; 8]>;

impl Worker {
    pub fn new(session: Session, model: &Model, ports: Arc<Ports>, options: &SessionOptions) -> Self {
        let names = |ports: &[Port]| {
            let name = |port: &Port| CString::new(port.name.as_str()).expect("names are the architecture's");
            ports.iter().map(name).collect()
        };
        Self {
            bound: Vec::new(),
            session,
            names: Names { inputs: names(&ports.inputs), outputs: names(&ports.outputs) },
            ports,
            device: options.device.clone(),
            captures: options.captures,
            _weights: model.constants.as_ref().map(|constants| constants.weights()),
        }
    }

    /// Runs some images and appends what comes out.
    pub fn run(&mut self, inputs: &[Input<'_>], work: &Work, outputs: &mut [Output]) -> ort::Result<()> {
        let is_new = self.bound.iter().all(|bound| bound.batch != work.batch);
        // What frees or allocates the device's memory keeps out of the captures of others.
        let _allocating = (self.device.is_some() && !(self.captures && is_new)).then(device::allocating);
        let _capturing = (self.captures && is_new).then(device::capturing);
        self.bind(work.batch)?;
        let images = work.range.len();
        let bound = self.bound.last_mut().expect("bound above");
        let device = self.device.as_deref();
        for ((tensor, port), input) in bound.inputs.iter_mut().zip(&self.ports.inputs).zip(inputs) {
            tensor.write(input, work.range.start * port.size()..work.range.end * port.size());
        }
        match (&mut bound.captured, device) {
            (Some(captured), Some(device)) => {
                // The images that fill the batch up as well.
                for ((from, to), port) in
                    bound.inputs.iter().zip(&mut captured.inputs).zip(&self.ports.inputs)
                {
                    device.upload(from.value(), to.as_mut(), from.bytes_of(work.batch * port.size()))?;
                }
                run_binding(&mut self.session, captured)?;
                for (i, (from, to)) in captured.outputs.iter().zip(&mut bound.outputs).enumerate() {
                    if work.wanted.needs(i) {
                        let bytes = to.bytes_of(images * self.ports.outputs[i].size());
                        device.download(from.as_ref(), to.value_mut(), bytes)?;
                    }
                }
            }
            _ => run_in_place(&mut self.session, &self.names, bound, work.wanted)?,
        }
        for (i, (tensor, port)) in bound.outputs.iter().zip(&self.ports.outputs).enumerate() {
            outputs[i].append(tensor, port, images, work, i);
        }
        Ok(())
    }

    /// Makes the tensors of a batch size the last of the list.
    fn bind(&mut self, batch: usize) -> ort::Result<()> {
        if let Some(place) = self.bound.iter().position(|bound| bound.batch == batch) {
            // The one unused for longest stays first.
            self.bound[place..].rotate_left(1);
            return Ok(());
        }
        // A captured graph stays with its addresses: it can be neither moved nor freed.
        if self.bound.len() == BATCHES && !self.captures {
            self.bound.remove(0);
        }
        let device = self.device.as_deref();
        let tensors = |ports: &[Port]| -> ort::Result<Vec<HostTensor>> {
            ports.iter().map(|port| HostTensor::new(&self.session, device, port, batch)).collect()
        };
        let (inputs, outputs) = (tensors(&self.ports.inputs)?, tensors(&self.ports.outputs)?);
        let captured = match device {
            Some(device) if self.captures => Some(Captured::new(&self.session, device, &self.ports, batch)?),
            _ => None,
        };
        self.bound.push(Bound { batch, captured, inputs, outputs });
        Ok(())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _allocating = self.device.is_some().then(device::allocating);
        self.bound.clear();
    }
}

impl Captured {
    fn new(session: &Session, device: &dyn Device, ports: &Ports, batch: usize) -> ort::Result<Self> {
        let memory = |ports: &[Port]| -> ort::Result<Vec<Box<dyn Memory>>> {
            let one = |port: &Port| {
                let shape: Vec<usize> = [&[batch], &port.shape[..]].concat();
                device.allocate(session, port.element.onnx(), &shape)
            };
            ports.iter().map(one).collect()
        };
        let (inputs, mut outputs) = (memory(&ports.inputs)?, memory(&ports.outputs)?);
        let mut binding = session.create_binding()?;
        for (memory, port) in inputs.iter().zip(&ports.inputs) {
            binding.bind_input(&port.name, memory.tensor())?;
        }
        for (memory, port) in outputs.iter_mut().zip(&ports.outputs) {
            binding.bind_output(&port.name, memory.tensor_mut())?;
        }
        let mut options = RunOptions::new()?;
        options.set("gpu_graph_id", batch.to_string())?;
        Ok(Self { binding, inputs, outputs, options })
    }
}

/// Runs a session on the tensors of the host, out of which and into which ONNX Runtime copies what its providers need
/// elsewhere: at each run anew, and as a part of it.
fn run_in_place(session: &mut Session, names: &Names, bound: &mut Bound, wanted: Wanted) -> ort::Result<()> {
    let input_names: Few<*const c_char> = names.inputs.iter().map(|name| name.as_ptr()).collect();
    let inputs: Few<*const ort::sys::OrtValue> =
        bound.inputs.iter().map(|tensor| tensor.value().ptr()).collect();
    let (mut output_names, mut outputs) =
        (Few::<*const c_char>::new(), Few::<*mut ort::sys::OrtValue>::new());
    for (i, (name, tensor)) in names.outputs.iter().zip(&mut bound.outputs).enumerate() {
        if wanted.needs(i) {
            output_names.push(name.as_ptr());
            outputs.push(tensor.value_mut().ptr_mut());
        }
    }
    // SAFETY: the names are C strings and the values live tensors, as many as said; `&mut` keeps other threads from the
    // session and from the tensors. Outputs that are given are written in place. The crate's own `run` would make
    // new tensors for each call.
    unsafe {
        ort::Error::<()>::result_from_status((ort::api().Run)(
            session.ptr().cast_mut(),
            std::ptr::null(),
            input_names.as_ptr(),
            inputs.as_ptr(),
            inputs.len(),
            output_names.as_ptr(),
            output_names.len(),
            outputs.as_mut_ptr(),
        ))
    }
}

/// Runs a session on what is bound.
fn run_binding(session: &mut Session, captured: &mut Captured) -> ort::Result<()> {
    // SAFETY: the binding is that of this session, and `&mut` keeps other threads from both. The crate's own
    // `run_binding` would allocate a handle for each output, which are at hand here.
    unsafe {
        let run = ort::api().RunWithBinding;
        let (options, binding) = (captured.options.ptr(), captured.binding.ptr());
        ort::Error::<()>::result_from_status(run(session.ptr().cast_mut(), options, binding))
    }
}

impl Output {
    /// Appends the first images of a tensor, the output number `i`, as far as it is wanted.
    fn append(&mut self, tensor: &HostTensor, port: &Port, images: usize, work: &Work, i: usize) {
        if !work.wanted.needs(i) {
            return;
        }
        let size = port.size();
        match port.element {
            Element::U8 if work.wanted.values(i) => {
                self.bytes.extend_from_slice(&tensor.bytes()[..images * size]);
            }
            Element::F32 => {
                let floats = &tensor.floats()[..images * size];
                for (place, image) in floats.chunks_exact(size).enumerate() {
                    // Without a branch for each number.
                    if image.iter().fold(false, |found, value| found | !value.is_finite()) {
                        self.non_finite.push(work.first + place);
                    }
                }
                if work.wanted.values(i) {
                    self.floats.extend_from_slice(floats);
                }
            }
            _ => {}
        }
    }
}
