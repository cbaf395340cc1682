//! A data set whose pixels are all in memory.

use crate::{DataError, Dataset, Example, ImageShape};

/// Images one after the other in one buffer.
pub(crate) struct Memory {
    pub shape: ImageShape,
    /// `shape.bytes()` for each image.
    pub pixels: Vec<u8>,
    pub labels: Vec<u32>,
    pub names: Vec<String>,
    pub classes: Vec<String>,
}

impl Memory {
    pub fn new(shape: ImageShape, classes: Vec<String>) -> Self {
        Self { shape, pixels: Vec::new(), labels: Vec::new(), names: Vec::new(), classes }
    }

    /// Adds an image of the data set's shape.
    pub fn push(&mut self, name: String, label: u32, pixels: &[u8]) {
        debug_assert_eq!(pixels.len(), self.shape.bytes());
        self.pixels.extend_from_slice(pixels);
        self.labels.push(label);
        self.names.push(name);
    }
}

impl Dataset for Memory {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn shape(&self) -> ImageShape {
        self.shape
    }

    fn load(&self, index: usize, _chance: u64) -> Result<Example, DataError> {
        let bytes = self.shape.bytes();
        Ok(Example { pixels: self.pixels[index * bytes..][..bytes].to_vec(), label: self.labels[index] })
    }

    fn name(&self, index: usize) -> String {
        self.names[index].clone()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }
}
