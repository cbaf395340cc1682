//! Thawing: from a frozen bundle back to the parameters of a checkpoint that computes the same.
//!
//! Freezing folds what is constant into fewer, plainer weights; thawing leaves it folded. The 1×1
//! convolutions become [`Permutation::InvconvPlain`] with the actnorms' scales in them, and all `logs` are
//! 0. Fixed permutations stay what they are, with the actnorm's scale in its `logs`. The border channel of
//! edge bias is read back from the maps and channels of ones that it was frozen to. A model in half
//! precision or 8-bit integers thaws to the weights that its numbers stand for; what rounding does to
//! *activations* is not in a checkpoint.
//!
//! The classifier of a class-conditional model is not in a bundle and comes back as zeros, as it began.
mod border;
mod frozen;
mod linear;

use crate::{
    Architecture, Bundle, BundleError, Coupling, LOGSCALE_FACTOR, LevelShape, ParameterValues, Permutation,
    RAW_SCALE_OFFSET, TensorFileError, Values, ValuesError,
};
use frozen::Frozen;
use std::collections::HashMap;
use std::f64::consts::PI;
use thiserror::Error;

/// A bundle that cannot be thawed.
#[derive(Debug, Error)]
pub enum ThawError {
    /// The bundle is damaged or incomplete.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Its weights cannot be read.
    #[error(transparent)]
    File(#[from] TensorFileError),
    /// A frozen tensor is missing or not what it should be.
    #[error("the frozen tensor {tensor} {problem}; export the bundle again")]
    Tensor {
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The thawed parameters give another log-likelihood than the bundle's own constant.
    #[error(
        "the bundle's log_prob.constant is {frozen} nats where its other weights give {thawed}: they are not of \
         one model; export the bundle again"
    )]
    Constant {
        /// The bundle's.
        frozen: f64,
        /// That of the thawed parameters.
        thawed: f64,
    },
    /// The thawed parameters do not make up the model.
    #[error("the bundle does not hold the whole model")]
    Values(#[from] ValuesError),
}

impl ThawError {
    fn tensor(tensor: &str, problem: impl Into<String>) -> Self {
        Self::Tensor { tensor: tensor.into(), problem: problem.into() }
    }
}

/// The parameters of a model that computes what the bundle does: their architecture is the bundle's, but for
/// `permutation`, which is [`Permutation::InvconvPlain`] where the bundle's is [`Permutation::Invconv`].
///
/// The files are checked against the manifest first. What is thawed gives the bundle's `log_prob.constant`
/// again, which is compared.
///
/// # Errors
/// A file is damaged, or a frozen tensor is not what an exporter of this project writes.
pub fn thaw(bundle: &Bundle) -> Result<ParameterValues, ThawError> {
    let mut architecture = bundle.manifest().architecture.clone();
    if architecture.permutation == Permutation::Invconv {
        architecture.permutation = Permutation::InvconvPlain;
    }
    let frozen = Frozen::read(bundle)?;
    let mut thaw =
        Thaw { frozen, architecture, values: HashMap::new(), log_det: 0.0, log_scales: Vec::new() };
    thaw.flow()?;
    thaw.top()?;
    thaw.check_constant()?;
    Ok(ParameterValues::new(thaw.architecture, thaw.values)?)
}

/// Rounded once to fp32, as frozen weights are, a map is off by no more than this.
const MAP_TOLERANCE: f64 = 1e-5;

/// By how much log_prob.constant may differ from what the thawed weights give, to its size and the image's
/// in numbers: both are sums of what was rounded to fp32.
const CONSTANT_TOLERANCE: f64 = 1e-5;

/// Taps of a 3×3 kernel.
const TAPS: usize = 9;

struct Thaw {
    frozen: Frozen,
    architecture: Architecture,
    values: HashMap<String, Values>,
    /// Σ over all steps of positions · log|det| of actnorm and permutation.
    log_det: f64,
    /// Σ of the top prior's log scales over all positions, of each class or one for all.
    log_scales: Vec<f64>,
}

/// How the channels of one level lie inside a frozen graph: z1, then channels of ones, then z2.
#[derive(Clone, Copy)]
struct Layout {
    channels: usize,
    ones: usize,
}

impl Layout {
    fn half(self) -> usize {
        self.channels / 2
    }

