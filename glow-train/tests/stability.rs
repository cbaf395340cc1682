//! Numbers that are not finite never reach the parameters.
use glow_data::Batch;
use glow_models::{Architecture, Config, Coupling, Training};
use glow_train::trainer::MAX_SKIPPED_IN_A_ROW;
use glow_train::{TrainError, Trainer};
use tch::Device;

fn tensors(trainer: &Trainer) -> Vec<(String, Vec<u8>)> {
    let file = tempfile::NamedTempFile::new().unwrap();
    trainer.save(file.path()).unwrap();
    let bytes = std::fs::read(file.path()).unwrap();
    let all = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut all: Vec<_> =
        all.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect();
    all.sort();
    all
}

#[test]
fn steps_that_are_not_finite_change_nothing_and_end_with_the_layer_s_name() {
    // Small tensors: threads that wait for each other would only slow the test, beside others badly.
    tch::set_num_threads(1);
    let model = Architecture {
        height: 8,
        width: 8,
        channels: 1,
        levels: 2,
        depth: 2,
        hidden: 8,
        coupling: Coupling::Affine,
        ..Default::default()
    };
    // A rate at which the first step throws the parameters out of all bounds.
    let training = Training { lr: 1e12, warmup: None, clip_grad_norm: Some(1.0), ..Default::default() };
    let config = Config { model, training, ..Default::default() };
    let images: Vec<u8> = (0..8 * 64u32).map(|i| (i * 37 % 251) as u8).collect();
    let batch = Batch { images, labels: vec![0; 8], count: 8, first_image: 0 };
    let mut trainer = Trainer::new(config, 80, Device::Cpu).unwrap();
    trainer.initialise_actnorm(&batch).unwrap();
    trainer.step(&batch).unwrap();
    assert_eq!(trainer.skipped(), 0);
    let before = tensors(&trainer);
    let error = (0..MAX_SKIPPED_IN_A_ROW).find_map(|_| trainer.step(&batch).err()).expect("it gives up");
    assert_eq!(trainer.skipped(), MAX_SKIPPED_IN_A_ROW);
    let TrainError::Diverged { step, skipped, layer } = &error else { panic!("{error}") };
    assert_eq!((*step, *skipped), (1 + MAX_SKIPPED_IN_A_ROW, MAX_SKIPPED_IN_A_ROW));
    assert!(layer.starts_with("level0.step00"), "{layer}");
    assert!(tensors(&trainer) == before, "a step that was not taken left its mark");
    let report = trainer.report().unwrap();
    assert_eq!(report.steps, 1);
    assert!(report.bits_per_dim.is_finite() && report.gradient_norm.is_finite());
}
