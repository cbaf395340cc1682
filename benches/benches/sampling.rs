//! The frozen model at work: sampling, encoding, scoring, editing; by preset, precision, provider and batch.
use criterion::Criterion;
use glow_benches::{Ceiling, FrozenModel, criterion, images, measure, preset, providers};
use glow_runtime::{Attributes, EncodeOptions, Glow, Precision, SampleOptions, ScoreOptions};

fn main() {
    let mut criterion = criterion();
    let ceiling = Ceiling::find();
    for name in ["cifar10", "celeba64"] {
        let config = preset(name);
        for precision in [Precision::Fp32, Precision::Int8] {
            let frozen = FrozenModel::new(config.clone(), precision);
            for provider in providers() {
                let glow = Glow::builder()
                    .provider(provider.clone())
                    .spinning(true)
                    .load(frozen.bundle())
                    .expect("a bundle that runs");
                calls(&mut criterion, &format!("{name}/{precision}/{provider}"), &glow, ceiling);
            }
        }
    }
    criterion.final_summary();
}

/// Every kind of call, at several sizes of batch. A coupling network takes the same multiply-adds in both
/// directions.
fn calls(criterion: &mut Criterion, title: &str, glow: &Glow, ceiling: Ceiling) {
    let an_image = glow.architecture().multiply_adds();
    let mut group = criterion.benchmark_group(title);
    let attributes = attributes(glow);
    for n in [1, 4, 16] {
        let cost = n as u64 * an_image;
        let images = images(glow.architecture(), n);
        measure(&mut group, &format!("sample/{n}"), cost, ceiling, || {
            glow.sample(n, &SampleOptions::default()).expect("samples");
        });
        measure(&mut group, &format!("encode/{n}"), cost, ceiling, || {
            glow.encode(&images, &EncodeOptions::default()).expect("latents");
        });
        measure(&mut group, &format!("score/{n}"), cost, ceiling, || {
            glow.bits_per_dim(&images, &ScoreOptions::default()).expect("likelihoods");
        });
        measure(&mut group, &format!("edit/{n}"), 2 * cost, ceiling, || {
            glow.edit(&images, &attributes, &[("any", 0.5)], None).expect("images");
        });
    }
    group.finish();
}

/// A direction; which one makes no difference to the time.
fn attributes(glow: &Glow) -> Attributes {
    let latents = glow.sample_latents(2, &SampleOptions::default()).expect("latents");
    let mut attributes = Attributes::new(glow.manifest());
    attributes.fit("any", latents.flat().view(), &[false, true], &Default::default()).expect("a direction");
    attributes
}
