//! A device whose memory is the host's, kept apart from it: for the tests of what goes there and back.
use super::{Device, Memory};
use ort::memory::Allocator;
use ort::session::Session;
use ort::value::{DynTensor, TensorElementType};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::ThreadId;

/// New tensors hold what no model computes, NaN where they are of floats, so that a copy that is forgotten shows in
/// the results. Copies from or to the wrong side are refused. What happens is recorded.
#[derive(Clone, Default)]
pub(crate) struct Fake {
    events: Arc<Mutex<Vec<(Event, ThreadId)>>>,
    /// The addresses of the device's tensors that are there.
    memory: Arc<Mutex<Vec<usize>>>,
    /// Whether the device is lost.
    pub lost: Arc<AtomicBool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Pinned,
    Allocated,
    Uploaded,
    Downloaded,
    Freed,
}

impl Fake {
    fn record(&self, event: Event) {
        self.events.lock().unwrap().push((event, std::thread::current().id()));
    }

    /// How often something happened.
    pub fn count(&self, event: Event) -> usize {
        self.events.lock().unwrap().iter().filter(|(other, _)| *other == event).count()
    }

    /// The threads that had to do with it.
    pub fn threads(&self) -> Vec<ThreadId> {
        let mut threads: Vec<ThreadId> = Vec::new();
        for (_, thread) in self.events.lock().unwrap().iter() {
            if !threads.contains(thread) {
                threads.push(*thread);
            }
        }
        threads
    }

    /// The device's tensors that are there.
    pub fn memory(&self) -> MutexGuard<'_, Vec<usize>> {
        self.memory.lock().unwrap()
    }

    fn check(&self, host: &DynTensor, device: &DynTensor) -> ort::Result<()> {
        if self.lost.load(Ordering::Relaxed) {
            return Err(ort::Error::new("CUDA failure 700: an illegal memory access was encountered"));
        }
        let is_here = |tensor: &DynTensor| self.memory().contains(&tensor.data_ptr().addr());
        match !is_here(host) && is_here(device) {
            true => Ok(()),
            false => Err(ort::Error::new("a copy from or to the wrong side")),
        }
    }
}

/// Fills a tensor of any type: with NaN where it is of floats.
fn poison(tensor: &mut DynTensor, element: TensorElementType, shape: &[usize]) {
    let bytes = element.byte_size(shape.iter().product()).expect("numbers of a fixed size");
    // SAFETY: the tensor is new and has so many bytes.
    unsafe { std::ptr::write_bytes(tensor.data_ptr_mut().cast::<u8>(), 0xFF, bytes) };
}

struct Poisoned {
    tensor: DynTensor,
    fake: Fake,
}

impl Memory for Poisoned {
    fn tensor(&self) -> &DynTensor {
        &self.tensor
    }

    fn tensor_mut(&mut self) -> &mut DynTensor {
        &mut self.tensor
    }
}

impl Drop for Poisoned {
    fn drop(&mut self) {
        let address = self.tensor.data_ptr().addr();
        self.fake.memory().retain(|other| *other != address);
        self.fake.record(Event::Freed);
    }
}

impl Device for Fake {
    fn host(
        &self,
        _session: &Session,
        element: TensorElementType,
        shape: &[usize],
    ) -> ort::Result<DynTensor> {
        let mut tensor = DynTensor::new(&Allocator::default(), element, shape)?;
        poison(&mut tensor, element, shape);
        self.record(Event::Pinned);
        Ok(tensor)
    }

    fn allocate(
        &self,
        _session: &Session,
        element: TensorElementType,
        shape: &[usize],
    ) -> ort::Result<Box<dyn Memory>> {
        let mut tensor = DynTensor::new(&Allocator::default(), element, shape)?;
        poison(&mut tensor, element, shape);
        self.memory().push(tensor.data_ptr().addr());
        self.record(Event::Allocated);
        Ok(Box::new(Poisoned { tensor, fake: self.clone() }))
    }

    fn upload(&self, host: &DynTensor, device: &mut dyn Memory, bytes: usize) -> ort::Result<()> {
        self.check(host, device.tensor())?;
        self.record(Event::Uploaded);
        let to = device.tensor_mut().data_ptr_mut().cast::<u8>();
        // SAFETY: two tensors of the host's memory, of at least so many bytes.
        unsafe { std::ptr::copy_nonoverlapping(host.data_ptr().cast::<u8>(), to, bytes) };
        Ok(())
    }

    fn download(&self, device: &dyn Memory, host: &mut DynTensor, bytes: usize) -> ort::Result<()> {
        self.check(host, device.tensor())?;
        self.record(Event::Downloaded);
        let from = device.tensor().data_ptr().cast::<u8>();
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(from, host.data_ptr_mut().cast::<u8>(), bytes) };
        Ok(())
    }
}
