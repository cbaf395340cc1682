//! Training steps on demand, for `benches/peers/train_step.py`, which holds them against PyTorch's.
//!
//! `train-step PRESET BATCH FOLDER [KEY=VALUE ...]` writes the model to FOLDER/checkpoint.safetensors and
//! its images to FOLDER/images, where they are not there yet. Then it takes a step for each line on stdin
//! and answers with a line of JSON.
use glow_benches::{batch, preset, trainer};
use glow_models::Checkpoint;
use glow_train::{Trainer, device};
use std::error::Error;
use std::io::BufRead;
use std::path::Path;
use std::time::Instant;
use tch::Device;

fn main() -> Result<(), Box<dyn Error>> {
    device::keep_freed_memory();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, images, folder, overrides @ ..] = arguments.as_slice() else {
        return Err("usage: train-step PRESET BATCH FOLDER [KEY=VALUE ...]".into());
    };
    let mut config = preset(name);
    for text in overrides {
        let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not KEY=VALUE"))?;
        config.set(key, value)?;
    }
    let batch = batch(&config, images.parse()?);
    let checkpoint = Path::new(folder).join("checkpoint.safetensors");
    if !checkpoint.exists() {
        trainer(config.clone()).save(&checkpoint)?;
        std::fs::write(Path::new(folder).join("images"), &batch.images)?;
    }
    let mut trainer = Trainer::resume(&Checkpoint::open(&checkpoint)?, config, Device::Cpu)?;
    // Loading took more memory for a moment; the peak from here on is a step's. Linux alone can forget.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let at_rest = resident("VmRSS")?;
    for _ in std::io::stdin().lock().lines() {
        let start = Instant::now();
        trainer.step(&batch)?;
        let seconds = start.elapsed().as_secs_f64();
        let (bits, peak) = (trainer.report()?.bits_per_dim, resident("VmHWM")?);
        println!(r#"{{"seconds": {seconds}, "bits_per_dim": {bits}, "at_rest": {at_rest}, "peak": {peak}}}"#);
    }
    Ok(())
}

/// A line of /proc/self/status in bytes; 0 where there is no such file.
fn resident(line: &str) -> Result<u64, Box<dyn Error>> {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return Ok(0) };
    let kibibytes = status
        .lines()
        .find_map(|text| text.strip_prefix(line)?.strip_prefix(':')?.trim().strip_suffix(" kB"))
        .ok_or("no such line")?;
    Ok(kibibytes.parse::<u64>()? * 1024)
}
