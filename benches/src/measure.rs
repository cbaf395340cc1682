//! Criterion's measurement, with the rate of arithmetic against the machine's ceiling beside it.
use super::SAMPLES;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Throughput};
use std::time::{Duration, Instant};
use tch::{Device, Kind, Tensor};

/// What this machine does at best, found in the same run: the fastest large product in fp32 through libtorch.
///
/// A share of it means the same on another machine, and on this one at another hour. Networks in bf16 or
/// int8 may be above it.
#[derive(Debug, Clone, Copy)]
pub struct Ceiling {
    gflops: f64,
}

impl Ceiling {
    /// Multiplies 2,048 rows, 17 GFLOP a time, ten times each in the two ways that libtorch has for fp32,
    /// MKL's matrix product and oneDNN's 1×1 convolution, and for comparison in bf16; the best times count.
    pub fn find() -> Self {
        const SIDE: i64 = 2048;
        let random = |shape: &[i64], kind| Tensor::rand(shape, (Kind::Float, Device::Cpu)).to_kind(kind);
        let gflops = |name: &str, product: &dyn Fn() -> Tensor| {
            let timed = |_| {
                let start = Instant::now();
                let _product = product();
                start.elapsed()
            };
            let best = (0..10).map(timed).min().unwrap_or_default();
            let gflops = 2.0 * (SIDE * SIDE * SIDE) as f64 / best.as_secs_f64() / 1e9;
            eprintln!("{name:22} {gflops:.0} GFLOP/s");
            gflops
        };
        let matrix_product = |kind: Kind| {
            let (a, b) = (random(&[SIDE, SIDE], kind), random(&[SIDE, SIDE], kind));
            gflops(&format!("matrix product, {kind:?}"), &|| a.matmul(&b))
        };
        matrix_product(Kind::BFloat16);
        // As many pixels as channels, channels-last.
        let maps = random(&[2, SIDE / 64, 32, SIDE], Kind::Float).permute([0, 3, 1, 2]);
        let weight = random(&[SIDE, SIDE, 1, 1], Kind::Float);
        let convolution =
            gflops("1×1 convolution, Float", &|| maps.conv2d(&weight, None::<Tensor>, 1, 0, 1, 1));
        Self { gflops: convolution.max(matrix_product(Kind::Float)) }
    }
}

/// Measures `work`, which takes `multiply_adds` (two FLOP each), and prints its GFLOP/s and their share
/// of the ceiling below criterion's figures.
pub fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    multiply_adds: u64,
    ceiling: Ceiling,
    mut work: impl FnMut(),
) {
    let mut times: Vec<Duration> = Vec::new();
    group.throughput(Throughput::Elements(multiply_adds));
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|calls| {
            let start = Instant::now();
            (0..calls).for_each(|_| work());
            let elapsed = start.elapsed();
            times.push(elapsed / calls as u32);
            elapsed
        });
    });
    // Criterion warms up first.
    let mut times = times.split_off(times.len().saturating_sub(SAMPLES));
    times.sort();
    // None of them if the command line asked for other benchmarks.
    if let Some(median) = times.get(times.len() / 2) {
        let gflops = 2.0 * multiply_adds as f64 / median.as_secs_f64() / 1e9;
        let share = 100.0 * gflops / ceiling.gflops;
        println!("{name:24} {gflops:.0} GFLOP/s, {share:.0} % of the ceiling\n");
    }
}
