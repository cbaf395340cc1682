//! Samples on demand, for `benches/peers/sampling.py`, which holds them against what else a user could take.
//!
//! `sampling BUNDLE PROVIDER THREADS` draws as many samples as each line on stdin says, and answers with a
//! line of JSON.
use glow_runtime::{Glow, Provider, SampleOptions};
use std::error::Error;
use std::io::BufRead;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bundle, provider, threads] = arguments.as_slice() else {
        return Err("usage: sampling BUNDLE PROVIDER THREADS".into());
    };
    // Spinning, as the peers' libraries do by default.
    let glow = Glow::builder()
        .decoder_only()
        .providers([provider.parse::<Provider>()?])
        .threads(threads.parse()?)
        .spinning(true)
        .load(bundle)?;
    for line in std::io::stdin().lock().lines() {
        let n = line?.trim().parse()?;
        let start = Instant::now();
        glow.sample(n, &SampleOptions::default())?;
        println!(r#"{{"seconds": {}}}"#, start.elapsed().as_secs_f64());
    }
    Ok(())
}
