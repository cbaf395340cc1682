//! What only a GPU can show: run by `make test-gpu`, one test at a time. Without a CUDA device each says that
//! it was not run.
use glow_data::Batch;
use glow_models::{Architecture, Config, Coupling, Memory, NetworkPrecision, Training, Weights};
use glow_train::Trainer;
use glow_train::device::DeviceChoice;
use glow_train::evaluate::bits_per_dim;
use tch::Device;

/// The first CUDA device; `None`, and a line that says so, where there is none.
fn cuda() -> Option<Device> {
    match DeviceChoice::Cuda(0).open() {
        Ok(device) => Some(device),
        Err(error) => {
            eprintln!("not run: no CUDA device ({error})");
            None
        }
    }
}

fn config(memory: Memory, precision: NetworkPrecision) -> Config {
    let model =
        Architecture { levels: 3, depth: 8, hidden: 64, coupling: Coupling::Affine, ..Default::default() };
    let training = Training { memory, precision, lr: 1e-3, warmup: None, ..Default::default() };
    Config { model, training, ..Default::default() }
}

fn batch(first_image: u64) -> Batch {
    let images = (0..8u64 * 3072).map(|i| ((i + first_image) * 7919 % 251) as u8).collect();
    Batch { images, labels: vec![0; 8], count: 8, first_image }
}

/// Mean bits/dim of each of some steps from the start.
fn losses(device: Device, memory: Memory, precision: NetworkPrecision, steps: u64) -> Vec<f64> {
    let mut trainer = Trainer::new(config(memory, precision), 1000, device).unwrap();
    trainer.initialise_actnorm(&batch(0)).unwrap();
    let step = |step| {
        trainer.step(&batch(8 * step)).unwrap();
        trainer.report().unwrap().bits_per_dim
    };
    (0..steps).map(step).collect()
}

#[test]
#[ignore = "needs a GPU: make test-gpu"]
fn steps_on_a_gpu_are_those_on_the_cpu() {
    let Some(device) = cuda() else { return };
    for (precision, within) in [(NetworkPrecision::Fp32, 1e-3), (NetworkPrecision::Bf16, 2e-2)] {
        let expected = losses(Device::Cpu, Memory::Autograd, NetworkPrecision::Fp32, 5);
        for memory in [Memory::Autograd, Memory::Checkpoint, Memory::Reversible] {
            let actual = losses(device, memory, precision, 5);
            for (actual, expected) in actual.iter().zip(&expected) {
                let apart = (actual - expected).abs();
                assert!(apart < within, "{memory:?} {precision:?}: {actual} and {expected}");
            }
        }
    }
}

#[test]
#[ignore = "needs a GPU: make test-gpu"]
fn an_evaluation_on_a_gpu_is_that_on_the_cpu() {
    let Some(device) = cuda() else { return };
    let of = |device| {
        let mut trainer =
            Trainer::new(config(Memory::Autograd, NetworkPrecision::Fp32), 1000, device).unwrap();
        trainer.initialise_actnorm(&batch(0)).unwrap();
        bits_per_dim(&trainer.glow(Weights::Raw).unwrap(), &batch(8), 0, 0, device).unwrap()
    };
    for (actual, expected) in of(device).iter().zip(of(Device::Cpu)) {
        assert!((actual - expected).abs() < 1e-4, "{actual} and {expected}");
    }
}

#[test]
#[ignore = "needs a GPU: make test-gpu"]
fn tf32_rounds_the_networks_and_nothing_else() {
    let Some(device) = cuda() else { return };
    let [exact, rounded] = [NetworkPrecision::Fp32, NetworkPrecision::Tf32]
        .map(|precision| losses(device, Memory::Autograd, precision, 5));
    assert_ne!(exact, rounded);
    for (exact, rounded) in exact.iter().zip(&rounded) {
        assert!((exact - rounded).abs() < 1e-2, "{exact} and {rounded}");
    }
    // With its last convolutions at zero a network's rounding does not show: what is left is the flow path.
    assert_eq!(exact[0], rounded[0]);
}

#[test]
#[ignore = "needs a GPU: make test-gpu"]
fn a_batch_too_large_for_the_gpu_is_an_error() {
    let Some(device) = cuda() else { return };
    let mut trainer = Trainer::new(config(Memory::Autograd, NetworkPrecision::Fp32), 1000, device).unwrap();
    trainer.initialise_actnorm(&batch(0)).unwrap();
    // A terabyte of activations.
    let count = 1 << 17;
    let large = Batch { images: vec![7; count * 3072], labels: vec![0; count], count, first_image: 0 };
    let error = trainer.step(&large).expect_err("no GPU has a terabyte");
    assert!(error.to_string().contains("--batch-size"), "{error}");
    trainer.step(&batch(0)).unwrap();
}
