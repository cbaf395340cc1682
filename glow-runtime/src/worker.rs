//! A session, and the tensors that are bound to its inputs and outputs.
use crate::device::Device;
use crate::ports::{Element, Input, Output, Port};
use crate::provider::Provider;
use crate::session::{Model, SessionOptions};
use crate::weights::Weights;
use ort::AsPointer;
use ort::memory::Allocator;
use ort::session::{IoBinding, NoSelectedOutputs, RunOptions, Session};
use ort::value::DynTensor;
use std::ops::Range;
use std::sync::Arc;

/// A session that one thread at a time uses, with tensors of its own for its inputs and outputs: a call
/// copies to and from them, and allocates nothing.
pub(crate) struct Worker {
    // Dropped before the session, and that before the weights.
    bound: Vec<Bound>,
    session: Session,
    device: Option<Arc<dyn Device>>,
    rebinds: bool,
    captures_graphs: bool,
    _weights: Option<Arc<Weights>>,
}

/// The tensors of one batch size.
struct Bound {
    batch: usize,
    binding: IoBinding,
    inputs_are_bound: bool,
    inputs: Vec<Buffer>,
    outputs: Vec<Buffer>,
    /// For CUDA graphs: which one is to be captured or replayed.
    options: Option<RunOptions<NoSelectedOutputs>>,
}

/// A tensor in the host's memory, and the one on the device that it is copied to or from.
struct Buffer {
    host: DynTensor,
    device: Option<DynTensor>,
}

/// The batch sizes whose tensors are kept, those used last: enough for the powers of two up to 32.
const BATCHES: usize = 6;

impl Worker {
    pub fn new(session: Session, model: &Model, options: &SessionOptions) -> Self {
        let captures_graphs = options.providers.iter().any(Provider::captures_graphs);
        Self {
            bound: Vec::new(),
            session,
            device: options.device.clone(),
            rebinds: rebinds(&options.providers),
            captures_graphs,
            _weights: model.constants.as_ref().map(|constants| constants.weights()),
        }
    }

    /// Runs the images of `range` and appends what comes out. `batch` of them are run, at least as many as
    /// there are in the range; what is computed for the others is left out.
    pub fn run(
        &mut self,
        ports: (&[Port], &[Port]),
        inputs: &[Input<'_>],
        range: Range<usize>,
        batch: usize,
        outputs: &mut [Output],
    ) -> ort::Result<()> {
        let images = range.len();
        let (rebinds, device) = (self.rebinds, self.device.clone());
        let bound = self.bind(ports, batch)?;
        for ((buffer, port), input) in bound.inputs.iter_mut().zip(ports.0).zip(inputs) {
            let size = port.size();
            let elements = range.start * size..range.end * size;
            match input {
                Input::Bytes(all) => copy(&all[elements], &mut buffer.host)?,
                Input::Floats(all) => copy(&all[elements], &mut buffer.host)?,
                Input::Labels(all) => copy(&all[elements], &mut buffer.host)?,
            }
            if let (Some(device), Some(there)) = (&device, &mut buffer.device) {
                device.upload(&buffer.host, there)?;
            }
        }
        if rebinds || !bound.inputs_are_bound {
            for (buffer, port) in bound.inputs.iter().zip(ports.0) {
                bound.binding.bind_input(&port.name, buffer.device.as_ref().unwrap_or(&buffer.host))?;
            }
            bound.inputs_are_bound = true;
        }
        let options = bound.options.as_ref().map_or(std::ptr::null(), AsPointer::ptr);
        let binding = bound.binding.ptr();
        // SAFETY: the binding is that of this session, and `&mut self` keeps other threads from both. The
        // crate's own `run_binding` would allocate a handle for each output, which are at hand here.
        unsafe {
            let run = ort::api().RunWithBinding;
            let session = self.session.ptr().cast_mut();
            ort::Error::<()>::result_from_status(run(session, options, binding))?;
        }
        let bound = self.bound.last_mut().expect("bound above");
        for ((buffer, port), output) in bound.outputs.iter_mut().zip(ports.1).zip(outputs) {
            if let (Some(device), Some(there)) = (&device, &buffer.device) {
                device.download(there, &mut buffer.host)?;
            }
            let elements = ..images * port.size();
            match port.element {
                Element::U8 => {
                    output.bytes.extend_from_slice(&buffer.host.try_extract_tensor()?.1[elements]);
                }
                _ => output.floats.extend_from_slice(&buffer.host.try_extract_tensor()?.1[elements]),
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
            let mut bound = self.buffers(outputs, batch)?;
            for (buffer, port) in bound.iter_mut().zip(outputs) {
                binding.bind_output(&port.name, buffer.device.as_mut().unwrap_or(&mut buffer.host))?;
            }
            let mut options = None;
            if self.captures_graphs {
                let mut run = RunOptions::new()?;
                run.set("gpu_graph_id", batch.to_string())?;
                options = Some(run);
            }
            let outputs = bound;
            self.bound.push(Bound { batch, binding, inputs_are_bound: false, inputs, outputs, options });
        }
        Ok(self.bound.last_mut().expect("not empty"))
    }

    fn buffers(&self, ports: &[Port], batch: usize) -> ort::Result<Vec<Buffer>> {
        let buffer = |port: &Port| {
            let shape: Vec<usize> = [&[batch], &port.shape[..]].concat();
            let element = port.element.onnx();
            let device = self.device.as_ref();
            let device = device.map(|device| device.allocate(&self.session, element, &shape)).transpose()?;
            let mut host = DynTensor::new(&Allocator::default(), element, shape)?;
            // Images that only fill a batch up are computed as well: of numbers, not of what was there before.
            match port.element {
                Element::U8 => host.try_extract_tensor_mut::<u8>()?.1.fill(0),
                Element::F32 => host.try_extract_tensor_mut::<f32>()?.1.fill(0.0),
                Element::I64 => host.try_extract_tensor_mut::<i64>()?.1.fill(0),
            }
            Ok(Buffer { host, device })
        };
        ports.iter().map(buffer).collect()
    }
}

/// Whether inputs are bound anew for every run. ONNX Runtime copies an input when it is bound if the node that
/// reads it is on another device, and reads that copy from then on: unless all of it runs on the CPU, or
/// on the one device that a captured graph needs, what is written later might never be seen.
fn rebinds(providers: &[Provider]) -> bool {
    !providers.iter().all(Provider::is_cpu) && !providers.iter().any(Provider::captures_graphs)
}

fn copy<T: ort::value::PrimitiveTensorElementType + Copy>(from: &[T], to: &mut DynTensor) -> ort::Result<()> {
    to.try_extract_tensor_mut()?.1[..from.len()].copy_from_slice(from);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cuda;

    #[test]
    fn inputs_are_bound_once_only_where_nothing_is_copied() {
        let cuda = || Provider::Cuda(Cuda::default());
        let captured = || Provider::Cuda(Cuda::default().graphs(true));
        assert!(!rebinds(&[Provider::Cpu]));
        assert!(rebinds(&[cuda()]) && rebinds(&[cuda(), Provider::Cpu]));
        assert!(!rebinds(&[captured()]));
    }
}
