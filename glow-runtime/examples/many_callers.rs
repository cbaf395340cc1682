//! Many callers of one image each, with and without a scheduler: images a second, and the time that each waits.
//!
//! `cargo run --release -p glow-runtime --example many_callers -- BUNDLE [CALLERS [SECONDS]]`
use glow_runtime::{Error, Glow, Job, SampleOptions, Scheduler, SchedulerOptions};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let bundle = arguments.next().ok_or("usage: many_callers BUNDLE [CALLERS [SECONDS]]")?;
    let callers = arguments.next().map_or(Ok(32), |text| text.parse())?;
    let seconds = arguments.next().map_or(Ok(5.0), |text| text.parse())?;
    let glow = Arc::new(Glow::builder().decoder_only().warm_up([1, 2, 4, 8]).load(bundle)?);
    let labels = (glow.architecture().classes > 0).then(|| vec![0]);
    let options = |seed| SampleOptions::new().seed(seed).labels(labels.clone());

    // Twice in turn, so that what else the machine does meets both.
    for _ in 0..2 {
        report("direct", callers, seconds, |seed| glow.sample(1, &options(seed)).map(drop));
        let scheduler = Scheduler::new(Arc::clone(&glow), SchedulerOptions::new())?;
        report("scheduler", callers, seconds, |seed| {
            scheduler.submit(Job::sample(1, options(seed)))?.wait().map(drop)
        });
        for (graph, counters) in scheduler.counters() {
            println!("  {graph}: batches by size {:?}", counters.batches);
        }
    }
    Ok(())
}

/// Has each caller call again as soon as it has its answer.
fn report(name: &str, callers: u64, seconds: f64, call: impl Fn(u64) -> Result<(), Error> + Sync) {
    let begin = Instant::now();
    let end = begin + Duration::from_secs_f64(seconds);
    let mut waits: Vec<Duration> = std::thread::scope(|scope| {
        let caller = |number: u64| {
            let call = &call;
            scope.spawn(move || {
                let mut waits = Vec::new();
                for seed in (number..).step_by(callers as usize).take_while(|_| Instant::now() < end) {
                    let begin = Instant::now();
                    call(seed).expect("the model runs");
                    waits.push(begin.elapsed());
                }
                waits
            })
        };
        let threads: Vec<_> = (0..callers).map(caller).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no caller panics")).collect()
    });
    let rate = waits.len() as f64 / begin.elapsed().as_secs_f64();
    waits.sort();
    let at = |share: f64| waits[(share * (waits.len() - 1) as f64) as usize].as_secs_f64() * 1e3;
    println!(
        "{name:10} {callers} callers: {rate:.1} images/s, {:.0} ms median, {:.0} ms 99 %",
        at(0.5),
        at(0.99)
    );
}
