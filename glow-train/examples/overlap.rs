//! Measures what it gains to add up a level's gradients while the level before it is computed. Start it as
//! `all_reduce`, with the width of the coupling networks as an argument.
//!
//! Rank 0 prints the median time of a step's gradient alone, with the sum after it, and with sums on the way.
use glow_models::{Architecture, Memory};
use glow_train::distributed::{Description, DistributedError, Environment, Rendezvous, Team};
use glow_train::flow::{Glow, Gradients, LossWeights, Parameters};
use std::time::{Duration, Instant};
use tch::{Device, Kind, Tensor};

const DOING: &str = "measuring";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let hidden = std::env::args().nth(1).map_or(Ok(256), |text| text.parse())?;
    let environment = Environment::read()?.ok_or("set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT")?;
    let rendezvous = Rendezvous::connect(environment, Duration::from_secs(60))?;
    let team = Team::from(rendezvous.meet(Description::new(), String::new())?.connect(false)?);
    let model =
        Architecture { height: 32, width: 32, levels: 3, depth: 8, hidden, ..Architecture::default() };
    let parameters = Parameters::initial(&model, 0, Device::Cpu, Kind::Float);
    parameters.require_grad();
    let glow = Glow::new(&model, &parameters);
    let mut gradients = Gradients::zeros(&parameters);
    let x = Tensor::rand([4, 3, 32, 32], (Kind::Float, Device::Cpu)) - 0.5;
    let weights = LossWeights { log_prob: -1e-4, label_bits: 0.0 };
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..12 {
        for (way, times) in times.iter_mut().enumerate() {
            team.any([false], DOING)?;
            let started = Instant::now();
            let mut begun: Vec<Result<_, DistributedError>> = Vec::new();
            let mut completed = |section: Tensor| {
                if way == 2 {
                    begun.push(team.begin_sum(&section, false, DOING));
                }
            };
            glow.gradient_by_sections(&x, None, weights, Memory::Autograd, &mut gradients, &mut completed)?;
            if way == 1 {
                begun.push(team.begin_sum(&gradients.flat(), false, DOING));
            }
            for sum in begun {
                team.finish(sum?)?;
            }
            if round > 1 {
                times.push(started.elapsed().as_secs_f64());
            }
        }
    }
    if team.leads() {
        let megabytes = gradients.flat().numel() as f64 * 4e-6;
        let median = times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            1e3 * times[times.len() / 2]
        });
        let [alone, after, overlapping] = median;
        println!(
            "{megabytes:.1} MB: gradient {alone:.0} ms, sum after it {after:.0} ms, sums on the way {overlapping:.0} ms"
        );
    }
    team.close()?;
    Ok(())
}
