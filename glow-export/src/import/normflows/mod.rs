//! VincentStimper/normalizing-flows: `model.save`, a state dict.
//!
//! flows.i.j runs from the latent to the image: our level l, step k is i = L−1−l, j = K−1−k. Encoding is the
//! inverse of its flows. The shift is subtracted. Its x lies in [0, 1).
mod prior;

use super::draft::Draft;
use super::identities::{Actnorm, Factors, Mixing, ZerosConv};
use super::tensors::Tensors;
use super::{ImportError, Mapped, Peer, Settings};
use glow_models::{Architecture, Coupling, LevelShape};
use ndarray::{Array2, Array4};
use prior::Base;

/// sigmoid(2 + 40) is 1 in every number format.
const OPEN: f64 = 40.0;

fn refuse(reason: impl Into<String>, needs: impl Into<String>) -> ImportError {
    let implementation = Peer::Normflows.name();
    ImportError::Refused { implementation, reason: reason.into(), needs: needs.into() }
}

pub(super) fn map(tensors: &Tensors, settings: &Settings) -> Result<Mapped, ImportError> {
    let swaps = check_settings(settings)?;
    let levels = tensors.count("flows.");
    let steps = (0..).take_while(|j| tensors.has(&format!("flows.0.{j}.flows.2.s"))).count();
    // The image's end: the last group, its steps being of 4·channels.
    let first = format!("flows.{}.0.flows", levels.saturating_sub(1));
    let channels = tensors.image_channels(&format!("{first}.2.s"))?;
    let network = Network::of(tensors, &first)?;
    let hidden = tensors.shape(&network.weight(&first, 0))?.first().copied().unwrap_or(0);
    let outputs = tensors.shape(&network.weight(&first, 2))?.first().copied().unwrap_or(0);
    let (height, width) = size(tensors, settings, levels)?;
    let mut architecture = Architecture {
        height,
        width,
        channels,
        n_bits: settings.n_bits.unwrap_or(8),
        levels,
        depth: steps + usize::from(swaps),
        hidden,
        coupling: if outputs == 4 * channels { Coupling::Affine } else { Coupling::Additive },
        edge_bias: false,
        ..Default::default()
    };
    let bases = (0..levels).map(|i| Base::of(tensors, &format!("q0.{i}"))).collect::<Result<Vec<_>, _>>()?;
    let classes = bases.iter().map(Base::classes).max().unwrap_or(0);
    if let Some(class) = settings.class.filter(|&class| class >= classes) {
        let reason = format!("the model has {classes} classes");
        return Err(ImportError::Setting { setting: "--class", value: class.to_string(), reason });
    }
    architecture.classes = if settings.class.is_none() { classes } else { 0 };
    architecture.validate()?;
    let mut draft = Draft::default();
    for (level, shape) in architecture.level_shapes().into_iter().enumerate() {
        let group = levels - 1 - level;
        for step in 0..steps {
            let from = format!("flows.{group}.{}.flows", steps - 1 - step);
            let to = Architecture::step_name(level, step);
            // x of the file is x + ½ of ours.
            let beta = if level == 0 && step == 0 { 0.5 } else { 0.0 };
            let layer =
                Layer { tensors, network: &network, architecture: &architecture, channels: shape.channels };
            layer.map(&from, &to, beta, swaps.then_some(step > 0), &mut draft)?;
        }
        if swaps {
            swap_back(&Architecture::step_name(level, steps), shape, &architecture, &mut draft);
        }
        let base = &bases[group];
        if shape.splits {
            prior::split(tensors, base, level, shape, settings.class, &mut draft)?;
        } else {
            prior::top(tensors, base, shape, settings.class, &mut architecture, &mut draft)?;
        }
    }
    tensors.check_all_known(Peer::Normflows.name())?;
    Ok(Mapped { params: draft.finish(&mut architecture)?, averages: None, notes: notes(settings) })
}

