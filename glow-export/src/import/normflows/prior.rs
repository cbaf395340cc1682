//! The base distributions of the levels as our priors.
use super::refuse;
use crate::import::ImportError;
use crate::import::draft::Draft;
use crate::import::identities::{Actnorm, ZerosConv, interleaved};
use crate::import::tensors::Tensors;
use glow_models::{Architecture, LevelShape};
use ndarray::{Array2, Array4};

/// The base distribution of a level.
pub(super) enum Base {
    /// loc·exp(3·loc_logs) and log_scale·exp(3·log_scale_logs); with classes, loc_cc and log_scale_cc of the
    /// label added.
    Glow { name: String, classes: usize },
    /// A mean and log scale for each element: `loc` and `log_scale` of [1, C, h, w], or of
    /// [C, h, w, classes].
    Map { name: String, classes: usize },
}

impl Base {
    pub fn of(tensors: &Tensors, name: &str) -> Result<Self, ImportError> {
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

    pub fn classes(&self) -> usize {
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
pub(super) fn split(
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

pub(super) fn top(
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
