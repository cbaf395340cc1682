//! openai/glow: TensorFlow variables `model/LEVEL/STEP/…`, each with its Polyak average beside it.
//!
//! Kernels are [rows, columns, inputs, outputs], the border channel the last input, as ours; products are of row
//! vectors, so that matrices are transposed.
use super::draft::Draft;
use super::identities::{Actnorm, Factors, Mixing, ZerosConv};
use super::tensors::Tensors;
use super::{ImportError, Mapped, Settings};
use glow_models::{Architecture, Coupling, ParameterValues, Permutation};
use ndarray::{Array2, Array4, Axis};

const AVERAGE: &str = "/ExponentialMovingAverage";

pub(super) fn map(tensors: &Tensors, settings: &Settings) -> Result<Mapped, ImportError> {
    let architecture = architecture(tensors, settings)?;
    let source =
        |averages| Source { tensors, averages, class: settings.class, architecture: architecture.clone() };
    let params = source(false).map()?;
    let averages = tensors.names().any(|name| name.ends_with(AVERAGE));
    let averages = averages.then(|| source(true).map()).transpose()?;
    let mut notes: Vec<String> = vec![
        "its training scores images as ours does: bits/dim are comparable; it validates the raw weights (--weights raw)"
            .into(),
    ];
    notes.push(match averages {
        Some(_) => {
            "the averages are in the file and imported beside the raw weights; after few epochs they are poor"
                .into()
        }
        None => "the file has no averages: they are the weights themselves".into(),
    });
    // The optimiser's counter and moments, and what else a graph computes with.
    tensors.know_all(|name| !name.starts_with("model/") || name.ends_with(AVERAGE));
    let unknown = tensors.unknown();
    if let Some(first) = unknown.first() {
        notes.push(format!(
            "{} constants or variables that the model has no place for, from {first} on",
            unknown.len()
        ));
    }
    Ok(Mapped { params, averages, notes })
}

fn architecture(tensors: &Tensors, settings: &Settings) -> Result<Architecture, ImportError> {
    let (height, width) = settings.size("openai")?;
    let n_bits = settings.n_bits.ok_or_else(|| {
        ImportError::ask("--n-bits", "no variable says it (train.txt does, as n_bits_x: --hparams train.txt)")
    })?;
    let channels = tensors.image_channels("model/0/0/actnorm_center/b")?;
    let axis = |name: &str, axis: usize| -> Result<usize, ImportError> {
        Ok(tensors.shape(name)?.get(axis).copied().unwrap_or(0))
    };
    let first = axis("model/0/0/f1/l_1/W", 2)?;
    let step = |part: &str| tensors.has(&format!("model/0/0/{part}"));
    let permutation = if step("invconv/W") || step("invconv/L") {
        Permutation::InvconvPlain
    } else if step("shuffle/indices") {
        Permutation::Shuffle
    } else {
        Permutation::Reverse
    };
    let classes = axis("model/prior/y_emb/W", 0).unwrap_or(0);
    if let Some(class) = settings.class.filter(|&class| class >= classes) {
        let reason = format!("the model has {classes} classes");
        return Err(ImportError::Setting { setting: "--class", value: class.to_string(), reason });
    }
    let depth = (0..).take_while(|k| tensors.has(&format!("model/0/{k}/actnorm_center/b"))).count();
    let levels = (0..).take_while(|l| tensors.has(&format!("model/{l}/0/actnorm_center/b"))).count();
    let architecture = Architecture {
        height,
        width,
        channels,
        n_bits,
        levels,
        depth,
        hidden: axis("model/0/0/f1/l_1/W", 3)?,
        coupling: match axis("model/0/0/f1/l_last/W", 3)? == 4 * channels {
            true => Coupling::Affine,
            false => Coupling::Additive,
        },
        permutation,
        edge_bias: first == 2 * channels + 1,
        learn_top: tensors.has("model/prior/p/W"),
        classes,
    };
    architecture.validate()?;
    Ok(architecture)
}

/// The variables, or their averages.
struct Source<'a> {
    tensors: &'a Tensors,
    averages: bool,
    class: Option<usize>,
    architecture: Architecture,
}

