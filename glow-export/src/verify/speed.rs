//! What a bundle needs on this machine, beside the same model in fp32.
use super::inputs::Samples;
use crate::ExportError;
use glow_runtime::{Glow, Latents};
use std::path::Path;
use std::time::{Duration, Instant};

/// Time and memory of one bundle on this machine's CPU.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Footprint {
    /// The least time of some draws of one image, in ms.
    pub decode_ms: f64,
    /// The least time of some encodings of one image, in ms.
    pub encode_ms: f64,
    /// What loading both graphs and running them once added to the process's resident memory, in bytes; `None` where
    /// the system does not tell.
    pub resident: Option<u64>,
}

/// Runs of one kind: so many at most, and no more once they have taken so long.
const RUNS: usize = 5;
const ENOUGH: Duration = Duration::from_secs(2);

/// Loads a bundle and times it on one image.
pub(super) fn load(folder: &Path, samples: &Samples) -> Result<(Glow, Footprint), ExportError> {
    let before = resident();
    // Exporting looks at many more images than the one of loading.
    let glow = Glow::builder().check(false).load(folder)?;
    let latents = Latents::from_levels(samples.latents.clone())?.slice(0..1)?;
    let labels = samples.labels.as_ref().map(|labels| &labels[..1]);
    let image = glow.decode(&latents, labels)?.images;
    let decode_ms = least_ms(|| glow.decode(&latents, labels).map(drop))?;
    let encode_ms = least_ms(|| glow.reconstruct(image.view(), labels).map(drop))? - decode_ms;
    let resident = resident().zip(before).map(|(after, before)| after.saturating_sub(before));
    Ok((glow, Footprint { decode_ms, encode_ms: encode_ms.max(0.0), resident }))
}

fn least_ms(mut run: impl FnMut() -> Result<(), glow_runtime::Error>) -> Result<f64, ExportError> {
    let (begin, mut least) = (Instant::now(), f64::INFINITY);
    for _ in 0..RUNS {
        let one = Instant::now();
        run()?;
        least = least.min(one.elapsed().as_secs_f64() * 1e3);
        if begin.elapsed() > ENOUGH {
            break;
        }
    }
    Ok(least)
}

/// Resident memory of this process in bytes.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}
