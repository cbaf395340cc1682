//! Images a second that the trainer's loader gives to a model of 64×64 pixels: JPEG files decoded anew, and
//! kept decoded.
use criterion::Throughput;
use glow_benches::{criterion, write_photographs};
use glow_data::{DataSpec, ImageShape, Loader, LoaderOptions, OpenOptions, open};
use glow_models::Data;

const BATCH: usize = 64;

fn main() {
    let mut criterion = criterion();
    let folder = tempfile::tempdir().expect("a temporary folder");
    write_photographs(1024, folder.path());
    let spec: DataSpec = format!("images:{}", folder.path().display()).parse().expect("a data set");
    let shape = ImageShape { height: 64, width: 64, channels: 3 };
    let mut group = criterion.benchmark_group("data/jpeg 178x218 to 64x64");
    group.throughput(Throughput::Elements(BATCH as u64));
    for (name, cache_bytes) in [("decoded anew", 0), ("kept", Data::default().cache_bytes)] {
        let options = OpenOptions { data: Data { cache_bytes, ..Data::default() }, ..OpenOptions::default() };
        let images = open(&spec, shape, &options).expect("pictures").train;
        let options = LoaderOptions { batch_size: BATCH, shift: 2, ..Default::default() };
        let mut loader = Loader::new(images, &options).expect("a loader");
        // What is made ahead would come too fast, before the threads are at work.
        loader.by_ref().take(32).for_each(|batch| drop(batch.expect("a batch")));
        group.bench_function(name, |b| b.iter(|| loader.next().expect("no end").expect("a batch")));
    }
    group.finish();
    criterion.final_summary();
}
