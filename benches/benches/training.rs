//! A step of training: by batch, and by what saves memory and the precision of the networks.
use criterion::Criterion;
use glow_benches::{Ceiling, batch, criterion, measure, preset, trainer};
use glow_models::{Memory, NetworkPrecision};

fn main() {
    let mut criterion = criterion();
    let ceiling = Ceiling::find();
    step(&mut criterion, ceiling);
    memory_and_precision(&mut criterion, ceiling);
    criterion.final_summary();
}

/// Forward, backward and update; backward counts twice the multiply-adds of forward.
fn step(criterion: &mut Criterion, ceiling: Ceiling) {
    let config = preset("cifar10");
    let mut group = criterion.benchmark_group("train_step");
    for n in [1, 16] {
        let batch = batch(&config, n);
        let mut trainer = trainer(config.clone());
        let cost = 3 * n as u64 * config.model.multiply_adds();
        measure(&mut group, &format!("cifar10/{n}"), cost, ceiling, || {
            trainer.step(&batch).expect("a step");
        });
    }
    group.finish();
}

/// What the ways to save memory and the precision of the networks cost, at one size of batch.
fn memory_and_precision(criterion: &mut Criterion, ceiling: Ceiling) {
    let n = 16;
    let mut group = criterion.benchmark_group("train_step_cifar10_16");
    for memory in [Memory::Autograd, Memory::Checkpoint, Memory::Reversible] {
        for precision in [NetworkPrecision::Fp32, NetworkPrecision::Bf16] {
            let mut config = preset("cifar10");
            (config.training.memory, config.training.precision) = (memory, precision);
            let batch = batch(&config, n);
            let cost = 3 * n as u64 * config.model.multiply_adds();
            let mut trainer = trainer(config);
            measure(&mut group, &format!("{memory:?}/{precision:?}"), cost, ceiling, || {
                trainer.step(&batch).expect("a step");
            });
        }
    }
    group.finish();
}
