//! Tensors in the host's memory that ONNX Runtime reads and writes in place.
use crate::device::{self, Device};
use crate::ports::{Element, Input, Port};
use ort::session::Session;
use ort::value::DynTensor;
use std::ops::Range;

/// The tensor of an input or an output, for one batch size.
pub(crate) struct HostTensor {
    value: DynTensor,
    element: Element,
    /// Numbers in all.
    len: usize,
}

impl HostTensor {
    /// Zeros. Images that only fill a batch up are computed as well: of numbers, not of what was there before.
    pub fn new(
        session: &Session,
        device: Option<&dyn Device>,
        port: &Port,
        batch: usize,
    ) -> ort::Result<Self> {
        let shape: Vec<usize> = [&[batch], &port.shape[..]].concat();
        let value = device::host(device, session, port.element.onnx(), &shape)?;
        let mut tensor = Self { value, element: port.element, len: batch * port.size() };
        match port.element {
            Element::U8 => tensor.slice_mut::<u8>().fill(0),
            Element::F32 => tensor.slice_mut::<f32>().fill(0.0),
            Element::I64 => tensor.slice_mut::<i64>().fill(0),
        }
        Ok(tensor)
    }

    pub fn value(&self) -> &DynTensor {
        &self.value
    }

    pub fn value_mut(&mut self) -> &mut DynTensor {
        &mut self.value
    }

    /// The size of the first so many numbers.
    pub fn bytes_of(&self, numbers: usize) -> usize {
        numbers * self.element.bytes()
    }

    /// Copies some numbers of an input to the beginning.
    pub fn write(&mut self, input: &Input<'_>, numbers: Range<usize>) {
        let n = numbers.len();
        match input {
            Input::Bytes(all) => self.slice_mut()[..n].copy_from_slice(&all[numbers]),
            Input::Floats(all) => self.slice_mut()[..n].copy_from_slice(&all[numbers]),
            Input::Labels(all) => self.slice_mut()[..n].copy_from_slice(&all[numbers]),
        }
    }

    pub fn bytes(&self) -> &[u8] {
        self.slice()
    }

    pub fn floats(&self) -> &[f32] {
        self.slice()
    }

    // Not by `ort`'s own methods, which take pinned memory for the device's.
    fn slice<T: Number>(&self) -> &[T] {
        assert_eq!(T::ELEMENT, self.element);
        // SAFETY: the tensor has so many numbers of the type, all of them initialised when it was made, in the
        // host's memory. ONNX Runtime writes to them only while it runs, when nobody has this borrow.
        unsafe { std::slice::from_raw_parts(self.value.data_ptr().cast(), self.len) }
    }

    fn slice_mut<T: Number>(&mut self) -> &mut [T] {
        assert_eq!(T::ELEMENT, self.element);
        // SAFETY: as above; any bytes are a number of these types.
        unsafe { std::slice::from_raw_parts_mut(self.value.data_ptr_mut().cast(), self.len) }
    }
}

/// A type of numbers in tensors.
trait Number: Copy {
    const ELEMENT: Element;
}

impl Number for u8 {
    const ELEMENT: Element = Element::U8;
}

impl Number for f32 {
    const ELEMENT: Element = Element::F32;
}

impl Number for i64 {
    const ELEMENT: Element = Element::I64;
}
