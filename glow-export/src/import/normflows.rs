//! VincentStimper/normalizing-flows: `model.save`, a state dict.
//!
//! flows.i.j runs from the latent to the image: our level l, step k is i = L−1−l, j = K−1−k. Encoding is the
//! inverse of its flows. The shift is subtracted. Its x lies in [0, 1).
use super::draft::Draft;
use super::identities::{Actnorm, Mixing, ZerosConv, interleaved};
use super::tensors::Tensors;
use super::{ImportError, Mapped, Peer, Settings};
use glow_models::{Architecture, Coupling, LevelShape};
use ndarray::{Array2, Array4};

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
    let channels = tensors.shape(&format!("{first}.2.s"))?.iter().product::<usize>() / 4;
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
            split(tensors, base, level, shape, settings.class, &mut draft)?;
        } else {
            top(tensors, base, shape, settings.class, &mut architecture, &mut draft)?;
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
        Ok(Mixing::of_factors(&matrix("P")?, matrix("L")?, matrix("U")?, vector("log_S")?, vector("sign_S")?))
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

/// The base distribution of a level.
enum Base {
    /// loc·exp(3·loc_logs) and log_scale·exp(3·log_scale_logs); with classes, loc_cc and log_scale_cc of the
    /// label added.
    Glow { name: String, classes: usize },
    /// A mean and log scale for each element: `loc` and `log_scale` of [1, C, h, w], or of
    /// [C, h, w, classes].
    Map { name: String, classes: usize },
}

impl Base {
    fn of(tensors: &Tensors, name: &str) -> Result<Self, ImportError> {
        let name = name.to_string();
        if tensors.has(&format!("{name}.loc_logs")) {
            let classes =
                tensors.shape(&format!("{name}.loc_cc")).ok().and_then(|shape| shape.first().copied());
            return Ok(Self::Glow { name, classes: classes.unwrap_or(0) });
        }
        let classes = match *tensors.shape(&format!("{name}.loc"))? {
            [1, _, _, _] => 0,
            [_, _, _, classes] => classes,
            ref other => {
                let problem = format!("has shape {other:?}, of no base distribution that is known");
                return Err(ImportError::tensor(format!("{name}.loc"), problem));
            }
        };
        Ok(Self::Map { name, classes })
    }

    fn classes(&self) -> usize {
        match self {
            Self::Glow { classes, .. } | Self::Map { classes, .. } => *classes,
        }
    }

    /// Means and log scales without the classes' part, and the classes' part: [classes, C] of each.
    fn read(&self, tensors: &Tensors, channels: usize) -> Result<Prior, ImportError> {
        match self {
            Self::Glow { name, classes } => {
                let vector = |part: &str| tensors.vector(&format!("{name}.{part}"), channels);
                let mean = Actnorm { bias: vector("loc")?, logs: vector("loc_logs")? };
                let scale = Actnorm { bias: vector("log_scale")?, logs: vector("log_scale_logs")? };
                let table = |part: &str| tensors.matrix(&format!("{name}.{part}"), *classes, channels);
                let by_class = match classes {
                    0 => None,
                    _ => Some([table("loc_cc")?, table("log_scale_cc")?]),
                };
                Ok(Prior { mean, scale, by_class })
            }
            Self::Map { name, classes } => self.read_map(tensors, name, *classes, channels),
        }
    }

    /// A map serves only if it is the same everywhere.
    fn read_map(
        &self,
        tensors: &Tensors,
        name: &str,
        classes: usize,
        channels: usize,
    ) -> Result<Prior, ImportError> {
        let table = |part: &str| -> Result<Array2<f64>, ImportError> {
            let name = format!("{name}.{part}");
            let values = tensors.numbers(&name)?;
            // By class the label is the last axis, else there is none.
            let (labels, positions) = (classes.max(1), values.len() / (channels * classes.max(1)).max(1));
            if positions == 0 || values.len() != channels * labels * positions {
                return Err(ImportError::tensor(name, "has another number of channels than its level"));
            }
            let at = |label: usize, channel: usize, position: usize| {
                values[(channel * positions + position) * labels + label]
            };
            for label in 0..labels {
                for channel in 0..channels {
                    if (1..positions).any(|p| at(label, channel, p) != at(label, channel, 0)) {
                        let per_class = if classes > 0 { "for each class, " } else { "for each " };
                        let reason = format!(
                            "{name} has a value {per_class}channel, row and column ({}); the priors here are the same \
                             everywhere",
                            if classes > 0 { "ClassCondDiagGaussian" } else { "DiagGaussian" },
                        );
                        let needs = "priors that differ by place and class: a mean and a log scale of [classes, C, h, \
                                     w] at every level, in the checkpoint format and in the graphs";
                        return Err(refuse(reason, needs));
                    }
                }
            }
            Ok(Array2::from_shape_fn((labels, channels), |(label, channel)| at(label, channel, 0)))
        };
        let (mean, scale) = (table("loc")?, table("log_scale")?);
        if classes == 0 {
            let row = |table: Array2<f64>| Actnorm::of_bias(table.row(0).to_vec());
            return Ok(Prior { mean: row(mean), scale: row(scale), by_class: None });
        }
        let zero = Actnorm::of_bias(vec![0.0; channels]);
        Ok(Prior { mean: zero.clone(), scale: zero, by_class: Some([mean, scale]) })
    }
}

struct Prior {
    mean: Actnorm,
    scale: Actnorm,
    by_class: Option<[Array2<f64>; 2]>,
}

impl Prior {
    /// One class folded in.
    fn of_class(self, class: Option<usize>) -> Self {
        let (Some(class), Some([means, scales])) = (class, &self.by_class) else { return self };
        let fold = |shared: &Actnorm, table: &Array2<f64>| {
            let sum = shared.constant().into_iter().zip(table.row(class)).map(|(a, b)| a + b).collect();
            Actnorm::of_bias(sum)
        };
        Self { mean: fold(&self.mean, means), scale: fold(&self.scale, scales), by_class: None }
    }

    fn is_standard(&self) -> bool {
        let zero = |actnorm: &Actnorm| actnorm.bias.iter().all(|&value| value == 0.0);
        zero(&self.mean) && zero(&self.scale) && self.by_class.is_none()
    }
}

/// The prior of a split: a convolution that sees nothing of z1.
fn split(
    tensors: &Tensors,
    base: &Base,
    level: usize,
    shape: LevelShape,
    class: Option<usize>,
    draft: &mut Draft,
) -> Result<(), ImportError> {
    let half = shape.channels / 2;
    let prior = base.read(tensors, half)?.of_class(class);
    if let Some(tables) = &prior.by_class
        && tables.iter().any(|table| table.rows().into_iter().any(|row| row != table.row(0)))
    {
        let reason = "the priors of its splits differ by class; those here do not";
        let needs = "splits that are given the label; or one class at a time, which is folded in: --class N";
        return Err(refuse(reason, needs));
    }
    let prior = prior.of_class(Some(0));
    let output = Actnorm {
        bias: interleaved(&prior.mean.bias, &prior.scale.bias),
        logs: interleaved(&prior.mean.logs, &prior.scale.logs),
    };
    let weight = Array4::zeros((shape.channels, half, 3, 3));
    draft.zeros_conv(&format!("level{level}.split"), &ZerosConv { weight, output });
    Ok(())
}

fn top(
    tensors: &Tensors,
    base: &Base,
    shape: LevelShape,
    class: Option<usize>,
    architecture: &mut Architecture,
    draft: &mut Draft,
) -> Result<(), ImportError> {
    let channels = shape.channels;
    let prior = base.read(tensors, channels)?.of_class(class);
    architecture.learn_top = !prior.is_standard();
    if architecture.learn_top {
        let both = |mean: &[f64], scale: &[f64]| [mean, scale].concat();
        let bias = both(&prior.mean.bias, &prior.scale.bias);
        draft.actnorm("top", &Actnorm { bias, logs: both(&prior.mean.logs, &prior.scale.logs) });
    }
    if architecture.classes > 0 {
        let weight = match &prior.by_class {
            Some([means, scales]) => {
                let (means, scales) = (means.t(), scales.t());
                ndarray::concatenate(ndarray::Axis(0), &[means, scales]).expect("tables of one size")
            }
            // Only the splits have classes, which are all the same.
            None => Array2::zeros((2 * channels, architecture.classes)),
        };
        draft.linear("top.label", &weight, &Actnorm::of_bias(vec![0.0; 2 * channels]));
        draft.no_classifier(architecture.classes, channels);
    }
    Ok(())
}
