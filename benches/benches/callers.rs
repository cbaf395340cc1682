//! Many callers of one image each at a [`Scheduler`], beside one caller with large batches; and what a lone caller waits,
//! with the scheduler and without. By model and precision. All settings of a model take turns, so that what else the
//! machine does falls on all of them; criterion is given the times of each.
use criterion::{Criterion, Throughput};
use glow_benches::{FrozenModel, criterion, preset};
use glow_models::{Architecture, Config, Coupling};
use glow_runtime::{Glow, Job, Precision, SampleOptions, Scheduler, SchedulerOptions};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

/// Criterion takes no fewer samples.
const ROUNDS: usize = 10;
const CALLERS: [usize; 4] = [1, 4, 16, 64];
/// Images of a measurement.
const IMAGES: u64 = 128;
/// Images of a batch of the scheduler, by default.
const BATCH: u64 = 8;
/// Calls of a lone caller, in turn with the scheduler and without.
const CALLS: usize = 100;

fn main() {
    let mut criterion = criterion().warm_up_time(Duration::from_nanos(1));
    // `cargo bench -p glow-benches --bench callers -- demo` runs the models whose names hold the word.
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    for (name, config) in [("demo", demo()), ("cifar10", preset("cifar10"))] {
        for precision in [Precision::Fp32, Precision::Int8] {
            let title = format!("{name}-{precision}");
            if title.contains(&wanted) {
                let frozen = FrozenModel::new(config.clone(), precision);
                let glow = Arc::new(Glow::load(frozen.bundle()).expect("a bundle that runs"));
                let options = SchedulerOptions::new().warm_up(true);
                let scheduler = Scheduler::new(Arc::clone(&glow), options).expect("threads");
                throughput(&mut criterion, &title, &glow, &scheduler);
                latency(&title, &glow, &scheduler);
            }
        }
    }
    criterion.final_summary();
}

/// The size of `models/faces64`.
fn demo() -> Config {
    let model = Architecture {
        height: 64,
        width: 64,
        n_bits: 5,
        levels: 4,
        depth: 12,
        hidden: 160,
        coupling: Coupling::Additive,
        ..Default::default()
    };
    Config { model, ..Default::default() }
}

fn throughput(criterion: &mut Criterion, title: &str, glow: &Glow, scheduler: &Scheduler) {
    // One caller with all images, one with as many as a batch of the scheduler has, then the numbers of callers.
    let mut times = vec![Vec::new(); 2 + CALLERS.len()];
    calls_of(glow, IMAGES);
    for round in 0..ROUNDS {
        for turn in 0..times.len() {
            let setting = (round + turn) % times.len();
            times[setting].push(match setting {
                0 => calls_of(glow, IMAGES),
                1 => calls_of(glow, BATCH),
                other => callers(scheduler, CALLERS[other - 2]),
            });
        }
    }
    println!(
        "{title}: images a second, medians of {ROUNDS} rounds, and their ratio to one caller with {IMAGES} images"
    );
    let rates = times.iter().map(|times| IMAGES as f64 / median(times).as_secs_f64());
    let rates: Vec<f64> = rates.collect();
    let names = [IMAGES, BATCH].map(|images| format!("one caller of {images} images"));
    let names: Vec<String> = names
        .into_iter()
        .chain(CALLERS.iter().map(|callers| format!("{callers} callers of one image")))
        .collect();
    for (name, rate) in names.iter().zip(&rates) {
        println!("  {name:26} {rate:8.2}   {:.3}", rate / rates[0]);
    }
    let mut group = criterion.benchmark_group(title);
    group.sample_size(ROUNDS).throughput(Throughput::Elements(IMAGES));
    for (name, times) in names.into_iter().zip(times) {
        let mut measured = times.into_iter().cycle();
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|calls| measured.next().expect("it goes on for ever") * calls as u32);
        });
    }
    group.finish();
}

/// The time of all images, so many a call.
fn calls_of(glow: &Glow, images: u64) -> Duration {
    let begin = Instant::now();
    for first in (0..IMAGES).step_by(images as usize) {
        glow.sample(images as usize, &SampleOptions::new().first(first)).expect("samples");
    }
    begin.elapsed()
}

/// The time of all images, one a call, by so many threads, each of which waits for its image before it asks for the next.
fn callers(scheduler: &Scheduler, threads: usize) -> Duration {
    let (next, start) = (AtomicU64::new(0), Barrier::new(threads + 1));
    let mut begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                start.wait();
                loop {
                    let image = next.fetch_add(1, Ordering::Relaxed);
                    if image >= IMAGES {
                        return;
                    }
                    one(scheduler, image);
                }
            });
        }
        start.wait();
        begin = Instant::now();
    });
    begin.elapsed()
}

fn one(scheduler: &Scheduler, image: u64) {
    let job = Job::sample(1, SampleOptions::new().first(image));
    scheduler.submit(job).and_then(|ticket| ticket.wait()).expect("a sample");
}

fn latency(title: &str, glow: &Glow, scheduler: &Scheduler) {
    let (mut direct, mut queued) = (Vec::new(), Vec::new());
    for call in 0..CALLS as u64 {
        let begin = Instant::now();
        glow.sample(1, &SampleOptions::new().first(call)).expect("a sample");
        direct.push(begin.elapsed());
        let begin = Instant::now();
        one(scheduler, call);
        queued.push(begin.elapsed());
    }
    println!("{title}: a lone caller of one image, {CALLS} calls in turn: median, 99 %, in ms");
    for (name, times) in [("without", &direct), ("with the scheduler", &queued)] {
        let [median, most] = [median(times), quantile(times, 0.99)].map(|time| 1e3 * time.as_secs_f64());
        println!("  {name:20} {median:8.3} {most:8.3}");
    }
    let ratio = median(&queued).as_secs_f64() / median(&direct).as_secs_f64();
    println!("  ratio of the medians {ratio:8.3}");
}

fn median(times: &[Duration]) -> Duration {
    quantile(times, 0.5)
}

fn quantile(times: &[Duration], share: f64) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[((times.len() as f64 * share) as usize).min(times.len() - 1)]
}