fn notes(settings: &Settings) -> Vec<String> {
    let mut assumed = Vec::new();
    for (setting, given, default) in [
        ("--scale-map", settings.scale_map.is_some(), "sigmoid"),
        ("--split-mode", settings.split_mode.is_some(), "channel"),
        ("--leaky", settings.leaky.is_some(), "0"),
        ("--n-bits", settings.n_bits.is_some(), "8"),
    ] {
        if !given {
            assumed.push(format!("{setting} {default}"));
        }
    }
    let mut notes = vec![
        "its log_prob is the density of x = (v + u)/256: bits/dim here, with the constant of the bits, are comparable \
         with −log_prob/(ln 2·D) + 8"
            .into(),
        "the data's transform is not in the file: x = (v + u)/2^n_bits is assumed, as in its notebook; a model trained \
         behind a logit is another"
            .into(),
    ];
    if !assumed.is_empty() {
        notes.push(format!("not in the file, and assumed: {}", assumed.join(", ")));
    }
    notes
}

/// Whether the halves are swapped; what the architecture has no place for is refused.
fn check_settings(settings: &Settings) -> Result<bool, ImportError> {
    if let Some(map) = settings.scale_map.as_deref().filter(|&map| map != "sigmoid") {
        let needs = "a coupling with that scale; sigmoid(raw + 2) is the only one here";
        return Err(refuse(format!("scale_map {map:?}"), needs));
    }
    if settings.leaky.is_some_and(|leaky| leaky != 0.0) {
        return Err(refuse("leaky ReLUs in the networks", "networks with leaky ReLUs"));
    }
    match settings.split_mode.as_deref() {
        None | Some("channel") => Ok(false),
        Some("channel_inv" | "channel-inv") => Ok(true),
        Some(other) => Err(refuse(format!("split_mode {other:?}"), "a coupling that splits in that way")),
    }
}

/// The image's size: of a prior that has a map, else as given.
fn size(tensors: &Tensors, settings: &Settings, levels: usize) -> Result<(usize, usize), ImportError> {
    for i in 0..levels {
        let Ok(shape) = tensors.shape(&format!("q0.{i}.loc")) else { continue };
        if tensors.has(&format!("q0.{i}.loc_logs")) {
            continue; // One number a channel.
        }
        // DiagGaussian: [1, C, h, w]; by class: [C, h, w, classes].
        let map = match *shape {
            [1, _, height, width] => (height, width),
            [_, height, width, _] => (height, width),
            _ => continue,
        };
        let factor = 1usize.checked_shl((levels - i) as u32).unwrap_or(usize::MAX);
        let (height, width) = (map.0.saturating_mul(factor), map.1.saturating_mul(factor));
        settings.check_size(height, width)?;
        return Ok((height, width));
    }
    settings.size(Peer::Normflows.name())
}

/// How the coupling networks' layers are numbered: with `net_actnorm` there is an actnorm behind the first two.
struct Network {
    actnorms: bool,
}

impl Network {
    fn of(tensors: &Tensors, flow: &str) -> Result<Self, ImportError> {
        let actnorms = tensors.has(&format!("{flow}.0.flows.1.param_map.net.6.weight"));
        let network = Self { actnorms };
        tensors.shape(&network.weight(flow, 2))?;
        Ok(network)
    }

    fn name(&self, flow: &str, conv: usize) -> String {
        let stride = if self.actnorms { 3 } else { 2 };
        format!("{flow}.0.flows.1.param_map.net.{}", stride * conv)
    }

    fn weight(&self, flow: &str, conv: usize) -> String {
        format!("{}.weight", self.name(flow, conv))
    }

    /// What follows a convolution's product: its bias, or the actnorm exp(s)·h + t.
    fn output(
        &self,
        tensors: &Tensors,
        flow: &str,
        conv: usize,
        outputs: usize,
    ) -> Result<Actnorm, ImportError> {
        if !self.actnorms || conv == 2 {
            let bias = format!("{}.bias", self.name(flow, conv));
            return Ok(Actnorm::of_bias(tensors.vector(&bias, outputs)?));
        }
        let actnorm = format!("{flow}.0.flows.1.param_map.net.{}.actNorm", 3 * conv + 1);
        initialised(tensors, &actnorm)?;
        let s = tensors.vector(&format!("{actnorm}.s"), outputs)?;
        Ok(Actnorm::of_affine(s, &tensors.vector(&format!("{actnorm}.t"), outputs)?))
    }
}

fn initialised(tensors: &Tensors, actnorm: &str) -> Result<(), ImportError> {
    let done = format!("{actnorm}.data_dep_init_done");
    if tensors.has(&done) && tensors.numbers(&done)?.contains(&0.0) {
        let reason = format!("{done} is 0: the model has not seen an image");
        return Err(refuse(reason, "a file written after training began"));
    }
    Ok(())
}

