//! Criterion's measurement, with the rate of arithmetic against the machine's ceiling beside it.
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Throughput};
use std::time::{Duration, Instant};
use tch::{Device, Kind, Tensor};

/// What this machine does at best, found in the same run: a large matrix product in fp32 through libtorch.
///
/// A share of it means the same on another machine, and on this one at another hour. Networks in bf16 or
/// int8 may be above it.
#[derive(Debug, Clone, Copy)]
pub struct Ceiling {
    gflops: f64,
}

impl Ceiling {
    /// Multiplies matrices of 2,048 rows, 17 GFLOP a time, for about a second; the best time counts.
    pub fn find() -> Self {
        const SIDE: i64 = 2048;
        let matrix = || Tensor::rand([SIDE, SIDE], (Kind::Float, Device::Cpu));
        let (a, b) = (matrix(), matrix());
        let best = (0..10)
            .map(|_| {
                let start = Instant::now();
                let _product = a.matmul(&b);
                start.elapsed()
            })
            .min()
            .unwrap_or_default();
        let gflops = 2.0 * (SIDE * SIDE * SIDE) as f64 / best.as_secs_f64() / 1e9;
        eprintln!("ceiling: {gflops:.0} GFLOP/s, a matrix product of {SIDE} in fp32");
        Self { gflops }
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
    times.sort();
    // None of them if the command line asked for other benchmarks.
    if let Some(median) = times.get(times.len() / 2) {
        let gflops = 2.0 * multiply_adds as f64 / median.as_secs_f64() / 1e9;
        let share = 100.0 * gflops / ceiling.gflops;
        println!("{name:24} {gflops:.0} GFLOP/s, {share:.0} % of the ceiling\n");
    }
}
