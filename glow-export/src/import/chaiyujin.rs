//! chaiyujin/glow-pytorch: `torch.save` of a dictionary with the weights under `graph`; and what it shares with
//! y0ast/Glow-PyTorch, which descends from it.
//!
//! Layers are numbered through: level l begins at l·(K + 2) with the squeeze, then K steps, then the split.
//! Padding is of zeros; actnorms have no factor 3; shift and raw scale alternate as ours do.
use super::draft::Draft;
use super::identities::{Actnorm, Factors, Mixing, ZerosConv};
use super::tensors::Tensors;
use super::{ImportError, Mapped, Peer, Settings};
use glow_models::{Architecture, Coupling, Permutation};
use ndarray::Array2;

/// The names by which the two implementations differ.
pub(super) struct Names {
    pub peer: Peer,
    /// The coupling network: `f` or `block`.
    pub network: &'static str,
    /// Between a convolution and its weight and bias: nothing or `.conv`.
    pub conv: &'static str,
    /// The same of linear layers.
    pub linear: &'static str,
    /// L and U.
    pub factors: [&'static str; 2],
    pub learn_top: &'static str,
}

const NAMES: Names = Names {
    peer: Peer::Chaiyujin,
    network: "f",
    conv: "",
    linear: "",
    factors: ["l", "u"],
    learn_top: "learn_top",
};

pub(super) fn map(tensors: &Tensors, settings: &Settings) -> Result<Mapped, ImportError> {
    if let Some(bits) = settings.n_bits.filter(|&bits| bits != 8) {
        let reason = "models of chaiyujin are of 8 bits".into();
        return Err(ImportError::Setting { setting: "--n-bits", value: bits.to_string(), reason });
    }
    // Its x is v/255 and noise around it; ours, v + u with u in [0, 1), lies as much above v as below.
    let preprocessing = |actnorm: Actnorm| actnorm.after_preprocessing(256.0 / 255.0, 0.5);
    let notes = vec![
        "its training adds normal noise of 1/256 to v/255 and counts bits a pixel with the constant ln(256)·H·W: \
         bits/dim here are under uniform noise of one step, and not comparable with its curve"
            .into(),
        "its own pixels are floor(255·x), half a step lower on average than ours, round(255·x)".into(),
    ];
    map_named(tensors, settings, &NAMES, preprocessing, notes)
}

/// Maps a model whose names are `names`; `preprocessing` goes into the first actnorm.
pub(super) fn map_named(
    tensors: &Tensors,
    settings: &Settings,
    names: &Names,
    preprocessing: impl Fn(Actnorm) -> Actnorm,
    notes: Vec<String>,
) -> Result<Mapped, ImportError> {
    let mut architecture = architecture(tensors, settings, names)?;
    let folded = folded_label(tensors, settings, names, &mut architecture)?;
    architecture.validate()?;
    let mut draft = Draft::default();
    let layers = architecture.depth + 2;
    for (level, shape) in architecture.level_shapes().into_iter().enumerate() {
        for step in 0..architecture.depth {
            let from = format!("flow.layers.{}", level * layers + 1 + step);
            let to = Architecture::step_name(level, step);
            let actnorm = actnorm(tensors, &format!("{from}.actnorm"), shape.channels)?;
            let first = level == 0 && step == 0;
            let actnorm = if first { preprocessing(actnorm) } else { actnorm };
            draft.actnorm(&format!("{to}.actnorm"), &actnorm);
            if let Some(mixing) = mixing(tensors, &from, shape.channels, names)? {
                draft.mixing(&to, mixing);
            }
            network(tensors, &from, &to, shape.channels, &architecture, names, &mut draft)?;
        }
        if shape.splits {
            let from = format!("flow.layers.{}.conv", level * layers + architecture.depth + 1);
            let conv = zeros_conv(tensors, &from, names, shape.channels, shape.channels / 2)?;
            draft.zeros_conv(&format!("level{level}.split"), &conv);
        }
    }
    top(tensors, names, &architecture, folded, &mut draft)?;
    tensors.check_all_known(names.peer.name())?;
    Ok(Mapped { params: draft.finish(&mut architecture)?, averages: None, notes })
}

fn refuse(names: &Names, reason: impl Into<String>, needs: impl Into<String>) -> ImportError {
    ImportError::Refused { implementation: names.peer.name(), reason: reason.into(), needs: needs.into() }
}

fn architecture(tensors: &Tensors, settings: &Settings, names: &Names) -> Result<Architecture, ImportError> {
    let channels = tensors.image_channels("flow.layers.1.actnorm.bias")?;
    let network = format!("flow.layers.1.{}", names.network);
    let hidden = tensors.shape(&format!("{network}.0{}.weight", names.conv))?.first().copied().unwrap_or(0);
    let outputs = tensors.shape(&format!("{network}.4{}.weight", names.conv))?.first().copied().unwrap_or(0);
    let split = format!(".conv{}.weight", names.conv);
    let splits = tensors
        .names()
        .filter_map(|name| name.strip_prefix("flow.layers.")?.strip_suffix(split.as_str()))
        .filter(|index| index.parse::<usize>().is_ok())
        .count();
    let (levels, last) = (splits + 1, tensors.count("flow.layers."));
    let depth = match (last + 1) / levels {
        layers if layers > 2 && (last + 1) % levels == 0 => layers - 2,
        _ => {
            let problem =
                format!("does not fit {levels} levels: {last} layers are no whole number of steps a level");
            return Err(ImportError::tensor("flow.layers", problem));
        }
    };
    // The prior's map of zeros tells the image's size.
    let prior = tensors.shape("prior_h").ok().map(<[usize]>::to_vec);
    let (height, width) = match prior.as_deref() {
        Some(&[_, _, height, width]) => {
            if tensors.numbers("prior_h")?.iter().any(|&value| value != 0.0) {
                return Err(refuse(names, "its prior_h is not zero", "a prior that differs by place"));
            }
            let factor = 1usize.checked_shl(levels as u32).unwrap_or(usize::MAX);
            (height.saturating_mul(factor), width.saturating_mul(factor))
        }
        Some(_) => return Err(ImportError::tensor("prior_h", "is not of four axes")),
        None => settings.size(names.peer.name())?,
    };
    settings.check_size(height, width)?;
    let mixed = tensors.names().any(|name| name.starts_with("flow.layers.1.invconv."));
    let permutation = match (mixed, settings.permutation.as_deref()) {
        (true, None | Some("invconv" | "invconv-plain")) => Permutation::InvconvPlain,
        (false, Some("reverse")) => Permutation::Reverse,
        (false, Some("shuffle")) => {
            let reason = "flow_permutation \"shuffle\": the order of the channels is neither a parameter nor a \
                          buffer, so that it is not in the file, and the implementation itself cannot load it either";
            return Err(refuse(
                names,
                reason,
                "the indices of every Permute2d layer, from the process that trained",
            ));
        }
        (false, None) => {
            let reason = "the file has no 1×1 convolutions, and does not say whether the channels are reversed \
                          (reverse) or shuffled (shuffle); its hparams do (flow_permutation)";
            return Err(ImportError::ask("--permutation", reason));
        }
        (_, Some(other)) => {
            let reason =
                if mixed { "the file has 1×1 convolutions" } else { "the file has no 1×1 convolutions" };
            return Err(ImportError::Setting {
                setting: "--permutation",
                value: other.into(),
                reason: reason.into(),
            });
        }
    };
    let classes = format!("project_ycond{}.weight", names.linear);
    let classes = tensors.shape(&classes).ok().and_then(|shape| shape.get(1).copied()).unwrap_or(0);
    Ok(Architecture {
        height,
        width,
        channels,
        n_bits: settings.n_bits.unwrap_or(8),
        levels,
        depth,
        hidden,
        coupling: if outputs == 4 * channels { Coupling::Affine } else { Coupling::Additive },
        permutation,
        edge_bias: false,
        learn_top: tensors.has(&format!("{}{}.weight", names.learn_top, names.conv)),
        classes,
    })
}

/// The label to fold into the prior, if one is to be: one class, or a vector of attributes.
fn folded_label(
    tensors: &Tensors,
    settings: &Settings,
    names: &Names,
    architecture: &mut Architecture,
) -> Result<Option<Vec<f64>>, ImportError> {
    let classes = architecture.classes;
    let label = match (settings.class, &settings.attributes) {
        (None, None) if classes == 0 => return Ok(None),
        (Some(class), None) if class < classes => {
            Some((0..classes).map(|i| f64::from(u8::from(i == class))).collect())
        }
        (None, Some(attributes)) if classes > 0 && attributes.len() == classes => Some(attributes.clone()),
        (None, None) => match (names.peer, settings.condition.as_deref()) {
            (Peer::Chaiyujin, Some("multi-classes")) => {
                let reason =
                    "Criterion.y_condition \"multi-classes\": the prior hangs on several attributes at once";
                let needs = format!(
                    "one fixed vector of attributes, which is folded in: --attributes, {classes} numbers"
                );
                return Err(refuse(names, reason, needs));
            }
            (Peer::Chaiyujin, Some("single-class")) | (Peer::Y0ast, _) => None,
            (_, None) => {
                let reason = "the file has a prior that hangs on labels, and does not say whether an image has one \
                              class (single-class) or several attributes (multi-classes); its hparams do \
                              (Criterion.y_condition)";
                return Err(ImportError::ask("--condition", reason));
            }
            (_, Some(other)) => {
                let (value, reason) = (other.into(), "give single-class or multi-classes".into());
                return Err(ImportError::Setting { setting: "--condition", value, reason });
            }
        },
        (class, attributes) => {
            let setting = if class.is_some() { "--class" } else { "--attributes" };
            let value = format!("{class:?} {attributes:?}");
            let reason = format!("the model's prior takes {classes} classes or attributes");
            return Err(ImportError::Setting { setting, value, reason });
        }
    };
    if label.is_some() {
        for part in ["weight", "bias"] {
            tensors.know(&format!("project_class{}.{part}", names.linear));
        }
        tensors.know("project_class.logs");
        (architecture.classes, architecture.learn_top) = (0, true);
    }
    Ok(label)
}

fn actnorm(tensors: &Tensors, name: &str, channels: usize) -> Result<Actnorm, ImportError> {
    let bias = tensors.vector(&format!("{name}.bias"), channels)?;
    Ok(Actnorm::of_log_scale(bias, tensors.vector(&format!("{name}.logs"), channels)?))
}

fn mixing(
    tensors: &Tensors,
    step: &str,
    channels: usize,
    names: &Names,
) -> Result<Option<Mixing>, ImportError> {
    let name = |part: &str| format!("{step}.invconv.{part}");
    let matrix = |part: &str| tensors.matrix(&name(part), channels, channels);
    if tensors.has(&name("weight")) {
        return Ok(Some(Mixing::Plain(matrix("weight")?)));
    }
    let [lower, upper] = names.factors;
    if !tensors.has(&name(lower)) {
        return Ok(None);
    }
    if let Some(lost) = ["p", "sign_s"].into_iter().find(|part| !tensors.has(&name(part))) {
        let reason = format!("{} is not in the file, as in files older than 24 April 2019", name(lost));
        return Err(refuse(
            names,
            reason,
            "P and the signs of every 1×1 convolution, from the process that trained",
        ));
    }
    let vector = |part: &str| tensors.vector(&name(part), channels);
    Ok(Some(Mixing::of_factors(Factors {
        p: matrix("p")?,
        lower: matrix(lower)?,
        upper: matrix(upper)?,
        log_s: vector("log_s")?,
        sign_s: vector("sign_s")?,
    })))
}

fn network(
    tensors: &Tensors,
    from: &str,
    to: &str,
    channels: usize,
    architecture: &Architecture,
    names: &Names,
    draft: &mut Draft,
) -> Result<(), ImportError> {
    let (half, hidden) = (channels / 2, architecture.hidden);
    let layer = |index: usize| format!("{from}.{}.{index}", names.network);
    for (index, conv, shape) in [(0, "conv1", [hidden, half, 3, 3]), (2, "conv2", [hidden, hidden, 1, 1])] {
        let weight = tensors.kernel(&format!("{}{}.weight", layer(index), names.conv), shape)?;
        let actnorm = actnorm(tensors, &format!("{}.actnorm", layer(index)), hidden)?;
        draft.conv(&format!("{to}.coupling.{conv}"), &weight, &actnorm);
    }
    let outputs = architecture.coupling_outputs(channels);
    let conv = zeros_conv(tensors, &layer(4), names, outputs, hidden)?;
    draft.zeros_conv(&format!("{to}.coupling.conv3"), &conv);
    Ok(())
}

fn zeros_conv(
    tensors: &Tensors,
    name: &str,
    names: &Names,
    outputs: usize,
    inputs: usize,
) -> Result<ZerosConv, ImportError> {
    let weight = tensors.kernel(&format!("{name}{}.weight", names.conv), [outputs, inputs, 3, 3])?;
    let bias = tensors.vector(&format!("{name}{}.bias", names.conv), outputs)?;
    Ok(ZerosConv {
        weight,
        output: Actnorm { bias, logs: tensors.vector(&format!("{name}.logs"), outputs)? },
    })
}

fn linear(
    tensors: &Tensors,
    name: &str,
    names: &Names,
    outputs: usize,
    inputs: usize,
) -> Result<(Array2<f64>, Actnorm), ImportError> {
    let part = |part: &str| format!("{name}{}.{part}", names.linear);
    let weight = tensors.matrix(&part("weight"), outputs, inputs)?;
    let bias = tensors.vector(&part("bias"), outputs)?;
    Ok((weight, Actnorm { bias, logs: tensors.vector(&format!("{name}.logs"), outputs)? }))
}

fn top(
    tensors: &Tensors,
    names: &Names,
    architecture: &Architecture,
    folded: Option<Vec<f64>>,
    draft: &mut Draft,
) -> Result<(), ImportError> {
    let channels = architecture.level_shapes().last().map_or(0, |top| top.channels);
    let (conv, linear_layer) = (names.learn_top, "project_ycond");
    let learned = tensors.has(&format!("{conv}{}.weight", names.conv));
    let mut top = Actnorm::of_bias(vec![0.0; 2 * channels]);
    if learned {
        // Its weights meet only zeros.
        tensors.know(&format!("{conv}{}.weight", names.conv));
        let bias = tensors.vector(&format!("{conv}{}.bias", names.conv), 2 * channels)?;
        top = Actnorm { bias, logs: tensors.vector(&format!("{conv}.logs"), 2 * channels)? };
    }
    if let Some(label) = folded {
        let (weight, mut output) = linear(tensors, linear_layer, names, 2 * channels, label.len())?;
        let answer = weight.dot(&ndarray::Array1::from(label));
        output.bias.iter_mut().zip(answer).for_each(|(bias, answer)| *bias += answer);
        let sum = top.constant().into_iter().zip(output.constant()).map(|(a, b)| a + b).collect();
        top = Actnorm::of_bias(sum);
    }
    if architecture.learn_top {
        draft.actnorm("top", &top);
    }
    if architecture.classes > 0 {
        let (weight, output) = linear(tensors, linear_layer, names, 2 * channels, architecture.classes)?;
        draft.linear("top.label", &weight, &output);
        if tensors.has("project_class.logs") {
            let (weight, output) = linear(tensors, "project_class", names, architecture.classes, channels)?;
            draft.linear("classifier", &weight, &output);
        } else {
            draft.no_classifier(architecture.classes, channels);
        }
    }
    Ok(())
}