    fn total(self) -> usize {
        self.channels + self.ones
    }

    fn position(self, channel: usize) -> usize {
        if channel < self.half() { channel } else { channel + self.ones }
    }
}

impl Thaw {
    fn put(&mut self, name: String, values: impl IntoIterator<Item = f64>) {
        self.values.insert(name, Values::F32(values.into_iter().map(|value| value as f32).collect()));
    }

    fn zeros(&mut self, name: String, count: usize) {
        self.values.insert(name, Values::F32(vec![0.0; count]));
    }

    fn flow(&mut self) -> Result<(), ThawError> {
        let mut before = None;
        for (level, shape) in self.architecture.level_shapes().into_iter().enumerate() {
            let layout = self.layout(level, shape.channels)?;
            for step in 0..self.architecture.depth {
                let name = Architecture::step_name(level, step);
                let matrix = self.mixing(&name, layout, (step == 0).then_some(before))?;
                self.permutation(&name, &matrix, shape)?;
                self.coupling(&format!("{name}.coupling"), layout, shape)?;
            }
            if shape.splits {
                self.split(&format!("level{level}.split"), layout)?;
            }
            before = Some(layout);
        }
        Ok(())
    }

    /// How many channels of ones there are follows from the first network's inputs.
    fn layout(&self, level: usize, channels: usize) -> Result<Layout, ThawError> {
        let name = format!("{}.coupling.conv1.weight", Architecture::step_name(level, 0));
        let shape = self.frozen.shape(&name)?;
        let ones = shape.get(1).and_then(|inputs| inputs.checked_sub(channels / 2));
        match ones {
            Some(ones) if ones > 0 || !self.architecture.edge_bias => Ok(Layout { channels, ones }),
            _ => Err(ThawError::tensor(&name, format!("has shape {shape:?}, which does not fit its level"))),
        }
    }

    /// W·diag(s) of a step, [C, C], where s is the actnorm's scale; the actnorm's bias is put at once. A
    /// level's first step has the squeeze in it, the very first one the image's scale too.
    fn mixing(
        &mut self,
        step: &str,
        layout: Layout,
        squeezed: Option<Option<Layout>>,
    ) -> Result<Vec<f64>, ThawError> {
        let (c, total) = (layout.channels, layout.total());
        let (weight, bias) = (format!("{step}.encode.weight"), format!("{step}.decode.bias"));
        // Decoding ends with what undoes the actnorm's bias: it stands there as it is, but negated.
        let (matrix, bias): (Vec<f64>, Vec<f64>) = match squeezed {
            None => {
                let weight = self.frozen.array(&weight, &[total, total, 1, 1])?;
                let bias = self.frozen.array(&bias, &[total])?;
                let at = |i: usize| weight[layout.position(i / c) * total + layout.position(i % c)];
                ((0..c * c).map(at).collect(), (0..c).map(|i| bias[layout.position(i)]).collect())
            }
            Some(before) => {
                // A kernel's last three axes are the squeeze's order: channel, row offset, column offset.
                let ones = before.map_or(0, |before| before.ones);
                let inputs = c + 4 * ones;
                let scale = if before.is_some() { 1.0 } else { f64::from(self.architecture.bins()) };
                let weight = self.frozen.array(&weight, &[total, c / 4 + ones, 2, 2])?;
                let bias = self.frozen.array(&bias, &[inputs])?;
                let at = |i: usize| scale * weight[layout.position(i / c) * inputs + i % c];
                ((0..c * c).map(at).collect(), bias[..c].to_vec())
            }
        };
        self.put(format!("{step}.actnorm.bias"), bias.into_iter().map(|bias| -bias));
        Ok(matrix)
    }

