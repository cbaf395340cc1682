//! Models and inputs of the tests of the flow. Nothing is drawn from libtorch's generator, which all tests of
//! a process share.
use glow_models::Architecture;
use glow_models::random::{self, Purpose};
use glow_train::flow::{Parameters, uniform_noise};
use tch::{Device, Kind, Tensor};

/// Parameters as training might leave them: nothing is at its initial zero.
pub fn perturbed(architecture: &Architecture, kind: Kind, weight_noise: f64, other_noise: f64) -> Parameters {
    // Small tensors: threads that wait for each other would only slow the test, beside others badly.
    tch::set_num_threads(1);
    let parameters = Parameters::initial(architecture, 3, Device::Cpu, kind);
    for (number, (parameter, mut tensor)) in (0..).zip(parameters.trained()) {
        let weight = parameter.name.ends_with("weight") && !parameter.name.contains("permutation");
        let noise = random::normal(1, Purpose::Latents, number, None).take(tensor.numel());
        let noise = Tensor::from_slice(&noise.collect::<Vec<f32>>()).reshape(tensor.size()).to_kind(kind);
        tensor.copy_(&(tensor.copy() + noise * if weight { weight_noise } else { other_noise }));
    }
    parameters
}

/// x [N, C, H, W], uniform in [−½, ½).
pub fn random_x(architecture: &Architecture, n: usize, kind: Kind) -> Tensor {
    let x = uniform_noise(architecture, n, 2, Purpose::TrainingNoise, 0);
    (x.to_kind(kind) - 0.5).permute([0, 3, 1, 2])
}

/// Labels `[N]`, where the model has classes.
pub fn labels(architecture: &Architecture, n: usize) -> Option<Tensor> {
    let classes = architecture.classes as i64;
    (classes > 0).then(|| Tensor::arange(n as i64, (Kind::Int64, Device::Cpu)).remainder(classes))
}
