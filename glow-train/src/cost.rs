//! What a training step costs, from the architecture: floating-point operations and memory.
use glow_models::{Architecture, LevelShape, Memory, NetworkPrecision};

/// Floating-point operations of encoding one image, a multiplication and an addition counting as two.
///
/// At each of a level's h·w pixels a step of flow over C channels multiplies by its C×C matrix and by the
/// coupling network's three convolutions: 9·C/2·w + w² + 9·w·out numbers, w being `hidden` and out the
/// coupling's outputs (C for affine, C/2 for additive). The prior of a split adds 9·C/2·C. What grows with the
/// channels alone (biases, scales, border constants, log-determinants) is left out: under 1 % of any preset.
pub fn encoding_flops(model: &Architecture) -> u64 {
    let level = |shape: &LevelShape| {
        let (channels, hidden) = (shape.channels as u64, model.hidden as u64);
        let outputs = model.coupling_outputs(shape.channels) as u64;
        let network = 9 * channels / 2 * hidden + hidden * hidden + 9 * hidden * outputs;
        let steps = model.depth as u64 * (channels * channels + network);
        let prior = if shape.splits { 9 * channels / 2 * channels } else { 0 };
        2 * (shape.height * shape.width) as u64 * (steps + prior)
    };
    model.level_shapes().iter().map(level).sum()
}

/// Floating-point operations of a training step over `images`: encoding; twice that for the gradients by
/// activations and by weights; and, where `memory` does not keep activations, encoding once more.
pub fn step_flops(model: &Architecture, memory: Memory, images: usize) -> u64 {
    let passes = match memory {
        Memory::Autograd => 3,
        Memory::Checkpoint | Memory::Reversible => 4,
    };
    passes * encoding_flops(model) * images as u64
}

/// Bytes that live as long as the run: parameters, a number of averages, the optimiser's two states and the
/// gradient, in f32 each.
pub fn resident_bytes(model: &Architecture, averages: usize) -> u64 {
    (4 + averages as u64) * 4 * model.parameter_count()
}

/// Bytes that a step over `images` takes besides, as an estimate: the activations that `memory` keeps, and
/// twice those of the largest step of flow while its gradient is computed.
///
/// A step of flow has, at each pixel, the patches (9·C/2 + 10 numbers) and two hidden layers of `hidden`
/// numbers in the coupling network's element type, and its input, output and the network's output in f32.
pub fn step_bytes(model: &Architecture, memory: Memory, precision: NetworkPrecision, images: usize) -> u64 {
    let element = if precision == NetworkPrecision::Bf16 { 2 } else { 4 };
    let levels = model.level_shapes();
    let numbers = |shape: &LevelShape| (shape.height * shape.width) as u64;
    let of_step = |shape: &LevelShape| {
        let (channels, hidden) = (shape.channels as u64, model.hidden as u64);
        let outputs = model.coupling_outputs(shape.channels) as u64;
        let network = element * (9 * channels / 2 + 10 + 2 * hidden);
        numbers(shape) * (network + 4 * (2 * channels + outputs))
    };
    let depth = model.depth as u64;
    let kept: u64 = match memory {
        Memory::Autograd => levels.iter().map(|shape| depth * of_step(shape)).sum(),
        Memory::Checkpoint => {
            levels.iter().map(|shape| depth * 4 * numbers(shape) * shape.channels as u64).sum()
        }
        // The halves that were split off, and the last output.
        Memory::Reversible => 4 * model.dims() as u64,
    };
    let largest = levels.iter().map(of_step).max().unwrap_or(0);
    images as u64 * (kept + 2 * largest)
}

/// A number with one of the prefixes of the SI, in three digits.
pub(crate) fn si(number: f64, unit: &str) -> String {
    let prefixes = ["", "k", "M", "G", "T", "P", "E"];
    let power = ((number.max(1.0).log10() / 3.0).floor() as usize).min(prefixes.len() - 1);
    let scaled = number / 1000f64.powi(power as i32);
    let digits = if scaled >= 100.0 { 0 } else { usize::from(scaled < 10.0) + 1 };
    format!("{scaled:.digits$} {}{unit}", prefixes[power])
}

/// A time span in the unit that suits it.
pub(crate) fn time(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 2.0 * 3600.0 => format!("{:.0} min", s / 60.0),
        s if s < 48.0 * 3600.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} days", s / 86400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use glow_models::{Config, Coupling};

    #[test]
    fn operations_are_those_of_a_count_by_hand() {
        // One level, one step: 2×2×4 pixels and channels of a 4×4 gray image; hidden 3.
        let tiny = Architecture {
            height: 4,
            width: 4,
            channels: 1,
            levels: 1,
            depth: 1,
            hidden: 3,
            coupling: Coupling::Additive,
            ..Default::default()
        };
        // A pixel: 4·4 for the matrix, 9·2·3 + 3·3 + 9·3·2 for the network: 16 + 117 products.
        assert_eq!(encoding_flops(&tiny), 2 * 4 * 133);
        // An affine coupling has twice the outputs: 54 more products a pixel.
        let affine = Architecture { coupling: Coupling::Affine, ..tiny.clone() };
        assert_eq!(encoding_flops(&affine), 2 * 4 * 187);
        // A second level: a prior of 9·2·4 a pixel behind the first, and one pixel of 8 channels.
        let two = Architecture { levels: 2, ..tiny.clone() };
        assert_eq!(encoding_flops(&two), 2 * 4 * (133 + 72) + 2 * (64 + 9 * 4 * 3 + 9 + 9 * 3 * 4));
        assert_eq!(step_flops(&tiny, Memory::Autograd, 5), 15 * encoding_flops(&tiny));
        assert_eq!(step_flops(&tiny, Memory::Reversible, 5), 20 * encoding_flops(&tiny));
    }

    /// docs/performance-training.md has what was measured.
    #[test]
    fn cifar10_costs_what_was_measured() {
        let model = Config::preset("cifar10").unwrap().model;
        let step = step_flops(&model, Memory::Autograd, 16) as f64;
        assert!((step / 386e9 - 1.0).abs() < 0.01, "{step}");
        for (memory, precision, measured, within) in [
            (Memory::Autograd, NetworkPrecision::Fp32, 857e6, 0.1),
            (Memory::Autograd, NetworkPrecision::Bf16, 428e6, 0.1),
            (Memory::Reversible, NetworkPrecision::Fp32, 45e6, 0.4),
            (Memory::Reversible, NetworkPrecision::Bf16, 35e6, 0.5),
        ] {
            let estimate = step_bytes(&model, memory, precision, 16) as f64;
            assert!((estimate / measured - 1.0).abs() < within, "{memory:?} {precision:?}: {estimate}");
        }
    }

    #[test]
    fn figures_read_well() {
        for (number, text) in
            [(0.0, "0.00 B"), (999.0, "999 B"), (1e3, "1.00 kB"), (8.84e8, "884 MB"), (3.86e11, "386 GB")]
        {
            assert_eq!(si(number, "B"), text);
        }
        for (seconds, text) in [(5.0, "5 s"), (600.0, "10 min"), (9000.0, "2.5 h"), (864000.0, "10.0 days")] {
            assert_eq!(time(seconds), text);
        }
    }
}