    fn permutation(&mut self, step: &str, matrix: &[f64], shape: LevelShape) -> Result<(), ThawError> {
        let (c, positions) = (shape.channels, (shape.height * shape.width) as f64);
        let weight = format!("{step}.encode.weight");
        if self.architecture.permutation == Permutation::InvconvPlain {
            let log_det = linear::eliminate(&mut matrix.to_vec(), c)
                .ok_or_else(|| ThawError::tensor(&weight, "is singular"))?;
            self.log_det += positions * log_det;
            self.zeros(format!("{step}.actnorm.logs"), c);
            self.put(format!("{step}.permutation.weight"), matrix.iter().copied());
            return Ok(());
        }
        // One scale in each row and column, and nothing else.
        let mut logs = vec![f64::NAN; c];
        let mut order = Vec::with_capacity(c);
        for row in matrix.chunks(c) {
            let mut entries = row.iter().enumerate().filter(|(_, value)| **value != 0.0);
            match (entries.next(), entries.next()) {
                (Some((column, &scale)), None) if scale > 0.0 && logs[column].is_nan() => {
                    logs[column] = scale.ln() / LOGSCALE_FACTOR;
                    order.push(column as i64);
                }
                _ => return Err(ThawError::tensor(&weight, "is not a scaled permutation")),
            }
        }
        if self.architecture.permutation == Permutation::Shuffle {
            self.values.insert(format!("{step}.permutation.indices"), Values::I64(order));
        } else if !order.iter().rev().copied().eq(0..c as i64) {
            return Err(ThawError::tensor(&weight, "does not reverse the channels"));
        }
        self.log_det += positions * LOGSCALE_FACTOR * logs.iter().sum::<f64>();
        self.put(format!("{step}.actnorm.logs"), logs);
        Ok(())
    }

    fn coupling(&mut self, name: &str, layout: Layout, shape: LevelShape) -> Result<(), ThawError> {
        let hidden = self.architecture.hidden;
        let (weight, bias) = self.first_layer(&format!("{name}.conv1"), hidden, layout)?;
        let second = self.frozen.array(&format!("{name}.conv2.weight"), &[hidden, hidden, 1, 1])?;
        let second_bias = self.frozen.array(&format!("{name}.conv2.bias"), &[hidden])?;
        for (conv, weight, bias) in [("conv1", weight, bias), ("conv2", second, second_bias)] {
            self.put(format!("{name}.{conv}.weight"), weight);
            self.put(format!("{name}.{conv}.actnorm.bias"), bias);
            self.zeros(format!("{name}.{conv}.actnorm.logs"), hidden);
        }
        self.last_layer(&format!("{name}.conv3"), layout, shape)
    }

    /// A convolution over z1 and the ones as one over z1 and the border: border = 1 − inside, so that the
    /// border's kernel is that of the first one negated, and its sum is not in the bias.
    fn first_layer(
        &self,
        name: &str,
        outputs: usize,
        layout: Layout,
    ) -> Result<(Vec<f64>, Vec<f64>), ThawError> {
        let (half, ones) = (layout.half(), layout.ones);
        let shape = [outputs, half + ones, 3, 3];
        let weight = self.frozen.array(&format!("{name}.weight"), &shape)?;
        let mut bias = self.frozen.array(&format!("{name}.bias"), &[outputs])?;
        if ones == 0 {
            return Ok((weight, bias));
        }
        if !self.architecture.edge_bias {
            // The ones have no weight: they only make up a number of channels.
            let plain = weight.chunks((half + ones) * TAPS).flat_map(|filter| &filter[..half * TAPS]);
            return Ok((plain.copied().collect(), bias));
        }
        let one = self.one(name)?;
        let mut plain = Vec::with_capacity(outputs * (half + 1) * TAPS);
        for (filter, bias) in weight.chunks((half + ones) * TAPS).zip(&mut bias) {
            let border = filter[half * TAPS..(half + 1) * TAPS].iter().map(|value| -value * one);
            *bias -= border.clone().sum::<f64>();
            plain.extend_from_slice(&filter[..half * TAPS]);
            plain.extend(border);
        }
        Ok((plain, bias))
    }

