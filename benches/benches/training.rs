//! A step of training, and the ceiling that it is held against.
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use glow_benches::{batch, preset, trainer};
use glow_models::{Memory, NetworkPrecision};
use tch::{Device, Kind, Tensor};

/// Large products in both precisions: what this machine does at best through the same library. In fp32
/// libtorch has two ways, MKL's matrix product and oneDNN's 1×1 convolution; the faster one is the ceiling.
fn ceiling(criterion: &mut Criterion) {
    const SIDE: i64 = 2048;
    let random = |shape: &[i64], kind| Tensor::rand(shape, (Kind::Float, Device::Cpu)).to_kind(kind);
    let mut group = criterion.benchmark_group("ceiling");
    group.sample_size(10).throughput(Throughput::Elements((SIDE * SIDE * SIDE) as u64));
    for kind in [Kind::Float, Kind::BFloat16] {
        let (a, b) = (random(&[SIDE, SIDE], kind), random(&[SIDE, SIDE], kind));
        group.bench_function(format!("matrix_product/{kind:?}"), |bench| bench.iter(|| a.matmul(&b)));
    }
    // As many pixels as channels, channels-last.
    let maps = random(&[2, SIDE / 64, 32, SIDE], Kind::Float).permute([0, 3, 1, 2]);
    let weight = random(&[SIDE, SIDE, 1, 1], Kind::Float);
    group.bench_function("convolution_1x1/Float", |bench| {
        bench.iter(|| maps.conv2d(&weight, None::<Tensor>, 1, 0, 1, 1));
    });
    group.finish();
}

/// Forward, backward and update; backward counts twice the multiply-adds of forward.
fn step(criterion: &mut Criterion) {
    let config = preset("cifar10");
    let model = config.model.clone();
    let mut group = criterion.benchmark_group("train_step");
    group.sample_size(10);
    for n in [1, 16] {
        let batch = batch(&config, n);
        let mut trainer = trainer(config.clone());
        group.throughput(Throughput::Elements(3 * n as u64 * model.multiply_adds()));
        group.bench_function(BenchmarkId::new("cifar10", n), |bench| {
            bench.iter(|| trainer.step(&batch).expect("a step"));
        });
    }
    group.finish();
}

/// What the ways to save memory and the precision of the networks cost, at one size of batch.
fn memory_and_precision(criterion: &mut Criterion) {
    let n = 16;
    let mut group = criterion.benchmark_group("train_step_cifar10_16");
    group.sample_size(10);
    for memory in [Memory::Autograd, Memory::Checkpoint, Memory::Reversible] {
        for precision in [NetworkPrecision::Fp32, NetworkPrecision::Bf16] {
            let mut config = preset("cifar10");
            (config.training.memory, config.training.precision) = (memory, precision);
            let batch = batch(&config, n);
            group.throughput(Throughput::Elements(3 * n as u64 * config.model.multiply_adds()));
            let mut trainer = trainer(config);
            group.bench_function(format!("{memory:?}/{precision:?}"), |bench| {
                bench.iter(|| trainer.step(&batch).expect("a step"));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, ceiling, step, memory_and_precision);
criterion_main!(benches);
