//! The frozen model: sampling, encoding, loading.
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use glow_benches::{FrozenModel, batch, preset};
use glow_runtime::{EncodeOptions, Glow, SampleOptions};
use ndarray::Array4;

fn runtime(criterion: &mut Criterion) {
    for name in ["cifar10", "celeba64"] {
        let config = preset(name);
        let model = config.model.clone();
        let frozen = FrozenModel::new(config.clone());
        let glow = Glow::load(frozen.bundle()).expect("a bundle");
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10);
        for n in [1, 4, 16] {
            group.throughput(Throughput::Elements(n as u64 * model.multiply_adds()));
            group.bench_function(BenchmarkId::new("sample", n), |b| {
                b.iter(|| glow.sample(n, &SampleOptions::default()).expect("samples"));
            });
            let images = batch(&config, n).images;
            let images = Array4::from_shape_vec((n, model.height, model.width, model.channels), images)
                .expect("the batch has the model's shape");
            group.bench_function(BenchmarkId::new("encode", n), |b| {
                b.iter(|| glow.encode(images.view(), &EncodeOptions::default()).expect("latents"));
            });
        }
        group.throughput(Throughput::Elements(model.multiply_adds()));
        group.bench_function("load_to_first_sample", |b| {
            b.iter(|| {
                let glow = Glow::builder().decoder_only().load(frozen.bundle()).expect("a bundle");
                glow.sample(1, &SampleOptions::default()).expect("a sample")
            });
        });
        group.finish();
    }
}

criterion_group!(benches, runtime);
criterion_main!(benches);