    /// What a convolution sees where a channel is 1: in 8 bits the nearest of its input's steps.
    fn one(&self, name: &str) -> Result<f64, ThawError> {
        let scale = format!("{name}.input_scale");
        if !self.frozen.has(&scale) {
            return Ok(1.0);
        }
        let (scale, zero) =
            (self.frozen.number(&scale)?, self.frozen.number(&format!("{name}.input_zero_point"))?);
        Ok((((1.0 / scale).round_ties_even() + zero).clamp(0.0, 255.0) - zero) * scale)
    }

    /// The last convolution answers with −shift, in an affine coupling then with −(raw + 2), and its
    /// border's part is a map.
    fn last_layer(&mut self, name: &str, layout: Layout, shape: LevelShape) -> Result<(), ThawError> {
        let (hidden, edge) = (self.architecture.hidden, self.architecture.edge_bias);
        let outputs = self.architecture.coupling_outputs(layout.channels);
        let part = |part: &str| format!("{name}.{part}");
        let weight = self.frozen.array(&part("weight"), &[outputs, hidden, 3, 3])?;
        let scales = match self.frozen.has(&part("output_scale")) {
            true => self.frozen.array(&part("output_scale"), &[outputs])?,
            false => vec![1.0; outputs],
        };
        let biases = match self.frozen.has(&part("bias")) {
            true => self.frozen.array(&part("bias"), &[outputs])?,
            false => vec![0.0; outputs],
        };
        let (height, width) = if edge { (shape.height, shape.width) } else { (1, 1) };
        let border = match self.frozen.has(&part("border")) {
            true => self.frozen.array(&part("border"), &[1, outputs, height, width])?,
            false => vec![0.0; outputs * height * width],
        };
        let (mut filters, mut constants) = (Vec::new(), Vec::new());
        let answers = weight.chunks(hidden * TAPS).zip(border.chunks(height * width));
        for ((filter, map), (scale, bias)) in answers.zip(scales.iter().zip(biases)) {
            let (constant, kernel) = match edge {
                true => border::kernel(map, height, width, MAP_TOLERANCE)
                    .ok_or_else(|| ThawError::tensor(&part("border"), "is no response to a border"))?,
                false => (map[0], [0.0; TAPS]),
            };
            let taps = filter.iter().map(|value| -value * scale);
            filters.push(match edge {
                true => taps.chain(kernel.iter().map(|value| -value)).collect::<Vec<_>>(),
                false => taps.collect(),
            });
            constants.push(-(constant + bias * scale));
        }
        if self.architecture.coupling == Coupling::Affine {
            constants[layout.half()..].iter_mut().for_each(|raw| *raw -= RAW_SCALE_OFFSET);
            (filters, constants) = (interleave(filters), interleave(constants));
        }
        self.put(part("weight"), filters.into_iter().flatten());
        self.put(part("bias"), constants);
        self.zeros(part("logs"), outputs);
        Ok(())
    }

    fn split(&mut self, name: &str, layout: Layout) -> Result<(), ThawError> {
        let (weight, bias) = self.first_layer(name, layout.channels, layout)?;
        let filter = weight.len() / layout.channels;
        let filters = interleave(weight.chunks(filter).map(<[f64]>::to_vec).collect());
        self.put(format!("{name}.weight"), filters.into_iter().flatten());
        self.put(format!("{name}.bias"), interleave(bias));
        self.zeros(format!("{name}.logs"), layout.channels);
        Ok(())
    }

    /// The top prior. Where the learned map is the same everywhere, freezing adds it to the table of the
    /// classes, and there it stays.
    fn top(&mut self) -> Result<(), ThawError> {
        let Some(top) = self.architecture.level_shapes().last().copied() else { return Ok(()) };
        self.log_scales = vec![0.0; self.architecture.classes.max(1)];
        if self.architecture.learn_top {
            self.learned_top(top)?;
        }
        if self.architecture.classes > 0 {
            self.label_table(top)?;
        }
        Ok(())
    }

