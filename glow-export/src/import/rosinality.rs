//! rosinality/glow-pytorch: a state dict, whose names begin with `module.` if it is of `nn.DataParallel`.
//!
//! Its "zero convolutions" (a coupling's last and the priors) pad all channels with ones. The raw scale stands
//! before the shift. Actnorms are scale·(x + loc), of either sign. The last block's 1×1 convolutions are
//! factorised even with `--no_lu`.
use super::draft::Draft;
use super::identities::{Actnorm, Chunks, Factors, Mixing, ZerosConv, border_sum, with_border};
use super::tensors::Tensors;
use super::{ImportError, Mapped, Peer, Settings};
use glow_models::{Architecture, Coupling};

pub(super) fn map(tensors: &Tensors, settings: &Settings) -> Result<Mapped, ImportError> {
    let (height, width) = settings.size("rosinality")?;
    let n_bits = settings.n_bits.ok_or_else(|| {
        ImportError::ask("--n-bits", "a rosinality file does not say it (its default is 5)")
    })?;
    let last = "blocks.0.flows.0.coupling.net.4.conv.weight";
    let outputs = tensors.shape(last)?.first().copied().unwrap_or(0);
    let channels = tensors.image_channels("blocks.0.flows.0.actnorm.loc")?;
    let hidden = tensors.shape("blocks.0.flows.0.coupling.net.0.weight")?.first().copied().unwrap_or(0);
    let coupling = if outputs == 4 * channels { Coupling::Affine } else { Coupling::Additive };
    let mut architecture = Architecture {
        height,
        width,
        channels,
        n_bits,
        levels: tensors.count("blocks."),
        depth: tensors.count("blocks.0.flows."),
        hidden,
        coupling,
        edge_bias: true,
        learn_top: true,
        classes: 0,
        ..Default::default()
    };
    architecture.validate()?;
    let mut draft = Draft::default();
    for (level, shape) in architecture.level_shapes().into_iter().enumerate() {
        for step in 0..architecture.depth {
            let from = format!("blocks.{level}.flows.{step}");
            let to = Architecture::step_name(level, step);
            self::step(tensors, &from, &to, shape.channels, &architecture, &mut draft)?;
        }
        let prior = format!("blocks.{level}.prior");
        if shape.splits {
            let conv = zero_conv(tensors, &prior, shape.channels, shape.channels / 2)?;
            draft.zeros_conv(
                &format!("level{level}.split"),
                &conv.padded_with_ones().interleaved(Chunks::EvenFirst),
            );
        } else {
            // Of a map of zeros only the padding is seen.
            let conv = zero_conv(tensors, &prior, 2 * shape.channels, shape.channels)?;
            draft.put("top.edge", &border_sum(&conv.weight));
            draft.actnorm("top", &conv.output);
        }
    }
    tensors.check_all_known(Peer::Rosinality.name())?;
    let notes = vec![
        "its training scores images as ours does: bits/dim are comparable, with this --n-bits".into(),
        "a model trained before 7 October 2020 saw all 8 bits under the wider noise of n_bits: its own bits/dim are \
         then not comparable, and images lie half a bin lower here"
            .into(),
    ];
    Ok(Mapped { params: draft.finish(&mut architecture)?, averages: None, notes })
}

fn step(
    tensors: &Tensors,
    from: &str,
    to: &str,
    channels: usize,
    architecture: &Architecture,
    draft: &mut Draft,
) -> Result<(), ImportError> {
    let (half, hidden) = (channels / 2, architecture.hidden);
    let name = |part: &str| format!("{from}.{part}");
    let initialized = name("actnorm.initialized");
    if tensors.has(&initialized) && tensors.numbers(&initialized)?.contains(&0.0) {
        return Err(ImportError::Refused {
            implementation: Peer::Rosinality.name(),
            reason: format!("{initialized} is 0: the model has not seen an image"),
            needs: "a file written after training began".into(),
        });
    }
    let loc = tensors.vector(&name("actnorm.loc"), channels)?;
    let scale = tensors.vector(&name("actnorm.scale"), channels)?;
    let (actnorm, signs) = Actnorm::of_scale(loc, &scale)
        .ok_or_else(|| ImportError::tensor(name("actnorm.scale"), "holds 0, which cannot be inverted"))?;
    draft.actnorm(&format!("{to}.actnorm"), &actnorm);
    let mixing = if tensors.has(&name("invconv.weight")) {
        Mixing::Plain(tensors.matrix(&name("invconv.weight"), channels, channels)?)
    } else {
        for constant in ["u_mask", "l_mask", "l_eye"] {
            tensors.know(&name(&format!("invconv.{constant}")));
        }
        let matrix = |part: &str| tensors.matrix(&name(&format!("invconv.{part}")), channels, channels);
        let vector = |part: &str| tensors.vector(&name(&format!("invconv.{part}")), channels);
        Mixing::of_factors(Factors {
            p: matrix("w_p")?,
            lower: matrix("w_l")?,
            upper: matrix("w_u")?,
            log_s: vector("w_s")?,
            sign_s: vector("s_sign")?,
        })
    };
    draft.mixing(to, mixing.with_signs(&signs));
    for (index, conv, shape) in [(0, "conv1", [hidden, half, 3, 3]), (2, "conv2", [hidden, hidden, 1, 1])] {
        let weight = tensors.kernel(&name(&format!("coupling.net.{index}.weight")), shape)?;
        let bias = tensors.vector(&name(&format!("coupling.net.{index}.bias")), hidden)?;
        let weight = if index == 0 { with_border(&weight, None) } else { weight };
        draft.conv(&format!("{to}.coupling.{conv}"), &weight, &Actnorm::of_bias(bias));
    }
    let outputs = architecture.coupling_outputs(channels);
    let conv = zero_conv(tensors, &name("coupling.net.4"), outputs, hidden)?.padded_with_ones();
    let conv = match architecture.coupling {
        Coupling::Affine => conv.interleaved(Chunks::OddFirst),
        Coupling::Additive => conv,
    };
    draft.zeros_conv(&format!("{to}.coupling.conv3"), &conv);
    Ok(())
}

fn zero_conv(tensors: &Tensors, name: &str, outputs: usize, inputs: usize) -> Result<ZerosConv, ImportError> {
    Ok(ZerosConv {
        weight: tensors.kernel(&format!("{name}.conv.weight"), [outputs, inputs, 3, 3])?,
        output: Actnorm {
            bias: tensors.vector(&format!("{name}.conv.bias"), outputs)?,
            logs: tensors.vector(&format!("{name}.scale"), outputs)?,
        },
    })
}
