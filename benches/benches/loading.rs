//! From a bundle on disk to the first sample, beside the mere reading of its weights; and the export that
//! made it.
use criterion::Throughput;
use glow_benches::{FrozenModel, criterion, preset, providers};
use glow_export::{ExportOptions, export};
use glow_runtime::{Glow, Precision, SampleOptions};

fn main() {
    let mut criterion = criterion();
    for precision in [Precision::Fp32, Precision::Int8] {
        let frozen = FrozenModel::new(preset("cifar10"), precision);
        let weights = frozen.bundle().join("model.safetensors");
        let bytes = std::fs::metadata(&weights).expect("a bundle has weights").len();
        let mut group = criterion.benchmark_group(format!("load/cifar10/{precision}"));
        group.throughput(Throughput::Bytes(bytes));
        group.bench_function("read the weights", |b| b.iter(|| std::fs::read(&weights).expect("weights")));
        for provider in providers() {
            for verify in [true, false] {
                let name = format!("first sample on {provider}{}", if verify { "" } else { ", unverified" });
                group.bench_function(name, |b| {
                    b.iter(|| {
                        let builder =
                            Glow::builder().provider(provider.clone()).decoder_only().verify(verify);
                        let glow = builder.load(frozen.bundle()).expect("a bundle that runs");
                        glow.sample(1, &SampleOptions::default()).expect("a sample")
                    });
                });
            }
        }
        group.finish();
    }
    let frozen = FrozenModel::new(preset("cifar10"), Precision::Fp32);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut group = criterion.benchmark_group("export/cifar10");
    for verify in [false, true] {
        group.bench_function(if verify { "verified" } else { "unverified" }, |b| {
            let options = ExportOptions { verify, ..Default::default() };
            b.iter(|| {
                export(frozen.checkpoint(), folder.path().join("bundle"), &options).expect("an export")
            });
        });
    }
    group.finish();
    criterion.final_summary();
}