impl Source<'_> {
    /// The name under which a variable is looked up; those that are not trained have no average.
    fn name(&self, name: &str) -> String {
        let average = format!("{name}{AVERAGE}");
        if self.averages && self.tensors.has(&average) { average } else { name.into() }
    }

    fn vector(&self, name: &str, length: usize) -> Result<Vec<f64>, ImportError> {
        self.tensors.vector(&self.name(name), length)
    }

    fn matrix(&self, name: &str, rows: usize, columns: usize) -> Result<Array2<f64>, ImportError> {
        self.tensors.matrix(&self.name(name), rows, columns)
    }

    /// [outputs, inputs, rows, columns] of TensorFlow's [rows, columns, inputs, outputs].
    fn kernel(
        &self,
        name: &str,
        [outputs, inputs, rows, columns]: [usize; 4],
    ) -> Result<Array4<f64>, ImportError> {
        let kernel = self.tensors.kernel(&self.name(name), [rows, columns, inputs, outputs])?;
        Ok(kernel.permuted_axes([3, 2, 0, 1]).as_standard_layout().into_owned())
    }

    fn actnorm(&self, name: &str, channels: usize) -> Result<Actnorm, ImportError> {
        Ok(Actnorm {
            bias: self.vector(&format!("{name}/actnorm_center/b"), channels)?,
            logs: self.vector(&format!("{name}/actnorm_scale/logs"), channels)?,
        })
    }

    fn output(&self, name: &str, outputs: usize) -> Result<Actnorm, ImportError> {
        Ok(Actnorm {
            bias: self.vector(&format!("{name}/b"), outputs)?,
            logs: self.vector(&format!("{name}/logs"), outputs)?,
        })
    }

    fn zeros_conv(&self, name: &str, outputs: usize, inputs: usize) -> Result<ZerosConv, ImportError> {
        let weight = self.kernel(&format!("{name}/W"), [outputs, inputs, 3, 3])?;
        Ok(ZerosConv { weight, output: self.output(name, outputs)? })
    }

    fn map(mut self) -> Result<ParameterValues, ImportError> {
        let mut draft = Draft::default();
        let architecture = self.architecture.clone();
        for (level, shape) in architecture.level_shapes().into_iter().enumerate() {
            for step in 0..architecture.depth {
                let to = Architecture::step_name(level, step);
                self.step(&format!("model/{level}/{step}"), &to, shape.channels, &mut draft)?;
            }
            if shape.splits {
                let inputs = architecture.conv_inputs(shape.channels / 2);
                let conv = self.zeros_conv(&format!("model/pool{level}/conv"), shape.channels, inputs)?;
                draft.zeros_conv(&format!("level{level}.split"), &conv);
            }
        }
        self.top(&mut draft)?;
        draft.finish(&mut self.architecture)
    }

    fn step(&self, from: &str, to: &str, channels: usize, draft: &mut Draft) -> Result<(), ImportError> {
        let (architecture, hidden) = (&self.architecture, self.architecture.hidden);
        draft.actnorm(&format!("{to}.actnorm"), &self.actnorm(from, channels)?);
        match architecture.permutation {
            Permutation::Reverse => {}
            Permutation::Shuffle => {
                let indices = self.tensors.vector(&format!("{from}/shuffle/indices"), channels)?;
                self.tensors.know(&format!("{from}/shuffle/indices_inverse"));
                let indices: Vec<i64> = indices.into_iter().map(|index| index as i64).collect();
                let mut sorted = indices.clone();
                sorted.sort_unstable();
                if !sorted.into_iter().eq(0..channels as i64) {
                    let name = format!("{from}/shuffle/indices");
                    return Err(ImportError::tensor(name, "is not a permutation of the channels"));
                }
                draft.indices(format!("{to}.permutation.indices"), indices);
            }
            _ => draft.mixing(to, Mixing::Plain(self.mixing(&format!("{from}/invconv"), channels)?)),
        }
        let first = [hidden, architecture.conv_inputs(channels / 2), 3, 3];
        for (layer, conv, shape) in [("l_1", "conv1", first), ("l_2", "conv2", [hidden, hidden, 1, 1])] {
            let name = format!("{from}/f1/{layer}");
            let weight = self.kernel(&format!("{name}/W"), shape)?;
            draft.conv(&format!("{to}.coupling.{conv}"), &weight, &self.actnorm(&name, hidden)?);
        }
        let outputs = architecture.coupling_outputs(channels);
        let conv =
            self.zeros_conv(&format!("{from}/f1/l_last"), outputs, architecture.conv_inputs(hidden))?;
        draft.zeros_conv(&format!("{to}.coupling.conv3"), &conv);
        Ok(())
    }

    /// W transposed; the factorised branch of the source is multiplied out.
    fn mixing(&self, name: &str, channels: usize) -> Result<Array2<f64>, ImportError> {
        let matrix = |part: &str| self.matrix(&format!("{name}/{part}"), channels, channels);
        if self.tensors.has(&format!("{name}/W")) {
            return Ok(matrix("W")?.reversed_axes().as_standard_layout().into_owned());
        }
        let vector = |part: &str| self.vector(&format!("{name}/{part}"), channels);
        let mixing = Mixing::of_factors(Factors {
            p: matrix("P")?,
            lower: matrix("L")?,
            upper: matrix("U")?,
            log_s: vector("log_S")?,
            sign_s: vector("sign_S")?,
        });
        Ok(mixing.matrix().reversed_axes().as_standard_layout().into_owned())
    }

    fn top(&mut self, draft: &mut Draft) -> Result<(), ImportError> {
        let top = self.architecture.level_shapes().last().map_or(0, |top| top.channels);
        let mut learned = Actnorm::of_bias(vec![0.0; 2 * top]);
        let mut edge = Array4::zeros((2 * top, 1, 3, 3));
        if self.architecture.learn_top {
            let inputs = self.architecture.conv_inputs(2 * top);
            // Of its weights only those of the border meet anything but zeros.
            let conv = self.zeros_conv("model/prior/p", 2 * top, inputs)?;
            if self.architecture.edge_bias {
                edge = conv.weight.slice(ndarray::s![.., inputs - 1.., .., ..]).to_owned();
            }
            learned = conv.output;
        }
        let classes = self.architecture.classes;
        if classes > 0 {
            let table = self.matrix("model/prior/y_emb/W", classes, 2 * top)?;
            let output = self.output("model/prior/y_emb", 2 * top)?;
            match self.class {
                None => self.labels(&table, &output, top, draft)?,
                Some(class) => {
                    let row = table.row(class);
                    let label = Actnorm {
                        bias: output.bias.iter().zip(row).map(|(bias, value)| bias + value).collect(),
                        logs: output.logs,
                    };
                    let scales = learned.logs.iter().map(|logs| (3.0 * logs).exp());
                    edge.outer_iter_mut().zip(scales).for_each(|(mut kernel, scale)| kernel *= scale);
                    let sum = learned.constant().into_iter().zip(label.constant()).map(|(a, b)| a + b);
                    learned = Actnorm::of_bias(sum.collect());
                    self.tensors.know_all(|name| name.starts_with("model/classifier/"));
                    (self.architecture.classes, self.architecture.learn_top) = (0, true);
                }
            }
        }
        if self.architecture.learn_top {
            draft.actnorm("top", &learned);
            if self.architecture.edge_bias {
                draft.put("top.edge", &edge);
            }
        }
        Ok(())
    }

    fn labels(
        &self,
        table: &Array2<f64>,
        output: &Actnorm,
        channels: usize,
        draft: &mut Draft,
    ) -> Result<(), ImportError> {
        let classes = table.len_of(Axis(0));
        draft.linear("top.label", &table.t().as_standard_layout().into_owned(), output);
        if !self.tensors.has("model/classifier/W") {
            draft.no_classifier(classes, channels);
            return Ok(());
        }
        let weight = self.matrix("model/classifier/W", channels, classes)?;
        let output = self.output("model/classifier", classes)?;
        draft.linear("classifier", &weight.t().as_standard_layout().into_owned(), &output);
        Ok(())
    }
}
