//! What a call costs, and how calls of several threads add up: `call_cost BUNDLE`
//!
//! The Python package has a program of the same name that prints the same lines. On a bundle so small that the model takes
//! microseconds, their difference is what Python adds.
use glow_runtime::{EncodeOptions, Glow, SampleOptions};
use std::time::{Duration, Instant};

/// The median and the tenth part of the times of a call, in microseconds.
fn cost(call: &mut dyn FnMut()) -> (f64, f64) {
    let mut times: Vec<f64> = (0..3000)
        .map(|_| {
            let begin = Instant::now();
            call();
            begin.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[times.len() / 10])
}

/// What is timed.
type Call<'a> = Box<dyn FnMut() + 'a>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bundle = std::env::args().nth(1).ok_or("call_cost BUNDLE")?;
    let glow = Glow::builder().threads(1).sessions(8).load(bundle)?;
    let options = SampleOptions::new();
    let images = glow.sample(1, &options)?;
    let latents = glow.sample_latents(1, &options)?;
    let mut calls: [(&str, Call<'_>); 4] = [
        ("sample(0)", Box::new(|| drop(glow.sample(0, &options)))),
        ("sample(1)", Box::new(|| drop(glow.sample(1, &options)))),
        ("encode(1)", Box::new(|| drop(glow.encode(&images, &EncodeOptions::default())))),
        ("decode(1)", Box::new(|| drop(glow.decode(&latents, None)))),
    ];
    for (name, call) in &mut calls {
        let (median, tenth) = cost(call);
        println!("{name}: median {median:.1} us, a tenth below {tenth:.1} us");
    }
    for threads in [1, 2, 8] {
        let end = Instant::now() + Duration::from_secs(2);
        let drawn: usize = std::thread::scope(|scope| {
            let draw = || {
                let mut images = 0;
                while Instant::now() < end {
                    images += glow.sample(8, &options).map_or(0, |drawn| drawn.dim().0);
                }
                images
            };
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(draw)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or(0)).sum()
        });
        println!("{threads} threads: {:.0} images/s", drawn as f64 / 2.0);
    }
    Ok(())
}