    fn learned_top(&mut self, top: LevelShape) -> Result<(), ThawError> {
        let (c, edge) = (top.channels, self.architecture.edge_bias);
        let (height, width) = if edge { (top.height, top.width) } else { (1, 1) };
        let map = match self.frozen.has("top.mean") {
            false if self.architecture.classes > 0 => vec![0.0; 2 * c * height * width],
            _ => self.prior("top", &[1, c, height, width])?,
        };
        let stretch = (top.height * top.width) as f64 / (height * width) as f64;
        let sum = stretch * map[map.len() / 2..].iter().sum::<f64>();
        self.log_scales.iter_mut().for_each(|log_scale| *log_scale += sum);
        if edge {
            let (mut biases, mut kernels) = (Vec::new(), Vec::new());
            for map in map.chunks(height * width) {
                let (bias, kernel) = border::kernel(map, height, width, MAP_TOLERANCE)
                    .ok_or_else(|| ThawError::tensor("top.mean", "is no response to a border"))?;
                biases.push(bias);
                kernels.extend(kernel);
            }
            self.put("top.edge".into(), kernels);
            self.put("top.bias".into(), biases);
        } else {
            self.put("top.bias".into(), map);
        }
        self.zeros("top.logs".into(), 2 * c);
        Ok(())
    }

    fn label_table(&mut self, top: LevelShape) -> Result<(), ThawError> {
        let (c, classes) = (top.channels, self.architecture.classes);
        // All means, class by class, then all log scales.
        let table = self.prior("top.label", &[classes, c, 1, 1])?;
        let positions = (top.height * top.width) as f64;
        for (log_scale, logs) in self.log_scales.iter_mut().zip(table[classes * c..].chunks(c)) {
            *log_scale += positions * logs.iter().sum::<f64>();
        }
        let weight: Vec<f64> = (0..2 * c * classes)
            .map(|i| (i / classes, i % classes))
            .map(|(row, class)| table[row / c * classes * c + class * c + row % c])
            .collect();
        self.put("top.label.weight".into(), weight);
        for (name, count) in [
            ("top.label.bias", 2 * c),
            ("top.label.logs", 2 * c),
            ("classifier.weight", classes * c),
            ("classifier.bias", classes),
            ("classifier.logs", classes),
        ] {
            self.zeros(name.into(), count);
        }
        Ok(())
    }

    /// Means, then log scales.
    fn prior(&self, name: &str, shape: &[usize]) -> Result<Vec<f64>, ThawError> {
        let mut values = self.frozen.array(&format!("{name}.mean"), shape)?;
        let scale = format!("{name}.scale");
        for value in self.frozen.array(&scale, shape)? {
            if value <= 0.0 {
                return Err(ThawError::tensor(&scale, format!("holds {value}, which is no scale")));
            }
            values.push(value.ln());
        }
        Ok(values)
    }

    /// log p(image) = constant + what hangs on the pixels: −ln(2^n_bits)·D − ½ln(2π)·D + Σ log|det| of the
    /// steps − Σ log scales of the top prior.
    fn check_constant(&self) -> Result<(), ThawError> {
        let dims = self.architecture.dims() as f64;
        let base = self.log_det - dims * (f64::from(self.architecture.bins()).ln() + 0.5 * (2.0 * PI).ln());
        // One for all classes if there are none.
        let constants = self.frozen.array("log_prob.constant", &[self.log_scales.len()])?;
        for (frozen, log_scale) in constants.into_iter().zip(&self.log_scales) {
            let thawed = base - log_scale;
            let close = (frozen - thawed).abs() <= CONSTANT_TOLERANCE * (dims + frozen.abs());
            if !close {
                return Err(ThawError::Constant { frozen, thawed });
            }
        }
        Ok(())
    }
}

/// The halves of a list one from each in turn: \[a0, a1, b0, b1\] becomes \[a0, b0, a1, b1\].
fn interleave<T>(mut list: Vec<T>) -> Vec<T> {
    let second = list.split_off(list.len() / 2);
    list.into_iter().zip(second).flat_map(|(a, b)| [a, b]).collect()
}