/// One step of flow.
struct Layer<'a> {
    tensors: &'a Tensors,
    network: &'a Network,
    architecture: &'a Architecture,
    channels: usize,
}

impl Layer<'_> {
    /// `swap`, where the halves are swapped: whether the channels come swapped from the step before.
    fn map(
        &self,
        from: &str,
        to: &str,
        beta: f64,
        swap: Option<bool>,
        draft: &mut Draft,
    ) -> Result<(), ImportError> {
        let (tensors, channels, hidden) = (self.tensors, self.channels, self.architecture.hidden);
        let actnorm = format!("{from}.2");
        initialised(tensors, &actnorm)?;
        let s = tensors.vector(&format!("{actnorm}.s"), channels)?;
        let t = tensors.vector(&format!("{actnorm}.t"), channels)?;
        let actnorm = Actnorm::of_inverse(&s, &t).after_preprocessing(1.0, beta);
        let swapped_in = swap == Some(true);
        draft.actnorm(&format!("{to}.actnorm"), &if swapped_in { actnorm.swapped() } else { actnorm });
        let mixing = self.mixing(&format!("{from}.1"))?;
        draft.mixing(to, if swap.is_some() { mixing.swapped(swapped_in) } else { mixing });
        let half = channels / 2;
        for (index, conv, shape) in [(0, "conv1", [hidden, half, 3, 3]), (1, "conv2", [hidden, hidden, 1, 1])]
        {
            let weight = tensors.kernel(&self.network.weight(from, index), shape)?;
            let output = self.network.output(tensors, from, index, hidden)?;
            draft.conv(&format!("{to}.coupling.{conv}"), &weight, &output);
        }
        let outputs = self.architecture.coupling_outputs(channels);
        let weight = tensors.kernel(&self.network.weight(from, 2), [outputs, hidden, 3, 3])?;
        let output = self.network.output(tensors, from, 2, outputs)?;
        // Its encoding subtracts the shift: all outputs of an additive one, the even ones of an affine one.
        let stride = if self.architecture.coupling == Coupling::Affine { 2 } else { 1 };
        draft.zeros_conv(&format!("{to}.coupling.conv3"), &ZerosConv { weight, output }.negated(stride));
        Ok(())
    }

    fn mixing(&self, name: &str) -> Result<Mixing, ImportError> {
        let part = |part: &str| format!("{name}.{part}");
        let matrix = |of: &str| self.tensors.matrix(&part(of), self.channels, self.channels);
        if self.tensors.has(&part("W")) {
            return Ok(Mixing::Plain(matrix("W")?));
        }
        self.tensors.know(&part("eye"));
        let vector = |of: &str| self.tensors.vector(&part(of), self.channels);
        Ok(Mixing::of_factors(Factors {
            p: matrix("P")?,
            lower: matrix("L")?,
            upper: matrix("U")?,
            log_s: vector("log_S")?,
            sign_s: vector("sign_S")?,
        }))
    }
}

/// One more step, which does nothing but put swapped halves back.
fn swap_back(step: &str, shape: LevelShape, architecture: &Architecture, draft: &mut Draft) {
    let (channels, hidden) = (shape.channels, architecture.hidden);
    draft.actnorm(&format!("{step}.actnorm"), &Actnorm::of_bias(vec![0.0; channels]));
    draft.mixing(step, Mixing::Plain(Array2::eye(channels)).swapped(false));
    let nothing = Actnorm::of_bias(vec![0.0; hidden]);
    let (first, second) =
        (Array4::zeros((hidden, channels / 2, 3, 3)), Array4::zeros((hidden, hidden, 1, 1)));
    draft.conv(&format!("{step}.coupling.conv1"), &first, &nothing);
    draft.conv(&format!("{step}.coupling.conv2"), &second, &nothing);
    let outputs = architecture.coupling_outputs(channels);
    let mut bias = vec![0.0; outputs];
    if architecture.coupling == Coupling::Affine {
        bias.iter_mut().skip(1).step_by(2).for_each(|raw| *raw = OPEN);
    }
    let weight = Array4::zeros((outputs, hidden, 3, 3));
    draft
        .zeros_conv(&format!("{step}.coupling.conv3"), &ZerosConv { weight, output: Actnorm::of_bias(bias) });
}

#[cfg(test)]
mod tests;
