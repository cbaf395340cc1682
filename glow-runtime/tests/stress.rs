//! Many threads at one model: every result is the one that a single thread gets, and memory does not
//! grow.
//!
//! The long version, on a bundle of one's own:
//! `GLOW_BUNDLE=models/faces GLOW_SECONDS=120 cargo test --release -p glow-runtime --test stress -- --ignored --nocapture`
mod support;

use glow_runtime::{EncodeOptions, Encoded, Glow, Noise, SampleOptions, ScoreOptions};
use ndarray::Array4;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const THREADS: u64 = 16;
/// Different calls; thread t begins with call t.
const CALLS: u64 = 12;

/// What one of the calls gives.
#[derive(Debug, PartialEq)]
enum Answer {
    Images(Array4<u8>),
    Encoded(Box<Encoded>),
    Scores(Vec<f64>),
}

/// Call number `i`, of one to five images.
fn call(glow: &Glow, images: &Array4<u8>, i: u64) -> Answer {
    let n = 1 + (i % 5) as usize;
    let some = images.slice(ndarray::s![..n, .., .., ..]);
    let labels = (glow.architecture().classes > 0).then(|| vec![0; n]);
    match i % 3 {
        0 => {
            let options = SampleOptions::new().seed(i).labels(labels);
            Answer::Images(glow.sample(n, &options).unwrap())
        }
        1 => {
            let noise = Noise::Uniform { seed: i };
            let encoded = glow.encode(some, &EncodeOptions::new().noise(noise).labels(labels));
            Answer::Encoded(Box::new(encoded.unwrap()))
        }
        _ => Answer::Scores(glow.log_prob(some, &ScoreOptions::new().seed(i).labels(labels)).unwrap()),
    }
}

/// Resident memory of its own, in bytes; `None` where the system does not tell.
fn memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

/// Runs all threads for a while; gives the number of calls, and the memory as time went on.
fn stress(glow: &Glow, seconds: f64) -> (usize, Vec<u64>) {
    let a = glow.architecture();
    let images = Array4::from_shape_fn((5, a.height, a.width, a.channels), |(n, y, x, c)| {
        (n * 31 + y * 7 + x * 5 + c * 11) as u8
    });
    let expected: Vec<Answer> = (0..CALLS).map(|i| call(glow, &images, i)).collect();
    let calls = AtomicUsize::new(0);
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let mut memories = Vec::new();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (expected, images, calls) = (&expected, &images, &calls);
            scope.spawn(move || {
                for i in (thread..).map(|i| i % CALLS).take_while(|_| Instant::now() < end) {
                    assert_eq!(call(glow, images, i), expected[i as usize], "call {i}");
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while Instant::now() < end {
            std::thread::sleep(Duration::from_secs_f64(seconds / 12.0));
            memories.extend(memory());
        }
    });
    (calls.into_inner(), memories)
}

#[test]
fn sixteen_threads_get_what_one_gets() {
    for sessions in [1, 3] {
        let glow = Glow::builder().sessions(sessions).load(support::unconditional()).unwrap();
        let (calls, _) = stress(&glow, 1.0);
        assert!(calls > THREADS as usize, "{calls}");
    }
}

#[test]
#[ignore = "takes minutes; needs GLOW_BUNDLE"]
fn for_minutes() {
    let variable = |name: &str| std::env::var(name).ok();
    let bundle = variable("GLOW_BUNDLE").expect("GLOW_BUNDLE names a bundle");
    let number = |name, default: f64| variable(name).map_or(default, |text| text.parse().unwrap());
    let sessions = number("GLOW_SESSIONS", 1.0) as usize;
    let mut builder = Glow::builder().sessions(sessions).providers(
        variable("GLOW_PROVIDER").unwrap_or("cpu".into()).split(',').map(|text| text.parse().unwrap()),
    );
    if let Some(folder) = variable("GLOW_CACHE") {
        builder = builder.cache(folder);
    }
    let glow = builder.load(bundle).unwrap();
    let seconds = number("GLOW_SECONDS", 120.0);
    let (calls, memory) = stress(&glow, seconds);
    let megabytes: Vec<u64> = memory.iter().map(|bytes| bytes / 1_000_000).collect();
    println!(
        "{calls} calls in {seconds} s, {:.1} a second; memory in MB: {megabytes:?}",
        calls as f64 / seconds
    );
    // The first quarter fills the arenas and the stacks.
    let [early, late] = [&memory[memory.len() / 4..memory.len() / 2], &memory[memory.len() / 2..]]
        .map(|part| *part.iter().max().unwrap());
    assert!(late <= early + early / 20, "memory grows: {megabytes:?}");
}
