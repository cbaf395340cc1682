//! From batches to what the flow takes: x with its dequantisation noise, on the run's device.
use crate::error::TrainError;
use crate::flow::{dequantize, uniform_noise};
use glow_data::Batch;
use glow_models::Architecture;
use glow_models::random::Purpose;
use tch::{Device, Kind, Tensor};

/// Makes inputs for models of one architecture on one device.
#[derive(Debug, Clone)]
pub(crate) struct Inputs {
    pub(crate) model: Architecture,
    pub(crate) device: Device,
    /// The run's seed, of which noise is a function.
    pub(crate) seed: u64,
}

impl Inputs {
    /// x [N, C, H, W] of a batch, with the noise that the purpose and each image's number give; and its
    /// labels `[N]` where the model has classes.
    ///
    /// # Errors
    /// The batch does not hold what the model asks for: [`TrainError::Batch`].
    pub(crate) fn of(&self, batch: &Batch, purpose: Purpose) -> Result<(Tensor, Option<Tensor>), TrainError> {
        self.check(batch).map_err(|problem| TrainError::Batch { problem })?;
        let Architecture { height, width, channels, classes, .. } = self.model;
        let shape = [batch.count as i64, height as i64, width as i64, channels as i64];
        let images = self.on_device(Tensor::from_data_size(&batch.images, &shape, Kind::Uint8));
        let noise = uniform_noise(&self.model, batch.count, self.seed, purpose, batch.first_image);
        let noise = self.on_device(noise);
        let labels = (classes > 0).then(|| self.on_device(Tensor::from_slice(&batch.labels)));
        Ok((dequantize(&self.model, &images, &noise), labels))
    }

    fn check(&self, batch: &Batch) -> Result<(), String> {
        let (expected, classes) = (batch.count * self.model.dims(), self.model.classes);
        if batch.count == 0 || batch.images.len() != expected {
            return Err(format!(
                "{} bytes for {} images, where the model's size asks for {expected}",
                batch.images.len(),
                batch.count
            ));
        }
        if classes > 0 && batch.labels.len() != batch.count {
            return Err(format!(
                "{} labels for {} images of a model with classes",
                batch.labels.len(),
                batch.count
            ));
        }
        match batch.labels.iter().find(|&&label| !(0..classes as i64).contains(&label)) {
            Some(label) if classes > 0 => {
                Err(format!("label {label}, where the model has the classes 0 to {}", classes - 1))
            }
            _ => Ok(()),
        }
    }

    /// A tensor of the CPU on the device; to CUDA through pinned memory, without waiting for the copy.
    fn on_device(&self, tensor: Tensor) -> Tensor {
        if !self.device.is_cuda() {
            return tensor;
        }
        let kind = tensor.kind();
        tensor.pin_memory(self.device).to_device_(self.device, kind, true, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_is_not_the_model_s_is_refused() {
        let model = Architecture { height: 4, width: 4, channels: 1, classes: 3, ..Default::default() };
        let inputs = Inputs { model, device: Device::Cpu, seed: 0 };
        let good = Batch { images: vec![0; 32], labels: vec![0, 2], count: 2, first_image: 0 };
        assert!(inputs.of(&good, Purpose::TrainingNoise).is_ok());
        let bad = [
            Batch { images: vec![0; 31], ..good.clone() },
            Batch { images: Vec::new(), labels: Vec::new(), count: 0, ..good.clone() },
            Batch { labels: Vec::new(), ..good.clone() },
            Batch { labels: vec![0, 3], ..good.clone() },
            Batch { labels: vec![-1, 0], ..good },
        ];
        for batch in bad {
            let refused = inputs.of(&batch, Purpose::TrainingNoise);
            assert!(matches!(refused, Err(TrainError::Batch { .. })), "{batch:?}");
        }
    }
}
