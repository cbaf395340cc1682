//! Measures what a sum over processes costs here. Start it once a rank with the environment of torchrun, such
//! as
//!
//! ```sh
//! export WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=29500
//! for rank in 0 1; do RANK=$rank all_reduce & done; wait
//! ```
//!
//! Rank 0 prints, for some sizes, the median time of ten sums and the bytes of the tensor that are summed a
//! second.
use glow_train::distributed::{Description, Environment, Rendezvous};
use std::time::{Duration, Instant};
use tch::{Device, Kind, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let environment = Environment::read()?.ok_or("set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT")?;
    let rendezvous = Rendezvous::connect(environment, Duration::from_secs(60))?;
    let group = rendezvous.meet(Description::new(), String::new())?.connect(false)?;
    for (kind, bytes) in [(Kind::Float, 4.0), (Kind::BFloat16, 2.0)] {
        for size in [1, 1 << 10, 1 << 20, 1 << 24, 44_600_000] {
            let tensor = Tensor::ones([size], (kind, Device::Cpu));
            group.agree(&[&tensor], "measuring")?;
            let mut times = Vec::new();
            for _ in 0..10 {
                group.barrier("measuring")?;
                let started = Instant::now();
                group.begin_all_reduce(&tensor, "measuring")?.finish(&group)?;
                times.push(started.elapsed().as_secs_f64());
            }
            times.sort_by(f64::total_cmp);
            if group.rank() == 0 {
                let rate = bytes * size as f64 / times[5] / 1e9;
                println!("{kind:?} {size:>9}: {:9.3} ms, {rate:6.3} GB/s", 1e3 * times[5]);
            }
        }
    }
    group.close()?;
    Ok(())
}
